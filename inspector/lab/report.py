"""What an experiment found, as data: a row for each prompt, means, controls and laws; nothing is computed here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import pandas as pd

from inspector.capture.edits import Edit
from inspector.capture.edits_on_paper import edits_to_data
from inspector.lab.effects import Effect, Readout
from inspector.lab.laws import Law
from inspector.lab.statistics import Mean, mean_of
from inspector.reports import Report
from inspector.trace.tokens import Tokens

NO_EFFECT_BITS = 0.01  # of KL: below it, edited heads may have others that stand in for them
STAND_IN = (
    "Heads without effect may have others that stand in for them: edit the next ones of a sweep together with these "
    "before you call them useless."
)


def asked_for(prompt: str | None, tokens: Tokens, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the first columns of a prompt's row: what was run, and which token was looked at.

    Args:
        prompt: the text; None: it was given by ids.
        tokens: its tokens.
        labels: the token's, and its foil's if there is one.
    """
    return {
        "prompt": prompt if prompt is not None else " ".join(map(str, tokens.ids)),
        "n": len(tokens),
        "token": labels[0],
        "against": labels[1] if len(labels) > 1 else "mean of all",
    }


@dataclass(frozen=True)
class Control:
    """The same edits with strength 0, or values patched from the prompt itself: how many logits differ (none may)."""

    differing: int
    elements: int
    max_abs: float


@dataclass(frozen=True)
class PromptResult:
    """What an experiment found of one prompt."""

    prompt: str | None
    tokens: Tokens
    edits: tuple[Edit, ...]
    readout: Readout
    labels: tuple[str, ...]  # of the token, and of its foil if there is one
    effect: Effect
    differing: int  # logits that the edits changed at all
    control: Control
    laws: tuple[Law, ...]
    random: tuple[Effect, ...]  # of the same edits made to other heads, drawn at random

    def row(self) -> dict[str, Any]:
        """Return this prompt's row of the table."""
        effect, random = self.effect, self.random
        return {
            **asked_for(self.prompt, self.tokens, self.labels),
            "before": effect.readout_before,
            "after": effect.readout_after,
            "change": effect.readout_change,
            "kl_bits": effect.kl_bits,
            "rank_before": effect.rank_before,
            "rank_after": effect.rank_after,
            "loss_before": effect.loss_before,
            "loss_after": effect.loss_after,
            "random_kl_bits": sum(one.kl_bits for one in random) / len(random) if random else None,
            "random_change": sum(one.readout_change for one in random) / len(random) if random else None,
        }


AVERAGED = ("before", "after", "change", "kl_bits", "loss_before", "loss_after", "random_kl_bits", "random_change")


