"""What a Trace gives: shapes, sums, and that its parts add up to the library's own numbers."""

import json
import math

import numpy as np
import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import inspector
from inspector.errors import InspectorError
from inspector.files import duplicate_keys
from inspector.trace.tokens import Tokens
from inspector.trace.trace import Trace

pytestmark = pytest.mark.packaged


def test_shapes_and_facts(houston):
    assert houston.n == 8
    assert houston.tokens.labels == ("H", "ou", "ston", ",", "␣we", "␣have", "␣a", "␣problem")
    assert len(houston.layers) == 30
    info = houston.layers[29]
    assert (info.block, info.heads, info.kv_heads, info.d_head, info.rope) == (29, 9, 3, 64, True)
    assert houston.query(3, 8).shape == houston.key(3, 8).shape == houston.value(3, 8).shape == (8, 64)
    assert houston.weights(3).shape == houston.scores(3).shape == houston.scaled_scores(3).shape == (9, 8, 8)
    assert houston.logits.shape == (8, 49152)


def test_rows_of_weights_sum_to_one_and_see_no_later_token(houston):
    for layer in range(30):
        weights = houston.weights(layer)
        torch.testing.assert_close(weights.sum(-1), torch.ones(9, 8), atol=5e-7, rtol=0)
        assert bool((weights.triu(1) == 0).all())


def test_weights_are_the_softmax_of_masked_scores(houston):
    scores = houston.scaled_scores(4, 2).masked_fill(~houston.allowed(4, 2), -math.inf)
    torch.testing.assert_close(scores.softmax(-1), houston.weights(4, 2), atol=1e-7, rtol=0)


def test_a_trace_prints_in_terminal_and_notebook(smollm, houston):
    assert repr(houston).startswith("Trace of 8 tokens through smollm2-135m-instruct: 30 layers, 9 heads")
    assert "<td>␣problem</td>" in houston._repr_html_()
    hostile = smollm.trace("<b>&")._repr_html_()
    assert "<td>&lt;</td>" in hostile
    assert "<td>&amp;</td>" in hostile


def test_scores_are_raw_dot_products_and_scaled_scores_are_scaled(houston):
    assert torch.equal(houston.scores(4, 2) * 0.125, houston.scaled_scores(4, 2))
    query, key = houston.query(4, 2), houston.key(4, 2)
    assert float(houston.scores(4, 2)[6, 3]) == pytest.approx(float(query[6] @ key[3]), rel=1e-5)


def test_some_rows_are_rows_of_the_whole(houston):
    rows = houston.weights(5, 1, queries=slice(3, 6))
    torch.testing.assert_close(rows, houston.weights(5, 1)[3:6], atol=2e-7, rtol=0)  # another matrix shape


def test_heads_of_a_group_share_key_and_value(houston):
    assert torch.equal(houston.key(7, 3), houston.key(7, 5))
    assert torch.equal(houston.value(7, 3), houston.value(7, 5))
    assert not torch.equal(houston.key(7, 2), houston.key(7, 3))


def test_shares_of_the_heads_add_up_to_the_librarys_output(houston):
    for layer in (0, 15, 29):
        shares = torch.stack([houston.head_output(layer, head) for head in range(9)]).sum(0)
        # SDPA and nine separate products against one: sums of 576 products of numbers up to |output|.
        largest = float(houston.output(layer).abs().max())
        torch.testing.assert_close(shares, houston.output(layer), atol=3e-6 * max(1.0, largest), rtol=0)


def test_residual_embedding_and_input(smollm, houston):
    embedding = smollm.model.get_input_embeddings()(torch.tensor(houston.tokens.ids))
    assert torch.equal(houston.embedding, embedding)
    norm = smollm.model.model.layers[6].input_layernorm
    with torch.inference_mode():
        assert torch.equal(houston.input(6), norm(houston.residual(6)))


def test_what_was_not_kept_is_fetched(smollm, houston):
    lean = smollm.trace("Houston, we have a problem")
    assert lean.nbytes < houston.nbytes
    assert torch.equal(lean.input(3), houston.input(3))
    assert torch.equal(lean.query(3, 1, rope=False), houston.query(3, 1, rope=False))


