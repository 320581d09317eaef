"""One short pass of a model goes in; what it tells of each attention layer comes out: whether positions turn its
queries, and what a trace keeps of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from inspector.capture.recorder import Recorder
from inspector.capture.records import Call
from inspector.capture.rerun import turns

TOKENS = 8


@dataclass(frozen=True)
class KeptLayer:
    """What a trace keeps of one layer. vectors: numbers in a token's query, key and value vectors. The rest in bytes:
    beside: a token's input, output, residual. token, pair: of a bias or of a mask that is no rule, for each token and
    each (query, key). sinks, sinks_token: of sinks, whatever the length and for each token."""

    vectors: int
    beside: Mapping[str, int]
    token: int
    pair: int
    sinks: int
    sinks_token: int

    @classmethod
    def of(cls, call: Call) -> KeptLayer:
        """What this call kept, of its own tokens: at least two."""
        count = call.query.shape[1]
        mask = call.mask.nbytes if isinstance(call.mask, Tensor) else 0
        bias = 0 if call.bias is None else call.bias.nbytes
        own_row = call.bias is not None and call.bias.shape[1] == count  # else one row says all queries'
        sinks = 0 if call.sinks is None else call.sinks.nbytes
        own_sink = call.sinks is not None and call.sinks.ndim == 2
        beside = {"input": call.input, "output": call.output, "residual": call.residual}
        return cls(
            vectors=sum(vectors.numel() for vectors in (call.query, call.key, call.value)) // count,
            beside={name: kept.nbytes // count for name, kept in beside.items() if kept is not None},
            token=0 if own_row else bias // count,
            pair=(mask + (bias if own_row else 0)) // count**2,
            sinks=0 if own_sink else sinks,
            sinks_token=sinks // count if own_sink else 0,
        )


@dataclass(frozen=True)
class Probe:
    """Of each attention layer, in calling order. turning: whether positions turn its queries (None: it cannot be told).
    layers: what a trace keeps of it. logits: bytes of those after a prompt's last token."""

    turning: tuple[bool | None, ...]
    layers: tuple[KeptLayer, ...]
    logits: int

    @classmethod
    def of(cls, recorder: Recorder, logits: Tensor | None) -> Probe:
        """What this pass, of two tokens or more and everything kept, has shown."""
        return cls(
            turning=tuple(turns(call) if call.entered is not None else None for call in recorder.calls),
            layers=tuple(map(KeptLayer.of, recorder.calls)),
            logits=0 if logits is None else logits.nbytes,
        )
