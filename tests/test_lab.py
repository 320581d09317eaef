"""Edits as data, traces under edits, what is refused, and experiments, sweeps and comparisons."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lab_laws
import numpy as np
import pytest
import tiny
import torch
from lab_laws import EVERY, Bench

import inspector
from inspector import lab
from inspector.capture.edit_places import EditPlaces
from inspector.capture.edited_call import EditedCall
from inspector.capture.edits import KINDS, Edit, Source
from inspector.capture.growing_batch import GrowingBatch
from inspector.errors import InspectorError
from inspector.lab import run_experiment
from inspector.lab.comparison import divergence
from inspector.lab.run_experiment import logits_under
from inspector.lab.spelling import SPELLINGS, read_edit
from inspector.lab.statistics import mean_of
from inspector.model.edited_runs import EditedRuns
from inspector.model.prefix_cache import PrefixCache
from inspector.trace import file as trace_file

IDS = tiny.ids(12)
OTHER = tiny.ids(17)[5:]
MARY = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(lab_laws.tiny_model("llama", tmp_path_factory.mktemp("lab")), IDS, OTHER)


# -- on paper ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_edits_go_to_json_and_back(bench, name):
    edits = bench.runs(EVERY[name](bench)).edits
    data = json.loads(json.dumps(lab.edits_to_data(edits)))
    assert data["schema"] == 1
    assert lab.edits_from_data(data) == edits


@pytest.mark.parametrize("wrong", ["1", True, math.nan, -math.inf, 10**400, 1j, [1.0]])
def test_what_is_no_number_is_refused_in_a_sentence(wrong):
    for make in (lambda: lab.scale(wrong, 1), lambda: lab.rope(base=wrong), lambda: Edit(kind="zero", strength=wrong)):
        with pytest.raises(InspectorError, match=r"cannot be used|not between 0"):
            make()
    with pytest.raises(InspectorError, match=r"no whole number|longer than any text"):
        Edit(kind="window", window=wrong)


def test_numbers_of_other_libraries_are_pythons_on_paper(bench):
    edits = [lab.scale(np.float32(0.5), 1), Edit(kind="window", window=np.int64(3))]
    assert lab.edits_from_data(json.loads(json.dumps(lab.edits_to_data(edits)))) == tuple(edits)
    assert bench.runs(lab.cut(query=[3, 3], key=[1, -11], layers=1, heads=[2, 2])).edits == (
        Edit(kind="cut", layers=(1,), heads=(2,), queries=(3,), keys=(1,)),
    )


def test_every_kind_is_among_them(bench):
    assert {make(bench).kind for make in EVERY.values()} == set(KINDS)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"edits": []}, "an object"),
        ({"schema": 2, "edits": []}, "schema 2"),
        ({"schema": True, "edits": []}, "schema True"),
        ({"schema": 1, "edits": [{"kind": "scale", "factor": 10**400}]}, "give a finite number"),
        ({"schema": 1, "edits": [{"kind": "zero", "colour": 1}]}, "colour, which this version does not know"),
        ({"schema": 1, "edits": [{"kind": "explode"}]}, "no kind of edit 'explode'"),
        ({"schema": 1, "edits": [{"kind": "zero", "keys": [1]}]}, "takes no keys"),
        ({"schema": 1, "edits": [{"kind": "cut"}]}, "needs keys"),
        ({"schema": 1, "edits": [{"kind": "cut", "keys": [-1]}]}, "negative position"),
        ({"schema": 1, "edits": [{"kind": "zero", "heads": ["1"]}]}, "heads cannot be"),
        ({"schema": 1, "edits": [{"kind": "zero", "strength": 2}]}, "not between 0"),
        ({"schema": 1, "edits": [{"kind": "scale", "factor": True}]}, "factor cannot be"),
        ({"schema": 1, "edits": [{"kind": "mean", "source": {"prompts": [], "x": 1}}]}, "x, which this version"),
        ({"schema": 1, "edits": [{"kind": "mean", "source": {"prompts": [["a"]]}}]}, "lists of token ids"),
        ({"schema": 1, "edits": ["zero"]}, "an object with a kind"),
    ],
)
def test_other_data_is_refused(data, says):
    with pytest.raises(inspector.InspectorError, match=says):
        lab.edits_from_data(data)


def test_negative_positions_do_not_go_on_paper_before_they_meet_a_prompt(bench):
    edit = lab.cut(query=-1, key=4, layers=range(1, 3))
    with pytest.raises(inspector.InspectorError, match="counts positions from the end"):
        lab.edits_to_data([edit])
    (met,) = bench.runs(edit).edits
    assert (met.queries, met.layers, str(met)) == (
        (11,),
        (1, 2),
        "edges cut before the softmax, layers 1-2, query 11, key 4",
    )


# -- traces -----------------------------------------------------------------------------------------------------------

SOME = [lab.cut(query=-1, key=4, layers=1), lab.zero(0, 1), lab.rope(2, off=True)]


def test_a_trace_under_edits_says_so_and_fetches_under_them(bench, tmp_path):
    trace = bench.model.trace(IDS, edits=SOME, generate=3)
    assert "under 3 edits" in repr(trace)
    assert trace.weights(1, 0)[11, 4] == 0
    assert not trace.context(0, 1).any()
    kept = bench.model.trace(IDS, edits=SOME, generate=3, keep=("output", "residual"))
    assert all(torch.equal(trace.output(layer), kept.output(layer)) for layer in range(4))
    assert not torch.equal(trace.output(3)[:12], bench.trace().output(3))
    assert torch.equal(trace.query(2), trace.query(2, rope=False))
    assert trace.written_again() == (3, 3)
    again = inspector.open_trace(trace.save(tmp_path / "edited.safetensors"), bench.model)
    assert again.edits == trace.edits
    assert torch.equal(again.context(0), trace.context(0))
    assert torch.equal(again.residual(3), kept.residual(3))


@pytest.mark.parametrize("name", [name for name in EVERY if name != "mask_off"])  # there, what is read later is seen
def test_every_edit_holds_while_the_model_writes_with_its_cache(bench, name):
    runs = bench.runs(EVERY[name](bench))
    written = bench.model.passes.continuation(IDS, 3, past_the_end=True, editor=runs.editor())
    slowly = list(IDS)
    for _ in written:
        slowly.append(int(bench.model.passes.logits(slowly, editor=runs.editor())[-1].argmax()))
    assert list(written) == slowly[len(IDS) :]


def test_a_file_with_edits_says_what_its_reader_needs(bench, tmp_path, monkeypatch):
    from safetensors import safe_open

    def facts(path: Path) -> Any:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["trace"])

    plain = bench.trace().save(tmp_path / "plain.safetensors")
    edited = bench.trace(edits=SOME).save(tmp_path / "edited.safetensors")
    assert (facts(plain)["format"], facts(edited)["format"]) == (trace_file.FORMAT, trace_file.WITH_FEATURES)
    assert facts(edited)["features"] == ["edits"]
    assert "edits" not in facts(plain)
    monkeypatch.setattr(trace_file, "FEATURES", ())
    with pytest.raises(inspector.InspectorError, match="needs a reader that knows edits"):
        inspector.open_trace(edited)
    inspector.open_trace(plain)
    monkeypatch.setattr(trace_file, "WITH_FEATURES", "none")  # a reader of before there were features
    with pytest.raises(inspector.InspectorError, match='in the format "attention-inspector trace 2"'):
        inspector.open_trace(edited)


def test_weights_that_were_edited_are_not_drawn_and_edited_vectors_have_no_form_before_rotation(bench):
    dropped = bench.trace(edits=lab.cut(key=2, layers=1, renormalise=False))
    with pytest.raises(inspector.InspectorError, match="its weights were edited"):
        dropped.weights(1, 0)
    dropped.weights(0, 0)
    warm = bench.trace(edits=lab.temperature(2.0, 1))
    with pytest.raises(inspector.InspectorError, match="edited after rotation"):
        warm.query(1, rope=False)


def test_a_saved_trace_is_a_source_and_is_known_by_its_hash(bench, tmp_path):
    path = bench.trace(OTHER).save(tmp_path / "other.safetensors")
    found = bench.edited(lab.patch(path, 1, what="value"))
    assert torch.equal(found, bench.edited(lab.patch(OTHER, 1, what="value")))
    edit = lab.patch(path, 1)
    bench.trace(IDS).save(path)
    with pytest.raises(inspector.InspectorError, match="not the trace that this edit was made with"):
        bench.edited(edit)


def test_without_edits_a_pass_is_the_librarys(bench):
    with torch.inference_mode():
        expected = bench.model.model(torch.tensor([IDS]), use_cache=False).logits[0]
    assert torch.equal(bench.plain, expected)


def test_half_precision_stores_edited_context_rounded(bench):
    trace = bench.model.trace(IDS, edits=lab.scale(2.0, 1, 0), precision="float16")
    assert trace.stored[1].edited_context is not None
    assert trace.stored[1].edited_context.dtype == torch.float16
    assert trace.context(1, 0).dtype == torch.float32


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lab.zero(4), "Layer 4 does not exist"),
        (lab.zero(0, 4), "Head 4 does not exist"),
        (lab.cut(key=12), "Key token 12 does not exist"),
        (lab.cut(query=-13, key=0), "Query token -13 does not exist"),
        (lab.zero_value(1, 0, 2), "uses the same keys and values"),
        (lab.patch([1, 2, 3], 0), "The source has 3 tokens and the prompt 12"),
        (lab.patch([1, 2, 3], 0, positions=5), "Token 5 does not exist in the source"),
        (lab.patch([1, 2, 3], 0, positions=[0, 1], source_positions=2), "give as many"),
        (lab.patch(None, 0), "for pairs of prompts"),
        (lab.freeze([1, 2, 3]), "give prompts of equal length."),
        (lab.mean([[1]], 0), "have one token each"),
        (lab.mean([[1, 2]], 0, by_position=True), "at least this prompt's 12 tokens"),
        (lab.rope(positions=[1, 2]), "2 positions are given for 12 tokens"),
        (lab.rope(shift=100), "has positions 0 to 63"),
        (lab.rope(off=True, planes=99), "Plane 99 does not exist"),
        (lab.patch([1, 10**6, 2], 0, positions=1), "1000000 is no token of"),
        (lab.patch(OTHER, 0, positions=[1, 1], source_positions=[2, 3]), "Token 1 is to be replaced twice"),
        ("zero", "are no edits"),
        (["zero"], "Among the edits is 'zero'"),
    ],
)
def test_what_this_model_and_prompt_cannot_have_is_refused(bench, edit, says):
    with pytest.raises(inspector.InspectorError, match=says):
        bench.model.logits(IDS, edits=edit)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: lab.rope(), "one way at a time"),
        (lambda: lab.rope(off=True, base=10.0), "one way at a time"),
        (lambda: lab.rope(base=10.0, planes=1), "planes are for off=True"),
        (lambda: lab.mask(), "one way at a time"),
        (lambda: lab.mask(window=0), "window=0"),
        (lambda: lab.zero("x"), "names no layers"),
        (lambda: lab.zero([]), "names no layers"),
        (lambda: lab.scale(float("nan")), "factor=nan"),
        (lambda: lab.rope(base=0.0), "base=0.0"),
        (lambda: lab.patch("nowhere.safetensors", 1), "no file of a saved trace"),
        (lambda: lab.patch([1], 1, what="soul"), "no kind of vectors to patch 'soul'"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_an_edit_is_refused(make: Callable[[], Edit], says):
    with pytest.raises(inspector.InspectorError, match=says):
        make()


def test_a_trace_under_edits_is_no_source_and_an_unmasked_model_does_not_write(bench):
    with pytest.raises(inspector.InspectorError, match="made under edits cannot be a source"):
        lab.patch(bench.trace(edits=SOME), 1)
    with pytest.raises(inspector.InspectorError, match="would see those that are written later"):
        bench.model.trace(IDS, edits=lab.mask(1, off=True), generate=2)


@pytest.mark.parametrize(
    ("family", "edit", "says"),
    [
        ("bloom", lab.zero(0), "attends in its own code"),
        ("gpt2", lab.rope(off=True), "No layer of GPT2LMHeadModel rotates"),
        (
            "gptj",
            lab.rope(off=True),
            "is not told how far to rotate|attends in its own code",  # the latter before transformers 5.24
        ),
    ],
)
def test_models_that_cannot_have_an_edit_refuse_in_a_sentence(family, edit, says, tmp_path):
    model = lab_laws.tiny_model(family, tmp_path)
    with pytest.raises(inspector.InspectorError, match=says):
        model.logits([1, 2, 3, 4], edits=[edit])


def test_frequencies_that_follow_the_length_are_not_edited(tmp_path):
    model = tiny.load("dynamic", tmp_path)
    with pytest.raises(inspector.InspectorError, match="follow the prompt's length"):
        model.logits([1, 2, 3, 4], edits=[lab.rope(off=True)])


def test_tables_that_do_not_fit_are_refused(bench, monkeypatch):
    monkeypatch.setattr("inspector.model.edited_runs.memory_budget", lambda: 100)
    with pytest.raises(inspector.InspectorError, match="take a shorter prompt"):
        bench.model.logits(IDS, edits=lab.cut(key=1))
    bench.model.logits(IDS, edits=lab.zero(0))


# -- experiments ------------------------------------------------------------------------------------------------------


def test_an_experiment_says_what_changed(bench):
    report = lab.experiment(bench.model, IDS, [lab.zero(1, 0), lab.cut(key=3)], token=5, against=9)
    assert (report.verdict, report.ok) == ("changed", True)
    before, after = bench.pair([lab.zero(1, 0), lab.cut(key=3)])
    row = report.table.iloc[0]
    assert row["before"] == pytest.approx(float(before[-1, 5] - before[-1, 9]), abs=1e-6)
    assert row["after"] == pytest.approx(float(after[-1, 5] - after[-1, 9]), abs=1e-6)
    p, q = (one[-1].double().softmax(-1) for one in (before, after))
    assert row["kl_bits"] == pytest.approx(float((p * (p / q).log2()).sum()))
    assert row["rank_after"] == 1 + int((after[-1] > after[-1, 5]).sum())
    loss = torch.nn.functional.cross_entropy(after[:-1], torch.tensor(IDS[1:]))
    assert row["loss_after"] == pytest.approx(float(loss), abs=1e-5)
    assert report.control.to_dict("records") == [{"differing": 0, "elements": before.numel(), "max_abs": 0.0}]
    assert list(report.laws["held"]) == [True, True]
    assert len(report.losses) == 11
    assert report.next_tokens["before"].iloc[0] == pytest.approx(float(p.max()))
    assert "0 of 1536 logits differ" in report.summary()


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_laws_hold_in_other_precisions(dtype, tmp_path):
    model = tiny.load("grouped", tmp_path, dtype=dtype)
    edits = [lab.zero(1, 0), lab.cut(key=3, layers=0), lab.cut(key=2, layers=2, renormalise=False)]
    report = lab.experiment(model, IDS, edits)
    assert (report.verdict, len(report.laws)) == ("changed", 3)


def test_no_effect_is_said(bench):
    report = lab.experiment(bench.model, IDS, lab.freeze(IDS))
    assert (report.verdict, report.ok) == ("no effect", True)
    assert "No logit changed at all" in str(report)


def test_a_control_that_changes_something_is_no_proof(bench, monkeypatch):
    right = EditedRuns.baseline

    def wrong(self: EditedRuns) -> Any:
        made = right(self)
        made._explicit = frozenset()
        return made

    monkeypatch.setattr(EditedRuns, "baseline", wrong)
    report = lab.experiment(bench.model, IDS, lab.cut(key=3))
    assert (report.verdict, report.ok) == ("not proven", False)
    assert "which may change nothing, changed" in report.summary()


def test_a_broken_law_is_no_proof(bench):
    report = lab.experiment(bench.model, IDS, lab.zero(1, 0))
    law = replace(report.results[0].laws[0], remainder=1.0)
    broken = replace(report, results=(replace(report.results[0], laws=(law,)),))
    assert (broken.verdict, broken.ok) == ("not proven", False)
    assert broken.summary().startswith("A law did not hold")


def test_many_prompts_have_means_intervals_and_random_heads(bench):
    report = lab.experiment(bench.model, ["w1 w2 w3 w4", "w5 w6 w7", "w9 w8 w7 w6"], lab.zero(1, [0, 2]))
    assert len(report.table) == 3
    means = report.means.set_index("what")
    assert means.loc["kl_bits", "n"] == 3
    assert means.loc["kl_bits", "low"] <= means.loc["kl_bits", "mean"] <= means.loc["kl_bits", "high"]
    assert (report.table["random_kl_bits"] > 0).all()
    assert "Over 3 prompts" in report.summary()
    assert lab.experiment(bench.model, "w1 w2 w3", lab.zero(1, 0)).table["random_kl_bits"].isna().all()
    assert lab.experiment(bench.model, ["w1 w2", "w3 w4"], lab.rope(off=True)).table["random_kl_bits"].isna().all()


def test_pairs_of_prompts_patch_from_the_second(bench):
    pairs = [(IDS, OTHER), (OTHER, IDS)]
    report = lab.experiment(bench.model, pairs, lab.patch(None, 1, 0))
    assert report.ok
    assert report.results[1].edits[0].source == Source(prompts=(tuple(IDS),))
    as_tensors = [tuple(map(torch.tensor, pair)) for pair in pairs]
    assert lab.experiment(bench.model, as_tensors, lab.patch(None, 1, 0)).table.equals(report.table)
    assert len(lab.experiment(bench.model, [tuple(IDS), tuple(OTHER)], lab.zero(1, 0)).results) == 2
    with pytest.raises(inspector.InspectorError, match="second prompt of a pair"):
        lab.experiment(bench.model, IDS, lab.patch(None, 1, 0))


def test_what_an_experiment_cannot_do_is_refused(bench):
    for arguments, says in [({"token": "two words"}, "2 tokens"), ({"token": 999}, "no token of")]:
        with pytest.raises(inspector.InspectorError, match=says):
            lab.experiment(bench.model, IDS, lab.zero(0), **arguments)
    for wrong in (5, "zero", [3]):
        with pytest.raises(inspector.InspectorError, match=r"no edits|Among the edits"):
            lab.experiment(bench.model, IDS, wrong)
        with pytest.raises(inspector.InspectorError, match=r"no edits|Among the edits"):
            bench.model.trace(IDS, edits=wrong)
    assert bench.model.trace(IDS, edits=(edit for edit in SOME)).edits
    with pytest.raises(inspector.InspectorError, match="without edits changes nothing"):
        lab.experiment(bench.model, IDS, [])


def test_long_prompts_have_no_losses(bench, monkeypatch):
    monkeypatch.setattr("inspector.lab.run_experiment.ALL_LOGITS", 8)
    report = lab.experiment(bench.model, IDS, lab.zero(1, 0))
    assert report.ok
    assert report.table["loss_after"].iloc[0] is None
    assert report.results[0].control.elements == 128
    assert report.losses.empty


def test_a_mean_of_one_number_has_no_interval():
    assert mean_of([2.0]).low is None
    assert mean_of([1.0, 3.0]).mean == 2.0


# -- sweeps -----------------------------------------------------------------------------------------------------------

SWEEPS = [
    {},
    {"over": "layers"},
    {"kind": "patch", "source": OTHER},
    {"kind": "patch", "source": OTHER, "over": "tokens"},
    {"kind": "mean", "source": OTHER, "layers": [1, 3]},
    {"kind": "cut", "over": "tokens"},
    {"kind": "drop", "over": "tokens", "layers": 2},
    {"kind": "cut", "over": "edges", "query": None, "layers": [1, 2]},
]


@pytest.mark.parametrize("arguments", SWEEPS, ids=str)
def test_a_sweep_is_what_one_experiment_after_the_other_gives(bench, arguments):
    report = lab.sweep(bench.model, IDS, token=5, against=9, **arguments)
    assert report.verdict == "measured"
    assert report.agreement is not None
    assert report.agreement.max_abs < 1e-5
    from inspector.lab.cells import cells_of, whole_edit

    n, options = len(IDS), {"kind": "zero", "over": "heads", "query": -1, "layers": None, "source": None, **arguments}
    whole = replace(whole_edit(options["kind"], options["source"], n), layers=lab.zero(options["layers"]).layers)
    query = options["query"] if options["query"] is None else options["query"] % n
    runs = bench.runs(whole)
    cells = cells_of(runs.edits[0], options["over"], bench.model, n, query=query)
    assert len(cells) == len(report.rows)
    for cell, row in list(zip(cells, report.rows, strict=True))[:: max(1, len(cells) // 8)]:
        assert (cell.layer, cell.head, cell.query, cell.key) == (row.layer, row.head, row.query, row.key)
        alone = bench.edited(cell.edit)[-1]
        assert row.after == pytest.approx(float(alone[5] - alone[9]), abs=2e-5)


def test_a_sweep_goes_one_by_one_where_rows_do_not_work(bench, monkeypatch):
    expected = lab.sweep(bench.model, IDS, over="layers")
    monkeypatch.setattr(GrowingBatch, "entering", lambda *_: None)
    report = lab.sweep(bench.model, IDS, over="layers")
    assert (report.verdict, report.ok, report.agreement) == ("one by one", True, None)
    assert "do not run as rows of a batch" in report.summary()
    assert [row.after for row in report.rows] == pytest.approx([row.after for row in expected.rows], abs=1e-5)


def test_rows_that_are_off_are_not_believed(bench, monkeypatch):
    right = GrowingBatch.entering

    def wrong(self: GrowingBatch, *given: Any) -> Any:
        found = right(self, *given)
        return None if found is None else torch.cat((found[:1], found[1:] * 1.01))

    monkeypatch.setattr(GrowingBatch, "entering", wrong)
    report = lab.sweep(bench.model, IDS, over="layers")
    assert report.verdict == "one by one"
    assert "they were off by" in report.way


def test_rows_that_go_on_from_the_wrong_tokens_are_not_believed(bench, monkeypatch):
    expected = lab.sweep(bench.model, IDS, kind="cut", over="tokens")
    assert expected.way == "as rows of a batch, each from the first token on that it changes"
    right = PrefixCache.rows
    monkeypatch.setattr(PrefixCache, "rows", lambda self, first, *given: right(self, first - 1, *given))
    report = lab.sweep(bench.model, IDS, kind="cut", over="tokens")
    assert (report.way, report.ok) == ("as rows of a batch", True)
    assert [row.after for row in report.rows] == pytest.approx([row.after for row in expected.rows], abs=1e-5)


def test_a_sweep_shows_parts_and_can_be_ended(bench, monkeypatch):
    monkeypatch.setattr("inspector.lab.variants.ROWS_AT_MOST", 5)
    seen: list[int] = []

    class Enough(Exception):
        pass

    def progress(message: str, fraction: float | None) -> None:
        if len(seen) == 2:
            raise Enough(message)

    with pytest.raises(Enough, match="15 of 16 heads"):
        lab.sweep(bench.model, IDS, on_rows=lambda rows: seen.append(len(rows)), progress=progress)
    assert seen == [5, 10]


def test_estimates_are_right_where_the_rest_is_a_straight_line(bench):
    """Small changes: the estimate of a tenth of the way is a tenth of the estimate, and is what is measured."""
    report = lab.sweep(bench.model, IDS, token=5, against=9)
    assert report.correlation is not None
    head = Edit(kind="zero", layers=(3,), heads=(1,), strength=0.001)
    before, after = bench.pair(head)
    measured = float((after[-1, 5] - after[-1, 9]) - (before[-1, 5] - before[-1, 9])) * 1000
    row = report.table.query("layer == 3 and head == 1").iloc[0]
    assert row["estimate"] == pytest.approx(measured, rel=0.05, abs=0.01)


def test_a_patch_of_everything_is_all_of_the_way_where_the_model_is_attention_alone(bench):
    """The last layer's heads, patched at the last token, and its residual: what is recovered is counted from there."""
    report = lab.sweep(bench.model, IDS, kind="patch", source=OTHER, token=5, against=9)
    expected = bench.model.logits(OTHER)[-1]
    assert report.source_value == pytest.approx(float(expected[5] - expected[9]), abs=1e-5)
    recovered = (report.table["after"] - report.before) / (report.source_value - report.before)
    assert report.table["recovered"].to_numpy() == pytest.approx(recovered.to_numpy())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"kind": "explode"}, "no kind of sweep"),
        ({"over": "moods"}, "no thing to sweep over"),
        ({"kind": "patch"}, "needs a source"),
        ({"source": [1, 2]}, "takes no source"),
        ({"kind": "cut", "over": "heads"}, "does not go over heads"),
        ({"over": "tokens"}, "does not go over tokens"),
        ({"query": 40, "kind": "cut", "over": "edges"}, "Query token 40 does not exist"),
        ({"query": 0, "kind": "cut", "over": "edges"}, "no edge leads from it"),
    ],
)
def test_what_cannot_be_swept_is_refused(bench, arguments, says):
    with pytest.raises(inspector.InspectorError, match=says):
        lab.sweep(bench.model, IDS, **arguments)


