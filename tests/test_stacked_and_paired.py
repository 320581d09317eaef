"""Checkpoints that store attention otherwise than the library holds it: W_q, W_k, W_v stacked, or layers counted apart.

Each way a model comes (files as saved, files as published, an object, edited in place) gives the library's numbers.
"""

import re

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

import inspector
from inspector.coverage import tiny as types
from inspector.errors import InspectorError
from reimpl.checkpoint import load_layers

NAMES = [name for name in ("sarvam_moe", "exaone", "dory", "bailing_hybrid") if name in types.types()]
EVERY = pytest.mark.parametrize("name", NAMES)


def verified(model):
    report = inspector.verify(model, tiny.ids(24), spliced=False, controls=False)
    return report.ok and all(check.max_abs == 0 for check in report.checks)


def rewritten(folder, change):
    """The folder with its tensors changed: name and tensor in, the same out."""
    path = folder / "model.safetensors"
    tensors = dict(change(name, tensor) for name, tensor in load_file(path).items())
    save_file(tensors, path, {"format": "pt"})
    return folder


def paired(name, tensor):
    """Dory's published names: each layer an attention block and a feed-forward block, counted apart."""
    found = re.match(r"(.*layers)\.(\d+)\.(self_attn|mlp|lambda_1|lambda_2)(.*)", name)
    if found is None:
        return name, tensor
    start, layer, part, rest = found.groups()
    block = 2 * int(layer) + (part in ("mlp", "lambda_2"))
    renamed = {"lambda_1": "attn_alpha", "lambda_2": "mlp_alpha"}.get(part, "mixer")
    return f"{start}.{block}.{renamed}{rest}", tensor


@EVERY
def test_files_as_saved_and_the_object(name, tmp_path):
    model = inspector.load(types.save(types.types()[name], tmp_path))
    assert verified(model)
    assert verified(inspector.load(model.model, model.tokenizer))


@EVERY
def test_edited_in_place(name, tmp_path):
    model = inspector.load(types.save(types.types()[name], tmp_path))
    attention = model.model.get_submodule(model.layers[0].name)
    query = getattr(attention, "q_proj", None) or attention.q_b_proj
    with torch.no_grad():
        query.weight.mul_(2)
    assert verified(inspector.load(model.model, model.tokenizer))


@pytest.mark.skipif("dory" not in NAMES, reason="the installed transformers has no such type")
def test_layers_that_are_counted_apart(tmp_path):
    folder = rewritten(types.save(types.types()["dory"], tmp_path), paired)
    assert any(".2.mixer.q_proj" in name for name in load_file(folder / "model.safetensors"))
    assert verified(inspector.load(folder))
    assert [layer.place for layer in load_layers(folder)] == [f"layers.{i}.self_attn" for i in range(4)]


@pytest.mark.skipif("sarvam_moe" not in NAMES, reason="the installed transformers has no such type")
@pytest.mark.parametrize("rows", [-1, 1, 24])
def test_a_stack_of_another_height_is_refused(rows, tmp_path):
    def cut(name, tensor):
        if "layers.1.attention.query_key_value" not in name:
            return name, tensor
        return name, torch.cat((tensor, tensor))[: len(tensor) + rows].contiguous()

    folder = rewritten(types.save(types.types()["sarvam_moe"], tmp_path), cut)
    with pytest.raises(ValueError, match=rf"query_key_value.weight has shape \[{192 + rows}, 64\].*\[192, 64\]"):
        load_layers(folder)
    with pytest.raises(InspectorError):
        inspector.verify(inspector.load(folder), tiny.ids(12))
