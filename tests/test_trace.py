"""What a Trace gives: shapes, sums, and that its parts add up to the library's own numbers."""

import math

import pytest
import tiny
import torch

import inspector
from inspector.errors import InspectorError

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
    scores = houston.scaled_scores(4, 2).masked_fill(~houston.allowed(4), -math.inf)
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
    with pytest.raises(InspectorError, match="not a whole trace file"):
        inspector.open_trace(path)
    with pytest.raises(InspectorError, match="does not exist"):
        inspector.open_trace(tmp_path / "other.safetensors")
    with pytest.raises(InspectorError, match="not a folder that exists"):
        houston.save(tmp_path / "no" / "t.safetensors")


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
