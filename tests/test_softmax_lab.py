"""The laboratory Softmax: typed numbers and a trace's scores, as functions and as the page shows them."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import tiny
import torch
from learn_app import open_lab, sent
from screen_app import payloads

from inspector.analysis.head_scores import measures
from inspector.errors import InspectorError
from inspector.learn import softmax, spread
from inspector.ui import state
from inspector.views.softmax_page import page_of_softmax
from reimpl import stepwise
from reimpl.attention import attention_weights

EPS = torch.finfo(torch.float64).eps


@pytest.mark.parametrize("numbers", [(1, 1.1), (100, 110), (1000, 1001), (-3, 0, 2.5, 2.5), (7,), (-1e6, 1e6)])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_loops_and_matrices_are_one_softmax(numbers, scale):
    loops = softmax.shares(numbers, scale=scale).weights
    row = torch.tensor([[[number * scale for number in numbers]]], dtype=torch.float64)
    matrices = attention_weights(row, None, precision=torch.float64)[0, 0].tolist()
    # Both in float64; a unit or two in the last place, by two libraries' exponentials and another order of the sum.
    assert loops == pytest.approx(matrices, rel=4 * EPS, abs=0)
    assert sum(loops) == pytest.approx(1, abs=4 * EPS)


def test_the_documents_examples_and_what_a_factor_and_an_addend_do():
    larger = [softmax.shares(example).weights[1] for example in softmax.EXAMPLES]
    assert [round(share, places) for share, places in zip(larger, (3, 3, 6), strict=True)] == [0.525, 0.731, 0.999955]
    by_scale = [softmax.shares((1.0, 1.1), scale=factor).weights[1] for factor in (1, 10, 100)]
    assert by_scale == pytest.approx(larger, rel=1e-13)  # 1.1 * 10 is not 11 to the last bit
    plain = softmax.shares((1.0, 1.1, -4.0)).weights
    assert softmax.shares((1.0, 1.1, -4.0), added=1024.0).weights == pytest.approx(plain, rel=1e-12)
    assert softmax.shares((1.0, 1.1, -4.0), scale=1.01).weights != pytest.approx(plain, rel=1e-12)  # a factor is not


def test_entropy_is_in_bits():
    assert softmax.shares((5.0,) * 8).entropy == pytest.approx(3)
    assert softmax.shares((0.0, 1e6)).entropy == 0


def test_numbers_are_read_however_they_are_separated():
    assert softmax.parse("1, 1.1;−2\n3e2\t.5 [+4.]") == [1, 1.1, -2, 300, 0.5, 4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty: type numbers"),
        (" , ;", "is empty"),
        ("1, two", "“two” in the vector is not a number"),
        ("1, nan", "“nan” in the vector is not a number"),
        ("1_000", "“1_000”"),
        ("2e6", "“2e6” in the vector is beyond ±1,000,000"),
        ("1e999", "is beyond"),
        ("1 " * 33, "has 33 numbers, more than 32"),
        ("x" * 500, "x…” in the vector is not a number"),
    ],
)
def test_what_is_no_vector_is_refused_in_one_sentence(text, said):
    with pytest.raises(InspectorError, match=re.escape(said)) as caught:
        softmax.parse(text)
    assert len(str(caught.value)) < 150


# -- the model's scores --------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_the_spread_is_that_of_the_traces_scores_where_the_mask_allows(houston):
    frame = spread.spreads(houston).set_index(["layer", "head"])
    lower = np.tril_indices(houston.n)
    for layer, head in [(0, 0), (5, 3), (29, 8)]:
        row = frame.loc[layer, head]
        for name, scores in (("score", houston.scores(layer, head)), ("scaled", houston.scaled_scores(layer, head))):
            seen = scores.double().numpy()[lower]
            assert row[f"{name} std"] == pytest.approx(seen.std(), rel=1e-9)
            assert (row[f"{name} min"], row[f"{name} max"]) == (seen.min(), seen.max())
        assert row["pairs"] == 36
        assert row["scaled std"] == pytest.approx(row["score std"] / 8, rel=1e-7)  # d_head 64
        weights = attention_weights(houston.scores(layer), houston.allowed(layer))[head, 1:].double()
        bits = torch.special.entr(weights).sum(-1) / math.log(2)
        assert row["entropy unscaled"] == pytest.approx(bits.mean().item(), rel=1e-9)
    known = measures(houston)["entropy"].to_numpy()
    assert frame["entropy"].to_numpy() == pytest.approx(
        known, abs=2.4e-7
    )  # summed in float32 there: one step of it from 2 to 4
    assert (frame["entropy unscaled"] < frame["entropy"]).all()


@pytest.mark.parametrize("tiny_model", ["gemma2", "mistral"], indirect=True)
def test_windows_and_soft_caps_are_minded(tiny_model):
    trace = tiny_model.trace(tiny.ids(40))
    frame = spread.spreads(trace)
    for layer, info in enumerate(trace.layers):
        may = trace.allowed(layer, 0)
        rows = frame[frame["layer"] == layer]
        assert (rows["pairs"] == int(may.sum())).all()
        assert rows["scaled max"].to_list() == trace.scaled_scores(layer)[:, may].amax(-1).double().tolist()
        if info.softcap is not None:
            assert rows["scaled max"].max() <= info.softcap < rows["score max"].max()


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_of_a_long_prompt_a_sample_of_rows_is_measured(tiny_model, monkeypatch):
    monkeypatch.setattr(spread, "ALL_ROWS_UP_TO", 20)
    monkeypatch.setattr(spread, "SAMPLED_ROWS", 10)
    trace = tiny_model.trace(tiny.ids(47))
    rows = spread.sample(trace.n)
    assert list(range(47))[rows] == [1, 6, 11, 16, 21, 26, 31, 36, 41, 46]  # the last one is among them
    whole = spread.spreads(trace)
    monkeypatch.setattr(spread, "STRIP_BYTES", 1)  # one row at a time
    assert np.allclose(
        spread.spreads(trace), whole, rtol=2e-6
    )  # float32 products of another height sum in another order
    scores = trace.scores(1, 2)[rows][trace.allowed(1, 2)[rows]]
    row = whole[(whole["layer"] == 1) & (whole["head"] == 2)].iloc[0]
    assert row["score max"] == pytest.approx(scores.max().item(), rel=1e-6)
    assert row["pairs"] == scores.numel()


@pytest.mark.packaged
def test_shuffled_numbers_of_variance_one_have_products_of_variance_d_head(houston):
    for layer, head in [(0, 0), (16, 0), (29, 8)]:
        found = spread.variance(houston, layer, head)
        assert found.expected == 8
        # 8192 dot products that share vectors; one part in 20 is several times their standard error
        assert found.shuffled_std == pytest.approx(8, rel=0.05)
        assert found.query_std == pytest.approx(houston.query(layer, head).double().std(correction=0).item())
        assert found.score_std == pytest.approx(houston.scores(layer, head).double().std(correction=0).item(), rel=1e-6)
    assert abs(spread.variance(houston, 16, 0).score_std - 8) > 8  # the real ones are another matter: a control
    assert spread.variance(houston, 16, 0) == spread.variance(houston, 16, 0)


# -- the page ------------------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_the_page_shows_the_functions_numbers(houston):
    app = open_lab("softmax", layer="16", head="0")
    row = sent(app, "one_row")  # of "have", the word in the middle
    assert row["scores"] == houston.scores(16, 0, queries=slice(5, 6))[0, :6].tolist()
    assert (row["divisor"], row["labels"][4]) == (8, "4 ␣we")
    scaled = softmax.shares(row["scores"], scale=1 / row["divisor"]).weights
    assert scaled == pytest.approx(houston.weights(16, 0)[5, :6].tolist(), abs=1e-6)
    _, numbers = payloads(app, "shares")
    assert np.array_equal(numbers.reshape(2, 2)[1], np.float32(softmax.shares((1, 1.1)).weights))
    app.button(key="example 10, 11").click().run()
    assert app.dataframe[-1].value["softmax"].to_list() == stepwise.softmax([10, 11])
    assert {metric.label: metric.value for metric in app.metric}["scale 1"] == "0.731059"
    app.select_slider(key="softmax_scale").set_value(10.0).run()
    app.text_input(key="softmax_numbers").set_value("3 1 2").run()
    assert app.dataframe[-1].value["softmax"].to_list() == stepwise.softmax([30, 10, 20])
    row = spread.spreads(houston).set_index(["layer", "head"]).loc[16, 0]
    shown = app.dataframe[1].value
    assert shown["standard deviation"].to_list() == [row["score std"], row["scaled std"]]
    assert shown["entropy of a row, bits"].to_list() == [row["entropy unscaled"], row["entropy"]]
    assert not app.error


@pytest.mark.packaged
def test_what_is_no_vector_leaves_the_rest_of_the_page(houston):
    app = open_lab("softmax")
    app.text_input(key="softmax_numbers").set_value("1, <b>x</b>").run()
    assert "is not a number" in app.error[0].value
    assert "\\<b\\>" in app.error[0].value
    assert len(app.dataframe) == 3  # the model's scores: the chart's, one head, all heads
    assert not app.exception


@pytest.mark.parametrize("tiny_model", ["gemma2"], indirect=True)
def test_a_soft_cap_is_said(tiny_model, tmp_path):
    app = open_lab("softmax", request=state.Request(str(tmp_path), "w1 w2 w3 w4 w5"))
    assert not app.error
    assert any("soft-caps" in text.value for text in app.caption)


def test_the_saved_page_carries_its_numbers_as_data():
    page = page_of_softmax([1.5, -2.0], scale=0.125)
    assert '"numbers": [1.5, -2.0], "scale": 0.125' in page
    assert "default-src 'none'; script-src 'sha256-" in page
    assert "http" not in page.replace("http-equiv", "")
