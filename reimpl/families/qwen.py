"""Qwen, from 2 to 4, and the multimodal models that speak with it."""

from __future__ import annotations

from dataclasses import replace

from reimpl.families.family import Family
from reimpl.families.layer_types import (
    EVEN_BELOW_MAX_WINDOW_LAYERS,
    FROM_MAX_WINDOW_LAYERS,
    INDEXED,
    OTHER,
    SLIDING_WHEN_USED,
    every,
)
from reimpl.spec import GateSpec, NormSpec

HEAD_NORM = NormSpec(eps=0.0)

QWEN2 = Family(qkv_bias=True, output_bias=False, layer_types=FROM_MAX_WINDOW_LAYERS)
QWEN3 = Family(qk_norm=HEAD_NORM, layer_types=FROM_MAX_WINDOW_LAYERS)
# The second half of each head's rows in W_q is a gate on what the head gives.
QWEN3_NEXT = Family(
    layer_types=every("full_attention_interval", 4, otherwise=OTHER),
    qk_norm=NormSpec(eps=0.0, plus_one=True),
    gate=GateSpec("query"),
)

QWEN: dict[str, Family] = {
    "qwen2": QWEN2,
    "qwen2_vl_text": QWEN2,
    "qwen2_5_vl_text": QWEN2,
    "qwen2_5_omni_text": QWEN2,
    "qwen2_moe": Family(qkv_bias="qkv_bias", output_bias=False, layer_types=EVEN_BELOW_MAX_WINDOW_LAYERS),
    "qwen3": QWEN3,
    "qwen3_moe": Family(qk_norm=HEAD_NORM, layer_types=SLIDING_WHEN_USED),
    "qwen3_vl_text": Family(qk_norm=HEAD_NORM),
    "qwen3_vl_moe_text": Family(qk_norm=HEAD_NORM),
    "qwen3_omni_moe_text": Family(qk_norm=HEAD_NORM),
    "qwen3_next": QWEN3_NEXT,
    "qwen4_exp_text": replace(
        QWEN3_NEXT,
        layer_types=every("full_attention_interval", 4, otherwise=OTHER, layer_type=INDEXED),
        ignored=("indexer.",),
    ),
    "qwen3_5_text": QWEN3_NEXT,
    "qwen3_5_moe_text": QWEN3_NEXT,
}
