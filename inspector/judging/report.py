"""What a judgement of somebody's attention found, as data: a verdict, sentences, frames, text, HTML and JSON.

It speaks to the person whose attention it is. Nothing is judged here.
"""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import pandas as pd

from inspector.judging.findings import (
    NOT_ASKED,
    GradientCheck,
    Power,
    StepCheck,
    Verdict,
    Way,
)
from inspector.judging.report_sentences import by_what, counted, name_of, summary_of
from inspector.reports import Report
from inspector.verification.compare import STAGES
from inspector.verification.report import versions


@dataclass(frozen=True, repr=False)
class Judgement(Report):
    """What `inspector.judge` found.

    `verdict` is one of:

    - "right": every number that was compared is the model's, to rounding
    - "right to bfloat16": likewise, to the rounding of the dtype that your code computes in (or float16)
    - "right, in another layout": weights and output are the model's, queries and keys stand otherwise: see `causes`
    - "different": something differs: `step` is the first step, `causes` says why where it was found
    - "not shown": nothing differs, but with this prompt and these stages hardly a mistake would show
    """

    kind: ClassVar[str] = "judgement"

    model: str
    note: str
    prompt: str | None
    n: int
    dtype: str
    device: str
    verdict_found: Verdict
    step: str | None
    causes: tuple[str, ...]
    measured: dict[str, Any]
    checks: tuple[StepCheck, ...]
    ways_run: tuple[Way, ...]
    planted: tuple[Power, ...]
    why_no_power: str
    said: tuple[str, ...]
    seconds: float
    remarks: tuple[str, ...] = ()
    gradient_checks: tuple[GradientCheck, ...] = ()

    @property
    def verdict(self) -> str:
        """What came of it: see the class."""
        return self.verdict_found

    @property
    def ok(self) -> bool:
        """Whether your attention is right: any of the three verdicts that begin with it."""
        return self.verdict_found.startswith("right")

    @property
    def table(self) -> pd.DataFrame:
        """One row per layer and stage that was compared."""
        return pd.DataFrame([asdict(check) for check in self.checks], columns=list(StepCheck.__dataclass_fields__))

    @property
    def ways(self) -> pd.DataFrame:
        """One row per way of giving the text: whether it was run, what came of it, and why not."""
        return pd.DataFrame([asdict(way) for way in self.ways_run], columns=list(Way.__dataclass_fields__))

    @property
    def gradients(self) -> pd.DataFrame:
        """One row per layer and gradient that was compared; none where gradients were not asked for."""
        names = list(GradientCheck.__dataclass_fields__)
        return pd.DataFrame([asdict(check) for check in self.gradient_checks], columns=names)

    @property
    def power(self) -> pd.DataFrame:
        """One row per known mistake: whether it would have shown with this prompt, these stages and these ways."""
        return pd.DataFrame([asdict(row) for row in self.planted], columns=list(Power.__dataclass_fields__))

    @property
    def first_difference(self) -> StepCheck | None:
        """The first stage that differs from the model's by more than rounding."""
        return next((check for check in self.checks if not check.ok), None)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that were compared."""
        return tuple(sorted({check.layer for check in self.checks}))

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that were compared in any layer."""
        found = {check.stage for check in self.checks}
        return tuple(stage for stage in (*STAGES, "logits", "input") if stage in found)

    def summary(self) -> str:
        """Return what came of it as one sentence."""
        return summary_of(self)

    def _record(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "note": self.note,
            "prompt": self.prompt,
            "n": self.n,
            "dtype": self.dtype,
            "device": self.device,
            "seconds": self.seconds,
            "versions": versions(),
            "step": self.step,
            "causes": list(self.causes),
            "measured": self.measured,
            "said": list(self.said),
            "remarks": list(self.remarks),
            "checks": [asdict(check) for check in self.checks],
            "ways": [asdict(way) for way in self.ways_run],
            "gradients": [asdict(check) for check in self.gradient_checks],
            "power": [asdict(row) for row in self.planted],
        }

    def _about(self) -> str:
        tokens = counted(self.n, "token")
        return f"your attention beside {self.model}, {tokens}, {counted(len(self.layers), 'layer')}"

    def _short_table(self) -> pd.DataFrame:
        return self.by_stage

    @property
    def by_stage(self) -> pd.DataFrame:
        """One row per stage: the worst layer, whether every layer held."""
        rows = []
        for stage in self.stages:
            of_stage = [check for check in self.checks if check.stage == stage]
            worst = max(of_stage, key=lambda check: (not check.ok, check.max_abs / max(check.tolerance, 1e-45)))
            rows.append(
                {
                    "stage": stage,
                    "step": worst.step,
                    "worst_layer": worst.layer,
                    "max_abs": worst.max_abs,
                    "tolerance": worst.tolerance,
                    "differing": sum(check.differing for check in of_stage),
                    "elements": sum(check.elements for check in of_stage),
                    "ok": all(check.ok for check in of_stage),
                }
            )
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        lines = [f"{self._about()[0].upper()}{self._about()[1:]}, {self.dtype} on {self.device}. {self.note}", ""]
        lines.append(f"  {'stage':<20}{'largest difference':>22}{'limit':>11}{'differing':>22}  right")
        for row in self.by_stage.to_dict("records"):
            size = f"{row['max_abs']:.3g} (layer {row['worst_layer']})"
            differing = f"{row['differing']} of {row['elements']}"
            right = "yes" if row["ok"] else "NO"
            lines.append(
                f"  {name_of(str(row['stage'])):<20}{size:>22}{row['tolerance']:>11.1e}{differing:>22}  {right}"
            )
        lines.append("")
        for way in self.ways_run:
            outcome = f"not run: {way.why}" if not way.run else "right" if way.ok else f"DIFFERENT: {way.why}"
            lines.append(f"  {way.way}: {outcome}.")
        if self.gradient_checks:
            wrong = [f"by {by_what(c.by)} of layer {c.layer}" for c in self.gradient_checks if not c.ok]
            number = len(self.gradient_checks)
            lines.append(f"  gradients: {number} compared, {'all right' if not wrong else 'DIFFERENT: ' + wrong[0]}.")
        hidden = [row.mistake for row in self.planted if row.applies and not row.shown and row.why_not != NOT_ASKED]
        if hidden:
            lines.append(f"  Would not have shown here: {', '.join(hidden)}.")
        lines += ["", *(f"{one[0].upper()}{one[1:]}." for one in self.said), *self.remarks]
        lines += [f"{self.verdict_found[0].upper()}{self.verdict_found[1:]}. {self.summary()}"]
        lines += [f"Cause: {cause}." for cause in self.causes]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        causes = "".join(f"<li>{html.escape(cause)}</li>" for cause in self.causes)
        return super()._repr_html_() + (f"<ul>{causes}</ul>" if causes else "")