def test_parameters_make_the_vectors(smollm, houston):
    w = smollm.head_parameters(2, 4)
    assert (w.W_q.shape, w.W_k.shape, w.W_v.shape, w.W_o.shape) == ((64, 576), (64, 576), (64, 576), (576, 64))
    x = houston.input(2)
    torch.testing.assert_close(x @ w.W_q.T, houston.query(2, 4, rope=False), atol=1e-5, rtol=0)
    torch.testing.assert_close(x @ w.W_v.T, houston.value(2, 4), atol=1e-5, rtol=0)


def test_next_tokens_after_each_token_are_those_of_its_logits(smollm, houston):
    found = houston.next_tokens_after_each(3)
    assert len(found) == houston.n
    logits = smollm.logits(houston.tokens.ids).softmax(-1)
    for row, expected in zip(found, logits, strict=True):
        assert [token for _, token, _ in row] == expected.topk(3).indices.tolist()
        assert [share for _, _, share in row] == pytest.approx(expected.topk(3).values.tolist(), abs=1e-5)
    assert found[-1] == houston.next_tokens(3)


def test_next_tokens(smollm, houston):
    (label, token, probability), *_ = houston.next_tokens(3)
    assert token == int(houston.logits[-1].argmax())
    assert 0 < probability < 1
    assert label.strip("␣")
    assert smollm.passes.continuation(houston.tokens.ids, 1) == [token]


def test_generated_text_is_recorded_whole_and_the_join_marked(smollm):
    trace = smollm.trace("1 2 3 4 5", generate=4)
    assert trace.n == trace.prompt_length + 4
    assert list(trace.tokens.ids[trace.prompt_length :]) == smollm.passes.continuation(
        trace.tokens.ids[: trace.prompt_length], 4
    )


def test_a_saved_trace_reopens_bit_for_bit(houston, tmp_path):
    houston.query(0, 0, rope=False)
    houston.save(tmp_path / "t.safetensors")
    again = inspector.open_trace(tmp_path / "t.safetensors")
    assert (again.tokens, again.layers, again.prompt) == (houston.tokens, houston.layers, houston.prompt)
    assert torch.equal(again.weights(11), houston.weights(11))
    assert torch.equal(again.input(4), houston.input(4))
    assert torch.equal(again.query(0, 0, rope=False), houston.query(0, 0, rope=False))
    assert list(tmp_path.iterdir()) == [tmp_path / "t.safetensors"]
    with pytest.raises(InspectorError, match="has no model at hand"):
        _ = again.logits


def test_damaged_trace_files_give_one_sentence(houston, tmp_path):
    path = houston.save(tmp_path / "t.safetensors")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InspectorError, match="no trace file, or a damaged one"):
        inspector.open_trace(path)
    with pytest.raises(InspectorError, match="does not exist"):
        inspector.open_trace(tmp_path / "other.safetensors")
    with pytest.raises(InspectorError, match="not a folder that exists"):
        houston.save(tmp_path / "no" / "t.safetensors")


def test_a_name_that_stands_twice_in_a_trace_file_is_refused(houston, tmp_path):
    """The library's reader takes the last of the two."""
    path = houston.save(tmp_path / "t.safetensors")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].rstrip()
    entry = json.dumps(json.loads(header)["last_logits"]).encode()
    again = header[:-1] + b',"last_logits":' + entry + b"}"
    again += b" " * (-len(again) % 8)
    path.write_bytes(len(again).to_bytes(8, "little") + again + content[8 + length :])
    with pytest.raises(InspectorError, match="no trace file, or a damaged one"):
        inspector.open_trace(path)
    assert duplicate_keys(path) == ["last_logits"]


@pytest.mark.parametrize("place", ["layers", "masks"])
def test_a_field_that_this_version_does_not_know_is_refused(houston, tmp_path, place):
    """It could mean other weights than those that would be computed without it."""
    path = houston.save(tmp_path / "t.safetensors")
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        facts = json.loads(file.metadata()["trace"])
    record = facts["layers"][3] if place == "layers" else facts["masks"][3]["rule"]
    record["first_tokens_only"] = 2
    save_file(tensors, path, metadata={"trace": json.dumps(facts)})
    with pytest.raises(InspectorError, match="has first_tokens_only, which this version does not know"):
        inspector.open_trace(path)


def test_strips_and_saving_refuse_what_cannot_be(houston, tmp_path):
    with pytest.raises(InspectorError, match="align=0 divides no rows: give a whole number from 1 on"):
        houston.strips(0, align=0)
    for place in (tmp_path, ""):
        with pytest.raises(InspectorError, match="is a folder: give the name of a file to write"):
            houston.save(place)
    with pytest.raises(InspectorError, match="head=None is no number of a head: give one, from 0, or draw all"):
        inspector.views.head_figure(houston, 5, None)


