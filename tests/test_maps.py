"""Pooled maps, small pictures and tables of the strongest pairs, against numbers written out or computed plainly."""

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from inspector.analysis import maps, vectors
from inspector.analysis.maps import picture, strongest_pairs
from inspector.analysis.thumbnails import MASKED, Thumbnails, draw_thumbnails
from inspector.analysis.vectors import pool_rows, projection
from inspector.errors import InspectorError
from reimpl.blockwise import pool_max


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """40 tokens through a grouped model, and through one whose layers see 7 tokens back."""
    prompt = " ".join(f"w{i * 7 % 128}" for i in range(40))
    return {kind: tiny.load(kind, tmp_path_factory.mktemp("tiny")).trace(prompt) for kind in ("grouped", "mistral")}


def test_pool_max_keeps_the_largest_of_each_block():
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 9.0], [5.0, 6.0, 7.0]])
    assert pool_max(values, 1) is values
    assert pool_max(values, 2).tolist() == [[4.0, 9.0], [6.0, 7.0]]  # the last blocks are smaller
    assert pool_max(values[None], 3).tolist() == [[[9.0]]]
    assert pool_max(torch.tensor([[-5.0, -2.0], [-3.0, -4.0]]), 2).tolist() == [[-2.0]]


@pytest.mark.parametrize("kind", ["grouped", "mistral"])
def test_an_exact_picture_is_the_weights_with_masked_cells_nan(traces, kind):
    trace = traces[kind]
    found = picture(trace, 1, 2)
    allowed = trace.allowed(1, 2).numpy()
    assert (found.pool, found.n) == (1, 40)
    assert np.array_equal(found.values[allowed], trace.weights(1, 2).numpy()[allowed])
    assert np.isnan(found.values[~allowed]).all()


@pytest.mark.parametrize("kind", ["weights", "scaled_scores"])
def test_a_pooled_picture_holds_the_largest_allowed_number_of_each_block(traces, kind, monkeypatch):
    monkeypatch.setattr(
        "inspector.trace.trace.STRIP_BYTES", 4 * 40 * 7
    )  # several strips, whose height 7 is no multiple of 3
    trace = traces["mistral"]
    found = picture(trace, 0, 1, kind=kind, exact_up_to=16)
    assert found.pool == 3
    assert found.values.shape == (14, 14)
    whole = trace.weights(0, 1) if kind == "weights" else trace.scaled_scores(0, 1)
    allowed = trace.allowed(0, 1)
    for row in range(14):
        for column in range(14):
            block = (slice(3 * row, 3 * row + 3), slice(3 * column, 3 * column + 3))
            inside = whole[block][allowed[block]]
            if len(inside):
                # A product of fewer rows may round its last bit otherwise.
                assert found.values[row, column] == pytest.approx(inside.max().item(), rel=1e-6)
            else:
                assert np.isnan(found.values[row, column])


def test_thumbnails_strip_by_strip_are_the_same(traces, monkeypatch):
    trace = traces["grouped"]
    done = []
    whole = draw_thumbnails(trace, side=16, on_layer=lambda at, of: done.append((at, of)))
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert whole.pixels.shape == (12, 14, 14)  # 3 layers x 4 heads, 40 tokens by threes
    assert whole.nbytes == 12 * 14 * 14
    monkeypatch.setattr("inspector.trace.trace.STRIP_BYTES", 4 * 40 * 7)
    again = draw_thumbnails(trace, side=16).pixels
    assert np.abs(again.astype(int) - whole.pixels).max() <= 1  # a last bit may fall on the next level
    seen = ((whole.pixels[5, 13, 0].astype(float) - 1) / 254) ** 2  # layer 1, head 1, the lower left block
    assert seen == pytest.approx(trace.weights(1, 1)[39:, 0:3].max().item(), abs=0.005)
    assert whole.pixels[5, 0, 13] == MASKED


def test_the_telling_head_looks_hardest_at_others(traces):
    pixels = np.full((12, 4, 4), 1, dtype=np.uint8)
    pixels[7, 2:, 1] = 200  # layer 1, head 3
    pixels[2, :, 0] = 255  # all on the first token: a sink, nothing to see
    assert Thumbnails(pixels, 1, 4).telling(traces["grouped"].layers) == (1, 3)
    assert Thumbnails(pixels[:, :1, :1], 1, 1).telling(traces["grouped"].layers)[0] in (0, 1, 2)


def test_strongest_pairs_in_order_with_and_without_the_first_token(traces, monkeypatch):
    trace = traces["grouped"]
    weights = trace.weights(2, 3)
    frame = strongest_pairs(trace, 2, 3, count=10)
    expected = weights[trace.allowed(2, 3)].sort(descending=True).values[:10]
    assert frame["weight"].to_list() == expected.double().tolist()
    for row in frame.to_dict("records"):
        assert row["weight"] == weights[row["query position"], row["key position"]].item()
        assert row["query token"] == trace.tokens.labels[row["query position"]]
        assert row["key token"] == trace.tokens.labels[row["key position"]]
    monkeypatch.setattr("inspector.trace.trace.STRIP_BYTES", 4 * 40 * 7)
    pd.testing.assert_frame_equal(strongest_pairs(trace, 2, 3, count=10), frame, rtol=1e-6)
    without = strongest_pairs(trace, 2, 3, count=2000, first_token=False)
    assert len(without) == 39 * 40 // 2  # the pairs below and on the diagonal, without column 0
    assert (without["key position"] > 0).all()


