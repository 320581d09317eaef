"""A model that cannot run its first short pass: the sentence says what is the matter, not that it needs images."""

import json
import shutil

import fuzz
import pytest
import tiny
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import inspector
from inspector import InspectorError
from inspector.model.forward import without_numbers


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return tiny.save("grouped", tmp_path_factory.mktemp("sound"))


def refusal(call) -> str:
    with pytest.raises(InspectorError) as caught:
        call()
    said = fuzz.one_sentence(caught.value)
    assert "images" not in said
    return said


ASKS = {
    "trace": lambda model: model.trace("w1 w2"),
    "cost": lambda model: model.cost("w1 w2"),
    "layers": lambda model: model.layers,
    "verify": lambda model: inspector.verify(model, "w1 w2"),
}


@pytest.mark.parametrize("ask", list(ASKS))
@pytest.mark.parametrize("kind", ["object", "folder"])
def test_return_dict_is_named(sound, tmp_path, ask, kind):
    if kind == "folder":
        folder = shutil.copytree(sound, tmp_path / "copy")
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "return_dict": False}))
        model = inspector.load(folder)
    else:
        loaded = inspector.load(sound)
        loaded.model.config.return_dict = False
        model = inspector.load(loaded.model, loaded.tokenizer)
    assert "return_dict=False in its config" in refusal(lambda: ASKS[ask](model))
    model.model.config.return_dict = True
    assert ASKS[ask](model)


@pytest.mark.parametrize(
    ("attention", "ask"),
    [
        ("flash_attention_2", "trace"),
        ("flash_attention_2", "cost"),
        # These compile for half a minute, then fail.
        pytest.param("flex_attention", "cost", marks=pytest.mark.slow),
        pytest.param("flex_attention", "trace", marks=pytest.mark.slow),
    ],
)
def test_an_attention_implementation_that_does_not_run_here_is_named(sound, ask, attention):
    loaded = inspector.load(sound)
    loaded.model.config._attn_implementation = attention
    model = inspector.load(loaded.model, loaded.tokenizer)
    assert f"the attention implementation '{attention}'" in refusal(lambda: ASKS[ask](model))
    model.model.set_attn_implementation("sdpa")
    assert ASKS[ask](model)


@pytest.mark.parametrize("ask", list(ASKS))
@pytest.mark.parametrize("part", ["", "model.layers.1", "lm_head", "model.layers.2.mlp"])
def test_weights_without_numbers_are_named(sound, ask, part):
    loaded = inspector.load(sound)
    if part:
        loaded.model.get_submodule(part).to("meta")
        model = inspector.load(loaded.model, loaded.tokenizer)
    else:
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(sound))
        model = inspector.load(empty, loaded.tokenizer)
    count = len(without_numbers(model.model))
    assert count > 0
    assert f"has no numbers in {count} of its weights ({part}" in refusal(lambda: ASKS[ask](model))


def test_another_failure_says_what_the_library_said(sound):
    loaded = inspector.load(sound)
    loaded.model.model.norm.weight = torch.nn.Parameter(torch.ones(3))
    said = refusal(lambda: inspector.load(loaded.model, loaded.tokenizer).trace("w1 w2"))
    assert "could not run a first short prompt (The size of tensor a" in said