# -- comparisons ------------------------------------------------------------------------------------------------------


def test_a_trace_is_like_itself_and_differences_go_both_ways(bench):
    a, b = bench.trace(), bench.trace(OTHER)
    same = lab.compare(a, bench.trace())
    assert (same.verdict, same.ok) == ("same", True)
    assert not same.table["js_bits"].any()
    one, other = lab.compare(a, b), lab.compare(b, a)
    assert one.verdict == "different"
    keys = ["layer", "head"]
    merged = one.table.merge(other.table, on=keys)
    assert merged["js_bits_x"].to_numpy() == pytest.approx(merged["js_bits_y"].to_numpy())
    assert 0 < one.table["js_bits"].max() <= 1
    assert [IDS[i] for i, _ in one.aligned] == [OTHER[j] for _, j in one.aligned]
    assert "aligned by token id" in one.summary()


def test_divergence_has_its_ends():
    p, q = torch.tensor([1.0, 0, 0.0]), torch.tensor([0.0, 0.5, 0.5])
    assert float(divergence(p, q)) == 1
    assert float(divergence(q, q)) == 0
    expected = 0.5 * (0.5 * torch.log2(torch.tensor(2.0)) + 0.5 * torch.log2(torch.tensor(2.0)))
    assert float(divergence(torch.tensor([0.5, 0.5, 0]), torch.tensor([0.5, 0, 0.5]))) == pytest.approx(float(expected))