@dataclass(frozen=True, repr=False)
class ExperimentReport(Report):
    """What `lab.experiment` found.

    `verdict` is one of:

    - "changed": the edits changed logits, their control changed none, and every law measured held; `ok` is True
    - "no effect": the same, and the edits changed no logit at all; `ok` is True
    - "not proven": the control changed a logit, or a law did not hold: the numbers are not those of the edits alone
    """

    kind: ClassVar[str] = "experiment"

    model: str
    note: str
    provenance: dict[str, Any]
    results: tuple[PromptResult, ...]

    @property
    def verdict(self) -> str:
        """What came of it, in a word or two: see the class."""
        if any(one.control.differing or not all(law.held for law in one.laws) for one in self.results):
            return "not proven"
        return "changed" if any(one.differing for one in self.results) else "no effect"

    @property
    def ok(self) -> bool:
        """Whether the controls changed nothing and every law held: not whether the edits had an effect."""
        return self.verdict != "not proven"

    @property
    def table(self) -> pd.DataFrame:
        """One row a prompt: the token's logit against its foil before and after, KL in bits, ranks and mean losses."""
        return pd.DataFrame([one.row() for one in self.results])

    @property
    def means(self) -> pd.DataFrame:
        """One row a column of numbers: its mean over prompts, the bootstrap interval (95 %) and how many there are."""
        return pd.DataFrame([{"what": name, **asdict(mean)} for name, mean in self._means().items()])

    @property
    def next_tokens(self) -> pd.DataFrame:
        """The most probable next tokens before and after, of every prompt (its number stands first)."""
        rows = enumerate(self.results)
        return pd.DataFrame([{"prompt": i, **asdict(one)} for i, result in rows for one in result.effect.next_tokens])

    @property
    def losses(self) -> pd.DataFrame:
        """One row a token but the first of each prompt: its loss before and after, in nats; empty for long prompts."""
        rows = []
        for number, one in enumerate(self.results):
            pairs = zip(one.effect.losses_before or (), one.effect.losses_after or (), strict=True)
            for position, (before, after) in enumerate(pairs, 1):
                label = one.tokens.labels[position]
                rows.append({"prompt": number, "position": position, "token": label, "before": before, "after": after})
        return pd.DataFrame(rows, columns=["prompt", "position", "token", "before", "after"])

    @property
    def control(self) -> pd.DataFrame:
        """One row a prompt: logits that differ under the control, of how many, and by how much at most."""
        return pd.DataFrame([asdict(one.control) for one in self.results])

    @property
    def laws(self) -> pd.DataFrame:
        """One row for each law measured: edit, law, remainder, tolerance, held."""
        rows = [
            {"prompt": i, **asdict(law), "held": law.held} for i, one in enumerate(self.results) for law in one.laws
        ]
        return pd.DataFrame(rows, columns=["prompt", "edit", "law", "remainder", "tolerance", "held"])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of these numbers should know beside them."""
        of_heads = any(edit.heads is not None for one in self.results for edit in one.edits)
        weak = max(one.effect.kl_bits for one in self.results) < NO_EFFECT_BITS
        return (STAND_IN,) if of_heads and weak else ()

    def summary(self) -> str:
        """Return what came of it as one sentence."""
        controls = [one.control for one in self.results]
        if wrong := sum(control.differing for control in controls):
            elements = sum(control.elements for control in controls)
            return (
                f"The control, which may change nothing, changed {wrong} of {elements} logits, so what the edits did "
                "cannot be told."
            )
        if broken := [law for one in self.results for law in one.laws if not law.held]:
            return f"A law did not hold ({broken[0].law}): missed by {broken[0].remainder:.3g}."
        proof = f"control: 0 of {sum(control.elements for control in controls)} logits differ"
        if self.verdict == "no effect":
            return f"No logit changed at all; {proof}."
        if len(self.results) > 1:
            means = self._means()
            return (
                f"Over {len(self.results)} prompts the token's logit against its foil changed by "
                f"{_with_interval(means['change'])} and the next token's distribution by "
                f"{_with_interval(means['kl_bits'])} bits of KL; {proof}."
            )
        one = self.results[0]
        foil = f" against {one.labels[1]}" if len(one.labels) > 1 else " against the mean of all"
        effect = one.effect
        return (
            f"The logit of {one.labels[0]}{foil} went from {effect.readout_before:.3f} to {effect.readout_after:.3f} "
            f"({effect.readout_change:+.3f}), its rank from {effect.rank_before} to {effect.rank_after}; "
            f"KL {effect.kl_bits:.3f} bits; {proof}."
        )

    def _means(self) -> dict[str, Mean]:
        rows = [one.row() for one in self.results]
        columns = {name: [row[name] for row in rows if row[name] is not None] for name in AVERAGED}
        return {name: mean_of(values) for name, values in columns.items() if values}

    def _record(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "note": self.note,
            "versions": {name: self.provenance[name] for name in ("torch", "transformers")},
            "dtype": self.provenance["dtype"],
            "device": self.provenance["device"],
            "remarks": list(self.remarks),
            "prompts": [_prompt_record(one) for one in self.results],
            "means": [{"what": name, **asdict(mean)} for name, mean in self._means().items()],
        }

    def _about(self) -> str:
        count = len(self.results)
        edits = "; ".join(str(edit) for edit in self.results[0].edits)
        return f"{self.model}, {count} prompt{'s' * (count != 1)}, {self.provenance['dtype']}: {edits}"

    def __str__(self) -> str:
        lines = [f"{self.model}: {self.note}"]
        lines += [f"  edit: {edit}" for edit in self.results[0].edits]
        if len(self.results) > 1:
            lines += ["", self.table.to_string(index=False), "", self.means.to_string(index=False)]
        else:
            columns = ["label", "before", "after", "rank_before", "rank_after", "logit_change"]
            lines += ["", self.next_tokens[columns].to_string(index=False, float_format="{:.4f}".format)]
        lines += ["", *[f"Law ({'held' if law.held else 'NOT HELD'}, missed by {law.remainder:.2g}): {law.law}."
                        for law in self.results[0].laws]]  # fmt: skip
        return "\n".join([*lines, self.summary(), *self.remarks])


def _with_interval(mean: Mean) -> str:
    return f"{mean.mean:.3f}" + ("" if mean.low is None else f" [{mean.low:.3f}, {mean.high:.3f}]")


def _prompt_record(one: PromptResult) -> dict[str, Any]:
    effect = asdict(one.effect)
    return {
        **{name: value for name, value in one.row().items() if name not in ("prompt", "token", "against")},
        "prompt": one.prompt,
        "ids": list(one.tokens.ids),
        "edits": edits_to_data(one.edits)["edits"],
        "token": {"id": one.readout.token, "label": one.labels[0]},
        "against": None if one.readout.against is None else {"id": one.readout.against, "label": one.labels[1]},
        "differing": one.differing,
        "control": asdict(one.control),
        "laws": [{**asdict(law), "held": law.held} for law in one.laws],
        "next_tokens": effect["next_tokens"],
        "losses_before": effect["losses_before"],
        "losses_after": effect["losses_after"],
    }
