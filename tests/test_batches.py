"""Many texts as batches of equal length: the traces of single runs, in the order of the texts."""

import math

import numpy as np
import pytest
import tiny
import torch

import inspector
from inspector.analysis import head_scores
from inspector.coverage import tiny as coverage_tiny
from inspector.errors import InspectorError

LENGTHS = (5, 9, 5, 7, 9, 5, 9, 1)
VOCABULARIES = (128, 128, 128, 4, 6, 128, 128, 128)  # of a small one, tokens occur again
TEXTS = [
    [(7 * i + 3 * k + i * k) % known for i in range(n)]
    for k, (n, known) in enumerate(zip(LENGTHS, VOCABULARIES, strict=True))
]
# Multi-head, grouped, a mask tensor of a window, soft-caps and norms, another family's code.
KINDS = ("multi-head", "grouped", "mistral", "gemma2", "qwen3", "smollm3")


@pytest.mark.parametrize("kind", KINDS)
def test_each_text_of_a_batch_has_the_trace_of_a_single_run(kind, tmp_path):
    model = tiny.load(kind, tmp_path)
    found = list(model.traces(iter(TEXTS), batch=3))
    assert [list(trace.tokens.ids) for trace in found] == TEXTS
    for ids, trace in zip(TEXTS, found, strict=True):
        alone = model.trace(ids)
        for a, b in zip(alone.stored, trace.stored, strict=True):
            assert (a.info, a.mask, a.unexplained) == (b.info, b.mask, b.unexplained)
            for (name, one), (_, other) in zip(a.tensors(), b.tensors(), strict=True):
                assert one.shape == other.shape
                assert (one - other).abs().max() <= 1e-5 * one.abs().max(), name
                assert other.untyped_storage().nbytes() == other.nbytes  # it does not hold the batch in memory
        assert (alone.last_logits - trace.last_logits).abs().max() <= 1e-5 * alone.last_logits.abs().max()


def test_rows_that_were_swapped_would_be_seen(tmp_path):
    """The comparison above is not blind: of another text everything differs by far more than rounding."""
    model = tiny.load("grouped", tmp_path)
    a, b = model.traces([TEXTS[0], TEXTS[2]])
    assert (a.query(1) - b.query(1)).abs().max() > 0.1 * a.query(1).abs().max()
    assert (a.last_logits - b.last_logits).abs().max() > 0.1 * a.last_logits.abs().max()


def test_a_batch_of_one_is_a_single_run_to_the_last_bit(tmp_path):
    model = tiny.load("grouped", tmp_path)
    for ids, trace in zip(TEXTS, model.traces(TEXTS, batch=1), strict=True):
        assert torch.equal(trace.last_logits, model.trace(ids).last_logits)


def test_what_was_not_stored_is_fetched_afterwards(tmp_path):
    model = tiny.load("grouped", tmp_path)
    trace = next(model.traces([TEXTS[1], TEXTS[4]], layers=[0, 2], precision="float16"))
    assert [info.index for info in trace.stored_layers] == [0, 2]
    assert trace.stored[0].query.dtype == torch.float16
    assert trace.residual(2).shape == (9, 64)
    assert trace.prompt_length == 9


def test_a_model_whose_modules_attend_in_their_own_code_runs_one_by_one(tmp_path):
    model = inspector.load(coverage_tiny.save(coverage_tiny.types()["bloom"], tmp_path))
    assert not model.passes.asks_interface(model.layers[0])
    for ids, trace in zip(TEXTS, model.traces(TEXTS), strict=True):
        assert torch.equal(trace.last_logits, model.trace(ids).last_logits)


def test_texts_are_read_as_they_are_needed(tmp_path):
    model, read = tiny.load("grouped", tmp_path), []

    def texts():
        for number in range(1000):
            read.append(number)
            yield TEXTS[number % len(TEXTS)]

    found = model.traces(texts(), batch=2)
    next(found)
    assert len(read) == 8  # a few batches' worth


@pytest.mark.parametrize(
    ("given", "sentence"),
    [("one text", "traces needs many prompts and was given str"),
     ([1, 2, 3], "given token ids of one"),
     (3, "traces needs many prompts and was given int"),
     ([[1, 2], [999]], "999")],
)  # fmt: skip
def test_what_is_no_list_of_prompts_is_refused(given, sentence, tmp_path):
    model = tiny.load("grouped", tmp_path)
    with pytest.raises(InspectorError, match=sentence):
        list(model.traces(given))
    with pytest.raises(InspectorError, match="batch=0 is no number of texts"):
        next(model.traces(TEXTS, batch=0))


def test_measures_over_texts_are_means_with_spread_and_count(tmp_path):
    model = tiny.load("grouped", tmp_path)
    frame = head_scores.over_texts(model.traces(TEXTS)).set_index(["layer", "head", "measure"])
    tables = [head_scores.measures(model.trace(ids)).set_index(["layer", "head"]) for ids in TEXTS]
    repeating = [len(set(ids)) < len(ids) for ids in TEXTS]
    assert 0 < sum(repeating) < len(TEXTS)
    for name, shown in (("entropy", [len(ids) > 1 for ids in TEXTS]), ("repeated", repeating)):
        values = [table.loc[(1, 2), name] for table, counts in zip(tables, shown, strict=True) if counts]
        row = frame.loc[(1, 2, name)]
        assert row["n"] == len(values)
        assert row["mean"] == pytest.approx(np.mean(values), abs=1e-6)
        assert row["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
    one = head_scores.over_texts(model.traces([[3, 4, 5]])).set_index(["layer", "head", "measure"])
    assert math.isnan(one.loc[(0, 0, "entropy"), "sd"])
    assert math.isnan(one.loc[(0, 0, "repeated"), "mean"])
    with pytest.raises(InspectorError, match="There is no text to measure heads in"):
        head_scores.over_texts([])
