"""Llama's attention, complete on one page: the place to start reading. Nothing is imported but torch.

A token's vector x (m numbers) asks a question (query), offers a label (key) and carries content (value), once for each
head. Each query is compared with the keys of its own and earlier tokens; the softmax turns the comparisons into
weights; the values, summed by these weights, are what the token takes from the others.

    weights = softmax(query · key / sqrt(d)), earlier tokens only        output = (weights · value) W_o

Letters: b batch, t query token, s key token, h query head, g key/value head, d width of a head, m width of the model.
Papers: attention, Vaswani et al. 2017 (arXiv 1706.03762); RoPE, Su et al. 2021 (2104.09864); key/value heads shared by
groups of query heads, Ainslie et al. 2023 (2305.13245). The general layer, for all families, is attention.py.
"""

import torch
from torch import Tensor, nn


class LlamaAttention(nn.Module):
    """Compute one layer's attention, under the parameter names of Llama's files.

    Args:
        heads: how many queries each token asks.
        kv_heads: how many keys and values it has; each serves heads / kv_heads queries.
        d_head: numbers in one query, key or value; even.
        d_model: numbers in a token's vector.
        theta: RoPE's base, `rope_theta` in config.json.
    """

    def __init__(self, *, heads: int, kv_heads: int, d_head: int, d_model: int, theta: float = 10000.0) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.d_head, self.theta = heads, kv_heads, d_head, theta
        self.q_proj = nn.Linear(d_model, heads * d_head, bias=False)
        self.k_proj = nn.Linear(d_model, kv_heads * d_head, bias=False)
        self.v_proj = nn.Linear(d_model, kv_heads * d_head, bias=False)
        self.o_proj = nn.Linear(heads * d_head, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the attention output, tokens counted from 0.

        Args:
            x: attention input [b, t, m].

        Returns:
            The attention output [b, t, m].
        """
        b, t, _ = x.shape

        # Project, and cut into heads: head 0 is the first d numbers, head 1 the next.
        query = self.q_proj(x).view(b, t, self.heads, self.d_head).transpose(1, 2)  # [b, h, t, d]
        key = self.k_proj(x).view(b, t, self.kv_heads, self.d_head).transpose(1, 2)  # [b, g, t, d]
        value = self.v_proj(x).view(b, t, self.kv_heads, self.d_head).transpose(1, 2)  # [b, g, t, d]

        # Turn queries and keys by their positions, so that a score depends on how far apart two tokens are.
        cos, sin = rope_tables(t, self.d_head, self.theta)  # [t, d/2]
        cos, sin = cos.to(x), sin.to(x)  # angles are formed in float32 whatever the model's dtype
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)

        # Each key/value head serves a group of query heads: 0 0 0 1 1 1 ...
        group = self.heads // self.kv_heads
        key = key.repeat_interleave(group, dim=1)  # [b, h, s, d]
        value = value.repeat_interleave(group, dim=1)  # [b, h, s, d]

        # Compare each query with each key. Without the scale, products of wide heads would make the softmax one-hot.
        scores = query @ key.transpose(-2, -1) * self.d_head**-0.5  # [b, h, t, s]

        # A token may look at itself and at those before it; the softmax turns -inf into a weight of exactly 0.
        mask = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()  # [t, s]
        scores = scores.masked_fill(~mask, float("-inf"))
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(x.dtype)  # [b, h, t, s], rows sum to 1

        # Sum the values by the weights, put the heads side by side, and mix them: the output projection.
        context = weights @ value  # [b, h, t, d]
        output: Tensor = self.o_proj(context.transpose(1, 2).flatten(2))  # [b, t, h*d] -> [b, t, m]
        return output


def rope_tables(t: int, d: int, theta: float) -> tuple[Tensor, Tensor]:
    """Compute cosine and sine of each plane's angle at positions 0 to t - 1, each [t, d/2] in float32.

    Args:
        t: how many tokens.
        d: width of a head. Plane i is dimensions i and i + d/2.
        theta: plane i turns by theta**(-2i/d) radians per position: fast planes tell near tokens apart, slow ones far.
    """
    per_position = 1.0 / theta ** (torch.arange(0, d, 2).float() / d)  # [d/2]
    angles = torch.arange(t).float()[:, None] * per_position[None, :]  # [t, d/2]
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the planes of queries or keys; no vector's length changes.

    Args:
        x: [b, heads, t, d].
        cos: cosine of each position and plane [t, d/2].
        sin: sine, likewise.
    """
    first, second = x.chunk(2, dim=-1)  # each [b, heads, t, d/2]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)  # [b, heads, t, d]