def test_other_builds_and_vectors_of_other_tokenizers_are_refused(bench, tmp_path, monkeypatch):
    other = tiny.load("multi-head", tmp_path).trace(IDS)
    with pytest.raises(inspector.InspectorError, match="compared one to one"):
        lab.compare(bench.trace(), other)
    assert lab.compare(bench.trace(), bench.trace(OTHER), vectors=True).table["vectors"].notna().all()
    monkeypatch.setattr("inspector.lab.comparison._same_tokenizer", lambda a, b: False)
    assert "text, as their tokenizers differ" in lab.compare(bench.trace(), bench.trace(OTHER)).summary()
    with pytest.raises(inspector.InspectorError, match="other tokenizers"):
        lab.compare(bench.trace(), bench.trace(OTHER), vectors=True)
    with pytest.raises(inspector.InspectorError, match="no token in common"):
        lab.compare(bench.model.trace([1, 2]), bench.model.trace([3, 4]))


# -- the command line's words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("zero:23.3", lab.zero(23, 3)),
        ("zero", lab.zero()),
        ("zero@1,3.0-2", lab.zero([1, 3], range(3))),
        ("scale:0.5@1.2", lab.scale(0.5, 1, 2)),
        ("mean:1.0", lab.mean(OTHER, 1, 0)),
        ("patch:query@1", lab.patch(OTHER, 1, what="query")),
        ("freeze:1", lab.freeze(OTHER, 1)),
        ("cut:-1>4@10-19", lab.cut(query=-1, key=4, layers=range(10, 20))),
        ("cut:0,2", lab.cut(key=[0, 2])),
        ("drop:4@*.1", lab.cut(key=4, heads=1, renormalise=False)),
        ("value:4@2", lab.zero_value(4, 2)),
        ("rope-off:0-1", lab.rope([0, 1], off=True)),
        ("rope-base:500@1", lab.rope(1, base=500.0)),
        ("rope-shift:7", lab.rope(shift=7)),
        ("mask-off:2", lab.mask(2, off=True)),
        ("window:4@0.1", lab.mask(0, 1, window=4)),
        ("temperature:2", lab.temperature(2.0)),
        ("scale-off:1", lab.scale_off(1)),
    ],
)
def test_edits_are_read_as_they_are_spelt(text, edit):
    assert read_edit(text, OTHER) == edit


