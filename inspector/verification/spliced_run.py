"""The library's model with our attention in it, run beside the library's own: logits, and the text that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from inspector.model.forward import greedy
from inspector.model.model import Model
from inspector.verification.compare import distance
from inspector.verification.splice import (
    SplicedAttention,
    Unspliceable,
    refuse_unspliceable,
    returned_beside,
    spliced_model,
)
from inspector.verification.tolerances import is_noise, logit_tolerance
from inspector.verification.written_out import with_plain_matrices
from reimpl.attention import CausalSelfAttention

GENERATED = 40  # tokens compared after the prompt
# The first of them the library's model writes itself, step by step with its own cache; its choice of all of them is
# read off one pass over the finished text.
STEPWISE = 4
BY_LENGTH = ("dynamic", "longrope")  # rules by which a step turns otherwise than one pass over a longer text does


@dataclass(frozen=True)
class SplicedResult:
    """What the spliced model did, compared with the library's.

    logits_max_abs, logits_differing: of the prompt and what was written after it, against the library's pass through
    its own eager attention.
    sdpa_max_abs: the same library's SDPA pass against its eager pass, its own rounding noise, for scale.
    tokens: greedy continuation by the spliced model, with the key/value cache; tokens_equal: how many, from the first,
    are the library's own choices through its eager attention; tokens_equal_sdpa: through its SDPA attention, for scale
    (in half precision two forms of one attention may choose differently where two tokens are nearly as probable).
    calls: how often our attention ran, so that a splice that never ran cannot pass.
    """

    ok: bool
    logits_max_abs: float
    logits_differing: int
    logits_elements: int
    logits_tolerance: float
    sdpa_max_abs: float
    tokens: tuple[int, ...]
    tokens_equal: int
    tokens_equal_sdpa: int
    tokens_compared: int
    calls: int
    text: str
    reason: str


class Splice:
    """A copy of a library's model that attends by our layers, and the model itself, its matrices plain, beside it."""

    def __init__(self, model: Model, attention: Sequence[CausalSelfAttention]) -> None:
        """Copy the model, sharing every parameter, with our layers, one for each of its own, in place of these.

        Raises:
            Unspliceable: ours cannot take the place of this model's attention.
        """
        refuse_unspliceable(attention, model)
        self.model = with_plain_matrices(model)
        names = [info.name for info in self.model.layers]
        if len(set(names)) < len(names):
            raise Unspliceable("its attention modules run several times in one pass")
        by_name = dict(zip(names, attention, strict=True))
        self.twin: PreTrainedModel = spliced_model(self.model.model, by_name, returned_beside(self.model, by_name))

    def attend_by(self, attention: Sequence[CausalSelfAttention]) -> None:
        """Attend by these layers from now on, and count their calls anew."""
        refuse_unspliceable(attention, self.model)
        for info, ours in zip(self.model.layers, attention, strict=True):
            place = self.twin.get_submodule(info.name)
            place.ours, place.calls = ours, 0

    def logits(self, ids: Sequence[int]) -> Tensor:
        """Return the copy's logits [n, vocabulary] of these token ids."""
        with torch.inference_mode():
            found: Tensor = self.twin(torch.tensor([list(ids)], device=self.model.device), use_cache=False).logits[0]
            return found


def spliced_logits(model: Model, ids: Sequence[int], attention: Sequence[CausalSelfAttention]) -> Tensor:
    """Return the logits [n, vocabulary] of a copy of the library's model that attends by our layers, right or wrong.

    Args:
        model: the model.
        ids: the prompt's token ids.
        attention: our layers, one for each of the model's.

    Returns:
        The logits.

    Raises:
        Unspliceable: ours cannot take the place of this model's attention.
    """
    return Splice(model, attention).logits(ids)


def planted_apart(
    splice: Splice,
    ids: Sequence[int],
    wrong: Sequence[CausalSelfAttention],
    right: Sequence[CausalSelfAttention],
    *,
    noise: float,
) -> tuple[float, float] | None:
    """Compare a copy that attends by wrong layers with the library's model, by the tolerance of the right ones' run.

    Args:
        splice: the copy; it attends by the right layers again afterwards.
        ids: a prompt's token ids.
        wrong: layers with a planted mistake.
        right: our layers.
        noise: what the library's own two forms of attention differ by, as that run measured.

    Returns:
        The largest difference of a logit, and the tolerance; None where the mistake changes no logit of this prompt.
    """
    eager = splice.model.logits(ids, eager=True)
    tolerance = logit_tolerance(eager, noise=noise, layers=len(splice.model.layers))
    try:
        splice.attend_by(wrong)
        spliced = splice.logits(ids)
    finally:
        splice.attend_by(right)
    difference = distance(spliced, eager)
    if difference <= tolerance and torch.equal(spliced, splice.logits(ids)):
        return None
    return difference, tolerance


