"""A model's config and a prompt length go in; what the work comes to (operations, bytes) comes out, and what this
machine can do: the yardsticks that the measured seconds are held against.

Counted is what any implementation must do: matrix products (a multiplication and an addition are two operations) and
the numbers that must be kept. Norms, activations and softmax are left out: they are a few operations a number.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class Size:
    """What matters of a model. `d_model`, `d_ff`, `d_head`: widths of the block, its MLP, one head."""

    layers: int
    heads: int
    kv_heads: int
    d_head: int
    d_model: int
    d_ff: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Size:
        """From the library's config of a Llama-like model."""
        return cls(
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            d_head=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            d_model=config.hidden_size,
            d_ff=config.intermediate_size,
            vocabulary=config.vocab_size,
        )

    def linear(self, n: int) -> int:
        """Operations of the projections and MLPs of all layers, and of the last token's logits."""
        attention = 2 * self.d_model * self.d_head * (self.heads + self.kv_heads)  # W_q and W_o, W_k and W_v
        mlp = 3 * self.d_model * self.d_ff  # gate, up, down
        return 2 * n * self.layers * (attention + mlp) + 2 * self.d_model * self.vocabulary

    def attention(self, n: int) -> int:
        """Operations of scores and of weighted values of all heads, over the pairs that causality allows."""
        pairs = n * (n + 1) // 2
        return 4 * pairs * self.d_head * self.heads * self.layers

    def all_weights(self, n: int) -> int:
        """Bytes of every head's n x n weights: what has to be kept where they are kept."""
        return FLOAT * self.layers * self.heads * n * n

    def one_layer(self, n: int) -> int:
        """Bytes of one layer's n x n weights: what eager attention holds for a moment, more than once."""
        return FLOAT * self.heads * n * n

    def vectors(self, n: int) -> int:
        """Bytes of every layer's queries, keys and values: what a capture keeps."""
        return FLOAT * self.layers * n * self.d_head * (self.heads + 2 * self.kv_heads)


def yardsticks(side: int = 2048, megabytes: int = 256, rounds: int = 5) -> dict[str, float]:
    """What this machine does now: operations a second of a float32 matrix product of `side`, and of one as wide as the
    packaged model's largest; bytes a second (read and written) of a copy too large for any cache. Medians."""
    import torch

    def best(work: Any) -> float:
        work()
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)

    a, b = torch.rand(side, side), torch.rand(side, side)
    narrow, wide = torch.rand(side, 576), torch.rand(576, 1536)
    source = torch.rand(megabytes * 2**18)
    target = torch.empty_like(source)
    return {
        "matmul": 2 * side**3 / best(lambda: a @ b),
        "matmul_model": 2 * side * 576 * 1536 / best(lambda: narrow @ wide),
        "copy": 2 * source.nbytes / best(lambda: target.copy_(source)),
    }