def test_every_spelling_is_among_them():
    mark = next(mark for mark in test_edits_are_read_as_they_are_spelt.pytestmark if mark.name == "parametrize")
    assert {text.partition(":")[0].partition("@")[0] for text, _ in mark.args[1]} == set(SPELLINGS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("zap:3", "is no edit"),
        ("cut:x", "give numbers"),
        ("zero:3-1", "give numbers"),
        ("scale:much@1", "is no number"),
        ("rope-off:1.2", "RoPE is edited in whole layers"),
        ("cut", "cut is written cut:"),
        ("patch:context@1", "give --source"),
    ],
)
def test_what_cannot_be_read_says_why(text, says):
    with pytest.raises(inspector.InspectorError, match=says):
        read_edit(text)


# -- the packaged model -----------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_the_packaged_models_head_is_a_hook_and_its_first_token_matters(smollm):
    report = lab.experiment(smollm, MARY, lab.zero(29, 1), token=" Mary", against=" John")
    assert report.ok
    assert report.table["change"].iloc[0] == pytest.approx(-1.677, abs=0.01)
    trace = smollm.trace(MARY)
    layer = trace.layers[29]

    def without(_: Any, args: Any) -> Any:
        changed = args[0].clone()
        changed[..., layer.d_value : 2 * layer.d_value] = 0
        return (changed,)

    hook = smollm.model.get_submodule(layer.name).o_proj.register_forward_pre_hook(without)
    expected = smollm.logits(trace.tokens.ids)
    hook.remove()
    runs = smollm.edited_runs(lab.zero(29, 1), n=trace.n)
    assert torch.equal(logits_under(smollm, trace.tokens.ids, runs.editor()), expected)


