"""Sweeps and comparisons carry a control that can fail; edits of rows hold at the prompt or after it."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import lab_laws
import pytest
import tiny
import torch
from lab_laws import Bench

from inspector import lab
from inspector.capture import edited_call
from inspector.capture.edited_call import EditedCall
from inspector.capture.edits import Edit
from inspector.errors import InspectorError
from inspector.lab import comparison

IDS, OTHER = tiny.ids(10), tiny.ids(15)[5:]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(lab_laws.tiny_model("llama", tmp_path_factory.mktemp("controls")), IDS, OTHER)


@pytest.mark.parametrize("options", [{}, {"kind": "patch", "source": OTHER}, {"kind": "cut", "over": "tokens"}])
def test_a_sweeps_control_changes_nothing(bench, options):
    report = lab.sweep(bench.model, IDS, **options)
    assert (report.ok, report.control.differing) == (True, 0)
    assert report.control.elements == bench.model.vocabulary
    assert f"at strength 0 it changes 0 of {bench.model.vocabulary} logits" in report.summary()
    assert json.loads(report.to_json())["control"]["differing"] == 0


def test_a_sweep_whose_control_changes_something_proves_nothing(bench):
    with mock.patch.object(edited_call, "blend", lambda old, new, strength: new.to(old).expand_as(old)):
        report = lab.sweep(bench.model, IDS)
    assert (report.ok, report.verdict) == (False, "not proven")
    assert report.control.differing > 0
    assert "this proves nothing" in report.summary()


def test_a_comparisons_control_is_nothing_and_can_fail(bench):
    a, b = bench.model.trace(IDS), bench.model.trace(OTHER)
    report = lab.compare(a, b)
    assert (report.ok, report.verdict, report.control) == (True, "different", 0.0)
    right = comparison._bins
    calls = iter(range(10**6))

    def second_is_off(weights: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        made = right(weights, keys)
        return made.roll(1, -1) if next(calls) % 2 else made

    with mock.patch.object(comparison, "_bins", second_is_off):
        report = lab.compare(a, b)
    assert (report.ok, report.verdict) == (False, "not proven")
    assert "this proves nothing" in report.summary()


@pytest.mark.parametrize(
    "make",
    [
        lambda when: lab.mean([OTHER], 0, 1, when=when),
        lambda when: lab.mask(0, off=True, when=when),
        lambda when: lab.mask(0, window=2, when=when),
        lambda when: lab.temperature(3.0, 0, when=when),
        lambda when: lab.scale_off(0, when=when),
    ],
)
def test_edits_of_rows_hold_at_the_prompt_or_after_it(bench, make):
    """Reading prompt and written tokens at once, an edit of the one leaves the other's rows as they were."""
    n = 6

    def rows(edit: Edit | None) -> torch.Tensor:
        runs = bench.model.edited_runs([] if edit is None else [edit], n=n)
        editor = bench.model.edited_runs([make("both")], n=n).baseline() if edit is None else runs.editor()
        return bench.model.passes.logits(IDS, editor=editor)

    plain, prompt, new = rows(None), rows(make("prompt")), rows(make("new"))
    assert torch.equal(new[:n], plain[:n])
    assert not torch.equal(new[n:], plain[n:])
    seen = n - 1 if make("both").kind == "mask_off" else n  # the prompt's last token sees all of it already
    assert not torch.equal(prompt[:seen], plain[:seen])


def test_the_mask_of_a_batch_is_copied_once(bench, monkeypatch):
    copies: list[int] = []
    right = EditedCall._own_mask

    def counted(self: EditedCall, mask: torch.Tensor, edits: Any) -> torch.Tensor:
        copies.append(len(edits))
        return right(self, mask, edits)

    monkeypatch.setattr(EditedCall, "_own_mask", counted)
    report = lab.sweep(bench.model, IDS, kind="cut", over="tokens", layers=len(bench.model.layers) - 1)
    assert report.ok
    assert max(copies) == len(IDS) - 1  # all variants' edits in one copy


