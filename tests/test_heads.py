"""The finder: labels of the real model, labels that planted heads get and lose, and the one table of scores."""

import json

import pytest
import tiny
import torch

from inspector import heads
from inspector.analysis import head_scores, score_definitions
from inspector.analysis.score_definitions import BY_NAME, EVERY, Text
from inspector.analysis.score_rows import row_scores, without_first
from inspector.errors import InspectorError
from inspector.heads import battery, labels, scoring
from inspector.heads.labels import LABELS, Score


@pytest.fixture(scope="module")
def found(smollm):
    return heads.find(smollm)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    return tiny.load("grouped", tmp_path_factory.mktemp("tiny"))


# Measured by hand before this was written, on other random tokens and other texts.
KNOWN = [
    ("Induction", 18, 6, 0.90), ("Induction", 17, 3, 0.77), ("Induction", 17, 4, 0.70),
    ("Previous token", 16, 0, 0.89), ("Previous token", 11, 1, 0.84), ("Duplicate token", 8, 0, 0.63),
]  # fmt: skip


@pytest.mark.packaged
@pytest.mark.parametrize(("label", "layer", "head", "value"), KNOWN)
def test_the_real_models_known_heads_have_their_labels(found, label, layer, head, value):
    one = found.of(layer, head)
    assert label in one.labels
    assert one.scores[label].score == pytest.approx(value, abs=0.06)


@pytest.mark.packaged
def test_the_strongest_are_those_that_are_known(found):
    assert [(one.layer, one.head) for one in found.strongest("Induction", 3)] == [(18, 6), (17, 3), (17, 4)]
    assert (found.strongest("Previous token", 1)[0].layer, found.strongest("Previous token", 1)[0].head) == (16, 0)
    assert found.ok
    assert found.control_labelled == 0
    assert any(not one.labels for one in found.findings)
    assert any(len(one.labels) > 1 for one in found.findings)


@pytest.mark.packaged
def test_the_report_is_json_and_has_a_row_for_each_head(found, smollm):
    data = json.loads(found.to_json())
    assert len(data["heads"]) == len(found.table) == sum(info.heads for info in smollm.layers)
    assert data["heads"][0]["scores"].keys() == {label.name for label in LABELS}
    assert set(found.table["cache"]) == {"streaming", "retrieval"}
    assert len(found.scores) == len(found.table) * len(LABELS)


# -- the rule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "earns"),
    [
        (Score(0.5, 0.1, 0.1, 0.01, 0.6, 0.2, 0.01), True),
        (Score(0.29, 0.0, 0.0, 0.0, 0.9, 0.0, 0.0), False),  # below the threshold
        (Score(0.5, 0.0, 0.4, 0.05, 0.9, 0.0, 0.0), False),  # within 3 deviations of its null
        (Score(0.5, 0.0, 0.1, 0.01, 0.6, 0.5, 0.05), False),  # not without the first token
        (Score(0.5, 0.0, 0.1, 0.01, 0.2, 0.0, 0.0), False),  # nor above the threshold there
    ],
)
def test_a_label_needs_all_three(score, earns):
    assert score.earns(LABELS[0]) is earns


def planted(kind, n, ids):
    """Weights [1, n, n] of a head that does one thing, and gives a tenth to the first token."""
    weights = torch.zeros(n, n)
    for t in range(n):
        earlier = [s for s in range(t) if ids[s] == ids[t]]
        aims = {
            "previous": [t - 1], "itself": [t], "induction": [s + 1 for s in earlier], "same": earlier,
            "sink": [0], "uniform": list(range(t + 1)), "14 back": [t - 14],
        }[kind]  # fmt: skip
        aims = [s for s in aims if s >= 0] or [0]
        weights[t, aims] = 0.9 / len(aims)
        weights[t, 0] += 0.1
    return weights[None]


PLANTED = {"previous": "back 1", "itself": "itself", "induction": "repeated", "same": "same"}


@pytest.mark.parametrize("kind", ["previous", "itself", "induction", "same", "sink", "uniform", "14 back"])
def test_a_planted_head_scores_in_its_own_measure_alone(kind):
    ids = [0, *range(1, 15), *range(1, 15)]
    n, text = len(ids), Text(torch.tensor(ids))
    t, s = torch.arange(1, n), torch.arange(n)
    weights = planted(kind, n, ids)[:, 1:]
    names = list(PLANTED.values())
    for table in (weights, without_first(weights, s)):
        rows = row_scores(table, t, s, text, [EVERY[name] for name in names])
        for name in names:
            counted = EVERY[name].counts(t, text)
            mean = float(rows[name][:, counted].mean())
            own = PLANTED.get(kind) == name or (kind == "14 back" and name == "same")
            assert mean > 0.8 if own else mean < 0.2, (kind, name, mean)