@pytest.mark.packaged
def test_a_token_cut_everywhere_is_the_text_without_it(smollm):
    b = Bench(smollm, smollm.tokenize(MARY).ids, smollm.tokenize(MARY).ids)
    assert lab_laws.cut_everywhere_is_the_token_deleted(b) < lab_laws.SUMS


@pytest.mark.parametrize(
    "edit",
    [lab.zero(1, 0), lab.scale(2.0, 1, 0), lab.mean([[3, 4, 5]], 1, 0), lab.patch([5, 4, 3, 2], 1, 0)],
    ids=["zero", "scale", "mean", "patch"],
)
def test_an_edit_of_another_head_breaks_its_law(edit, tmp_path, monkeypatch):
    model = tiny.load("grouped", tmp_path)
    assert all(law.held for law in lab.experiment(model, [1, 2, 3, 4], edit).results[0].laws)
    right = EditPlaces.heads
    monkeypatch.setattr(EditPlaces, "heads", lambda self, *given, **named: right(self, *given, **named) + 1)
    report = lab.experiment(model, [1, 2, 3, 4], edit)
    assert [law.held for law in report.results[0].laws] == [False]
    assert not report.ok


def test_what_is_no_number_breaks_a_law():
    call = SimpleNamespace(remainders={})
    EditedCall._note(call, 0, lab.zero(1, 0), torch.tensor(math.nan))
    assert call.remainders == {0: math.inf}