def test_estimates_are_made_inside_inference_mode_too(bench):
    expected = lab.sweep(bench.model, IDS, over="layers")
    with torch.inference_mode():
        report = lab.sweep(bench.model, IDS, over="layers")
    assert report.estimates == expected.estimates
    assert report.estimates is not None


def test_edges_of_the_first_query_are_refused_with_those_that_have_some(bench):
    with pytest.raises(InspectorError, match="no edge leads from it"):
        lab.sweep(bench.model, IDS, kind="cut", over="edges", query=0)


def test_a_sweep_over_prompts_has_means_of_each_ones_sweep(bench):
    prompts, seen = ["w1 w2 w3 w4", "w5 w6 w7", "w9 w8 w7 w6"], []
    report = lab.sweep(bench.model, prompts, token=5, against=9, progress=lambda message, done: seen.append(done))
    alone = [lab.sweep(bench.model, one, token=5, against=9).table.set_index(["layer", "head"]) for one in prompts]
    assert (report.verdict, report.ok, list(report.table["n"].unique())) == ("measured", True, [3])
    assert seen == sorted(seen)
    for row in report.table.itertuples():
        bits = [table.loc[(row.layer, row.head), "kl_bits"] for table in alone]
        assert row.kl_bits == pytest.approx(sum(bits) / 3)
        assert min(bits) - 1e-9 <= row.kl_bits_low <= row.kl_bits <= row.kl_bits_high <= max(bits) + 1e-9
    assert list(report.prompts["n"]) == [4, 3, 4]
    assert report.prompts["control_differing"].sum() == 0
    assert [one["n"] for one in json.loads(report.to_json())["prompts"]] == [4, 3, 4]
    assert "Over 3 prompts, layer" in str(report)


def test_a_sweep_over_pairs_patches_from_the_second_and_places_must_be_the_same(bench):
    report = lab.sweep(bench.model, [(IDS, OTHER), (OTHER, IDS)], kind="patch", over="tokens")
    assert report.ok
    assert report.table["recovered"].notna().all()
    for asked in ({"kind": "zero"}, {"kind": "patch", "source": bench.model.trace(OTHER)}):
        with pytest.raises(InspectorError, match="second prompts of pairs lend values"):
            lab.sweep(bench.model, [(IDS, OTHER), (OTHER, IDS)], **asked)
    with pytest.raises(InspectorError, match="is no file of a saved trace"):
        lab.mean("a text longer than a file's name may be " * 10, 1, 0)
    with pytest.raises(InspectorError, match="have 2 and 3 tokens"):
        lab.sweep(bench.model, [[1, 2], [1, 2, 3]], kind="cut", over="tokens")
    with mock.patch.object(edited_call, "blend", lambda old, new, strength: new.to(old).expand_as(old)):
        report = lab.sweep(bench.model, [IDS, OTHER])
    assert (report.ok, report.verdict) == (False, "not proven")
    assert "this proves nothing" in report.summary()


def test_ten_sources_are_ten_pairs_with_their_spread(bench):
    sources = [tiny.ids(10 + shift)[shift:] for shift in range(1, 11)]
    report = lab.experiment(bench.model, [(IDS, one) for one in sources], lab.resample(None, 1, 0), random_heads=2)
    means = report.means.set_index("what")
    assert (report.ok, means.loc["kl_bits", "n"]) == (True, 10)
    assert means.loc["kl_bits", "low"] < means.loc["kl_bits", "mean"] < means.loc["kl_bits", "high"]
    assert (report.table["random_kl_bits"] > 0).all()


@pytest.mark.packaged
def test_a_window_that_takes_all_that_a_row_looked_at_breaks_no_law(smollm):
    """Its first token takes nearly everything there; what is left of such rows is rounding, or exactly nothing."""
    text = "A river runs past the mill, and the miller's daughter counts the boats. A river runs past the mill"
    effect = lab.experiment(smollm, text, lab.mask(window=8))
    assert effect.verdict == "changed"
    assert effect.laws["held"].tolist() == [True]
