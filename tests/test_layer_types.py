"""Layer types that a file lists: one that nobody knows is refused by name, not taken for a layer without attention."""

import json

import pytest
import tiny
from transformers.configuration_utils import ALLOWED_LAYER_TYPES

import inspector
from inspector.coverage import tiny as types
from inspector.errors import InspectorError
from reimpl.checkpoint import attention_specs
from reimpl.families.layer_types import ATTENDS, WITHOUT_ATTENTION
from reimpl.spec import CheckpointError, UnsupportedError

FULL = "full_attention"
# Family -> a type that its file might list, and that no row knows.
UNKNOWN = {
    "qwen3": "compressed_sparse_attention",
    "llama": "window_attention",
    "gemma3_text": "hybrid_sliding",
    "cohere2": "heavily_compressed_attention",
    "deepseek_v32": "sparse_attention",  # as a later release may call it
    "olmo3": "Full_Attention",
    "qwen3_next": "gated_attention",
}


def config(name, listed):
    return {"model_type": name, "num_hidden_layers": len(listed), "layer_types": listed}


@pytest.mark.parametrize("where", [0, 2])
@pytest.mark.parametrize("name", list(UNKNOWN))
def test_an_unknown_type_is_refused_by_name(name, where):
    listed = [FULL] * 3
    listed[where] = UNKNOWN[name]
    with pytest.raises(UnsupportedError, match=rf'layer {where} the type "{UNKNOWN[name]}".*known types: .*{FULL}'):
        attention_specs(config(name, listed))


@pytest.mark.parametrize("listed", [[FULL], [], "full_attention", 3])
def test_a_list_that_is_too_short_or_none_is_refused(listed):
    with pytest.raises(CheckpointError, match=r"layer_types for .* needs one"):
        attention_specs({**config("qwen3", [FULL] * 3), "layer_types": listed})


@pytest.mark.parametrize("without", sorted(WITHOUT_ATTENTION))
def test_layers_without_attention_are_left_out_and_counted(without):
    places = list(attention_specs(config("qwen3_next", [FULL, without, FULL])))
    assert places == [("layers.0.self_attn",), ("layers.2.self_attn",)]
    assert not ATTENDS & WITHOUT_ATTENTION


@pytest.mark.parametrize("older", ["deepseek_sparse_attention", "qwen_sparse_attention"])
@pytest.mark.parametrize("name", ["axk2", "deepseek_v32", "glm_moe_dsa", "hy_v4", "qwen4_exp_text"])
def test_the_floors_names_for_chosen_keys_mean_todays(name, older):
    today = attention_specs(config(name, ["indexed_attention"] * 2))
    assert attention_specs(config(name, [older] * 2)) == today
    assert all(spec.mask.given for spec in today.values())


RUNS_ITS_OWN_TYPE_ALONE = types.INDEXED not in ALLOWED_LAYER_TYPES  # transformers 5.17
UNKNOWN_FIRST = ["compressed_sparse_attention", "indexed_attention", "indexed_attention", "indexed_attention"]


def listed_in_the_file(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "layer_types": UNKNOWN_FIRST}))
    return inspector.load(folder)


def edited_in_place(folder):
    model = inspector.load(folder)
    model.model.config.layer_types = UNKNOWN_FIRST
    return model


def edited_object(folder):
    model = edited_in_place(folder)
    return inspector.load(model.model, model.tokenizer)


@pytest.mark.parametrize("way", [listed_in_the_file, edited_in_place, edited_object])
@pytest.mark.parametrize("name", ["deepseek_v32", "glm_moe_dsa", "axk2"])  # whose classes run any type, since 5.18
def test_such_a_model_is_captured_and_its_verification_names_the_type(name, way, tmp_path):
    folder = types.save(types.types()[name], tmp_path)
    if RUNS_ITS_OWN_TYPE_ALONE:
        with pytest.raises(InspectorError, match="compressed_sparse_attention"):
            way(folder).trace(tiny.ids(12))
        return
    model = way(folder)
    assert len(model.trace(tiny.ids(12)).layers) == 4
    with pytest.raises(InspectorError, match=r'layer 0 the type "compressed_sparse_attention", which is not modelled'):
        inspector.verify(model, tiny.ids(12))
