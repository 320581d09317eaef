"""What the library's class makes of a config.json wins: what it ignores is named, what we lack is refused by name."""

from __future__ import annotations

import json

import pytest
import tiny

import inspector
from inspector.errors import InspectorError
from inspector.model import config_reading
from inspector.model.config_reading import class_reading

HALF = "partial_rotary_factor"


def folder_with(kind, folder, **fields):
    """A tiny checkpoint of this kind, these fields added to its config.json."""
    path = tiny.save(kind, folder) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


def verified(model):
    return inspector.verify(model, tiny.ids(40), spliced=False, controls=False)


NEVER_READ = {
    "a trainer's notes": ("grouped", {"unsloth_fixed": True, "unsloth_version": "2025.3"}),
    "generation": ("qwen2", {"max_length": 20, "repetition_penalty": 1.1, "my_own_note": {"runs": [1]}}),
    "a gate that is always there": ("qwen3", {"attn_output_gate": True}),
    "another family's": ("mistral", {"query_pre_attn_scalar": 99, "attn_logit_softcapping": 3.0}),
    "biases that Mistral has not": ("mistral", {"attention_bias": True}),
    "half a head, turned whole": ("grouped", {HALF: 0.5}),
    "half a head, in rope_parameters": ("biases", {"rope_parameters": {"rope_theta": 1000.0, HALF: 0.5}}),
    "words of RoPE beside its numbers": ("yarn", {"rope_type": "linear", "mscale": 2.0, "factor": 4.0}),
    "a soft-cap that Llama has not": ("grouped", {"softcap": 2.0}),
    "windows that Llama has not": ("grouped", {"sliding_window": 4, "layer_types": ["sliding_attention"] * 3}),
}


@pytest.mark.parametrize("name", NEVER_READ)
def test_what_the_class_never_reads_is_named_and_changes_nothing(name, tmp_path):
    kind, fields = NEVER_READ[name]
    report = verified(inspector.load(folder_with(kind, tmp_path, **fields)))
    assert report.ok
    (remark,) = [each for each in report.remarks if "never reads" in each]
    expected = {HALF} if "rope_parameters" in fields else set(fields)
    assert expected == set(remark.rstrip(".").split(": ")[1].split(", "))


def test_what_a_decorator_names_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "made_up_modeling.py").write_text(
        "def deprecate(*_, **__):\n    return lambda given: given\n\n"
        "@deprecate('max_length', new='tokens_to_remove')\n"
        "class Layer:\n"
        "    @deprecate('attention_bias')\n"
        "    def forward(self, config):\n"
        "        return config.sliding_window, getattr(config, 'softcap', None)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = config_reading._code("made_up_modeling").names
    assert {"sliding_window", "softcap"} <= names
    assert not names & {"max_length", "attention_bias", "tokens_to_remove"}


LINEAR = {"rope_type": "linear", "factor": 2.0}
BESIDE = {
    "the base too": ("grouped", {"rope_parameters": {"rope_theta": 5e5}, "rope_scaling": LINEAR}),
    "its own base": ("qwen3", {"rope_scaling": {**LINEAR, "rope_theta": 777.0}}),
    "another rule": ("linear", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
    "a base beside both": ("mistral", {"rope_theta": 321.0, "rope_scaling": LINEAR}),
}  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_rope_scaling_beside_rope_parameters_is_read_as_the_library_does(name, tmp_path):
    kind, fields = BESIDE[name]
    model = inspector.load(folder_with(kind, tmp_path, **fields))
    report = verified(model)
    assert report.ok
    assert any("rope_parameters.rope_" in each and "the model has" in each for each in report.remarks)
    theta = model.model.config.rope_parameters["rope_theta"]
    assert {layer.spec.rope.theta for layer in model.reimplementation} == {theta}


@pytest.mark.parametrize("kind", ["grouped", "qwen2", "mistral", "gemma2"])
def test_a_model_that_looks_ahead_is_refused_by_name(kind, tmp_path):
    model = inspector.load(folder_with(kind, tmp_path, is_causal=False))
    with pytest.raises(InspectorError, match="not modelled: is_causal=False"):
        verified(model)


@pytest.mark.parametrize("kind", ["grouped", "qwen3"])
def test_a_config_edited_in_place_is_the_one_that_counts(kind, tmp_path):
    model = tiny.load(kind, tmp_path)
    assert verified(model).ok
    held = inspector.load(model.model, model.tokenizer)
    model.model.config.is_causal = False
    for each in (model, held):
        with pytest.raises(InspectorError, match="is_causal=False"):
            verified(each)
    model.model.config.is_causal = True  # as if it had been left out
    model.model.config.my_own_note = "seen"
    assert verified(model).ok
    assert verified(held).ok


def test_a_field_that_is_read_and_not_modelled_stays_refused(tmp_path):
    folder = tiny.save("gemma2", tmp_path)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "use_bidirectional_attention": True}))
    with pytest.raises(InspectorError, match="use_bidirectional_attention"):
        verified(inspector.load(folder))


def test_code_that_cannot_be_looked_into_may_read_anything(tmp_path, monkeypatch):
    model = tiny.load("grouped", tmp_path)
    monkeypatch.setattr("inspector.model.config_reading._code", lambda place: None)
    assert not class_reading(model.model, {**model.model.config.to_dict(), "my_own_note": 1}).ignored


def test_the_file_is_read_by_itself_too(tmp_path):
    """Without the library's class, a field that nobody knows is refused: it may change anything."""
    import reimpl

    folder = folder_with("grouped", tmp_path, my_own_note=1)
    with pytest.raises(reimpl.UnsupportedError, match="my_own_note=1"):
        reimpl.load_layers(folder)