def test_without_a_head_every_method_gives_all_heads(houston):
    h, g, t, d, m = 9, 3, 8, 64, 576
    assert houston.query(3).shape == houston.query(3, rope=False).shape == houston.context(3).shape == (h, t, d)
    assert houston.key(3).shape == houston.key(3, rope=False).shape == houston.value(3).shape == (g, t, d)
    assert houston.head_output(3).shape == (h, t, m)
    some, part = [1, -2], slice(0, 7)
    for method in (houston.scores, houston.scaled_scores, houston.weights, houston.allowed):
        assert method(3).shape == (h, t, t)
        assert method(3, queries=some).shape == (h, 2, t)
        assert method(3, queries=some, keys=part).shape == (h, 2, 7)
        torch.testing.assert_close(method(3, queries=[1, 6], keys=part), method(3)[:, [1, 6], :7], atol=1e-5, rtol=4e-6)
        for head in (0, 8):
            assert torch.equal(method(3, head), method(3)[head])
            assert method(3, head, queries=some, keys=part).shape == (2, 7)
    for head in (0, 8):
        assert torch.equal(houston.query(3, head), houston.query(3)[head])
        assert torch.equal(houston.query(3, head, rope=False), houston.query(3, rope=False)[head])
        assert torch.equal(houston.key(3, head), houston.key(3)[head // 3])
        torch.testing.assert_close(houston.context(3, head), houston.context(3)[head], atol=1e-6, rtol=0)
        torch.testing.assert_close(houston.head_output(3, head), houston.head_output(3)[head], atol=1e-6, rtol=0)
    for method in (houston.context, houston.head_output):
        assert method(3, 2, queries=slice(2, 8, 3)).shape == (2, method(3, 2).shape[-1])
        torch.testing.assert_close(method(3, queries=some), method(3)[:, some], atol=1e-5, rtol=0)


def test_all_heads_outputs_ask_for_no_head_by_head(houston, monkeypatch):
    expected = torch.stack([houston.head_output(3, head, queries=[2, 5]) for head in range(9)])
    monkeypatch.setattr(type(houston.model), "head_parameters", lambda *_: pytest.fail("asked head by head"))
    torch.testing.assert_close(houston.head_output(3, queries=[2, 5]), expected, atol=1e-6, rtol=0)


def test_some_rows_of_context_are_computed_in_strips(houston, monkeypatch):
    whole = houston.context(2, queries=[7, 3, 3, 0])
    monkeypatch.setattr("inspector.trace.trace.STRIP_BYTES", 1)  # a row at a time
    torch.testing.assert_close(houston.context(2, queries=[7, 3, 3, 0]), whole, atol=1e-5, rtol=0)
    assert torch.equal(whole[:, 1], whole[:, 2])


WRONG = {
    "layer='3' is not a whole number: this model has layers 0 to 29": lambda t: t.weights("3"),
    "layer=3.0 is not a whole number": lambda t: t.residual(3.0),
    "layer=True is not": lambda t: t.query(True, 0),
    "layer=None is not": lambda t: list(t.strips(None)),
    "head='0' is not a whole number: layer 2 has heads 0 to 8; None means all": lambda t: t.head_output(2, "0"),
    r"head=slice\(0, 2, None\) is not": lambda t: t.weights(2, slice(0, 2)),
    "queries=3 is neither a slice nor a list of positions: for one query token give slice.3, 4.": (
        lambda t: t.allowed(5, queries=3)
    ),
    "queries='3' is neither": lambda t: t.weights(5, queries="3"),
    r"queries=\[\] is neither": lambda t: t.context(5, queries=[]),
    r"queries=\[0.5\] is neither": lambda t: t.scores(5, queries=[0.5]),
    r"queries=\[True, False\] is neither": lambda t: t.scores(5, queries=[True, False]),
    "Query token 8 does not exist: this prompt has tokens 0 to 7": lambda t: t.scores(5, 1, queries=[0, 8]),
    "runs backwards": lambda t: t.weights(5, queries=slice(None, None, -1)),
    "has 1.5 in it, which is not a whole number": lambda t: t.weights(5, queries=slice(0, 1.5)),
    r"keys=\[1\] is not a slice": lambda t: t.scaled_scores(5, keys=[1]),
    r"keys=slice\(5, 0, -1\) runs backwards": lambda t: t.scaled_scores(5, keys=slice(5, 0, -1)),
    "count='all' is not a number of tokens": lambda t: t.next_tokens("all"),
    "count=0 is not a number of tokens": lambda t: t.next_tokens(0),
    "path=3 is not a file's name": lambda t: t.save(3),
    "path=None is not a file's name": lambda t: inspector.open_trace(None),
    "model='smollm' is not a loaded model": lambda t: inspector.open_trace("t", model="smollm"),
}


@pytest.mark.parametrize("words", WRONG)
def test_a_value_of_the_wrong_type_is_refused_in_a_sentence(houston, words):
    with pytest.raises(InspectorError, match=words) as raised:
        WRONG[words](houston)
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)


def test_past_layer_and_head_arguments_have_names(houston):
    for method in (houston.scores, houston.scaled_scores, houston.weights, houston.allowed, houston.context):
        with pytest.raises(TypeError, match="positional"):
            method(5, 3, slice(0, 2))


def test_numbers_of_any_library_are_taken(houston):
    expected = houston.weights(5, 3, queries=[1, 6])
    for some in (np.array([1, 6]), torch.tensor([1, 6]), range(1, 7, 5), (1, -2)):
        assert torch.equal(houston.weights(np.int64(5), torch.tensor(3), queries=some), expected)


def test_everything_prints_on_one_line_without_its_numbers(houston):
    layer = houston.stored[5]
    for thing, start in (
        (houston, "Trace of 8 tokens"),
        (houston.tokens, "8 tokens: H · ou · ston"),
        (houston.layers[5], "LayerInfo 5 (model.layers.5.self_attn): 9 heads, 3 key/value heads, d_head 64"),
        (layer, "Layer 5 (model.layers.5.self_attn): query [9, 8, 64], key [3, 8, 64]"),
        (layer.call, "Call of LlamaAttention: query [9, 8, 64]"),
        (layer.call.arguments, "ModuleArguments(hidden_states"),
    ):
        assert repr(thing).startswith(start)
        assert "\n" not in repr(thing)
        assert "tensor(" not in repr(thing)
        assert len(repr(thing)) < 300


def test_a_long_and_hostile_trace_is_small_in_a_notebook(houston):
    labels = ("<script>" * 500, "&") * 500
    tokens = Tokens(ids=tuple(range(1000)), labels=labels, texts=labels)
    trace = Trace(tokens=tokens, layers=houston.stored, last_logits=None, model_name="<b>\n" * 1000)
    for shown in (tokens._repr_html_(), trace._repr_html_()):
        assert len(shown) < 20_000
        assert "<script" not in shown
        assert "<b>" not in shown
        assert "<td>... 960 more</td>" in shown
    assert "\n" not in repr(trace)
    assert len(repr(tokens)) < 300


@pytest.mark.parametrize("call", [lambda t: t.weights(30, 0), lambda t: t.query(0, 9), lambda t: t.value(-1, 0)])
def test_what_does_not_exist_is_said(houston, call):
    with pytest.raises(InspectorError, match=r"does not exist: .*0 to"):
        call(houston)


def test_prompts_that_cannot_be_run_are_said(smollm, tmp_path):
    for prompt, words in [
        ("", "prompt is empty"),
        ([], "prompt is empty"),
        ("a\ud800b", r"Character 2 of the prompt is U\+D800"),
        ([1, 50000], "Token id 50000 is outside the model's vocabulary of 49152"),
        ([1] * 8193, "8193 tokens and this model has positions for 8192; shorten it by 1"),
    ]:
        with pytest.raises(InspectorError, match=words):
            smollm.trace(prompt)
    with pytest.raises(InspectorError, match="no chat template"):
        tiny.load("grouped", tmp_path).trace("w1 w2", chat=True)
    with pytest.raises(InspectorError, match=r"keep=.*'everything'"):
        smollm.trace("a", keep=("everything",))


def test_several_prompts_give_several_traces(smollm):
    assert [trace.n for trace in smollm.trace(["one", "one two"])] == [1, 2]


def test_the_chat_template_is_used_when_asked(smollm):
    assert "<|im_start|>" in smollm.trace("Hi", chat=True).tokens.labels
