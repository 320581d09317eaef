"""The laboratory Position: turned planes, scores at other distances, shifts and shuffles, against the trace and against
the same computed by hand; each has a control that must not hold. The page shows these numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from learn_app import open_lab, sent
from screen_app import payloads

import inspector
from inspector import InspectorError
from inspector.analysis import rope_planes
from inspector.coverage import tiny as entries
from inspector.learn import position
from inspector.learn.shift import shifted
from inspector.learn.shuffle import shuffled
from inspector.ui import state
from inspector.ui.server import traces
from reimpl.attention import CausalSelfAttention

N = 40
# Halves and pairs, a part of the dimensions, scaling with a factor, windows, soft-caps, norms, a whole number of heads.
KINDS = ["grouped", "glm", "phi3 partial", "yarn", "longrope", "mistral", "gemma2", "qwen3"]
TYPES = ["cohere", "deepseek_v3", "nanochat"]  # pairs, latent attention, backwards


def traced(kind, folder):
    return tiny.load(kind, folder).trace(tiny.ids(N), keep=("input",))


def entry(name, folder):
    entries.save(entries.types()[name], folder)
    return inspector.load(folder).trace(tiny.ids(N), keep=("input",))


def some(name, folder):
    return entry(name, folder) if name in TYPES else traced(name, folder)


def holds(trace, layer, head, query, key):
    """Every number of the page for this pair, against the trace; controls do not hold."""
    planes = position.turned_planes(trace, layer, head, query, key)
    both = [planes[f"query_after_{axis}"] * planes[f"key_after_{axis}"] for axis in "xy"]
    assert np.allclose(sum(both), planes["share"], rtol=1e-12, atol=1e-12)
    for name in ("query", "key"):  # turning the arrow before by the angle stated gives the arrow after
        angle = np.radians(planes[f"{name}_angle"])
        before, after = (planes[[f"{name}_{when}_x", f"{name}_{when}_y"]].to_numpy() for when in ("before", "after"))
        factor = rope_planes.turning(trace, layer).factor
        turned = factor * np.stack(
            (before[:, 0] * np.cos(angle) - before[:, 1] * np.sin(angle),
             before[:, 1] * np.cos(angle) + before[:, 0] * np.sin(angle)), axis=1,
        )  # fmt: skip
        assert np.abs(turned - after).max() < 1e-5 * np.abs(after).max()
    assert planes["wavelength"].is_monotonic_increasing

    curve = position.by_distance(trace, layer, head, query, key, furthest=64)
    assert curve.check.ok, curve.check
    assert curve.real == query - key
    score = trace.scores(layer, head)[query, key].item()
    here = curve.frame.set_index("distance")["score"]
    assert here[curve.real] == pytest.approx(score, abs=curve.check.tolerance)
    still = rope_planes.planes(trace, layer, head, query, key)
    assert here[0] == pytest.approx(still["content"].sum(), abs=1e-5 * still["content"].abs().sum())

    moved = shifted(trace, layer, head, query, 300)
    assert moved.both.ok, moved.both
    assert moved.exact.ok, moved.exact
    assert moved.exact.max_abs < 1e-3 * max(moved.both.max_abs, 1e-6)
    assert not moved.keys_only.ok
    assert moved.keys_only.max_abs > 100 * moved.both.tolerance
    assert moved.row["score"].to_numpy() == pytest.approx(trace.scores(layer, head)[query].numpy(), rel=1e-5, abs=1e-5)
    assert shifted(trace, layer, head, query, 0).both.differing == 0


@pytest.mark.packaged
def test_the_real_models_pair_is_turned_moved_and_shifted_as_it_should_be(smollm):
    trace = smollm.trace("The cat sat on the mat because it was tired.", keep=("input",))
    for layer, head, query, key in [(13, 8, 7, 1), (0, 0, 10, 0), (29, 4, 9, 9)]:
        holds(trace, layer, head, query, key)
        assert position.by_distance(trace, layer, head, query, key).check.max_abs < 1e-5
    planes = position.turned_planes(trace, 13, 8, 7, 1)
    assert planes["query_angle"][0] == pytest.approx(np.degrees(7) % 360, rel=1e-6)
    assert len(position.by_distance(trace, 13, 8, 7, 1, furthest=256).frame) == 257


@pytest.mark.parametrize("name", [*KINDS, *TYPES])
def test_every_way_of_turning(name, tmp_path):
    trace = some(name, tmp_path)
    holds(trace, 0, 1, N - 1, N - 4)
    holds(trace, 1, 3, 20, 20)


@pytest.mark.parametrize("wrong", [{"style": "pairs"}, {"theta": 500.0}, {"dim": 8}, {"backwards": True}])
def test_a_wrong_rotation_is_refused(wrong, tmp_path):
    trace = traced("grouped", tmp_path)
    layer = trace.model.reimplementation[1]
    layer.spec = replace(layer.spec, rope=replace(layer.spec.rope, **wrong))
    for number in (position.turned_planes, position.by_distance):
        with pytest.raises(InspectorError, match="not just its unrotated ones turned by position"):
            number(trace, 1, 0, 30, 3)
    with pytest.raises(InspectorError, match="not just its unrotated ones turned by position"):
        shifted(trace, 1, 0, 30, 5)


def test_rope_that_adapts_to_the_length_is_said_to_and_not_drawn_as_something_else(tmp_path):
    trace = traced("dynamic", tmp_path)
    curve = position.by_distance(trace, 0, 1, 30, 11)
    assert (curve.check.ok, curve.frame["distance"].max()) == (True, N - 1 - 11)
    assert "turns at other speeds in a text of more than 40 tokens" in curve.note
    moved = shifted(trace, 0, 1, 30, 100)
    assert "changes the scores here" in moved.note
    assert not moved.both.ok  # and so it is


def test_layers_without_rope_and_traces_without_a_model_say_so(tmp_path):
    trace = traced("smollm3", tmp_path)
    with pytest.raises(InspectorError, match="Layer 1 does not use RoPE"):
        position.by_distance(trace, 1, 0, 30, 3)
    opened = inspector.open_trace(trace.save(tmp_path / "trace.safetensors"))
    for number in (position.turned_planes, position.by_distance):
        with pytest.raises(InspectorError, match="no model at hand"):
            number(opened, 0, 0, 30, 3)
    with pytest.raises(InspectorError, match="no model at hand"):
        shuffled(opened, 0, 0)


def test_typed_vectors_by_hand():
    frame = position.typed_by_distance([1.0, 0.0, 2.0, 0.5], [1.0, 0.0, 0.5, 1.0], theta=100.0, furthest=50)
    distance = np.arange(51)
    slow = distance * 100.0 ** (-2 / 4)
    expected = np.cos(distance) + 1.5 * np.cos(slow) + (2.0 * 1.0 - 0.5 * 0.5) * np.sin(slow)
    assert frame["score"].to_numpy() == pytest.approx(expected, abs=1e-6)  # speeds are float32, as everywhere
    assert frame["score"][0] == 2.5
    other = position.typed_by_distance([1.0, 0.0, 2.0, 0.5], [1.0, 0.0, 0.5, 1.0], theta=101.0, furthest=50)
    assert np.abs(other["score"] - expected).max() > 1e-2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 two", "“two” in the key vector is not a number"),
        ("1 2 3", "has 3 numbers"),
        ("", "The key vector is empty"),
        ("1 nan", "“nan” in the key vector is not a number"),
        ("1e99 1", "“1e99” in the key vector is beyond"),
        ("1 2 " * 5, "has 10 numbers"),
    ],
)
def test_typed_vectors_that_cannot_be_used_are_named(text, said):
    with pytest.raises(InspectorError, match=said):
        position.typed_vector(text, "key vector")


def test_typed_vectors_are_read_as_people_write_them():
    assert position.typed_vector(" 1, −2;.5  3e0 ", "key vector") == [1.0, -2.0, 0.5, 3.0]
    with pytest.raises(InspectorError, match="2 numbers and the key 4"):
        position.typed_by_distance([1, 2], [1, 2, 3, 4], theta=10.0)


# -- shuffled ----------------------------------------------------------------------------------------------------


def shuffles_alike(trace, layer, seed=0):
    found = shuffled(trace, layer, seed)
    assert sorted(found.order) == list(range(trace.n))
    outcomes = {(one.rope, one.mask): one.check for one in found.variants}
    assert outcomes.pop((False, False)).ok
    for check in outcomes.values():  # the controls
        assert not check.ok
        assert check.max_abs > 100 * check.tolerance
    for one in found.variants:
        assert one.differences.max() == one.check.max_abs
    return found


@pytest.mark.packaged
def test_the_real_models_layers_lose_the_order_without_rope_and_mask(houston):
    for layer in (0, 13, 29):
        assert len(shuffles_alike(houston, layer).variants) == 4
    one, other = shuffled(houston, 13, 1), shuffled(houston, 13, 1)
    assert (one.order == other.order).all()
    assert (one.order != shuffled(houston, 13, 2).order).any()
    # The layer that is run is the model's own: with RoPE and mask, in order, it gives the library's output.
    ours = houston.model.reimplementation[13]
    assert torch.allclose(ours(houston.input(13)), houston.output(13), atol=1e-5)


@pytest.mark.parametrize("name", ["biases", "glm", "mistral", "gemma2", "qwen3", "cohere", "deepseek_v3"])
def test_other_layers_lose_it_too(name, tmp_path):
    trace = entry(name, tmp_path) if name in TYPES else traced(name, tmp_path)
    shuffles_alike(trace, 0)
    shuffles_alike(trace, 1, seed=5)


def test_a_layer_without_rope_has_two_variants_and_growing_queries_are_switched_off_too(tmp_path):
    found = shuffles_alike(traced("smollm3", tmp_path / "a"), 1)
    assert (len(found.variants), "none to switch off" in found.note) == (2, True)
    trace = entry("llama4_text", tmp_path / "b")
    grows = next(i for i, layer in enumerate(trace.model.reimplementation) if layer.spec.temperature is not None)
    assert "scales its queries by position" in shuffles_alike(trace, grows).note


def test_an_order_that_slips_in_by_another_way_is_noticed(tmp_path, monkeypatch):
    """Keys that know their place although RoPE is off: then outputs do not move with their tokens."""
    trace = traced("grouped", tmp_path)
    right = CausalSelfAttention.after_rotation

    def wrong(self, query, key, positions):
        query, key = right(self, query, key, positions)
        return query, key + 1e-3 * positions[:, None]

    monkeypatch.setattr(CausalSelfAttention, "after_rotation", wrong)
    assert not shuffled(trace, 0, 0).variants[-1].check.ok


def test_long_and_short_prompts_are_shuffled_as_said(tmp_path):
    model = tiny.load("grouped", tmp_path)
    trace = model.trace(tiny.ids(N))
    assert len(shuffled(trace, 0, 0, up_to=16).order) == 16
    with pytest.raises(InspectorError, match="One token cannot be shuffled"):
        shuffled(model.trace([3]), 0, 0)
    two = shuffled(model.trace([3, 5]), 0, 4)
    assert list(two.order) == [1, 0]  # never left as it is


# -- the page ----------------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_the_page_shows_these_numbers(houston):
    app = open_lab("position", layer="13", head="8", query="6", key="2")
    assert not app.error
    planes = position.turned_planes(houston, 13, 8, 6, 2)
    shown = {metric.label: metric.value.replace("−", "-") for metric in app.metric}
    first = planes.loc[planes["position"].abs().idxmax()]
    assert shown["share of the score"] == f"{first['share']:.5g}"
    assert shown["from position"] == f"{first['position']:.5g}"
    app.select_slider(key="position_plane").set_value(20).run()
    shown = {metric.label: metric.value.replace("−", "-") for metric in app.metric}
    assert shown["share of the score"] == f"{planes['share'][20]:.5g}"
    tables = [table.value for table in app.dataframe]
    assert tables[0]["modulo 360"][0] == f"{planes['query_angle'][20]:.5g}°"
    assert np.array_equal(tables[1]["share"], planes["share"])

    clock = sent(app, "clock")
    assert [one["plane"] for one in clock["planes"]] == planes["plane"].to_list()
    turned = 0.0
    for one in clock["planes"]:  # as clock.js computes it
        angle = math.radians((6 - 2) * one["speed"])
        (qx, qy), (kx, ky) = one["query"], one["key"]
        turned += (qx * math.cos(angle) - qy * math.sin(angle)) * kx + (
            qx * math.sin(angle) + qy * math.cos(angle)
        ) * ky
    score = houston.scores(13, 8)[6, 2].item()
    assert clock["rest"] + clock["factor"] ** 2 * turned == pytest.approx(score, rel=1e-5)

    curve = position.by_distance(houston, 13, 8, 6, 2, furthest=256)
    assert np.array_equal(tables[2]["score"], curve.frame["score"])
    assert any("distance of 4" in text.value and "equal to the last bit" in text.value for text in app.markdown)

    app.slider(key="position_shift").set_value(700).run()
    _, numbers = payloads(app, "shift_row")
    moved = shifted(houston, 13, 8, 6, 700)
    columns = ["score", "both shifted", "only keys shifted"]
    assert np.array_equal(numbers.reshape(3, 8), moved.row[columns].to_numpy(dtype=np.float32).T)
    assert any("Only the keys' positions + 700: differs, as it must" in text.value for text in app.markdown)

    app.number_input(key="shuffle_seed").set_value(3).run()
    _, numbers = payloads(app, "shuffle_rows")
    found = shuffled(houston, 13, 3)
    assert np.array_equal(numbers.reshape(4, 8), np.stack([one.differences for one in found.variants]).astype("f4"))
    table = next(t.value for t in app.dataframe if "outputs move with their tokens" in t.value)
    assert list(table["outputs move with their tokens"]) == ["✗ no", "✗ no", "✗ no", "✓ yes"]


@pytest.mark.packaged
def test_typed_vectors_on_the_page():
    app = open_lab("position")
    app.text_input(key="position_typed_query").set_value("1 2").run()
    assert "query has 2 numbers and the key 4" in app.error[0].value
    app.text_input(key="position_typed_key").set_value("3 4").run()
    assert not app.error
    expected = position.typed_by_distance([1, 2], [3, 4], theta=10000.0, furthest=128)
    assert np.array_equal(app.dataframe[-1].value["score"], expected["score"])
    app.text_input(key="position_typed_key").set_value("<b> [x](http://y)").run()
    assert len(app.error) == 1
    assert "\\<b\\>" in app.error[0].value


@pytest.mark.parametrize("tiny_model", ["smollm3"], indirect=True)
def test_a_layer_without_rope_says_so_and_keeps_the_rest(tiny_model, tmp_path):
    app = open_lab("position", request=state.Request(str(tmp_path), "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10"), layer="1")
    assert not app.error
    assert any("Layer 1 does not use RoPE" in info.value for info in app.info)
    _, numbers = payloads(app, "shuffle_rows")
    assert len(numbers) == 2 * 10
    app.number_input(key="layer_field").set_value(0).run()
    assert not app.exception
    assert payloads(app, "shift_row")


def test_a_trace_from_a_file_says_what_needs_the_model_and_keeps_what_does_not(tmp_path):
    file = traced("grouped", tmp_path).save(tmp_path / "trace.safetensors")
    for name, left in (("position", "Your own query and key"), ("mask_and_heads", "Without the mask")):
        app = open_lab(name, uploaded_trace=traces.open_file(file.read_bytes(), "trace.safetensors"))
        assert not app.error
        assert name != "position" or any("no model at hand" in info.value for info in app.info)
        assert any(left in text for text in [*(m.value for m in app.markdown), *(e.label for e in app.expander)])
