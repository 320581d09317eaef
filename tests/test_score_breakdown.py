"""The steps from two vectors to one weight, and the score split by frequency: they must add up, for every way of
turning, and a wrong way must be noticed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

import inspector
from inspector import InspectorError
from inspector.analysis import rope_planes, score_breakdown
from inspector.coverage import tiny as entries
from reimpl.frequencies import rope_frequencies

N = 40


def traced(kind, folder, **options):
    return tiny.load(kind, folder, **options).trace(tiny.ids(N), keep=("input",))


def entry(name, folder):
    """A tiny model of any of the library's types."""
    entries.save(entries.types()[name], folder)
    return inspector.load(folder).trace(tiny.ids(N), keep=("input",))


def adds_up(trace, layer, head, query, key):
    """Every step follows from the one before, and the shares add up to the trace's score."""
    steps = score_breakdown.pair_steps(trace, layer, head, query, key)
    score = trace.scores(layer, head)[query, key].item()
    room = 1e-5 * np.abs(steps.product).sum()
    assert steps.product.sum() == pytest.approx(score, abs=room)
    assert steps.score == pytest.approx(score, abs=room)  # products cancel, and processors add them in their own order
    assert steps.scaled == pytest.approx(steps.score * trace.layers[layer].scale)
    assert steps.capped + steps.bias == pytest.approx(steps.scaled_score, rel=1e-5, abs=1e-6)
    assert steps.exponential / steps.total == pytest.approx(steps.weight, rel=1e-5, abs=1e-9)
    assert steps.weight == pytest.approx(trace.weights(layer, head)[query, key].item(), rel=1e-5, abs=1e-9)
    found = rope_planes.planes(trace, layer, head, query, key)
    assert found["share"].sum() == pytest.approx(score, abs=room)
    assert np.allclose(found["content"] + found["position"], found["share"], rtol=1e-12, atol=1e-12)
    return steps, found


