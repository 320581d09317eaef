"""Which known mistakes would have shown with this prompt, at the stages and in the ways that were compared: measured.

Each is planted into our own layer, in the first layer of each kind, and held against the same limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from inspector.judging.caches import CACHE_MISTAKES, CacheMistake, applies, in_pieces
from inspector.judging.chain import Chain
from inspector.judging.findings import Power
from inspector.judging.limits import Limit
from inspector.verification.compare import STAGES
from inspector.verification.mistakes.core import MISTAKES
from inspector.verification.mistakes.planting import Mistake
from inspector.verification.mistakes.unchanged import another_text_may_show, same_bits, why_unchanged
from reimpl.attention import AttentionTrace, CausalSelfAttention

FIRST_ROWS = 256  # a mistake that shows in them shows; only what does not is looked for further on
NOT_COMPUTED = "this layer cannot make it, or it is not computed for such a layer"
EVER = 10**6  # a text longer than any window


class Compared:
    """One layer as it was compared: our chain, the model's stages, the limits, the stages handed over."""

    def __init__(
        self, chain: Chain, reference: AttentionTrace, limits: Mapping[str, Limit], stages: Sequence[str]
    ) -> None:
        self.chain, self.reference, self.limits = chain, reference, limits
        self.stages = [stage for stage in STAGES if stage in stages]

    def shown_at(self, planted: CausalSelfAttention) -> tuple[str, bool]:
        """Return the first compared stage at which a planted layer differs, and whether it differs anywhere at all."""
        with torch.inference_mode():
            made = vars(planted.stages(self.chain.x, external=self.chain.external))
        for stage in self.stages:
            due = getattr(self.reference, stage)
            if made[stage].shape != due.shape:
                return stage, True
            if bool((~((made[stage].float() - due.float()).abs() <= self.limits[stage].most)).any()):
                return stage, True
        return "", not same_bits(made, vars(self.reference))


def whole_text(compared: Mapping[int, Compared]) -> list[Power]:
    """Plant every known mistake in turn and see whether it would have shown in the whole text.

    Args:
        compared: the first compared layer of each kind.
    """
    return [_row(mistake, compared) for mistake in MISTAKES]


def _row(mistake: Mistake, compared: Mapping[int, Compared]) -> Power:
    """Plant one mistake in each kind of layer until it shows."""
    reason, can = "", False
    for index, at in compared.items():
        layer, n = at.chain.layer, at.chain.x.shape[0]
        planted = mistake.plant(layer, EVER)
        if isinstance(planted, str):
            reason = reason or planted
            continue
        stage, moved = at.shown_at(planted)
        if stage:
            return Power(mistake.name, mistake.meaning, True, True, index, stage, "whole", "")
        too_short = mistake.plant(layer, n)  # a sentence where it takes a longer text
        short = isinstance(too_short, str)
        why = too_short if isinstance(too_short, str) else "" if moved else why_unchanged(mistake, layer, n)
        why = why.replace("the control prompt", "your prompt").replace("control prompt", "prompt")
        can = can or moved or short or another_text_may_show(mistake, layer, n)
        reason = why or "the stages that you handed over do not show it"
    return Power(mistake.name, mistake.meaning, can, False, None, "", "whole", reason)


def of_caches(
    compared: Mapping[int, Compared], ways: Mapping[str, Sequence[tuple[int, int]]], why_not: str
) -> list[Power]:
    """Plant every known mistake of a cache and see whether it would have shown in the ways that were run.

    Args:
        compared: the first compared layer of each kind.
        ways: the ways that were run, each with its pieces.
        why_not: why no way was run, where none was.
    """
    rows = []
    for mistake in CACHE_MISTAKES:
        able = {index: at for index, at in compared.items() if applies(mistake, at.chain.layer)}
        if not able:
            rows.append(Power(mistake.name, mistake.meaning, False, False, None, "", "", NOT_COMPUTED))
            continue
        shown = next(_shown(mistake, able, ways), None)
        why = why_not or "the pieces of this prompt do not show it"
        rows.append(shown or Power(mistake.name, mistake.meaning, True, False, None, "", "", why))
    return rows


def _shown(
    mistake: CacheMistake, compared: Mapping[int, Compared], ways: Mapping[str, Sequence[tuple[int, int]]]
) -> Iterator[Power]:
    """Yield each way and layer in which a cache mistake shows."""
    for way, pieces in ways.items():
        for index, at in compared.items():
            with torch.inference_mode():
                made = in_pieces(mistake, at.chain, pieces)
            for stage, tensor in made.items():
                due: Tensor = getattr(at.reference, stage)
                if stage in at.stages and bool((~((tensor - due).abs() <= at.limits[stage].most)).any()):
                    yield Power(mistake.name, mistake.meaning, True, True, index, stage, way, "")
