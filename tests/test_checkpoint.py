"""Reading checkpoints: what a config means, strictness, and configs as they stand on the hub."""

import json
import shutil

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

import reimpl
from reimpl.families import family_of
from reimpl.spec import CheckpointError, MaskRule, UnsupportedError

# As published: fields of their time, defaults left out.
LLAMA_2 = {
    "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
    "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 4096,
    "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
    "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None, "tie_word_embeddings": False,
    "torch_dtype": "float16", "transformers_version": "4.31.0.dev0", "use_cache": True, "vocab_size": 32000,
}  # fmt: skip
LLAMA_32 = {
    **LLAMA_2, "head_dim": 64, "hidden_size": 2048, "num_key_value_heads": 8, "num_hidden_layers": 16,
    "rope_theta": 500000.0, "rope_scaling": {
        "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3",
    },
}  # fmt: skip
MISTRAL_1 = {
    "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
    "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
    "sliding_window": 4096, "vocab_size": 32000, "max_position_embeddings": 32768, "torch_dtype": "bfloat16",
}  # fmt: skip
QWEN_25 = {
    "model_type": "qwen2", "attention_dropout": 0.0, "hidden_size": 896, "intermediate_size": 4864,
    "max_position_embeddings": 32768, "max_window_layers": 21, "num_attention_heads": 14, "num_hidden_layers": 24,
    "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
QWEN_3 = {
    "model_type": "qwen3", "attention_bias": False, "head_dim": 128, "hidden_size": 1024, "max_window_layers": 28,
    "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
    "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None, "use_sliding_window": False,
}  # fmt: skip


def specs(config):
    family, part = family_of(config)
    return list(family.specs(part).values())


def test_llama_2_as_published():
    (spec, *others) = specs(LLAMA_2)
    assert len(others) == 31
    assert (spec.heads, spec.kv_heads, spec.d_head, spec.d_model) == (32, 32, 128, 4096)
    assert spec.rope is not None
    assert (spec.rope.theta, spec.rope.dim, spec.rope.rule) == (10000.0, 128, "default")
    assert spec.scale == 128**-0.5
    assert not spec.qkv_bias


def test_llama_3_as_published():
    rope = specs(LLAMA_32)[0].rope
    assert rope is not None
    assert (rope.rule, rope.theta, dict(rope.scaling)["factor"]) == ("llama3", 500000.0, 32.0)


def test_mistral_slides_in_every_layer():
    assert {spec.mask for spec in specs(MISTRAL_1)} == {MaskRule(window=4096)}
    assert specs({**MISTRAL_1, "sliding_window": None})[0].mask == MaskRule()
    without = {name: value for name, value in MISTRAL_1.items() if name != "sliding_window"}
    assert specs(without)[0].mask == MaskRule(window=4096)  # the class's default


def test_qwen_has_biases_and_slides_only_when_told():
    assert specs(QWEN_25)[0].qkv_bias
    assert not specs(QWEN_25)[0].output_bias
    assert {spec.mask.window for spec in specs(QWEN_25)} == {None}
    told = specs({**QWEN_25, "use_sliding_window": True})
    assert [spec.mask.window for spec in told[20:22]] == [None, 32768]


def test_qwen_3_normalises_queries_and_keys():
    spec = specs(QWEN_3)[0]
    assert spec.query_norm is not None
    assert spec.d_head * spec.heads != spec.d_model


def test_a_field_that_is_not_modelled_is_refused_by_name():
    with pytest.raises(UnsupportedError, match="attn_logit_softcapping"):
        specs({**LLAMA_2, "attn_logit_softcapping": 50.0})
    specs({**LLAMA_2, "attn_logit_softcapping": None})  # switched off: nothing to model


def test_an_unknown_family_is_refused_by_name():
    with pytest.raises(UnsupportedError, match='"mamba" is not reimplemented'):
        family_of({"model_type": "mamba"})


def test_an_unknown_rope_rule_is_refused_by_name():
    with pytest.raises(UnsupportedError, match='"spiral"'):
        specs({**LLAMA_2, "rope_scaling": {"type": "spiral", "factor": 4.0}})
    with pytest.raises(UnsupportedError, match='"linear" with wobble'):
        specs({**LLAMA_2, "rope_scaling": {"type": "linear", "factor": 4.0, "wobble": 1}})
    with pytest.raises(CheckpointError, match="needs factor"):
        specs({**LLAMA_2, "rope_scaling": {"type": "linear"}})


@pytest.fixture
def folder(tmp_path):
    return tiny.save("grouped", tmp_path / "model", tokenizer=False)


def test_every_parameter_is_the_files(folder):
    tensors = load_file(folder / "model.safetensors")
    layers = reimpl.load_layers(folder)
    assert len(layers) == 3
    for i, layer in enumerate(layers):
        place = f"model.layers.{i}.self_attn."
        assert torch.equal(layer.projections.q_proj.weight, tensors[place + "q_proj.weight"])
        assert torch.equal(layer.projections.k_proj.weight, tensors[place + "k_proj.weight"])
        assert torch.equal(layer.projections.v_proj.weight, tensors[place + "v_proj.weight"])
        assert torch.equal(layer.o_proj.weight, tensors[place + "o_proj.weight"])


def rewrite(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def test_a_missing_tensor_is_named(folder):
    name = "model.layers.1.self_attn.k_proj.weight"
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if n != name})
    with pytest.raises(CheckpointError, match=f"no tensor {name}"):
        reimpl.load_layers(folder)


