"""Causal multi-head self-attention with RoPE, from a checkpoint's files, on torch and safetensors alone.

layers = reimpl.load_layers("folder with config.json and model.safetensors")
output = layers[0](attention_input)          # [t, d_model] -> [t, d_model]
stages = layers[0].stages(attention_input)   # every query, key, value, weight and context vector on the way
"""

from reimpl.attention import AttentionTrace, CausalSelfAttention
from reimpl.checkpoint import build_layers, load_layers, read_config
from reimpl.spec import AttentionSpec, CheckpointError, UnsupportedError

__all__ = [
    "AttentionSpec",
    "AttentionTrace",
    "CausalSelfAttention",
    "CheckpointError",
    "UnsupportedError",
    "build_layers",
    "load_layers",
    "read_config",
]
