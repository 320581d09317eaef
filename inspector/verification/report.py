"""What a verification found, as data: checks in, tables (pandas), one sentence, text for a terminal, HTML for a
notebook and JSON out. Nothing is judged here.
"""

from __future__ import annotations

import html
import json
import math
import platform
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch
import transformers

from inspector.verification.compare import STAGE_NAMES, STAGES, Check
from inspector.verification.splice import SplicedResult


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
    """Largest distance from the same layer computed in float64: of what was judged, and of the library."""

    stage: str
    judged: float
    library: float

    @property
    def ok(self) -> bool:
        """No larger than the library's (twice is allowed where sums run in another order)."""
        return self.judged <= 2 * self.library or self.judged == 0


@dataclass(frozen=True)
class VerificationReport:
    """See `inspector.verify`. `ok` is True where every check held and every applicable mistake was caught."""

    model: str
    note: str
    prompt: str | None
    n: int
    dtype: str
    device: str
    judged: str
    checks: tuple[Check, ...]
    rounding: tuple[RoundingError, ...]
    spliced: SplicedResult | None
    control_results: tuple[ControlResult, ...]
    first_difference: Check | None
    likely_causes: tuple[str, ...]
    seconds: float
    remarks: tuple[str, ...] = ()  # what was not computed by the reimplementation itself, or not run

    @property
    def stages_ok(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)

    @property
    def planted(self) -> int:
        return sum(control.applies for control in self.control_results)

    @property
    def caught(self) -> int:
        return sum(control.caught for control in self.control_results)

    @property
    def ok(self) -> bool:
        spliced = self.spliced is None or self.spliced.ok
        return self.stages_ok and spliced and self.planted == self.caught and all(r.ok for r in self.rounding)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per layer and stage."""
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
        """One row per stage: the worst layer, all layers' differing elements, whether all held."""
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
        """One sentence."""
        layers = len({check.layer for check in self.checks})
        if self.first_difference is not None:
            check = self.first_difference
            where = f"layer {check.layer}, {STAGE_NAMES[check.stage]}"
            size = "in shape or finiteness" if math.isinf(check.max_abs) else f"by up to {check.max_abs:.3g}"
            return f"{self.judged.capitalize()} differs first at {where}, {size} ({check.reason})."
        largest = max((check.max_abs for check in self.checks), default=math.nan)
        amount = "bit for bit" if all(check.differing == 0 for check in self.checks) else "to rounding"
        text = f"Reproduced {amount} at every stage of all {layers} layers, largest difference {largest:.3g}"
        if self.spliced is not None and not self.spliced.ok:
            return f"{text}; but spliced into the model it fails: {self.spliced.reason}."
        if self.planted > self.caught:
            return (
                f"{text}; but only {self.caught} of {self.planted} planted mistakes were caught, so this proves little."
            )
        if not all(row.ok for row in self.rounding):
            return f"{text}; but its rounding error against float64 is more than twice the library's."
        return text + (f"; {self.planted} mistakes planted, {self.caught} caught." if self.control_results else ".")

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON (infinities as null)."""
        record = {**asdict(self), "ok": self.ok, "summary": self.summary(), "planted": self.planted}
        record |= {"caught": self.caught, "versions": versions()}
        return dict(_finite(record))

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def __str__(self) -> str:
        head = f"{self.model}: {self.n} token{'s' * (self.n != 1)}, {self.dtype} on {self.device}. {self.note}"
        lines = [head, "", f"  {'stage':<20}{'largest difference':>20}{'differing':>22}{'tolerance':>11}  held"]
        for row in self.by_stage.to_dict("records"):
            differing = f"{row['differing']} of {row['elements']}"
            size = f"{row['max_abs']:.3g} (layer {row['worst_layer']})"
            held = "yes" if row["ok"] else "NO"
            name = STAGE_NAMES[str(row["stage"])]
            lines.append(f"  {name:<20}{size:>20}{differing:>22}{row['tolerance']:>11.1e}  {held}")
        lines += ["", *self.remarks, *self._spliced_lines(), *self._rounding_lines(), *self._control_lines()]
        lines.append(self.summary())
        lines += [f"Likely cause: {cause}." for cause in self.likely_causes]
        return "\n".join(lines)

    def _spliced_lines(self) -> list[str]:
        s = self.spliced
        if s is None:
            return []
        return [
            f"Spliced into the library's model: logits differ in {s.logits_differing} of {s.logits_elements} elements, "
            f"by at most {s.logits_max_abs:.3g} (the library's SDPA and eager passes: {s.sdpa_max_abs:.3g});",
            f"  greedy generation with the KV cache: {s.tokens_equal} of {s.tokens_compared} tokens equal "
            f"({s.tokens_equal_sdpa} to the library's SDPA generation)." + self._spliced_reason(s),
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
        text += f" ({skipped} do not apply to this model)" if skipped else ""
        return [text + (f"; MISSED: {', '.join(missed)}." if missed else "."), ""]

    def _repr_html_(self) -> str:
        colour = "#1a7f37" if self.ok else "#c62828"
        table = self.by_stage.to_html(index=False, border=0, escape=True)
        causes = "".join(f"<p>Likely cause: {html.escape(cause)}.</p>" for cause in self.likely_causes)
        return f'<p style="color:{colour}"><b>{html.escape(self.summary())}</b></p>{causes}{table}'


def versions() -> dict[str, str]:
    """What the numbers depend on."""
    return {"torch": torch.__version__, "transformers": transformers.__version__, "python": platform.python_version()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
