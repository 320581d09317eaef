"""What a judgement comes to, as one sentence that speaks to the person whose attention it is."""

from __future__ import annotations

import math
from typing import Protocol

from inspector.judging.findings import CHUNKS, GRADIENTS, PACKED, TOKENS, GradientCheck, Power, StepCheck, Verdict, Way
from inspector.verification.compare import STAGE_NAMES


class Told(Protocol):
    """What a sentence is made of: a judgement's own fields."""

    @property
    def verdict_found(self) -> Verdict:
        """What came of it."""

    @property
    def causes(self) -> tuple[str, ...]:
        """Why, in words."""

    @property
    def checks(self) -> tuple[StepCheck, ...]:
        """What was compared."""

    @property
    def first_difference(self) -> StepCheck | None:
        """The first stage that differs."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that were compared."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that were compared."""

    @property
    def ways_run(self) -> tuple[Way, ...]:
        """The ways of giving the text."""

    @property
    def planted(self) -> tuple[Power, ...]:
        """Which known mistakes would have shown."""

    @property
    def why_no_power(self) -> str:
        """Why that is not known."""

    @property
    def gradient_checks(self) -> tuple[GradientCheck, ...]:
        """The gradients that were compared."""


def summary_of(report: Told) -> str:
    """Return what came of a judgement as one sentence."""
    if report.verdict_found == "different":
        return _where(report)
    run = any(way.run for way in report.ways_run if way.way in (TOKENS, CHUNKS))
    planted = [row for row in report.planted if row.applies and (row.way in ("whole", GRADIENTS, PACKED) or run)]
    number, applies = sum(row.shown for row in planted), len(planted)
    where = _listed([name_of(stage) for stage in report.stages])
    if report.stages != ("logits",):
        where += f" in {counted(len(report.layers), 'layer')}"
    if not report.checks:
        return "Nothing of your attention was compared."
    largest = max((c.max_abs for c in report.checks if c.ok), default=0.0)
    power = f"with this prompt and these stages {number} of {applies} known mistakes would have shown"
    power = f"{power}; no cache was judged" if not run and "logits" not in report.stages else power
    power = power if report.planted else report.why_no_power
    if report.verdict_found == "not shown":
        return f"Nothing differs in {where}, but {power}, so that says little of your attention."
    if report.gradient_checks:
        of = _listed(list(dict.fromkeys(check.by for check in report.gradient_checks)))
        power = f"so are the gradients by {of}; {power}"
    if report.verdict_found == "right, in another layout":
        return f"Your attention is right, its queries and keys stand in another layout; compared: {where}; {power}."
    how = report.verdict_found.replace("right", "", 1).strip() or "to rounding"
    exactly = (
        "bit for bit" if all(c.differing == 0 for c in report.checks) else f"{how}, largest difference {largest:.3g}"
    )
    return f"Your attention is right as far as it was compared, {exactly}: {where}; {power}."


def _where(report: Told) -> str:
    first = report.first_difference
    cause = f": {report.causes[0]}" if report.causes else "; no cause was found"
    if first is not None:
        size = "in shape or finiteness" if math.isinf(first.max_abs) else f"by {first.max_abs:.3g}"
        of = name_of(first.stage) if first.stage in ("logits",) else f"{name_of(first.stage)} of layer {first.layer}"
        detail = (
            f" ({first.reason})"
            if math.isinf(first.max_abs)
            else f" at most (furthest over its limit: {first.worst}, where {first.tolerance:.1e} would be rounding)"
        )
        return f"Your attention differs first at the {of}, {size}{detail}{cause}."
    way = next((way for way in report.ways_run if way.ok is False), None)
    wrong = next((check for check in report.gradient_checks if not check.ok), None)
    if way is None and wrong is not None:
        size = "by everything" if math.isinf(wrong.max_abs) else f"by {wrong.max_abs:.3g}"
        at = f" ({wrong.worst}, where {wrong.tolerance:.1e} would be rounding)" if wrong.worst else ""
        return (
            f"Your attention's output is right and its gradients differ, from the output backwards first that by "
            f"{by_what(wrong.by)} of layer {wrong.layer}, {size}{at}{cause}."
        )
    if way is None:
        return f"Your attention differs{cause}."
    size = "" if way.max_abs is None or math.isinf(way.max_abs) else f" by {way.max_abs:.3g}"
    at = f"{name_of(way.stage)} of layer {way.layer}, token {way.token}" if way.stage else "its call"
    return f"Your attention is right on the whole text and differs {way.way}, first at the {at}{size}{cause}."


def name_of(stage: str) -> str:
    """Return a stage's name in words."""
    return STAGE_NAMES.get(stage, {"input": "attention input"}.get(stage, stage))


def by_what(name: str) -> str:
    """Return what a gradient is by, in words."""
    return "the input" if name == "input" else f"the {STAGE_NAMES[name]}" if name in STAGE_NAMES else name


def counted(number: int, thing: str) -> str:
    """Write a number of things."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "nothing"
