"""A score is the sum of what each part of its query and its key brings; planted mistakes are caught by sums."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModel
from why_families import FAMILIES, QUICK, tiny_model
from why_mistakes import MISTAKES, ask, caught

import inspector
from inspector import lab
from inspector.analysis.rope_planes import planes
from inspector.analysis.score_terms import score_sum
from inspector.capture.residual_parts import BlockParts
from inspector.lab.score_shares import score_frame

MARY = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def mary(smollm):
    return smollm.trace(MARY)


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """A trace of each family of tiny models, made when it is first asked for."""
    made = {}

    def trace(family):
        if family not in made:
            made[family] = tiny_model(family, tmp_path_factory.mktemp("tiny")).trace(tiny.ids(9))
        return made[family]

    return trace


@pytest.fixture(scope="module")
def row(mary):
    """One row of scores in parts, from one pass."""
    return score_sum(mary, 9, 4, 10)


def test_the_parts_of_a_score_add_up_to_it(mary, row):
    scores = mary.scaled_scores(9, 4, queries=[10])[0, :11].double()
    for by in ("key", "query", "pair", "plane"):
        frame = score_frame(row, 9, 4, 10, 3, by, centred=True)
        assert frame.attrs["score"] == pytest.approx(float(scores[3] - scores.mean()), abs=1e-4)
        assert float(frame["share"].sum()) == pytest.approx(frame.attrs["score"], abs=1e-4)
    assert len(frame) == (2 + 2 * 9) * 32
    plain = score_frame(row, 9, 4, 10, 3, "key", centred=False)
    assert plain.attrs["score"] == pytest.approx(float(scores[3]), abs=1e-4)


def test_what_is_equal_for_all_keys_drops_out(row):
    frame = score_frame(row, 9, 4, 10, 3, "key", centred=True)
    assert abs(float(frame.set_index("part")["share"]["bias"])) < 1e-9


def test_planes_are_those_of_the_score_without_centring(mary, row):
    due = planes(mary, 9, 4, 10, 3).set_index("plane")["share"] * mary.layers[9].scale
    found = score_frame(row, 9, 4, 10, 3, "plane", centred=False).groupby("plane")["share"].sum()
    assert np.allclose(found.sort_index(), due.sort_index(), atol=1e-5)


def test_heads_of_earlier_layers_add_up_to_their_layer_and_cancel(mary, row):
    heads = score_frame(score_sum(mary, 9, 4, 10, heads=True), 9, 4, 10, 3, "key", centred=True)
    whole = score_frame(row, 9, 4, 10, 3, "key", centred=True).set_index("part")["share"]
    for layer in (0, 8):
        parts = heads[(heads["layer"] == layer) & (heads["kind"] == "head")]
        assert len(parts) == 9
        assert parts["share"].sum() == pytest.approx(whole[f"attention {layer}"], abs=1e-5)
    assert heads.attrs["cancellation"] > 10
    assert "cancel" in heads.attrs["warning"]


def test_in_the_first_layer_only_the_embedding_and_biases_speak(mary):
    frame = lab.score_parts(mary, 0, 2, 4, by="pair")
    assert set(frame["query_part"]) == {"embedding", "bias"}
    assert frame["share"][0] == pytest.approx(frame.attrs["score"], abs=1e-6)
    assert frame.attrs["warning"] == ""


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_families_add_up(traces, family):
    frame = lab.score_parts(traces(family), 2, 3, heads=True, query=6)
    assert abs(frame.attrs["remainder"]) <= frame.attrs["limit"]


def test_a_key_that_is_out_of_sight_is_refused(mary, traces):
    with pytest.raises(inspector.InspectorError, match="may not look at key token 12"):
        lab.score_parts(mary, 3, 0, 12, query=5)
    with pytest.raises(inspector.InspectorError, match="may not look at key token 0"):
        lab.score_parts(traces("mistral, window"), 2, 0, 0)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: one.name)
def test_planted_mistakes_are_caught_by_a_sum(traces, mistake):
    assert caught(mistake, traces(mistake.family))


def test_without_a_mistake_nothing_is_caught(traces):
    for family, asked in {(one.family, one.asked) for one in MISTAKES}:
        assert len(ask(traces(family), asked))


def test_a_model_without_a_head_has_its_scores_split_and_no_logit(tmp_path):
    whole = tiny_model("llama", tmp_path)
    bare = AutoModel.from_config(whole.model.config, dtype=torch.float32).eval()
    bare.load_state_dict(whole.model.model.state_dict())
    model = inspector.load(bare.requires_grad_(False), whole.tokenizer)
    ids = tiny.ids(9)
    frame, expected = lab.score_parts(model.trace(ids), 2, 3), lab.score_parts(whole.trace(ids), 2, 3)
    assert frame["share"].tolist() == pytest.approx(expected["share"].tolist(), abs=1e-5)
    with pytest.raises(inspector.InspectorError, match="has no language-model head"):
        lab.attribution(model.trace(ids))


def test_blocks_without_attention_are_parts_of_a_score_too(tmp_path):
    trace = tiny_model("lfm2, blocks without attention", tmp_path).trace(tiny.ids(9))
    frame = lab.score_parts(trace, 2, 3, heads=True)
    assert {"mixer of block 0", "MLP of block 3"} <= set(frame["part"])
    assert abs(frame.attrs["remainder"]) <= frame.attrs["limit"]


def test_output_minus_input_says_so(tmp_path, monkeypatch):
    right = BlockParts._sums

    def none_without_attention(self, added, *rest):
        return iter(()) if added is None else right(self, added, *rest)

    monkeypatch.setattr(BlockParts, "_sums", none_without_attention)
    trace = tiny_model("lfm2, blocks without attention", tmp_path).trace(tiny.ids(9))
    frame = lab.attribution(trace)
    assert frame[frame["kind"] == "difference"]["part"].tolist() == [
        f"block {number}, output minus input" for number in (0, 3, 5)
    ]
    assert abs(frame.attrs["remainder"]) <= frame.attrs["limit"]
