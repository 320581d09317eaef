"""A next token explained in levels that each add up; tables of heads; whether attention says which tokens matter."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tiny
import torch
from why_families import tiny_model

import inspector
from inspector import cli, lab
from inspector.analysis.head_circuits import Circuits
from inspector.lab import run_explain
from inspector.lab.logit_shares import LogitParts
from inspector.lab.token_measures import _output_lengths

MARY = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def mary(smollm):
    return smollm.trace(MARY)


@pytest.fixture(scope="module")
def found(mary):
    return lab.explain(mary, " Mary", " John", heads=3, sources=2, parts=2)


@pytest.fixture(scope="module")
def importance(mary):
    return lab.token_importance(mary, " Mary")


def levels(level):
    yield level
    for line in level.lines:
        if line.below is not None:
            yield from levels(line.below)


def test_each_level_adds_up(found):
    every = list(levels(found.logit))
    assert [level.unit for level in every].count("score") == 6
    for level in every:
        limit = 1e-5 * max(1, abs(level.value)) * max(1, level.cancellation)
        assert abs(sum(line.share for line in level.lines) - level.value) <= limit
    assert [line.name for line in found.logit.lines][:4] == ["head 23.3", "head 29.1", "head 24.4", "267 other heads"]
    for line in found.logit.lines[:3]:
        assert line.below.value == pytest.approx(line.share, abs=1e-9)
    assert [line.count for line in found.logit.lines[3:]] == [267, 30, 1]


def test_what_does_not_add_up_is_said(found):
    assert (found.ok, found.verdict) == (True, "adds up")
    first = found.logit.lines[0]
    wrong = replace(first, below=replace(first.below, remainder=2 * found.limit))
    for logit in (
        replace(found.logit, remainder=2 * found.limit),
        replace(found.logit, lines=(wrong, *found.logit.lines[1:])),
        replace(found.logit, remainder=float("nan")),
    ):
        assert (replace(found, logit=logit).ok, replace(found, logit=logit).verdict) == (False, "does not add up")


def test_the_explanation_is_read_in_words_a_table_and_json(found, mary):
    text = str(found)
    assert "the logit of “␣Mary” against “␣John” after “␣to”: +6.1196" in text
    assert "+2.873  ␣John (9)" in text
    assert "267 other heads" in text
    assert "by its score, less the mean score of all keys" in text
    assert found.ok
    assert set(found.table["level"]) == {1, 2, 3}
    data = json.loads(found.to_json())
    assert data["logit"] == pytest.approx(float(mary.last_logits[0, 5099] - mary.last_logits[0, data["against"]["id"]]))
    assert data["rows"][0]["layer"] == 23
    assert data["rows"][0]["source"] is None


def test_without_parts_it_ends_at_the_second_level(tmp_path):
    whole = lab.explain(tiny_model("llama", tmp_path).trace(tiny.ids(6)), 7, parts=0)
    assert {level.unit for level in levels(whole.logit)} == {"logit"}


def test_where_scores_are_not_split_it_says_so_and_ends_there(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise inspector.InspectorError("Its scores are not split.")

    monkeypatch.setattr(run_explain, "score_sum", refuse)
    found = lab.explain(tiny_model("llama", tmp_path).trace(tiny.ids(6)), 7)
    assert {level.unit for level in levels(found.logit)} == {"logit"}
    assert "Its scores are not split." in str(found)


@pytest.mark.parametrize("count", [0, -1, "two"])
def test_counts_that_are_none_are_refused(mary, count):
    with pytest.raises(inspector.InspectorError, match="is not how many to list"):
        lab.explain(mary, heads=count)


def test_promoted_tokens_have_the_heads_share_of_each(mary):
    frame = lab.promoted(mary, 23, 0, count=4)
    assert frame["side"].tolist() == ["promoted"] * 4 + ["suppressed"] * 4
    row = frame[frame["label"] == "␣Mary"].iloc[0]
    share = lab.attribution(mary, " Mary", "mean").set_index("part")["share"]["head 23.0"]
    assert row["share"] == pytest.approx(share, abs=1e-5)
    with pytest.raises(inspector.InspectorError, match=r"There is no head 23\.9"):
        lab.promoted(mary, 23, 9)


def test_copying_heads_are_those_that_are_known(smollm):
    frame = lab.copying_scores(smollm, layers=[11, 18, 27]).set_index(["layer", "head"])
    assert frame["eigenvalues"][27, 1] == pytest.approx(0.998, abs=0.003)
    assert frame["own_token_top_5"][27, 1] == pytest.approx(0.86, abs=0.04)
    assert frame["eigenvalues"][11, 6] == pytest.approx(-0.999, abs=0.003)
    assert frame["eigenvalues"][18, 6] < 0.4  # the best induction head: raw embeddings do not show it
    assert "induction heads" in frame.attrs["caveat"]


def test_an_induction_head_reads_its_keys_from_the_head_that_looks_one_back(smollm):
    known = lab.composition(smollm, (16, 0), (18, 6), distances=(1, 64))
    other = lab.composition(smollm, (16, 2), (18, 6), distances=(1, 64))
    assert known["times_baseline"].min() > 3
    assert other["times_baseline"].max() < 1.5
    with pytest.raises(inspector.InspectorError, match="does not come before"):
        lab.composition(smollm, (18, 6), (16, 0))


def test_composition_is_that_of_whole_matrices(tmp_path):
    model = tiny_model("qwen2", tmp_path)
    circuits = Circuits(model)
    w_q, w_k, _, _ = circuits.matrices(2, 3)
    _, _, w_v, w_o = circuits.matrices(0, 1)
    for distance in (0, 5):
        turn = circuits.rotation(2, distance)
        reads, writes = w_q.T @ turn @ w_k, w_o @ w_v
        due = (reads @ writes).norm() / reads.norm() / writes.norm()
        frame = lab.composition(model, (0, 1), (2, 3), distances=[distance])
        assert frame["score"][0] == pytest.approx(float(due), rel=1e-9)
    trace = model.trace([5] * 9)  # equal tokens: only the rotation tells their keys apart
    before = (
        trace.query(0, 3, rope=False)[8].double() @ circuits.rotation(0, 5) @ trace.key(0, 3, rope=False)[3].double()
    )
    assert float(before) == pytest.approx(float(trace.scores(0, 3)[8, 3]), rel=1e-5)


def test_the_ov_circuit_of_a_token_is_what_its_matrices_say(tmp_path):
    model = tiny_model("gemma2", tmp_path)
    frame = lab.ov_circuit(model, 1, 2, 9, count=3)
    inner = model.model.model
    layer, head = inner.layers[1], slice(32, 48)
    row = layer.input_layernorm(inner.embed_tokens.weight[9])
    value = layer.self_attn.v_proj.weight[16:32] @ row
    written = (layer.self_attn.o_proj.weight[:, head] @ value) * (1 + layer.post_attention_layernorm.weight)
    logits = model.model.lm_head.weight @ (written * (1 + inner.norm.weight))
    assert frame["token"].tolist()[:3] == (logits - logits.mean()).topk(3).indices.tolist()


def test_attention_is_set_beside_the_effect_of_cutting(importance, mary, smollm):
    table = importance.table
    assert table["token"].tolist() == list(mary.tokens.labels[:-1])
    assert importance.ok
    cut = smollm.logits(mary.tokens.ids, edits=[lab.cut(key=1)])[-1]
    p = mary.last_logits[0].double().log_softmax(-1)
    due = float((p.exp() * (p - cut.double().log_softmax(-1))).sum()) / 0.6931471805599453
    assert table["cut_kl_bits"][1] == pytest.approx(due, abs=1e-3)
    weights = torch.stack([mary.weights(layer, queries=[13])[:, 0] for layer in range(30)])
    assert table["attention"].tolist() == pytest.approx(weights.mean((0, 1))[:13].tolist(), abs=1e-6)
    assert importance.verdict == "hardly"
    assert "attention does not say which tokens matter (rank correlation 0.24 over 13 tokens)" in importance.summary()
    assert importance.correlations["weight_times_output"] > importance.correlations["rollout"]


def test_lengths_of_outputs_are_those_of_single_values(tmp_path):
    trace = tiny_model("gemma2", tmp_path).trace(tiny.ids(5))
    part = LogitParts(trace).sum.attention[1]
    value = trace.value(1).double().repeat_interleave(2, 0)
    due = part.apply((value[2, 3] @ part.output_matrix()[2].T)[None])[0].norm()
    assert float(_output_lengths(part, value)[2, 3]) == pytest.approx(float(due))


def test_a_trace_that_cannot_be_cut_is_refused(smollm):
    with pytest.raises(inspector.InspectorError, match="has 1 tokens"):
        lab.token_importance(smollm.trace([5]))
    with pytest.raises(inspector.InspectorError, match="made under edits"):
        lab.token_importance(smollm.trace([5, 6, 7], edits=[lab.zero(3, 2)]))


def test_the_command_says_why(capsys, tmp_path):
    model = tiny.save("grouped", tmp_path)
    status = cli.main(["why", str(model), "--prompt", "a b a b a", "--cut", "--parts", "1", "--json", "-"])
    assert status == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["schema"], data["kind"], data["importance"]["kind"]) == (1, "explanation", "importance")
    assert cli.main(["why", str(model), "--prompt", "a b", "--token", "no such token at all"]) == 2
    assert "tokens in" in capsys.readouterr().err