def test_a_head_that_looks_so_far_back_whatever_stands_there_is_no_duplicate_token_head(grouped, monkeypatch):
    """It scores as one on a repetition; its null, the same places of an unrelated text, scores the same."""
    half = len(battery.repeated_tokens(grouped).ids[0]) // 2
    n = len(battery.repeated_tokens(grouped).ids[0])

    def by_position(self, layer, head=None, *, queries=slice(None), keys=None):
        weights = torch.zeros(self.layers[layer].heads, self.n, self.n)
        weights[:, range(self.n), [max(0, t - half) for t in range(self.n)]] = 1.0
        return weights[:, queries]

    monkeypatch.setattr("inspector.trace.trace.Trace.weights", by_position)
    report = heads.find(grouped)
    assert n == 2 * half + (n % 2)
    one = report.of(0, 0).scores["Duplicate token"]
    assert one.score > 0.9
    assert one.null > 0.9
    assert all("Duplicate token" not in found.labels for found in report.findings)


def test_a_rule_that_labels_where_nothing_is_to_be_found_is_not_reliable(grouped, monkeypatch):
    monkeypatch.setattr(labels, "DEVIATIONS", -1e9)
    monkeypatch.setattr(labels.Score, "earns", lambda self, label: self.score > self.null - 1)
    report = heads.find(grouped)
    assert not report.ok
    assert report.verdict == "not reliable"
    assert f"still gives {report.control_labelled} labels" in report.summary()


def test_random_heads_get_no_label(grouped):
    report = heads.find(grouped)
    assert report.ok
    assert not any(one.labels for one in report.findings)
    assert "Of 12 heads 12 have no label" in report.summary()


# -- one table of definitions -------------------------------------------------------------------------------------


def test_measures_chips_and_finder_read_one_table(grouped):
    assert head_scores.MEASURES is score_definitions.MEASURES
    assert all(role is BY_NAME[role.name] for role in head_scores.ROLES)
    assert all(label.measure is EVERY[label.measure.name] for label in LABELS if label.measure is not labels.POSITION)
    stimulus = battery.repeated_tokens(grouped)
    trace = grouped.trace(list(stimulus.ids[0]))
    table = head_scores.measures(trace).set_index(["layer", "head"])
    measures = [EVERY[name] for name in ("back 1", "repeated", "same", "itself", "local", "first")]
    for layer, scores, _ in scoring.layer_scores(trace, stimulus.pairs[0], measures):
        for measure in measures:
            for head, value in enumerate(scores[measure.name].tolist()):
                assert table.loc[(layer, head), measure.name] == pytest.approx(value, abs=1e-7)


def test_the_shuffled_null_is_the_mean_over_shuffles(grouped):
    stimulus = battery.english(grouped)
    trace, text = grouped.trace(list(stimulus.ids[0])), stimulus.pairs[0]
    n, measures = trace.n, [EVERY["back 1"], EVERY["local"], EVERY["first"]]
    t, s = torch.arange(1, n), torch.arange(n)
    (_, null, _), weights = (
        next(scoring.shuffled_scores(trace, text, measures)),
        trace.weights(0, queries=slice(1, None)),
    )
    generator, drawn = torch.Generator().manual_seed(0), []
    for _ in range(60):
        mixed = weights.clone()
        for row in range(1, n):
            mixed[:, row - 1, 1 : row + 1] = weights[:, row - 1, 1 + torch.randperm(row, generator=generator)]
        rows = row_scores(mixed, t, s, text, measures[:2])
        drawn.append(torch.stack([rows[m.name][:, m.counts(t, text)].mean(-1) for m in measures[:2]]))
    mean = torch.stack(drawn).mean(0)
    for row, measure in zip(mean, measures[:2], strict=True):
        assert torch.allclose(row.double(), null[measure.name], atol=0.02), measure.name
    assert float(null["first"][0]) == pytest.approx(float((1 / (t + 1.0)).mean()), abs=1e-6)


def test_position_explains_all_of_a_head_that_scores_by_distance(grouped, monkeypatch):
    trace = grouped.trace(list(battery.unrelated_tokens(grouped).ids[0]))
    slope = -(torch.arange(trace.n)[:, None] - torch.arange(trace.n)[None, :]).float()
    monkeypatch.setattr("inspector.trace.trace.Trace.scaled_scores", lambda self, layer: slope.expand(4, -1, -1))
    _, share, shuffled = next(scoring.position_shares(trace, seed=0))
    assert torch.allclose(share, torch.ones(4, dtype=torch.float64))
    assert float(shuffled.max()) < 0.1


def test_delimiters_are_told_by_unicode_in_any_language():
    assert score_definitions.delimiters([".", ",", "\n", " ", "a", "。", "」", "a.", "…\n", ""]).tolist() == [
        True, True, True, False, False, True, True, False, True, False,
    ]  # fmt: skip


def test_what_is_no_model_is_refused():
    with pytest.raises(InspectorError, match="find needs a loaded model and was given str"):
        heads.find("smollm2-135m-instruct")
