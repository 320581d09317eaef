"""The laboratory Mask and heads: weights with and without the mask, and heads' shares of the attention output, against
the trace and the library; each has a control that must not hold. The page shows these numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from learn_app import open_alone, open_lab
from screen_app import payloads, whole

import inspector
from inspector import InspectorError
from inspector.analysis import shares
from inspector.analysis.shares import BIAS
from inspector.coverage import tiny as entries
from inspector.learn.unmasked import mask_on_off
from inspector.ui import state
from inspector.verification.compare import compare_stage

N = 40


def traced(kind, folder):
    return tiny.load(kind, folder).trace(tiny.ids(N), keep=("input", "output"))


def entry(name, folder):
    entries.save(entries.types()[name], folder)
    return inspector.load(folder).trace(tiny.ids(N), keep=("input", "output"))


# -- shares ------------------------------------------------------------------------------------------------------


def split(trace, layer, query):
    return shares.output(trace, layer, query, shares.numbers(trace.output(layer)[query]))


def adds_up(trace, layer, query, *, compared=True):
    """The shares add up to the library's output, are the trace's own, and one left out or doubled is noticed."""
    found, reference = shares.head_shares(trace, layer, query), trace.output(layer)[query]
    check = shares.output_check(trace, layer, query, found, reference)
    assert check.ok, check
    assert split(trace, layer, query).why_not == ""
    for head in range(trace.layers[layer].heads if compared else 0):
        own = trace.head_output(layer, head)[query]
        assert torch.allclose(found[head], own, rtol=1e-4, atol=1e-5 * float(own.abs().max()))
    smallest = found.norm(dim=1).argmin()
    for factor in (0.0, 2.0):
        wrong = found.clone()
        wrong[smallest] *= factor
        assert not shares.output_check(trace, layer, query, wrong, reference).ok
    assert not shares.output_check(trace, layer, query, found.roll(1, dims=1), reference).ok
    return found, check


@pytest.mark.packaged
def test_the_real_models_heads_add_up_to_the_librarys_output(houston):
    for layer in range(30):
        adds_up(houston, layer, (0, 4, 7)[layer % 3])
    assert shares.output_bias(houston, 0) is None


# A bias on W_o, sliding windows, rotation in pairs, soft-caps, norms, one key/value head, layers without RoPE.
@pytest.mark.parametrize(
    "kind", ["biases", "mistral", "glm", "gemma2", "qwen3", "multi-query", "smollm3", "wide heads"]
)
def test_other_models_heads_add_up_too(kind, tmp_path):
    trace = traced(kind, tmp_path)
    for layer, query in [(0, 0), (1, 20), (2, N - 1)]:
        found, _ = adds_up(trace, layer, query)
        assert found.shape == (trace.layers[layer].heads, 64)


def test_the_bias_of_w_o_belongs_to_no_head_and_is_not_forgotten(tmp_path):
    trace = traced("biases", tmp_path)
    found = split(trace, 1, 30)
    assert found.frame["part"].to_list() == ["head 0", "head 1", "head 2", "head 3", BIAS]
    bias = shares.output_bias(trace, 1)
    assert np.array_equal(found.bias, bias.numpy())
    assert found.frame["projection"].sum() == pytest.approx(found.length, rel=1e-5)
    without = shares.head_shares(trace, 1, 30).sum(0)
    limit = found.check.tolerance
    assert not compare_stage(1, "output", without, trace.output(1)[30], tolerance=limit, reason="").ok


def test_latent_attention_and_sinks_add_up(tmp_path):
    for name in ("deepseek_v3", "gpt_oss"):
        # A latent layer has no W_q, W_k, W_v of a head, so a trace gives no head's output; its W_o is as any other's.
        adds_up(entry(name, tmp_path / name), 1, N - 1, compared=name != "deepseek_v3")


@pytest.mark.parametrize("name", ["qwen3_next", "afmoe"])
def test_gated_heads_do_not_add_up_and_it_is_said(name, tmp_path):
    trace = entry(name, tmp_path)
    found = split(trace, 1, N - 1)
    assert not found.check.ok
    assert "do not add up to the attention output: it multiplies the joined context vectors by a gate" in found.why_not


def test_what_cannot_be_split_says_why(tmp_path):
    trace = entry("opt", tmp_path / "opt")
    with pytest.raises(InspectorError, match='"opt" is not reimplemented'):
        split(trace, 0, 3)
    grouped = traced("grouped", tmp_path / "grouped")
    with pytest.raises(InspectorError, match="no query token 40: this prompt has tokens 0 to 39"):
        shares.head_shares(grouped, 0, 40)
    with pytest.raises(InspectorError, match="Layer 3 does not exist"):
        shares.head_shares(grouped, 3, 0)
    opened = inspector.open_trace(grouped.save(tmp_path / "trace.safetensors"))
    with pytest.raises(InspectorError, match="no model at hand"):
        shares.head_shares(opened, 0, 0)


@pytest.mark.packaged
def test_lengths_cosines_and_projections_by_hand(houston):
    found = split(houston, 13, 6)
    output = houston.output(13)[6].double()
    for head in (0, 8):
        share = houston.head_output(13, head)[6].double()
        row = found.frame.iloc[head]
        assert row["length"] == pytest.approx(share.norm().item(), rel=1e-5)
        assert row["projection"] == pytest.approx((share @ output / output.norm()).item(), abs=1e-5)
        assert row["cosine"] == pytest.approx(torch.cosine_similarity(share, output, dim=0).item(), abs=1e-5)
    assert found.length == pytest.approx(output.norm().item(), rel=1e-6)
    assert found.frame["projection"].sum() == pytest.approx(found.length, abs=found.check.tolerance * 576**0.5)
    assert found.frame["projection"].drop(8).sum() != pytest.approx(found.length, rel=1e-3)


# -- the mask ----------------------------------------------------------------------------------------------------


def by_hand(trace, layer, head):
    """Weights with every key allowed, of a layer without sinks."""
    return torch.softmax(trace.scaled_scores(layer, head), dim=-1)


def on_and_off(trace, layer, head):
    found = mask_on_off(trace, layer, head)
    may = trace.allowed(layer, head=head).numpy()
    assert (found.check.ok, found.check.max_abs) == (True, 0.0)
    assert np.array_equal(found.masked[may], trace.weights(layer, head).numpy()[may])
    assert np.isnan(found.masked[~may]).all()
    free = by_hand(trace, layer, head).numpy()
    assert np.abs(found.free - free).max() < 1e-6
    assert found.free.sum(1) == pytest.approx(1, abs=1e-5)
    # The control: the free map is not the model's.
    assert not compare_stage(layer, "weights", torch.from_numpy(found.free), trace.weights(layer, head),
                       tolerance=found.check.tolerance, reason="").ok  # fmt: skip
    forbidden = np.where(may, 0, free).sum(1)
    both = found.forbidden["later"] + found.forbidden["earlier"]
    assert both.to_numpy() == pytest.approx(forbidden, abs=1e-5)
    assert found.forbidden["later"].to_numpy() == pytest.approx(np.triu(free, 1).sum(1), abs=1e-5)
    assert found.forbidden["later"].iloc[-1] == 0
    return found


@pytest.mark.packaged
def test_the_real_models_mask_on_and_off(houston):
    for layer, head in [(0, 0), (13, 8), (29, 4)]:
        assert not on_and_off(houston, layer, head).forbidden["earlier"].any()


@pytest.mark.parametrize(("kind", "windowed"), [("mistral", True), ("gemma2", True), ("glm", False), ("qwen3", False)])
def test_windows_hide_earlier_tokens_too(kind, windowed, tmp_path):
    found = on_and_off(traced(kind, tmp_path), 0, 1)
    assert found.forbidden["earlier"].any() == windowed


def test_sinks_keep_their_share_and_a_bias_is_refused(tmp_path):
    trace = entry("gpt_oss", tmp_path / "sinks")
    found = mask_on_off(trace, 1, 1)
    assert found.check.max_abs == 0
    assert (found.free.sum(1) < 1).all()
    with pytest.raises(InspectorError, match="adds a bias to its scores"):
        mask_on_off(entry("bloom", tmp_path / "bloom"), 0, 0)


def test_of_a_long_prompt_the_first_tokens_are_shown(tmp_path):
    trace = traced("mistral", tmp_path)
    found = mask_on_off(trace, 1, 2, up_to=16)
    assert found.free.shape == (16, 16)
    assert found.check.ok
    assert "instead of 40" in found.check.reason
    first = torch.softmax(trace.scaled_scores(1, 2)[:16, :16], dim=-1)
    assert np.abs(found.free - first.numpy()).max() < 1e-6


# -- the page ----------------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_the_page_shows_these_numbers(houston):
    app = open_lab("mask_and_heads", layer="13", head="8", query="6")
    assert not app.error
    found = mask_on_off(houston, 13, 8)
    header, numbers = payloads(app, "mask")
    free, masked = numbers.reshape(2, *header["shape"])
    assert np.array_equal(masked, found.masked, equal_nan=True)
    assert np.array_equal(free, found.free)
    assert np.array_equal(payloads(app, "forbidden")[1], found.forbidden["later"].to_numpy(dtype=np.float32))
    said = [text.value for text in app.markdown]
    assert any(f"{found.forbidden['later'].mean():.1%} of the weight goes to later tokens" in text for text in said)
    assert any("against the trace's own weights: equal to the last bit" in text for text in said)


@pytest.mark.packaged
def test_the_page_of_shares_shows_these_numbers(houston):
    app = open_alone("head_shares", layer="13", head="8", query="6")
    assert not app.error
    said = [text.value for text in app.markdown]
    heads = split(houston, 13, 6)
    table = app.dataframe[0].value
    assert np.array_equal(table["projection"], heads.frame["projection"])
    projected = heads.frame["projection"].sum()
    assert any(f"**{projected:.6g}**" in text and f"**{heads.length:.6g}**" in text for text in said)
    assert np.array_equal(whole(*payloads(app, "share_map")), heads.shares)
    _, numbers = payloads(app, "head_bars")
    assert np.array_equal(numbers.reshape(2, 9), heads.frame[["length", "projection"]].to_numpy(dtype=np.float32).T)
    assert any("against the library's own attention output: equal, but for rounding" in text for text in said)
    _, numbers = payloads(app, "one_head")
    output, share, without = numbers.reshape(3, 576)
    assert np.array_equal(output, houston.output(13)[6].numpy())
    assert np.array_equal(share, heads.shares[8])
    assert np.array_equal(without, output - share)
    app.number_input(key="head_field").set_value(2).run()
    _, numbers = payloads(app, "one_head")
    assert np.array_equal(numbers.reshape(3, 576)[1], heads.shares[2])


def test_a_gated_model_keeps_its_mask_and_says_why_it_has_no_shares(tmp_path):
    entries.save(entries.types()["afmoe"], tmp_path)
    app = open_lab("mask_and_heads", request=state.Request(str(tmp_path), "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10"))
    assert not app.error
    assert payloads(app, "mask")
    app = open_alone("head_shares", request=state.Request(str(tmp_path), "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10"))
    assert any("by a gate before W\\_o" in info.value for info in app.info)
    with pytest.raises(AssertionError):
        payloads(app, "share_map")