def test_vectors_come_once_without_rope_and_keep_their_length_with_it(traces):
    trace = traces["grouped"]
    found = vectors.head_vectors(trace, 1, 2)
    assert list(found) == ["query before RoPE", "query after RoPE", "key before RoPE", "key after RoPE", "value"]
    table = vectors.lengths(found, trace.tokens.labels)
    assert table["query before RoPE"].to_list() == pytest.approx(table["query after RoPE"].to_list(), rel=1e-5)
    frame = vectors.vector_frame(found["value"], trace.tokens.labels)
    assert frame.shape == (40, 1 + trace.layers[1].d_value)
    assert frame["3"].to_list() == trace.value(1, 2)[:, 3].double().tolist()


def test_pooled_rows_keep_the_number_farthest_from_zero():
    values = np.array([[1, -5], [-3, 4], [2, 0]], dtype=np.float32)
    assert pool_rows(values, exact_up_to=3).values.tolist() == values.tolist()
    pooled = pool_rows(values, exact_up_to=2)
    assert (pooled.pool, pooled.values.tolist()) == (2, [[-3, -5], [2, 0]])


def test_cosines_are_the_angles_cosines():
    found = vectors.cosines(np.array([[1, 0], [0, 2], [-3, 0], [1, 1], [0, 0]], dtype=np.float32))
    expected = [1, 0, -1, 0.5**0.5, 0]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    assert np.isfinite(found).all()  # a vector of zeros has no direction, and no NaN either


def test_projection_keeps_distances_of_vectors_that_lie_in_a_plane():
    made = np.random.default_rng(0)
    plane = np.linalg.qr(made.normal(size=(6, 2)))[0].T
    flat = made.normal(size=(8, 2))
    vectors = (flat @ plane + 5).astype(np.float32)
    frame, share = projection(vectors[:4], vectors[4:], list("abcd"))
    at = frame[["x", "y"]].to_numpy()
    assert share == pytest.approx(1, abs=1e-6)
    for i in range(8):
        for j in range(8):
            assert np.linalg.norm(at[i] - at[j]) == pytest.approx(np.linalg.norm(vectors[i] - vectors[j]), abs=1e-4)
    assert list(frame["vector"]) == ["query"] * 4 + ["key"] * 4
    assert projection(vectors[:1], vectors[:1], ["a"])[1] == 1.0  # one token: nothing differs


def test_a_window_and_words_are_the_pictures_numbers(traces):
    trace = traces["mistral"]
    whole = picture(trace, 0, 1).values
    part = maps.window(trace, 0, 1, slice(20, 30), slice(15, 40))
    np.testing.assert_allclose(part, whole[20:30, 15:40], rtol=1e-5)  # other rows at once, another last bit
    groups = [(0,), (1, 2), (3, 4, 5), *((i,) for i in range(6, 40))]
    merged = maps.by_words(trace, 0, 1, groups)
    weights = np.nan_to_num(trace.weights(0, 1).numpy())
    assert merged[2, 1] == pytest.approx(weights[3:6, 1:3].sum(axis=1).mean(), rel=1e-5)
    np.testing.assert_allclose(np.nansum(merged, axis=1), 1, rtol=1e-5)


def test_another_kind_of_picture_is_refused_with_the_choices(traces):
    said = r"There is no kind of picture 'weight': choose weights, scaled_scores or weighted_values\."
    for draw in (maps.picture, lambda *at, kind: maps.window(*at, slice(0, 3), slice(0, 3), kind=kind)):
        with pytest.raises(InspectorError, match=said):
            draw(traces["grouped"], 0, 0, kind="weight")


def test_a_remainder_near_zero_is_not_blown_up():
    row = torch.tensor([[0.999, 0.0006, 0.0004], [0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    found = maps.scaled_up(row)
    torch.testing.assert_close(found[0], row[0] * torch.tensor([0.0, 1, 1]) * maps.MOST_SCALED)
    torch.testing.assert_close(found[1], torch.tensor([0.0, 0.6, 0.4]))
    assert (found[2] == 0).all()


@pytest.mark.packaged
def test_small_pictures_without_the_first_token_are_those_of_the_large_one(houston):
    small = draw_thumbnails(houston, without_first=True).pixels.reshape(30, 9, 8, 8)
    large = maps.picture(houston, 16, 0, without_first=True).values
    allowed = np.tri(8, dtype=bool)
    seen = ((small[16, 0].astype(float) - 1) / 254) ** 2
    assert np.abs(np.sqrt(seen[allowed]) - np.sqrt(large[allowed])).max() <= 0.5 / 254 + 1e-6
    assert (small[16, 0][~allowed] == MASKED).all()
