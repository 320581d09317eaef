"""A choice among strings is one of its Literal's, and any other is refused when the spec is made."""

import dataclasses
from typing import get_args

import pytest

import reimpl.spec
from reimpl import choices
from reimpl.choices import choices_of
from reimpl.config import RULE_FIELDS
from reimpl.families import FAMILIES
from reimpl.families.family import Family
from reimpl.frequencies import RULES
from reimpl.project import ACTIVATIONS, LAYOUTS
from reimpl.spec import (
    AttentionSpec,
    CheckpointError,
    GateSpec,
    NormSpec,
    RopeSpec,
    TemperatureSpec,
    UnsupportedError,
    replace,
)

PLAIN = AttentionSpec(heads=4, kv_heads=2, d_head=8, d_model=32, scale=1.0, rope=RopeSpec(100.0, 8))
WRONG = [
    (lambda: RopeSpec(100.0, 8, style="half"), 'RopeSpec.style "half"', '"halves", "pairs".'),
    (lambda: RopeSpec(100.0, 8, rule="spiral"), 'RopeSpec.rule "spiral"', '"default",'),
    (lambda: NormSpec(1e-6, kind="layernorm"), 'NormSpec.kind "layernorm"', '"rms", "layer", "l2".'),
    (lambda: NormSpec(1e-6, over="heads"), 'NormSpec.over "heads"', '"head", "each", "whole".'),
    (lambda: GateSpec("key"), 'GateSpec.source "key"', '"gate", "query", "matrix".'),
    (lambda: GateSpec(activation="silu"), 'GateSpec.activation "silu"', '"sigmoid", "softplus".'),
    (lambda: TemperatureSpec(0.1, 8.0, rule="log"), 'TemperatureSpec.rule "log"', '"steps", "power".'),
    (lambda: replace(PLAIN, layout="fused"), 'AttentionSpec.layout "fused"', '"separate", "stacked",'),
    (lambda: replace(PLAIN.rope, style="Halves"), 'RopeSpec.style "Halves"', ''),
    (lambda: replace(PLAIN.rope, style=None), 'RopeSpec.style "None"', ''),
    (lambda: Family(rope_style="neighbours"), 'Family.rope_style "neighbours"', '"halves", "pairs".'),
    (lambda: Family(layout="one"), 'Family.layout "one"', ''),
]  # fmt: skip


@pytest.mark.parametrize(("make", "wrong", "listed"), WRONG, ids=[wrong for _, wrong, _ in WRONG])
def test_a_wrong_choice_is_refused_with_its_value_and_the_choices(make, wrong, listed):
    with pytest.raises(UnsupportedError) as refused:
        make()
    assert str(refused.value).startswith(f"{wrong} is not modelled; choose one of {listed}")
    assert isinstance(refused.value, CheckpointError)


def test_every_string_of_a_spec_that_is_not_a_name_is_a_choice():
    """A new field of type str fails here until it is a Literal, or is listed as a name."""
    names = {
        "AttentionSpec.shares",
        "Family.window",
        "Family.qk_norm_if",
        "Family.norm_eps",
        "Family.softcap",
        "Family.clip",
    }
    names |= {"Family.qkv_bias", "Family.output_bias"}  # fmt: skip
    specs = [part for part in vars(reimpl.spec).values() if dataclasses.is_dataclass(part)]
    for spec in (*specs, Family):
        words = {
            f"{spec.__name__}.{field.name}" for field in dataclasses.fields(spec) if "str" in field.type.split(" | ")
        }
        assert words <= names, "make it a Literal of reimpl/choices.py"
    found = {f"{spec.__name__}.{field}" for spec in specs for field in choices_of(spec)}
    assert found == {
        "RopeSpec.style", "RopeSpec.rule", "NormSpec.kind", "NormSpec.over", "GateSpec.source", "GateSpec.activation",
        "TemperatureSpec.rule", "AttentionSpec.layout",
    }  # fmt: skip
    assert set(choices_of(Family)) == {"layout", "rope_style"}