def test_random_heads_are_as_many_in_as_many_layers(tmp_path):
    model = tiny.load("grouped", tmp_path)
    draw = np.random.default_rng(1)
    for edit in (lab.zero(None, 0), lab.zero([0, 2], [1]), lab.temperature(2.0, 1, [0, 1])):
        found = run_experiment._elsewhere(edit, model, draw)
        wanted = range(len(model.layers)) if edit.layers is None else edit.layers
        assert len(found.layers) == len(wanted)
        assert len(found.heads) == len(edit.heads)
        assert not (set(found.layers) & set(wanted) and set(found.heads) & set(edit.heads))
    assert run_experiment._elsewhere(lab.zero_value(1, 0, 0), model, draw) is None


def test_a_mean_takes_no_saved_trace_and_a_window_no_half_token(tmp_path):
    model = tiny.load("grouped", tmp_path)
    saved = model.trace([1, 2]).save(tmp_path / "one.safetensors")
    with pytest.raises(InspectorError, match="is a saved trace"):
        lab.mean([[1, 2], str(saved)], 1, 0)
    with pytest.raises(InspectorError, match="no whole number"):
        read_edit("window:5.7@1")
    with pytest.raises(InspectorError, match="An edit of no layers"):
        Edit(kind="zero", layers=())


def test_rows_stay_where_the_guess_beside_them_fails(tmp_path, monkeypatch):
    model = tiny.load("grouped", tmp_path)

    def refuse(*_):
        raise InspectorError("no gradient here.")

    monkeypatch.setattr("inspector.lab.run_sweep.estimates", refuse)
    found = lab.sweep(model, [1, 2, 3], over="layers")
    assert len(found.rows) == len(model.layers)
    assert "no gradient here" in found.remarks[0]


@pytest.mark.parametrize("name", ["experiment", "sweep"])
@pytest.mark.parametrize("given", ["smollm2-135m-instruct", None, object()])
def test_what_is_no_loaded_model_is_said(name, given):
    ask = {
        "experiment": lambda: lab.experiment(given, [1, 2], [lab.zero(0, 0)]),
        "sweep": lambda: lab.sweep(given, [1, 2], kind="zero", over="heads"),
    }[name]
    with pytest.raises(
        inspector.InspectorError, match=f"{name} needs a loaded model and was given {type(given).__name__}"
    ):
        ask()
