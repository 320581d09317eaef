"""A Model and `inspector.load`: short forms, and what of another type is refused in a sentence."""

import pytest
import tiny
import torch

import inspector
from inspector.errors import InspectorError


@pytest.fixture
def model(tmp_path):
    return tiny.load("grouped", tmp_path)


def test_a_models_short_forms(model):
    assert repr(model).startswith(f"Model {model.name} (llama, float32, cpu): ")
    assert "\n" not in repr(model)
    shown = model._repr_html_()
    assert "<tr><th>d_model</th><td>64</td></tr><tr><th>vocabulary</th><td>128</td></tr>" in shown
    assert len(shown) < 2_000


@pytest.mark.parametrize("name", [None, 3, ["owner/name"], torch.nn.Linear(1, 1)], ids=lambda name: type(name).__name__)
def test_what_names_no_model_is_refused_in_a_sentence(name):
    with pytest.raises(InspectorError, match=f"load takes a model's name, .*, and this is a {type(name).__name__}: "):
        inspector.load(name)


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_a_dtype_is_a_word_or_torchs_own(tmp_path, dtype):
    loaded = tiny.load("grouped", tmp_path, dtype=dtype)
    assert (loaded.dtype, loaded.provenance["dtype"]) == (torch.bfloat16, "bfloat16")


@pytest.mark.parametrize(("layer", "head"), [("0", 0), (3, 0), (0, "0"), (0, 4), (0, None), (-1, 0)])
def test_a_head_that_does_not_exist_has_no_parameters(model, layer, head):
    with pytest.raises(InspectorError, match=r"does not exist: (this model has layers 0|layer 0 has heads 0) to"):
        model.head_parameters(layer, head)


@pytest.mark.parametrize("ask", ["trace", "cost", "tokenize"])
def test_what_a_chat_template_raises_is_one_sentence(model, ask):
    model.tokenizer.chat_template = "{{ raise_exception('a system turn comes first') }}"
    with pytest.raises(InspectorError, match=r"takes no single user's turn \(a system turn comes first\); give"):
        getattr(model, ask)("w1", chat=True)


def test_the_parts_of_a_pass_are_at_hand(model):
    """What `Model` no longer says itself, its passes do."""
    ids = tiny.ids(6)
    assert model.passes.continuation(ids, 2) == list(model.trace(ids, generate=2).tokens.ids[6:])
    assert torch.equal(model.logits(ids), model.passes.logits(ids))
    assert torch.equal(model.passes.residuals(ids)[1], model.trace(ids).residual(1))
