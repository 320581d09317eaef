"""What a verification found, as data: tables (pandas), one sentence, text for a terminal, HTML and JSON.

Nothing is judged here.
"""

from __future__ import annotations

import math
import platform
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import pandas as pd
import torch
import transformers

from inspector.reports import Report
from inspector.verification.compare import STAGE_NAMES, STAGES, Check
from inspector.verification.spliced_run import SplicedResult
from inspector.verification.tolerances import FLOAT64_RATIO


@dataclass(frozen=True)
class ControlResult:
    """One planted mistake: whether it applies to this model, whether it was caught, and the first stage it shows at."""

    mistake: str
    meaning: str
    applies: bool
    caught: bool
    layer: int | None
    stage: str
    max_abs: float
    tolerance: float
    why_not: str


@dataclass(frozen=True)
class RoundingError:
    """The largest distance from the same layer computed in float64: of what was judged, and of the library."""

    stage: str
    judged: float
    library: float

    @property
    def ok(self) -> bool:
        """Whether it is no larger than the library's, or than twice that where sums run in another order."""
        return self.judged <= FLOAT64_RATIO * self.library or self.judged == 0


@dataclass(frozen=True, repr=False)
class VerificationReport(Report):
    """What `inspector.verify` found.

    `verdict` is one of:

    - "equal": all that was run passed: stages, spliced and controls where asked for; `ok` is True here alone
    - "different": a stage, or the spliced model, differs by more than its tolerance, or the model itself is not
      as its config says (`models_doing`)
    - "less exact": every stage passed, but off float64 by more than twice what the library is
    - "not proven": every stage passed, but a planted mistake was not caught, or none would change a number here
    - "not compared": there was nothing to compare
    """

    kind: ClassVar[str] = "verification"

    model: str
    note: str
    prompt: str | None
    n: int
    dtype: str
    device: str
    checks: tuple[Check, ...]
    rounding: tuple[RoundingError, ...]
    spliced: SplicedResult | None
    control_results: tuple[ControlResult, ...]
    first_difference: Check | None
    seconds: float
    remarks: tuple[str, ...] = ()  # what was not computed by the reimplementation itself, or not run
    weights_from: str = "files"  # or "memory": what the model holds, as it is now
    models_doing: str = ""  # a sentence where the model itself is not as its config says, and that is all that differs

    @property
    def stages_ok(self) -> bool:
        """Whether every stage of every layer passed."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    @property
    def planted(self) -> int:
        """How many mistakes were planted."""
        return sum(control.applies for control in self.control_results)

    @property
    def caught(self) -> int:
        """How many of the planted mistakes were caught."""
        return sum(control.caught for control in self.control_results)

    @property
    def verdict(self) -> str:
        """What came of it, in a word or two: see the class."""
        if not self.checks:
            return "not compared"
        if self.models_doing or not self.stages_ok or not (self.spliced is None or self.spliced.ok):
            return "different"
        if self.planted != self.caught or (self.control_results and not self.planted):
            return "not proven"
        return "equal" if all(row.ok for row in self.rounding) else "less exact"

    @property
    def ok(self) -> bool:
        """Whether every check passed and every mistake that applies was caught."""
        return self.verdict == "equal"

    @property
    def elements(self) -> int:
        """How many numbers were compared stage by stage."""
        return sum(check.elements for check in self.checks)

    @property
    def differing(self) -> int:
        """How many of them differ at all."""
        return sum(check.differing for check in self.checks)

    @property
    def table(self) -> pd.DataFrame:
        """One row per layer and stage: layer, stage, max_abs, max_rel, differing, elements, tolerance, reason, ok."""
        return pd.DataFrame([asdict(check) for check in self.checks])

    @property
    def controls(self) -> pd.DataFrame:
        """One row per planted mistake."""
        return pd.DataFrame([asdict(control) for control in self.control_results])

    @property
    def float64(self) -> pd.DataFrame:
        """One row per stage: distance from float64, the worst layer's."""
        return pd.DataFrame([{**asdict(row), "ok": row.ok} for row in self.rounding])

    @property
    def by_stage(self) -> pd.DataFrame:
        """One row per stage: the worst layer, all layers' differing elements, whether all passed."""
        rows = []
        for stage in STAGES:
            checks = [check for check in self.checks if check.stage == stage]
            if checks:
                worst = max(checks, key=lambda check: (not check.ok, check.max_abs))
                rows.append(
                    {
                        "stage": stage,
                        "worst_layer": worst.layer,
                        "max_abs": worst.max_abs,
                        "max_rel": worst.max_rel,
                        "differing": sum(check.differing for check in checks),
                        "elements": sum(check.elements for check in checks),
                        "tolerance": worst.tolerance,
                        "ok": all(check.ok for check in checks),
                    }
                )
        return pd.DataFrame(rows)

    def summary(self) -> str:
        """Return what came of it as one sentence."""
        if self.models_doing:
            return self.models_doing
        layers = len({check.layer for check in self.checks})
        if self.first_difference is not None:
            check = self.first_difference
            where = f"layer {check.layer}, {STAGE_NAMES[check.stage]}"
            size = "in shape or finiteness" if math.isinf(check.max_abs) else f"by up to {check.max_abs:.3g}"
            return f"The reimplementation differs first at {where}, {size} ({check.reason})."
        largest = max((check.max_abs for check in self.checks), default=math.nan)
        amount = "bit for bit" if all(check.differing == 0 for check in self.checks) else "to rounding"
        text = f"Reproduced {amount} at every stage of all {layers} layers, largest difference {largest:.3g}"
        if self.spliced is not None and not self.spliced.ok:
            return f"{text}; but spliced into the model it fails: {self.spliced.reason}."
        if self.planted > self.caught:
            return (
                f"{text}; but only {self.caught} of {self.planted} planted mistakes were caught, so this proves little."
            )
        if self.control_results and not self.planted:
            return (
                f"{text}; but none of {len(self.control_results)} known mistakes would change a number here, so this "
                "proves little."
            )
        if not all(row.ok for row in self.rounding):
            return f"{text}; but its rounding error against float64 is more than twice the library's."
        text += f"; {self.planted} mistakes planted, {self.caught} caught" if self.control_results else ""
        unwritten = self.spliced is not None and not self.spliced.tokens_compared
        return text + ("; no text was written, so steps with a key/value cache were not compared" * unwritten + ".")

    def _record(self) -> dict[str, Any]:
        return {**asdict(self), "planted": self.planted, "caught": self.caught, "versions": versions()}

    def _about(self) -> str:
        return f"{self.model}, {self.n} token{'s' * (self.n != 1)}, {self.dtype} on {self.device}"

    def _short_table(self) -> pd.DataFrame:
        return self.by_stage

    def __str__(self) -> str:
        head = f"{self.model}: {self.n} token{'s' * (self.n != 1)}, {self.dtype} on {self.device}. {self.note}"
        lines = [head, "", f"  {'stage':<20}{'largest difference':>20}{'differing':>22}{'tolerance':>11}  passed"]
        for row in self.by_stage.to_dict("records"):
            differing = f"{row['differing']} of {row['elements']}"
            size = f"{row['max_abs']:.3g} (layer {row['worst_layer']})"
            passed = "yes" if row["ok"] else "NO"
            name = STAGE_NAMES[str(row["stage"])]
            lines.append(f"  {name:<20}{size:>20}{differing:>22}{row['tolerance']:>11.1e}  {passed}")
        lines += ["", *self.remarks, *self._spliced_lines(), *self._rounding_lines(), *self._control_lines()]
        lines.append(self.summary())
        return "\n".join(lines)

    def _spliced_lines(self) -> list[str]:
        s = self.spliced
        if s is None:
            return []
        if s.tokens_compared:
            written = (
                f"written greedily with the KV cache: {s.tokens_equal} of {s.tokens_compared} tokens are the library's "
                f"own choices ({s.tokens_equal_sdpa} those of its SDPA pass)."
            )
        else:
            written = "nothing was written, so steps with the KV cache were not compared."
        return [
            f"Spliced into the library's model: logits differ in {s.logits_differing} of {s.logits_elements} elements, "
            f"by at most {s.logits_max_abs:.3g} (the library's SDPA and eager passes: {s.sdpa_max_abs:.3g});",
            f"  {written}{self._spliced_reason(s)}",
        ]

    @staticmethod
    def _spliced_reason(s: SplicedResult) -> str:
        if not s.ok:
            return f" NOT HELD: {s.reason}."
        return f" {s.reason[0].upper()}{s.reason[1:]}." if s.tokens_equal < s.tokens_compared else ""

    def _rounding_lines(self) -> list[str]:
        if not self.rounding:
            return []
        worst = max(self.rounding, key=lambda row: row.judged)
        bad = [STAGE_NAMES[row.stage] for row in self.rounding if not row.ok]
        return [
            f"Against float64: off by at most {worst.judged:.3g} ({STAGE_NAMES[worst.stage]}), the library by "
            f"{max(row.library for row in self.rounding):.3g}." + (f" WORSE at {', '.join(bad)}." if bad else "")
        ]

    def _control_lines(self) -> list[str]:
        if not self.control_results:
            return []
        missed = [control.mistake for control in self.control_results if control.applies and not control.caught]
        skipped = len(self.control_results) - self.planted
        text = f"Controls: {self.planted} planted, {self.caught} caught"
        text += f" ({skipped} do not apply here)" if skipped else ""
        return [text + (f"; MISSED: {', '.join(missed)}." if missed else "."), ""]


def versions() -> dict[str, str]:
    """Return the versions of what the numbers depend on."""
    return {"torch": torch.__version__, "transformers": transformers.__version__, "python": platform.python_version()}