def by_hand(trace, layer, head, query, key, rope, start=0):
    """Each plane's share from the vectors *before* rotation and the angle between the two positions."""
    before = trace.query(layer, head, rope=False)[query].double(), trace.key(layer, head, rope=False)[key].double()
    speed, factor = rope_frequencies(rope, trace.n)
    shares = []
    for plane, radians in enumerate(speed.double().tolist()):
        i, j = (plane, plane + rope.dim // 2) if rope.style == "halves" else (2 * plane, 2 * plane + 1)
        (a, b), (c, d) = ((float(x[start + i]), float(x[start + j])) for x in before)
        angle = (query - key) * radians * (-1 if rope.backwards else 1)
        shares.append(factor**2 * ((a * c + b * d) * np.cos(angle) + (a * d - b * c) * np.sin(angle)))
    return np.array(shares)


@pytest.mark.packaged
def test_the_real_models_shares_add_up_and_are_what_turning_by_the_distance_gives(smollm):
    trace = smollm.trace("The cat sat on the mat because it was tired.", keep=("input",))
    rope = smollm.reimplementation[0].spec.rope
    for layer, head, query, key in [(13, 8, 7, 1), (0, 0, 10, 0), (29, 4, 9, 9), (16, 0, 10, 9)]:
        steps, found = adds_up(trace, layer, head, query, key)
        size = np.abs(steps.product).sum()
        assert np.abs(found["share"] - by_hand(trace, layer, head, query, key, rope)).max() < 1e-5 * size
        assert steps.product_before.sum() == pytest.approx(found["content"].sum(), abs=1e-9 * size)
        if query == key:
            assert np.abs(found["position"]).max() < 1e-5 * size
    assert (found["wavelength"].iloc[0], len(found)) == (pytest.approx(2 * np.pi), 32)
    assert found["wavelength"].iloc[31] == pytest.approx(2 * np.pi * 100000 ** (62 / 64), rel=1e-5)
    assert found["angle_degrees"].iloc[0] == pytest.approx(np.degrees(1))
    assert found["dimensions"].iloc[3] == "3, 35"


# Kinds of turning: all dimensions, a part, scaling rules with and without a factor, windows, soft-caps, norms.
KINDS = [
    "grouped", "multi-query", "linear", "llama3", "dynamic", "yarn", "yarn mscale", "longrope", "proportional",
    "phi3 partial", "mistral", "gemma2", "qwen3", "glm", "granite",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_shares_add_up_for_every_way_of_turning(kind, tmp_path):
    trace = traced(kind, tmp_path)
    rope = trace.model.reimplementation[1].spec.rope
    steps, found = adds_up(trace, 1, 3, N - 1, N - 4)
    adds_up(trace, 1, 3, N - 1, N - 1)
    adds_up(trace, 2, 0, 20, 17)
    turning = found[found["plane"].notna()]
    expected = by_hand(trace, 1, 3, N - 1, N - 4, rope)[turning["plane"].to_numpy(dtype=int)]
    assert np.abs(turning["share"] - expected).max() < 1e-5 * np.abs(steps.product).sum()
    partial = kind in ("proportional", "phi3 partial", "glm")
    assert (len(found) > len(turning)) == partial
    if partial:
        rest = found.iloc[-1]
        assert rest["plane"] is pd.NA
        assert rest["dimensions"].startswith("not rotated: ")
        assert (rest["wavelength"], rest["angle_degrees"], rest["position"]) == (np.inf, 0, 0)
    table = rope_planes.dimensions(trace, 1, steps)
    assert table["plane"].notna().sum() == 2 * len(turning)


def test_the_attention_factor_belongs_to_the_content(tmp_path):
    trace = traced("yarn", tmp_path)
    factor = rope_frequencies(trace.model.reimplementation[0].spec.rope, N)[1]
    assert factor > 1.1
    steps, found = adds_up(trace, 0, 1, 30, 30)
    assert found["content"].sum() == pytest.approx(factor**2 * steps.product_before.sum(), rel=1e-6)
    assert np.abs(found["position"]).max() < 1e-5 * np.abs(steps.product).sum()  # nothing is turned at distance 0


def test_rotation_in_pairs_latent_attention_and_turning_the_other_way(tmp_path):
    for name, style in [("cohere", "pairs"), ("deepseek_v3", "halves"), ("nanochat", "halves"), ("gptj", "pairs")]:
        trace = entry(name, tmp_path / name)
        rope, width = trace.model.reimplementation[0].spec.rope, trace.layers[0].d_head
        assert rope.style == style, name
        start = width - rope.dim if rope.last else 0
        steps, found = adds_up(trace, 0, 0, N - 1, 11)
        turning = found[found["plane"].notna()]
        expected = by_hand(trace, 0, 0, N - 1, 11, rope, start)
        assert np.abs(turning["share"] - expected).max() < 1e-5 * np.abs(steps.product).sum(), name
        if rope.last:
            assert turning["dimensions"].iloc[0] == f"{start}, {start + rope.dim // 2}"


@pytest.mark.parametrize("wrong", [{"style": "pairs"}, {"theta": 500.0}, {"dim": 8}, {"backwards": True}])
def test_a_wrong_rotation_is_noticed(wrong, tmp_path):
    trace = traced("grouped", tmp_path)
    rope = trace.model.reimplementation[1].spec.rope
    score = trace.scores(1, 0)[30, 3].item()
    assert by_hand(trace, 1, 0, 30, 3, rope).sum() == pytest.approx(score, rel=1e-4)
    changed = replace(rope, **wrong)
    assert by_hand(trace, 1, 0, 30, 3, changed).sum() != pytest.approx(score, rel=1e-2)
    layer = trace.model.reimplementation[1]
    layer.spec = replace(layer.spec, rope=changed)
    with pytest.raises(InspectorError, match="not just its unrotated ones turned by position"):
        rope_planes.planes(trace, 1, 0, 30, 3)


def test_a_layer_without_rope_says_so_and_shows_the_rest(tmp_path):
    trace = traced("smollm3", tmp_path)
    steps = score_breakdown.pair_steps(trace, 1, 2, 20, 18)
    assert (steps.query_before, steps.key_before, steps.product_before) == (None, None, None)
    assert "does not use RoPE" in steps.no_before
    assert steps.product.sum() == pytest.approx(steps.score, rel=1e-5)
    with pytest.raises(InspectorError, match="Layer 1 does not use RoPE"):
        rope_planes.planes(trace, 1, 2, 20, 18)
    with pytest.raises(InspectorError, match="does not use RoPE"):
        rope_planes.dimensions(trace, 1, steps, rope=False)
    assert list(rope_planes.dimensions(trace, 1, steps)) == ["dimension", "query", "key", "product"]
    adds_up(trace, 0, 2, 20, 18)


def test_a_soft_cap_a_window_a_bias_and_a_sink(tmp_path):
    capped = traced("gemma2", tmp_path / "gemma2")
    steps, _ = adds_up(capped, 0, 1, 30, 28)
    assert steps.softcap == 2.0
    assert steps.capped == pytest.approx(2 * np.tanh(steps.scaled / 2))
    assert capped.layers[0].window == 7
    frame = score_breakdown.row(capped, 0, 1, 30)
    assert frame["position"][frame["allowed"]].to_list() == list(range(24, 31))
    assert (frame["weight"][~frame["allowed"]] == 0).all()
    outside = score_breakdown.pair_steps(capped, 0, 1, 30, 3)
    assert (outside.allowed, outside.weight, outside.exponential, outside.keys) == (False, 0.0, 0.0, 7)

    biased = entry("bloom", tmp_path / "bloom")
    steps = score_breakdown.pair_steps(biased, 0, 1, 30, 12)
    assert steps.bias != 0
    assert steps.capped + steps.bias == pytest.approx(steps.scaled_score, rel=1e-5)
    assert steps.exponential / steps.total == pytest.approx(steps.weight, rel=1e-5)

    sunk = entry("gpt_oss", tmp_path / "gpt_oss")
    steps, _ = adds_up(sunk, 0, 1, 30, 29)
    frame = score_breakdown.row(sunk, 0, 1, 30)
    assert frame["weight"].sum() < 0.999
    seen = frame["scaled score"][frame["allowed"]]
    assert steps.total > np.exp(seen - seen.max()).sum()


def test_one_row_only_and_it_is_the_traces(tmp_path, monkeypatch):
    trace = traced("grouped", tmp_path)
    weights, scores, scaled = trace.weights(1, 2)[25], trace.scores(1, 2)[25], trace.scaled_scores(1, 2)[25]
    asked = []
    for name in ("weights", "scores", "scaled_scores"):
        whole = getattr(inspector.Trace, name)

        def watched(self, layer, head=None, *, queries=None, whole=whole):
            asked.append((queries.start, queries.stop))
            return whole(self, layer, head, queries=queries)

        monkeypatch.setattr(inspector.Trace, name, watched)
    frame = score_breakdown.row(trace, 1, 2, 25)
    score_breakdown.pair_steps(trace, 1, 2, 25, 3)
    rope_planes.planes(trace, 1, 2, 25, 3)
    assert set(asked) == {(25, 26)}
    assert frame["weight"].to_numpy() == pytest.approx(weights.double().numpy(), rel=1e-5)
    assert frame["score"].to_numpy() == pytest.approx(scores.double().numpy(), rel=1e-4, abs=1e-5)
    assert frame["scaled score"].to_numpy() == pytest.approx(scaled.double().numpy(), rel=1e-4, abs=1e-5)
    assert frame["token"].to_list() == list(trace.tokens.labels)
    assert score_breakdown.strongest_key(frame) == 1 + int(weights[1:].argmax())
    assert score_breakdown.strongest_key(score_breakdown.row(trace, 1, 2, 0)) == 0


def test_half_precision_is_read_as_the_model_rounds_it(tmp_path):
    trace = traced("grouped", tmp_path, dtype="bfloat16")
    steps = score_breakdown.pair_steps(trace, 1, 2, 30, 7)
    found = rope_planes.planes(trace, 1, 2, 30, 7)
    assert found["share"].sum() == pytest.approx(steps.product.sum())
    assert steps.score == pytest.approx(steps.product.sum(), abs=0.01 * np.abs(steps.product).sum())


def test_what_cannot_be_told_is_said_in_a_sentence(tmp_path):
    trace = traced("grouped", tmp_path)
    with pytest.raises(InspectorError, match="no key token 40: this prompt has tokens 0 to 39"):
        score_breakdown.pair_steps(trace, 0, 0, 3, N)
    with pytest.raises(InspectorError, match="no query token -1"):
        score_breakdown.row(trace, 0, 0, -1)
    opened = inspector.open_trace(trace.save(tmp_path / "trace.safetensors"))
    steps = score_breakdown.pair_steps(opened, 1, 0, 30, 3)
    assert steps.score == pytest.approx(trace.scores(1, 0)[30, 3].item(), rel=1e-5)
    assert steps.query_before is None
    assert steps.no_before
    with pytest.raises(InspectorError, match="no model at hand"):
        rope_planes.planes(opened, 1, 0, 30, 3)
    quick = score_breakdown.pair_steps(trace, 1, 0, 30, 3, before_rope=False)
    assert quick.query_before is None
    trace.stored[1].unexplained = "it does something else"
    steps = score_breakdown.pair_steps(trace, 1, 0, 30, 3)
    assert np.isnan(steps.weight)
    assert "it does something else" in steps.no_weight
    assert torch.equal(torch.tensor(steps.query), trace.query(1, 0)[30].double())


def test_a_family_that_is_not_reimplemented_says_so(tmp_path):
    trace = entry("jetmoe", tmp_path)
    assert score_breakdown.pair_steps(trace, 0, 0, 20, 3).product_before is not None
    with pytest.raises(InspectorError, match="jetmoe"):
        rope_planes.planes(trace, 0, 0, 20, 3)
