"""Find what each head of a model does, and say it only with evidence: scores on chosen texts, each beside its null."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from inspector.errors import InspectorError
from inspector.heads import battery, scoring
from inspector.heads.labels import (
    ENGLISH_TEXT,
    FAR,
    LABELS,
    LONG_TEXT,
    POSITION,
    REPEATED,
    Label,
    Score,
)
from inspector.heads.report import Evidence, HeadFindings, HeadReport
from inspector.model.model import Model, refuse_no_model
from inspector.text import Progress, no_progress
from inspector.trace.trace import Trace


class _Values:
    """Numbers of each head and measure, one for each text."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], list[np.ndarray]] = defaultdict(list)  # layer, measure -> [h] a text
        self._summed: dict[tuple[int, str, bool | None], tuple[np.ndarray, np.ndarray]] = {}

    def add(self, layer: int, means: scoring.Means) -> None:
        for name, heads in means.items():
            self._found[layer, name].append(heads.double().numpy())

    def heads(self) -> list[tuple[int, int]]:
        sizes = {layer: len(values[0]) for (layer, _), values in self._found.items()}
        return [(layer, head) for layer in sorted(sizes) for head in range(sizes[layer])]

    def of(self, layer: int, head: int, name: str, even: bool | None = None) -> tuple[float, float]:
        """Return mean and standard deviation over the texts, all or every other; 0 of what was not measured."""
        if (layer, name) not in self._found:
            return 0.0, 0.0
        if (layer, name, even) not in self._summed:
            values = np.stack(self._found[layer, name])
            values = values if even is None else values[0 if even else 1 :: 2]
            if not len(values):
                return 0.0, 0.0
            spread = values.std(0, ddof=1) if len(values) > 1 else np.zeros_like(values[0])
            self._summed[layer, name, even] = values.mean(0), spread
        mean, spread = self._summed[layer, name, even]
        return float(mean[head]), float(spread[head])


def find(model: Model, *, progress: Progress = no_progress) -> HeadReport:
    """Try every head on a battery of texts, and label those whose scores stand out from their nulls.

    Args:
        model: what inspector.load returns.
        progress: called as progress(message, fraction) after each text; what it raises ends the search.

    Returns:
        The report: `.table` has a row for each head, `.scores` one for each head and label, with null and spread.

    Raises:
        InspectorError: `model` is no loaded model, or the attention of none of its layers can be shown.
    """
    refuse_no_model(model, "find")
    stimuli = {
        one.name: one
        for one in (
            battery.repeated_tokens(model),
            battery.unrelated_tokens(model),
            battery.english(model),
            battery.long_english(model),
        )
    }
    scores, beside, nulls, beside_nulls = _Values(), _Values(), _Values(), _Values()
    for stimulus, trace, number in _traces(model, stimuli, progress):
        text = stimulus.pairs[number]
        of_text = [label.measure for label in LABELS if label.text == stimulus.name and label.measure is not POSITION]
        if stimulus.name == LONG_TEXT:
            for layer, found, _ in scoring.layer_scores(trace, text, [FAR]):
                scores.add(layer, found)
        if stimulus.name in (REPEATED, ENGLISH_TEXT):
            for layer, found, rest in scoring.layer_scores(trace, text, of_text):
                scores.add(layer, found)
                beside.add(layer, rest)
            shuffled_here = [label.measure for label in LABELS if label.text == stimulus.name and _by_shuffling(label)]
            for layer, found, rest in scoring.shuffled_scores(trace, text, shuffled_here):
                nulls.add(layer, found)
                beside_nulls.add(layer, rest)
        if stimulus.name == "unrelated random tokens":
            unrelated = [label.measure for label in LABELS if label.null == "unrelated text"]
            for layer, found, rest in scoring.layer_scores(trace, text, unrelated):
                nulls.add(layer, found)
                beside_nulls.add(layer, rest)
            for layer, share, shuffled in scoring.position_shares(trace, seed=number):
                for values, part in ((scores, share), (beside, share), (nulls, shuffled), (beside_nulls, shuffled)):
                    values.add(layer, {POSITION.name: part})
    heads = scores.heads()
    if not heads:
        raise InspectorError(f"The weights of no layer of {model.name} can be shown, so no head can be labelled.")
    findings = [
        HeadFindings(
            layer=layer,
            head=head,
            scores={label.name: _score(layer, head, label, scores, beside, nulls, beside_nulls) for label in LABELS},
            far=scores.of(layer, head, FAR.name)[0],
            far_sd=scores.of(layer, head, FAR.name)[1],
        )
        for layer, head in heads
    ]
    return HeadReport(
        model=model.name,
        note=model.source.note,
        provenance=model.provenance,
        findings=tuple(findings),
        evidence=tuple(
            Evidence(name, len(one.ids), len(one.ids[0]), tuple(one.ids[0])) for name, one in stimuli.items()
        ),
        control_labelled=_control(heads, nulls, beside_nulls),
    )


def _by_shuffling(label: Label) -> bool:
    return label.null == "shuffled keys" and label.measure is not POSITION


def _traces(
    model: Model, stimuli: dict[str, battery.Stimulus], progress: Progress
) -> Iterator[tuple[battery.Stimulus, Trace, int]]:
    """Yield each text's stimulus, trace and number among the stimulus's texts."""
    total, done = sum(len(one.ids) for one in stimuli.values()), 0
    for stimulus in stimuli.values():
        for number, trace in enumerate(model.traces([list(ids) for ids in stimulus.ids])):
            yield stimulus, trace, number
            done += 1
            progress(f"{stimulus.name}: text {number + 1} of {len(stimulus.ids)}", done / total)


def _score(
    layer: int, head: int, label: Label, scores: _Values, beside: _Values, nulls: _Values, beside_nulls: _Values
) -> Score:
    name = label.measure.name
    rest, rest_null = beside.of(layer, head, name), beside_nulls.of(layer, head, name)
    return Score(*scores.of(layer, head, name), *nulls.of(layer, head, name), rest[0], *rest_null)


def _control(heads: list[tuple[int, int]], nulls: _Values, beside_nulls: _Values) -> int:
    """Count the labels that the rule gives where there is nothing to find.

    The nulls of one half of the texts stand in the scores' place, those of the other half stay nulls.
    """
    given = 0
    for layer, head in heads:
        for label in LABELS:
            name = label.measure.name
            played, rest = (values.of(layer, head, name, True) for values in (nulls, beside_nulls))
            against, rest_against = (values.of(layer, head, name, False) for values in (nulls, beside_nulls))
            given += Score(*played, *against, rest[0], *rest_against).earns(label)
    return given
