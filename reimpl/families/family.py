"""A family: how a model type's config.json becomes one AttentionSpec per attention layer, and where its tensors lie.

`Family()` is Llama's reading of the standard field names; a row of the tables beside this file states only where a
model type differs, its class's defaults included, since files on the hub leave defaults out. What a row does not read
and `harmless_fields.HARMLESS` does not list is refused by name: an unread field may change the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from reimpl.choices import Layout, RopeStyle, refuse_unknown_choices
from reimpl.config import Fields, rope_spec, without
from reimpl.families.layer_types import (
    ALL_FULL,
    ATTENDS,
    CHOSEN,
    CHUNKED,
    FULL,
    SLIDES,
    SLIDING,
    LayerTypes,
    listed_type,
)
from reimpl.families.tensor_names import PerHead, Renamed, Stacked, alternatives, names_in_checkpoint
from reimpl.harmless_fields import UNKNOWN_CLASS, ClassReading
from reimpl.spec import AttentionSpec, CheckpointError, GateSpec, MaskRule, NormSpec, RopeSpec


class At(NamedTuple):
    """Hold the layer of a config that is being read: its number, and its type as in layer_types.py."""

    fields: Fields
    layer: int
    layer_type: str


Place = tuple[str, ...]  # where an attention module stands: its name, or the checkpoint's and then the library's
Which = Callable[[At], bool]  # does this hold for the layer?
Rope = Callable[[At, int], RopeSpec | None]  # the layer's RoPE, for heads of this width
Change = Callable[[AttentionSpec, At], AttentionSpec]  # the spec so far -> the spec


STANDARD_DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": None,  # as many as query heads
    "head_dim": None,  # hidden_size // num_attention_heads
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
    "rope_scaling": None,
    "rope_parameters": None,
    "max_position_embeddings": 2048,
    "original_max_position_embeddings": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rms_norm_eps": 1e-6,
    "sliding_window": None,
    "attention_chunk_size": None,
    "layer_types": None,
}

# Our parameter's module -> the checkpoint's, within the attention module.
STANDARD_TENSORS: dict[str, str] = {
    "projections.q_proj": "q_proj",
    "projections.k_proj": "k_proj",
    "projections.v_proj": "v_proj",
    "projections.qkv_proj": "qkv_proj",
    "projections.q_norm": "q_norm",
    "projections.k_norm": "k_norm",
    "projections.v_norm": "v_norm",
    "projections.gate.proj": "gate_proj",
    "projections.q_a_proj": "q_a_proj",
    "projections.q_a_norm": "q_a_layernorm",
    "projections.q_b_proj": "q_b_proj",
    "projections.kv_a_proj": "kv_a_proj_with_mqa",
    "projections.kv_a_norm": "kv_a_layernorm",
    "projections.kv_b_proj": "kv_b_proj",
    "projections.k_rope_norm": "k_rope_only_layernorm",
    "projections.gate.head_bias": "gate_bias",
    "projections.gate.learned": "s_gate",
    "query_learned": "sqk",
    "output_norm": "o_norm",
    "o_proj": "o_proj",
    "sinks": "sinks",
}


def every_layer(_: At) -> bool:
    """Hold for all layers."""
    return True


def sliding_layers(at: At) -> bool:
    """Hold for layers with a sliding window."""
    return at.layer_type == SLIDING


def all_but_full(at: At) -> bool:
    """Hold for all layers but those of full attention."""
    return at.layer_type != FULL


def ordinary_rope(at: At, d_head: int) -> RopeSpec | None:
    """Read RoPE as the standard fields say it."""
    return rope_spec(at.fields, d_head, at.layer_type)


def unchanged(spec: AttentionSpec, _: At) -> AttentionSpec:
    """Leave the spec as the standard fields say it."""
    return spec


@dataclass(frozen=True)
class Family:
    """Say how one model type, or several alike, are read.

    defaults:    values of the library's config class for fields that a file may leave out.
    names:       this type's own names for standard fields.
    reads:       fields that are understood but decide nothing in some files: those that a function below reads in some
                 layers only, and those that the type's class ignores. What nobody reads is refused.
    layer_types: what each layer is where the file does not list them: full, sliding or chunked attention, or none.
    window:      the field that holds the sliding window.
    qkv_bias:    True, False, or the name of the config field that says so; `output_bias` likewise.
    qk_norm:     the norm of queries and keys, its eps taken from the field `norm_eps`; only where the flag
                 `qk_norm_if` is on, if one is named. value_norm, output_norm: likewise.
    scale:       (field, exponent): scores are multiplied by field ** exponent; None: d_head ** -0.5.
    softcap:     the field that holds the scores' soft-cap.
    rope, rope_layers: the RopeSpec of a layer, and which layers have one at all.
    rope_style:  "halves" or "pairs"; rope_wide: rotated in float32, then rounded.
    change:      a function for what only this type does, applied to each layer's spec last.
    attention:   the attention modules of a layer by their place, {i} the layer's number ({half}: halved, where files
                 count attention and feed-forward layers apart); most have one. `Renamed` where the checkpoint's name
                 is not the library's; likewise in `tensors`.
    tensors:     our parameter's module -> the checkpoint's, where it is not the standard name; `PerHead` where a
                 checkpoint has one tensor for each head, `Stacked` where one for W_q, W_k and W_v.
    ignored:     tensors within the attention module that attention does not use, such as those that choose keys.
    harmless:    fields of this type that cannot change what attention computes from its input.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    layer_types: LayerTypes = ALL_FULL
    window: str = "sliding_window"
    layout: Layout = "separate"
    qkv_bias: bool | str = "attention_bias"
    output_bias: bool | str = "attention_bias"
    qk_norm: NormSpec | None = None
    qk_norm_if: str = ""
    value_norm: NormSpec | None = None
    output_norm: NormSpec | None = None
    norm_eps: str = "rms_norm_eps"
    scale: tuple[str, float] | None = None
    softcap: str | None = None
    rope: Rope = ordinary_rope
    rope_layers: Which = every_layer
    rope_style: RopeStyle = "halves"
    rope_wide: bool = False
    gate: GateSpec | None = None
    sinks: Which | None = None
    clip: str | None = None
    change: Change = unchanged
    attention: tuple[str | Renamed, ...] = ("layers.{i}.self_attn",)
    tensors: Mapping[str, str | Renamed | Stacked | PerHead] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    harmless: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse a choice that is none of those above."""
        refuse_unknown_choices(self)

    def specs(self, config: Mapping[str, Any], by_class: ClassReading = UNKNOWN_CLASS) -> dict[Place, AttentionSpec]:
        """Read a config: the AttentionSpec of each attention layer by its place, in the model's order.

        Args:
            config: config.json as a dict, the language model's part of it.
            by_class: how the library's class reads it, where that is known.

        Returns:
            Place -> spec. A place is a name, ("layers.3.self_attn",), or the checkpoint's name and then the library's.

        Raises:
            CheckpointError: a field is missing or has an impossible value, or no layer attends.
            UnsupportedError: names any field that is not understood.
        """
        specs, fields = self._read(without(config, by_class))
        fields.refuse_unread(self.harmless, by_class)
        return specs

    def _read(self, config: Mapping[str, Any]) -> tuple[dict[Place, AttentionSpec], Fields]:
        """Read every layer's spec; return the fields too, which know what was read of them."""
        fields = Fields({**STANDARD_DEFAULTS, **self.defaults}, config, self.names)
        fields.count_as_read(*self.reads, *self.layer_types.reads)
        specs: dict[Place, AttentionSpec] = {}
        for layer in range(fields.integer("num_hidden_layers")):
            layer_type = self._layer_type(fields, layer)
            if layer_type in ATTENDS:
                spec = self._spec(At(fields.of_layer(layer), layer, layer_type))
                for name in self.attention:
                    specs[tuple(each.format(i=layer, half=layer // 2) for each in alternatives(name))] = spec
        if not specs:
            raise CheckpointError("config.json describes no layer with attention; check its layer types.")
        return specs, fields

    def _layer_type(self, fields: Fields, layer: int) -> str:
        types = fields["layer_types"]
        return self.layer_types.of(fields, layer) if types is None else listed_type(types, layer)

    def _spec(self, at: At) -> AttentionSpec:
        fields = at.fields
        heads, d_model = fields.integer("num_attention_heads"), fields.integer("hidden_size")
        d_head = fields.optional_integer("head_dim") or d_model // heads
        norm = self.qk_norm if not self.qk_norm_if or fields[self.qk_norm_if] else None
        dropout = fields["attention_dropout"]
        spec = AttentionSpec(
            heads=heads,
            kv_heads=fields.optional_integer("num_key_value_heads") or heads,
            d_head=d_head,
            d_model=d_model,
            scale=d_head**-0.5 if self.scale is None else fields.number(self.scale[0]) ** self.scale[1],
            rope=self._rope(at, d_head),
            mask=self._mask(at),
            layout=self.layout,
            qkv_bias=fields.flag(self.qkv_bias),
            output_bias=fields.flag(self.output_bias),
            query_norm=self._norm(norm, fields),
            key_norm=self._norm(norm, fields),
            value_norm=self._norm(self.value_norm, fields),
            output_norm=self._norm(self.output_norm, fields),
            softcap=None if self.softcap is None else fields[self.softcap],
            clip=None if self.clip is None else fields.get(self.clip),
            gate=self.gate,
            sinks=self.sinks is not None and self.sinks(at),
            dropout=float(dropout or 0.0),
        )
        return self.change(spec, at)

    def _rope(self, at: At, d_head: int) -> RopeSpec | None:
        rope, turns = self.rope(at, d_head), self.rope_layers(at)
        if rope is None or not turns:
            return None
        return replace(rope, style=self.rope_style, wide=self.rope_wide)

    def _mask(self, at: At) -> MaskRule:
        window, chunk = at.fields.get(self.window), at.fields["attention_chunk_size"]
        return MaskRule(
            window=window if at.layer_type in SLIDES else None,
            chunk=chunk if at.layer_type == CHUNKED else None,
            given=at.layer_type in CHOSEN,
        )

    def _norm(self, norm: NormSpec | None, fields: Fields) -> NormSpec | None:
        return None if norm is None else replace(norm, eps=fields.number(self.norm_eps) if self.norm_eps else norm.eps)

    def stacked(self, ours: str) -> Stacked | None:
        """Say whether a checkpoint holds one of our parameters as a part of a taller matrix.

        Args:
            ours: its name here, such as "projections.q_proj.weight".

        Returns:
            Which part of which; None where it is a tensor of its own.
        """
        name = self.tensors.get(ours.rpartition(".")[0])
        return name if isinstance(name, Stacked) else None

    def tensor_names(self, ours: str, heads: int) -> list[tuple[str, ...]]:
        """List the checkpoint's names, within the attention module, for one of our parameters.

        Args:
            ours: its name here, such as "projections.q_proj.weight".
            heads: how many heads it has, where a checkpoint has one tensor for each.

        Returns:
            Alternatives; each is the tensors that, stacked, are the parameter.
        """
        names = {**STANDARD_TENSORS, **self.tensors}
        if ours in names:
            return names_in_checkpoint(names[ours], "", heads)
        module, _, kind = ours.rpartition(".")
        return names_in_checkpoint(names[module], kind, heads)
