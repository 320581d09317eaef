"""The stations of the Walkthrough, in the order of computation: name (as in the address) -> title."""

from __future__ import annotations

STATIONS = {
    "tokens": "Tokens and their embeddings",
    "input": "The attention input",
    "matrices": "W_q, W_k, W_v: what this head has learned",
    "vectors": "Query, key and value vectors",
    "rope": "RoPE: turned by position",
    "pair": "One key at a time: the dot product",
    "scores": "The row of scores",
    "scaling": "Scaling",
    "mask": "The mask",
    "softmax": "Softmax: scores become weights",
    "values": "Weighted values",
    "context": "The context vector",
    "heads": "All heads side by side",
    "output": "W_o: each head's share of the output",
    "residual": "Added to the token's vector",
    "next": "The next layer",
}
