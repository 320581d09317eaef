"""The table of families against the library's own config classes: what a file says, what it leaves out, and what older
files say in other words must mean to us what it means to the library."""

import contextlib
import copy
import json

import pytest
import torch
import transformers
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
)

from inspector.coverage.defaults import config_classes, defaults_of, rope_words
from inspector.coverage.published import PUBLISHED
from inspector.model.config_reading import class_reading, read_as_library
from reimpl.checkpoint import attention_specs
from reimpl.families import FAMILIES, family_of
from reimpl.families.defaults import DEFAULTS
from reimpl.spec import CheckpointError, UnsupportedError

CLASSES = {str(c.model_type): c for c in config_classes()}
NEWEST = transformers.__version__ == "5.24.0"  # with which the defaults were written down; older ones lack types
HERE = sorted(set(FAMILIES) & set(CLASSES))
EVERY_FAMILY = pytest.mark.parametrize("name", HERE)


def specs(config):
    family, part = family_of(config)
    return family.specs(part)


def as_saved(config_class, folder, **fields):
    """What the library writes to config.json for these fields."""
    config_class(**copy.deepcopy(fields)).save_pretrained(folder)  # it changes the dictionaries it is given
    return json.loads((folder / "config.json").read_text())


def agree(given, saved):
    """Both mean the same; or neither can be read (a class whose defaults cannot be run)."""
    try:
        theirs = specs(saved)
    except CheckpointError:
        with pytest.raises(CheckpointError):
            specs(given)
    else:
        assert specs(given) == theirs


@pytest.mark.skipif(not NEWEST, reason="older releases lack types")
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_library_has_the_type(name):
    assert name in CLASSES, "no such model type: a misspelt row, or one that the installed library does not have yet"


@pytest.mark.skipif(not NEWEST, reason="the defaults were written down with the newest release")
@EVERY_FAMILY
def test_defaults_are_the_librarys(name):
    values = CLASSES[name]().to_dict()
    assert DEFAULTS.get(name, {}) == defaults_of(values) | rope_words(CLASSES[name])


# Whose class's defaults were others in an older release; a model's own config object is what is read then.
OTHER_DEFAULTS = set() if NEWEST else {"mimo_v2_flash"}


@pytest.mark.parametrize("name", sorted(set(HERE) - OTHER_DEFAULTS))
def test_a_file_that_leaves_everything_out_means_the_classs_defaults(name, tmp_path):
    agree({"model_type": name}, as_saved(CLASSES[name], tmp_path))


OLDER = {
    "rope_theta": {"rope_theta": 54321.0},
    "linear": {"rope_theta": 5000.0, "rope_scaling": {"type": "linear", "factor": 4.0}},
    "yarn": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}},
}


OTHER_WORDS = {"gpt_neox", "gpt_neox_japanese"}  # whose older files say rotary_emb_base, and ignore rope_theta


@pytest.mark.parametrize("older", list(OLDER))
@pytest.mark.parametrize("name", sorted(set(HERE) - OTHER_WORDS))
def test_older_words_for_rope_mean_the_same_or_are_refused(name, older, tmp_path):
    try:
        saved = as_saved(CLASSES[name], tmp_path, **OLDER[older])
    except Exception as error:
        pytest.skip(f"the library does not read it either: {error}")
    with contextlib.suppress(UnsupportedError):
        agree({"model_type": name, **OLDER[older]}, saved)