def compare_spliced(
    model: Model,
    ids: tuple[int, ...],
    attention: list[CausalSelfAttention],
    *,
    generated: int = GENERATED,
    splice: Splice | None = None,
) -> SplicedResult:
    """Let the spliced model go on from the prompt, and run the finished text through it and through the library's.

    Args:
        model: the model that is verified.
        ids: the prompt's token ids.
        attention: our layers, one for each of the model's.
        generated: how many tokens to compare after the prompt.
        splice: the copy that attends by these layers, where it is there already.

    Returns:
        How far logits and tokens are apart.

    Raises:
        Unspliceable: ours cannot take the place of this model's attention.
    """
    splice = Splice(model, attention) if splice is None else splice
    twin, model = splice.twin, splice.model
    names = [info.name for info in model.layers]
    room = generated if model.positions is None else max(0, min(generated, model.positions - len(ids)))
    written = greedy(twin, ids, room)
    text = (*ids, *written)
    spliced = splice.logits(text)
    eager, sdpa = model.logits(text, eager=True), model.logits(text)
    difference, noise = distance(spliced, eager), distance(sdpa, eager)
    tolerance = logit_tolerance(eager, noise=noise, layers=len(names))
    by_length = any(layer.spec.rope is not None and layer.spec.rope.rule in BY_LENGTH for layer in attention)
    equal, apart = _agreement(model, ids, written, eager, stepwise=room if by_length else min(STEPWISE, room))
    equal_sdpa = _equal_from_start(written, _choices(sdpa, room))
    calls = sum(module.calls for module in twin.modules() if isinstance(module, SplicedAttention))
    due = len(names) * (1 + room)
    ok, reason = True, "ours in every layer, library elsewhere; the library's own two forms differ by its noise"
    if not is_noise(noise, eager):
        name = getattr(model.model.config, "_attn_implementation", "as configured")
        ok, reason = (
            False,
            (
                f"the library's model attends by {name!r}, whose logits are {noise:.3g} from those of its own eager "
                "attention, more than rounding: that function is judged by inspector.judge(model, model, prompt)"
            ),
        )
    elif calls != due:
        ok, reason = False, f"our attention ran {calls} times where {due} were due"
    elif not difference <= tolerance:  # also where it is no number
        ok, reason = False, "logits differ by more than rounding"
    elif equal < room and apart <= tolerance:
        reason = (
            f"generated token {equal + 1} differs where the library's logits of the two are {apart:.3g} apart, less "
            f"than rounding moves them ({tolerance:.3g})"
        )
    elif equal < room:
        ok, reason = False, f"generated token {equal + 1} differs"
    return SplicedResult(
        ok=ok,
        logits_max_abs=difference,
        logits_differing=int((spliced != eager).sum()),
        logits_elements=spliced.numel(),
        logits_tolerance=tolerance,
        sdpa_max_abs=noise,
        tokens=tuple(written),
        tokens_equal=equal,
        tokens_equal_sdpa=equal_sdpa,
        tokens_compared=room,
        calls=calls,
        text=model.tokenizer.decode(written),
        reason=reason,
    )


def _agreement(
    model: Model, ids: tuple[int, ...], written: list[int], eager: Tensor, *, stepwise: int
) -> tuple[int, float]:
    """Count the written tokens, from the first on, that are the library's own choices.

    Where one is not, rounding may have decided between two nearly equal ones: the library's model writes the whole
    itself then, with its cache as ours did.

    Args:
        model: the model that is verified.
        ids: the prompt's token ids.
        written: what the spliced model wrote.
        eager: the library's logits of prompt and written tokens [n, vocabulary].
        stepwise: how many of the tokens the library's model writes itself in any case.

    Returns:
        How many, and how far apart the library's own logits of both candidates are where they part; 0 where nowhere.
    """
    first = model.passes.continuation(ids, stepwise, eager=True, past_the_end=True)
    if written == _choices(eager, len(written)) and written[:stepwise] == first:
        return len(written), 0.0
    theirs = first
    if stepwise < len(written):
        theirs = model.passes.continuation(ids, len(written), eager=True, past_the_end=True)
    equal = _equal_from_start(written, theirs)
    if equal == len(written):
        return equal, 0.0
    logits = model.logits([*ids, *written[:equal]], eager=True)[-1]
    return equal, float((logits[theirs[equal]] - logits[written[equal]]).abs())


def _choices(logits: Tensor, count: int) -> list[int]:
    """Return the most probable token at each of the last `count` positions, from the logits [n, vocabulary] before."""
    found: list[int] = logits[-1 - count : -1].argmax(-1).tolist()
    return found


def _equal_from_start(a: list[int], b: list[int]) -> int:
    """Count the tokens that are equal, from the first on."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