def test_a_wrong_shape_is_named(folder):
    name = "model.layers.2.self_attn.o_proj.weight"
    rewrite(folder, lambda tensors: {**tensors, name: torch.zeros(64, 32)})
    with pytest.raises(CheckpointError, match=rf"{name} has shape \[64, 32\]; config.json calls for \[64, 64\]"):
        reimpl.load_layers(folder)


def test_a_tensor_that_nobody_reads_is_named(folder):
    rewrite(folder, lambda tensors: {**tensors, "model.layers.0.self_attn.q_proj.bias": torch.zeros(64)})
    with pytest.raises(CheckpointError, match=r"not read: model.layers.0.self_attn.q_proj.bias"):
        reimpl.load_layers(folder)


def test_files_of_another_time_prefix_and_shards(folder):
    """No prefix, old rotary buffers, two shards: the same layers."""
    before = reimpl.load_layers(folder)
    tensors = {n.removeprefix("model."): t for n, t in load_file(folder / "model.safetensors").items()}
    tensors["layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(8)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for old, new in zip(before, reimpl.load_layers(folder), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(old.state_dict().values(), new.state_dict().values(), strict=True))
    (folder / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks b.safetensors"):
        reimpl.load_layers(folder)


def test_damaged_files_give_one_sentence(folder, tmp_path):
    cut = tmp_path / "cut"
    shutil.copytree(folder, cut)
    data = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        reimpl.load_layers(cut)
    (cut / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not readable JSON"):
        reimpl.load_layers(cut)
    with pytest.raises(CheckpointError, match=r"has no config.json"):
        reimpl.load_layers(tmp_path / "nowhere")


NEEDED = {"model_type", "hidden_size", "num_attention_heads", "num_hidden_layers"}


@pytest.mark.parametrize("kind", list(tiny.KINDS))
def test_older_files_mean_the_same(kind):
    """Defaults left out, rope_theta and rope_scaling instead of rope_parameters: as files on the hub stand."""
    model_type, differs = tiny.KINDS[kind]
    config = AutoConfig.for_model(model_type, **{**tiny.SIZES, **differs})
    new, defaults = config.to_dict(), type(config)().to_dict()
    old = {name: value for name, value in new.items() if name in NEEDED or value != defaults.get(name)}
    rope = dict(new["rope_parameters"])
    old.pop("rope_parameters", None)
    theta, rule = rope.pop("rope_theta"), rope.pop("rope_type", "default")
    if theta != (getattr(type(config), "default_theta", None) or 10000.0):
        old["rope_theta"] = theta
    part = rope.pop("partial_rotary_factor", None)
    if part is not None and rule != "proportional":
        old["partial_rotary_factor"] = part
    elif part is not None:
        rope["partial_rotary_factor"] = part
    old["rope_scaling"] = None if rule == "default" else {"type": rule, **rope}
    if "layer_types" in old and "layer_types" not in differs:
        del old["layer_types"]
    assert specs(old) == specs(new)
    assert old.keys() != new.keys()