OWN = [
    ("gemma3_text", {"sliding_window_pattern": 3, "rope_local_base_freq": 5000.0, "rope_theta": 2e6}),
    ("gemma3_text", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    ("gemma3n_text", {"num_kv_shared_layers": 10, "rope_local_base_freq": 5000.0}),
    ("gemma4_text", {"global_head_dim": 128, "num_kv_shared_layers": 7}),
    ("gemma4_text", {"attention_k_eq_v": True, "num_global_key_value_heads": 2}),
    ("gpt_neox", {"rotary_pct": 0.5, "rotary_emb_base": 20000}),
    ("gpt_neox_japanese", {"rotary_pct": 0.5, "rotary_emb_base": 20000}),
    ("cohere2", {"sliding_window_pattern": 3}),
    ("exaone4", {"sliding_window_pattern": 3}),
    ("exaone4", {"sliding_window": None, "layer_types": ["full_attention"] * 32}),
    ("llama4_text", {"no_rope_layer_interval": 3}),
    ("llama4_text", {"attn_temperature_tuning": False, "use_qk_norm": False}),
    ("smollm3", {"no_rope_layer_interval": 3, "use_sliding_window": True, "sliding_window": 512}),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 3, "sliding_window": 77}),
    ("qwen3", {"use_sliding_window": True, "max_window_layers": 3, "sliding_window": 77}),
    ("qwen2_moe", {"use_sliding_window": True, "max_window_layers": 3, "sliding_window": 77}),
    ("qwen3_moe", {"use_sliding_window": True, "sliding_window": 77}),
    ("qwen3_next", {"full_attention_interval": 3}),
    ("mistral", {"sliding_window": None}),
    ("phi3", {"sliding_window": 2047}),
    ("phi", {"partial_rotary_factor": 0.25, "qk_layernorm": True}),
    ("stablelm", {"partial_rotary_factor": 0.25, "qk_layernorm": True, "use_qkv_bias": True}),
    ("bamba", {"attn_layer_indices": [9, 18, 27]}),
    ("lfm2", {"full_attn_idxs": [2, 5, 8]}),
    ("afmoe", {"global_attn_every_n_layers": 3}),
    ("dots1", {"max_window_layers": 5}),
    ("minimax_m2", {"rotary_dim": 64}),
    ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 8, "num_attention_heads": 64, "hidden_size": 4096}),
    ("falcon", {"multi_query": False, "alibi": False}),
    ("dbrx", {"attn_config": {"kv_n_heads": 8, "clip_qkv": 8.0, "rope_theta": 500000.0}}),
    ("gptj", {"rotary_dim": 32, "n_embd": 512, "n_head": 8, "n_layer": 3}),
    ("codegen", {"rotary_dim": 32, "n_embd": 512, "n_head": 8, "n_layer": 3}),
    ("deepseek_v3", {"rope_scaling": {"type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
                                      "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1}}),
    ("deepseek_v2", {"q_lora_rank": None}),
    ("step3p5", {"attention_other_setting": {"num_attention_heads": 96, "num_attention_groups": 8},
                 "layer_types": ["full_attention", "sliding_attention", "sliding_attention"] * 15}),
    ("laguna", {"num_attention_heads_per_layer": [48, 64] * 20}),
    ("modernbert-decoder", {"global_attn_every_n_layers": 2, "local_attention": 64, "global_rope_theta": 9e4}),
    ("recurrent_gemma", {"block_types": ["recurrent", "attention"]}),
    ("granitemoehybrid", {"layer_types": ["mamba", "attention"] * 16, "position_embedding_type": "rope"}),
    ("olmoe", {"clip_qkv": 7.0}),
    ("mimo_v2_flash", {"sliding_window_size": 7}),
    ("exaone", {"num_layers": 30, "head_dim": 80, "hidden_size": 2560, "rope_theta": 1e6,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                 "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}),
    ("apertus1p5_text", {"num_key_value_heads": 8}),
    ("sarvam_moe", {"use_qkv_bias": True}),
    ("sarvam_mla", {"head_dim": 576, "rope_theta": 20000.0, "num_experts": 64, "rope_scaling": {
        "type": "deepseek_yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "beta_fast": 32, "beta_slow": 1,
        "original_max_position_embeddings": 4096}}),
    ("lara_mini", {"layer_types": ["sliding_attention", "full_attention"] * 17}),
    ("dory", {"initializer_range": 0.5}),
    ("dory", {"layer_types": ["full_attention", "mlp", "sliding_attention", "mlp"], "num_hidden_layers": 4,
              "n_input_layers": 2, "n_output_layers": 2, "n_recurrent_layers": 0}),
]  # fmt: skip


OWN_HERE = [(name, fields) for name, fields in OWN if name in CLASSES]


@pytest.mark.parametrize(("name", "fields"), OWN_HERE, ids=[f"{name} {', '.join(each)}" for name, each in OWN_HERE])
def test_a_familys_own_fields_mean_the_same(name, fields, tmp_path):
    """As written on the hub, and as the library writes it after reading that."""
    assert specs({"model_type": name, **fields}) == specs(as_saved(CLASSES[name], tmp_path, **fields))
    with contextlib.suppress(CheckpointError):  # some classes' defaults have no attention layer at all
        assert specs({"model_type": name, **fields}) != specs({"model_type": name}), "this field changes nothing"


def test_a_multimodal_models_language_part_is_read():
    text = {"model_type": "gemma3_text", "num_hidden_layers": 4}
    whole = {"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 7}}
    assert specs(whole) == specs(text)
    assert specs({**whole, "text_config": {"num_hidden_layers": 4}}) == specs(text)  # as some files leave it out
    flat = {"model_type": "qwen2_vl", "hidden_size": 64, "num_attention_heads": 8, "vision_config": {"hidden_size": 7}}
    assert (
        len(specs({**flat, "num_hidden_layers": 3, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}})) == 3
    )


@pytest.mark.parametrize("name", [name for name, said in PUBLISHED.items() if said["model_type"] in CONFIG_MAPPING])
def test_published_files_mean_what_the_library_reads(name, tmp_path):
    config = PUBLISHED[name]
    AutoConfig.for_model(**copy.deepcopy(config)).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    try:
        assert specs(config) == specs(saved)
    except UnsupportedError:  # it says more than is modelled: there the library's class decides what is read
        whole = AutoConfig.from_pretrained(tmp_path)
        alone = type(whole.get_text_config()) in MODEL_FOR_CAUSAL_LM_MAPPING
        with torch.device("meta"):
            model = (
                AutoModelForCausalLM.from_config(whole.get_text_config())
                if alone  # else its language part has no class of its own
                else AutoModelForImageTextToText.from_config(whole)
            )
        (tmp_path / "config.json").write_text(json.dumps(config))
        reading = read_as_library(model, tmp_path)
        theirs = attention_specs(saved, class_reading(model, saved))
        assert attention_specs(reading.config, reading.by_class) == theirs
