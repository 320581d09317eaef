"""What stands around attention, in models whose blocks are not all alike: equal to the library's own hidden states."""

from __future__ import annotations

import pytest
import tiny
import torch
from screen_app import SCREENS, new_app, payloads

import inspector
from inspector.coverage import tiny as types
from inspector.errors import InspectorError
from inspector.ui import state

# One list of plain blocks; attention inside another module of its block; blocks without attention between, before and
# after; one attention for several blocks; attention and norms in a module of their own.
KINDS = ("llama", "gpt_neo", "bert", "bamba", "qwen3_next", "zamba2", "dbrx", "gptj")


def seen(kind: str, folder) -> tuple[inspector.Trace, list[torch.Tensor]]:
    """A trace, and what the library says that its blocks receive, [t, d_model] each."""
    model = inspector.load(types.save(types.types()[kind], folder))
    ids = tiny.ids(12)
    with torch.inference_mode():
        found = model.model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    return model.trace(ids, keep=("residual",)), [states[0] for states in found.hidden_states]


@pytest.mark.parametrize("kind", KINDS)
def test_a_blocks_residual_is_the_librarys_hidden_state(kind, tmp_path):
    trace, states = seen(kind, tmp_path)
    for layer in trace.layers:
        assert torch.equal(trace.residual(layer.index), states[layer.block]), layer.name
        assert not torch.equal(trace.residual(layer.index), states[layer.block + 1])


@pytest.mark.parametrize("kind", KINDS)
def test_around_sees_blocks_without_attention(kind, tmp_path):
    trace, states = seen(kind, tmp_path)
    for layer in trace.layers:
        found = trace.model.passes.residual_stream(trace.tokens.ids, layer, 7)
        assert torch.equal(found.embedding, states[0][7])
        assert torch.equal(found.residual, states[layer.block][7])
        if layer.block + 2 < len(states):  # the last of the hidden states is behind the last norm
            assert torch.equal(found.next_residual, states[layer.block + 1][7])
        else:
            assert found.next_residual is None


def test_what_is_no_embedding_is_not_called_so(tmp_path):
    trace, _ = seen("bamba", tmp_path)
    assert trace.layers[0].block == 1
    with pytest.raises(InspectorError, match="stands in block 1"):
        _ = trace.embedding


def test_several_streams_are_not_taken_for_one(tmp_path):
    """Gemma 3n's blocks are given four versions of the residual at once, and another tensor of the usual shape."""
    model = inspector.load(types.save(types.types()["gemma3n_text"], tmp_path))
    trace = model.trace(tiny.ids(12), keep=("residual",))
    with pytest.raises(InspectorError, match="could not be read"):
        trace.residual(0)


def test_the_walkthrough_says_what_lies_between_two_layers(tmp_path):
    types.save(types.types()["bamba"], tmp_path)
    types.word_tokenizer(tmp_path)
    app = new_app(state.Request(str(tmp_path), "w1 w2 w3 w4"), layer="0", head="1", station="next")
    app.run()
    app.switch_page(SCREENS["Walkthrough"]).run()
    assert not app.exception
    assert "this model has 1 block without attention" in " ".join(caption.value for caption in app.caption)
    header, _ = payloads(app, "next residual")
    assert [panel["title"] for panel in header["panels"]][-1] == "= residual before the next block"
    app.session_state["selection"] = {**app.session_state["selection"], "station": "tokens"}
    app.run()
    assert any("what the first block received when the model ran: equal in all" in text.value for text in app.caption)
