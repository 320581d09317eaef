"""Compute what the work of a pass comes to in operations and bytes, and measure what this machine can do.

These are the yardsticks that the measured seconds are compared with. Counted is what any implementation must do:
matrix products (a multiplication and an addition are two operations) and the numbers that must be stored. Norms,
activations and softmax are left out: they are a few operations a number.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class Size:
    """What matters of a model.

    Attributes:
        layers: attention layers.
        heads: query heads.
        kv_heads: key/value heads.
        d_head: width of one head.
        d_model: width of the block.
        d_ff: width of its MLP.
        vocabulary: tokens that the model knows.
    """

    layers: int
    heads: int
    kv_heads: int
    d_head: int
    d_model: int
    d_ff: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Size:
        """Read the sizes from the library's config of a Llama-like model.

        Args:
            config: the config, or anything with its attributes.

        Returns:
            The sizes.
        """
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
        """Count the operations of the projections and MLPs of all layers, and of the last token's logits.

        Args:
            n: tokens.

        Returns:
            Operations.
        """
        attention = 2 * self.d_model * self.d_head * (self.heads + self.kv_heads)  # W_q and W_o, W_k and W_v
        mlp = 3 * self.d_model * self.d_ff  # gate, up, down
        return 2 * n * self.layers * (attention + mlp) + 2 * self.d_model * self.vocabulary

    def attention(self, n: int) -> int:
        """Count the operations of scores and of weighted values of all heads, over the pairs that causality allows.

        Args:
            n: tokens.

        Returns:
            Operations.
        """
        pairs = n * (n + 1) // 2
        return 4 * pairs * self.d_head * self.heads * self.layers

    def all_weights(self, n: int) -> int:
        """Return the bytes of every head's n x n weights: what has to be stored where they are stored.

        Args:
            n: tokens.

        Returns:
            Bytes.
        """
        return FLOAT * self.layers * self.heads * n * n

    def one_layer(self, n: int) -> int:
        """Return the bytes of one layer's n x n weights: what eager attention has for a moment, more than once.

        Args:
            n: tokens.

        Returns:
            Bytes.
        """
        return FLOAT * self.heads * n * n

    def vectors(self, n: int) -> int:
        """Return the bytes of every layer's queries, keys and values: what a capture stores.

        Args:
            n: tokens.

        Returns:
            Bytes.
        """
        return FLOAT * self.layers * n * self.d_head * (self.heads + 2 * self.kv_heads)


def yardsticks(side: int = 2048, megabytes: int = 256, rounds: int = 5) -> dict[str, float]:
    """Measure what this machine does now, as medians.

    Args:
        side: of the matrices that are multiplied.
        megabytes: of the copy, too large for any cache.
        rounds: how often each is timed.

    Returns:
        matmul: operations a second of a float32 matrix product.
        matmul_model: of one as wide as the packaged model's largest.
        copy: bytes a second, read and written.
    """
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