def test_every_choice_can_be_made_and_is_computed():
    for spec in (RopeSpec(100.0, 8), NormSpec(1e-6), GateSpec(), TemperatureSpec(0.1, 8.0), PLAIN):
        for field, strings in choices_of(type(spec)).items():
            for string in strings:
                assert getattr(replace(spec, **{field: string}), field) == string
    assert tuple(RULES) == tuple(RULE_FIELDS) == get_args(choices.RopeRule)
    assert set(LAYOUTS) == set(get_args(choices.FusedLayout)) == set(get_args(choices.Layout)) - {"separate"}
    assert tuple(ACTIVATIONS) == get_args(choices.GateActivation)


# -- rows of families say what they mean without a language of their own -------------------------------------------


def words_of(value) -> list[str]:
    """Every string within a row's field."""
    if isinstance(value, str):
        return [value]
    if dataclasses.is_dataclass(value):
        return [word for field in dataclasses.fields(value) for word in words_of(getattr(value, field.name))]
    if isinstance(value, dict):
        return [word for pair in value.items() for word in words_of(pair)]
    if isinstance(value, tuple | list | set | frozenset):
        return [word for item in value for word in words_of(item)]
    return []


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_rows_names_hold_no_signs_with_a_meaning_but_the_layers_number(name):
    row = FAMILIES[name]
    for word in words_of((row.tensors, row.reads, row.ignored, row.names)):
        assert not set(word) & set("|{}")
    for word in words_of(row.attention):
        assert "|" not in word
        assert word.count("{i}") + word.count("{half}") == 1  # where two of the library's layers are one of ours
        assert not set(word.replace("{i}", "").replace("{half}", "")) & set("{}")


def test_what_a_row_reads_is_not_refused_and_what_it_does_not_read_is():
    config = {"model_type": "qwen3_moe", "layer_types": ["full_attention"] * 48}
    fields = {"use_sliding_window": True, "sliding_window": 77}
    assert FAMILIES["qwen3_moe"].specs({**config, **fields}) == FAMILIES["qwen3_moe"].specs(config)
    with pytest.raises(UnsupportedError, match="no_rope_layer_interval"):
        FAMILIES["qwen3_moe"].specs({**config, "no_rope_layer_interval": 4})
    doge = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "keep_window_size": 9}
    assert len(FAMILIES["doge"].specs(doge)) == 2
    with pytest.raises(UnsupportedError, match="keep_window_size"):
        FAMILIES["llama"].specs(doge)


def test_places_are_names_the_checkpoints_first():
    sizes = {"num_attention_heads": 4, "hidden_size": 32}
    assert list(FAMILIES["llama"].specs({**sizes, "num_hidden_layers": 2})) == [
        ("layers.0.self_attn",), ("layers.1.self_attn",),
    ]  # fmt: skip
    renamed = FAMILIES["hrm_text"].specs({**sizes, "num_layers_per_stack": 1})
    assert list(renamed) == [
        ("L_module.layers.0.attn", "L_module.layers.0.self_attn"),
        ("H_module.layers.0.attn", "H_module.layers.0.self_attn"),
    ]


@pytest.mark.parametrize(
    ("family", "ours", "expected"),
    [
        ("llama", "projections.q_proj.bias", [("q_proj.bias",)]),
        ("mimo_v2_flash", "sinks", [("attention_sink_bias",), ("sinks",)]),
        ("bailing_hybrid", "o_proj.weight", [("dense.weight",), ("o_proj.weight",)]),
        ("stablelm", "projections.q_norm.weight", [("q_layernorm.norms.0.weight", "q_layernorm.norms.1.weight")]),
    ],
)
def test_names_of_tensors(family, ours, expected):
    assert FAMILIES[family].tensor_names(ours, heads=2) == expected
