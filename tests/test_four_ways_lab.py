"""The laboratory "Same numbers, four ways": its ways, cross-attention and dropout against the trace, and the pages."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from learn_app import open_alone, open_lab
from screen_app import payloads, whole

import inspector
from inspector.coverage import tiny as every_type
from inspector.errors import InspectorError
from inspector.learn import cross, dropout, four_ways
from inspector.ui import state

OTHER = "The rocket is on its way to the moon."
WAYS = ["Plain loops", "Matrices", "Batched", "Blockwise"]


@pytest.mark.packaged
@pytest.mark.parametrize(("layer", "head", "query"), [(0, 0, 7), (16, 0, 3), (29, 8, 5)])
def test_four_ways_lead_to_one_vector_and_the_spoilt_ones_do_not(houston, layer, head, query):
    ways = four_ways.compute_four_ways(houston, layer, head, query, block=3)
    assert [way.name for way in ways if not way.control] == WAYS
    for way in ways:
        assert way.check.ok != way.control, way
    reference = houston.context(layer, head)[query]
    matrices, batched = ways[1], ways[2]
    assert np.array_equal(matrices.context, reference.double().numpy())  # the same operations, to the last bit
    assert (matrices.check.differing, batched.check.differing) == (0, 0)
    for way in ways:
        assert way.check.max_abs == np.abs(way.context - reference.double().numpy()).max()
    assert max(way.check.max_abs for way in ways[:4]) < 2e-6  # a few units of float32, far below the tolerance
    controls = [way.name for way in ways if way.control]
    assert controls == ["Keys in reverse order"] + ["Mask forgotten"] * (query < 7)


@pytest.mark.packaged
def test_the_first_token_has_one_key_and_a_block_of_any_size_will_do(houston):
    ways = four_ways.compute_four_ways(houston, 5, 3, 0, block=1)
    assert [way.name for way in ways if way.control] == ["Mask forgotten"]
    for block in (1, 2, 7, 8, 100):
        found = four_ways.compute_four_ways(houston, 5, 3, 7, block=block)[3]
        assert found.check.ok
    with pytest.raises(InspectorError, match="no query token 8: this prompt has tokens 0 to 7"):
        four_ways.compute_four_ways(houston, 5, 3, 8, block=2)
    with pytest.raises(InspectorError, match="block of 0 keys"):
        four_ways.compute_four_ways(houston, 5, 3, 7, block=0)


@pytest.mark.parametrize("tiny_model", ["mistral", "gemma2", "qwen2 sliding", "smollm3", "multi-query"], indirect=True)
def test_windows_soft_caps_and_groups(tiny_model):
    trace = tiny_model.trace(tiny.ids(20))
    for layer in range(len(trace.layers)):
        ways = four_ways.compute_four_ways(trace, layer, 3, 15, block=4)
        assert [way.check.ok for way in ways] == [not way.control for way in ways], (layer, ways)
        assert len(ways) == 6  # both controls: 15 is not the last token


@pytest.mark.parametrize(("kind", "blockwise"), [("gpt_oss", True), ("bloom", False)])
def test_sinks_are_known_and_a_bias_is_refused_by_blocks(tmp_path, kind, blockwise):
    every_type.save(every_type.types()[kind], tmp_path)
    trace = inspector.load(tmp_path).trace(tiny.ids(20))
    ways = four_ways.compute_four_ways(trace, 0, 1, 12, block=4)
    assert [way.check.ok for way in ways if way.check is not None] == [not way.control for way in ways if way.check]
    assert (ways[3].check is not None) == blockwise
    if blockwise:
        assert trace.layers[0].sinks
        with pytest.raises(InspectorError, match="adds attention sinks"):
            cross.crossed(trace, trace, 0, 1)
    else:
        assert "bias" in ways[3].refused


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_of_a_long_prompt_the_matrices_hold_a_strip(tiny_model, monkeypatch):
    trace = tiny_model.trace(tiny.ids(40))
    monkeypatch.setattr(four_ways, "MATRIX_BYTES", 4 * 40 * 4 * 6)  # six rows of four heads
    assert four_ways.strip(trace, 1, 30) == slice(25, 31)
    ways = four_ways.compute_four_ways(trace, 1, 2, 30, block=7)
    assert [way.check.ok for way in ways] == [True] * 4 + [False] * 2
    assert torch.allclose(torch.tensor(ways[1].context), trace.context(1, 2)[30].double(), rtol=0, atol=1e-6)


# -- cross-attention -----------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_queries_of_one_text_over_keys_of_another(smollm, houston):
    theirs = smollm.trace(OTHER)
    made = cross.crossed(houston, theirs, 16, 0)
    assert made.weights.shape == (8, theirs.n)
    assert made.weights.sum(1) == pytest.approx(1, abs=1e-6)
    assert not made.turned
    scores = houston.query(16, 0, rope=False) @ theirs.key(16, 0, rope=False).T / 8  # d_head 64
    assert np.allclose(made.weights, torch.softmax(scores, -1).numpy(), rtol=1e-5, atol=1e-7)
    assert np.allclose(made.context, (torch.softmax(scores, -1) @ theirs.value(16, 0)).numpy(), rtol=1e-4, atol=1e-5)
    assert made.loops.ok
    other = cross.crossed(theirs, houston, 16, 0)  # the other way round is another rectangle
    assert other.weights.shape == (theirs.n, 8)
    assert not np.allclose(other.weights.T, made.weights)


@pytest.mark.parametrize("tiny_model", ["smollm3", "gemma2"], indirect=True)
def test_crossing_without_rope_or_with_a_soft_cap(tiny_model):
    ours, theirs = tiny_model.trace(tiny.ids(9)), tiny_model.trace(tiny.ids(14)[5:])
    for layer, info in enumerate(ours.layers):
        made = cross.crossed(ours, theirs, layer, 1)
        assert made.turned == (info.rope is False)
        assert (made.loops is None) == (info.softcap is not None)
    # A text crossed with itself is self-attention without a mask: the last row, which sees all, is the trace's own.
    layer = next((at for at, info in enumerate(ours.layers) if info.rope is False and info.window is None), None)
    if layer is not None:
        itself = cross.crossed(ours, ours, layer, 1).weights
        assert np.array_equal(itself[-1], ours.weights(layer, 1)[-1].numpy())
        assert not np.array_equal(itself[0], ours.weights(layer, 1)[0].numpy())


@pytest.mark.packaged
def test_too_large_a_rectangle_is_refused(smollm, houston, monkeypatch):
    monkeypatch.setattr(cross, "MOST_PAIRS", 40)
    with pytest.raises(InspectorError, match="8 query tokens and 8 key tokens are 64 pairs, more than the 40"):
        cross.crossed(houston, houston, 0, 0)


# -- dropout -------------------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_dropout_is_off_here_and_two_runs_are_equal(houston):
    found = dropout.at_inference(houston, 3)
    assert (found.rate, found.training, found.differing) == (0.0, False, 0)
    assert found.elements == 30 * 8 * 64 * (9 + 3 + 3) + houston.last_logits.numel()


def test_a_model_trained_with_dropout_says_so_and_drops_nothing_here(tmp_path):
    torch.manual_seed(0)
    model = tiny.load("grouped", tmp_path)
    model.model.config.attention_dropout = 0.25
    model.model.save_pretrained(tmp_path)
    model = inspector.load(tmp_path)
    trace = model.trace(tiny.ids(12))
    found = dropout.at_inference(trace, 0)
    assert (found.rate, found.differing) == (0.25, 0)
    model.model.train()
    found = dropout.at_inference(trace, 0)
    assert (found.training, found.differing) == (True, 0)  # runs are in eval mode, whatever mode the object is in
    trace.stored[0].query = trace.stored[0].query + 1
    assert dropout.at_inference(trace, 0).differing > 0  # a control: the count sees a difference


def test_dropout_drops_with_probability_p_and_keeps_the_mean():
    row = np.array([0.5, 0.3, 0.2])
    many = dropout.dropped(row, 0.3, seed=1, draws=4000)
    kept = row / 0.7
    assert ((many == 0) | np.isclose(many, kept, rtol=1e-12)).all()
    assert (many == 0).mean() == pytest.approx(0.3, abs=0.02)  # 12,000 chances: five standard errors
    assert np.array_equal(many, dropout.dropped(row, 0.3, seed=1, draws=4000))
    assert not np.array_equal(many, dropout.dropped(row, 0.3, seed=2, draws=4000))
    assert np.array_equal(dropout.dropped(row, 0.3, seed=1, training=False)[0], row)
    frame, mean = dropout.averages(row, 0.3, seed=1)
    assert np.abs(mean - row).max() == frame["largest difference"].iloc[-1]
    assert (frame["largest difference"] < 4 * frame["expected"]).all()
    with pytest.raises(InspectorError, match="dropout of 1 is not a probability below 1"):
        dropout.dropped(row, 1.0, seed=0)


def test_dropout_leaves_torchs_own_chances_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    dropout.dropped(np.ones(4), 0.5, seed=0)
    assert torch.equal(torch.rand(3), expected)


# -- the page ------------------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_the_page_shows_the_functions_numbers(houston, smollm):
    app = open_lab("four_ways", layer="16", head="0", query="3")
    assert not app.error
    ways = four_ways.compute_four_ways(houston, 16, 0, 3, block=2)
    table = app.dataframe[0].value
    assert table["way"].to_list() == [way.name for way in ways]
    assert table["difference"].to_list()[:2] == ["0 (rounding)", "0"]
    exact = app.dataframe[1].value
    assert exact["largest difference"].to_list() == [way.check.max_abs for way in ways]
    assert table["[1]"].to_list() == [way.context[1] for way in ways]
    assert table["result"].to_list() == ["✓ equal"] * 4 + ["✗ not equal"] * 2
    assert app.success[0].value == "4 ways, one vector; 2 planted mistakes caught."
    app.slider(key="block_size").set_value(7).run()
    ways = four_ways.compute_four_ways(houston, 16, 0, 3, block=7)
    assert app.dataframe[0].value["[0]"].to_list() == [way.context[0] for way in ways]


@pytest.mark.packaged
def test_cross_attention_on_its_page(houston, smollm):
    app = open_alone("cross_attention", layer="16", head="0")
    assert not app.error
    header, numbers = payloads(app, "crossed")
    made = cross.crossed(houston, smollm.trace(OTHER), 16, 0)
    assert np.array_equal(whole(header, numbers), made.weights)
    app.text_input(key="cross_text").set_value("").run()
    assert "prompt is empty" in app.error[0].value
    assert not app.exception
    assert app.header[0].value == "Two questions"  # the rest of the page is there


@pytest.mark.packaged
def test_dropout_on_its_page(houston):
    app = open_alone("dropout", layer="16", head="0", query="3")
    assert not app.error
    assert app.slider(key="dropout_p").value == 0.3
    keys, row = dropout.row_of(houston, 16, 0, 3)
    assert keys == [0, 1, 2, 3]
    dropped = app.dataframe[1].value
    assert dropped["without dropout"].to_list() == row.tolist()
    assert dropped["this draw"].to_list() == dropout.dropped(row, 0.3, seed=0)[0].tolist()
    assert any("0 differ between two runs" in text.value.replace("\\", "") for text in app.markdown)


@pytest.mark.parametrize("tiny_model", ["gemma2"], indirect=True)
@pytest.mark.parametrize("prompt", ["w1", "w1 w2", "w1 w2 w3 w4 w5 w6 w7 w8 w9"])
def test_short_prompts_and_soft_caps_on_the_page(tiny_model, tmp_path, prompt):
    app = open_lab("four_ways", request=state.Request(str(tmp_path), prompt))
    assert not app.error
    for name in ("cross_attention", "dropout"):
        app = open_alone(name, request=state.Request(str(tmp_path), prompt), cross_text="w4 w5")
        assert not app.error
