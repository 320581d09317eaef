"""Learn from one short pass of a model whether each layer rotates its queries, and what a trace stores of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from inspector.capture.recorder import Recorder
from inspector.capture.records import Call
from inspector.capture.rerun import rotates

TOKENS = 8


@dataclass(frozen=True)
class LayerBytes:
    """How many bytes a trace stores of one layer.

    vectors: numbers (not bytes: they may be rounded) in a token's query, key and value vectors.
    beside:  bytes of a token's input, output and residual, by these names.
    token, pair: bytes of a bias or of a mask that is no rule, for each token and for each (query, key).
    sinks, sinks_token: bytes of sinks, whatever the prompt's length, and for each token.
    """

    vectors: int
    beside: Mapping[str, int]
    token: int
    pair: int
    sinks: int
    sinks_token: int

    @classmethod
    def of(cls, call: Call) -> LayerBytes:
        """Count what was stored of a call.

        Args:
            call: of two tokens or more, with everything stored.

        Returns:
            The counts, for each of its tokens and pairs of tokens.
        """
        count = call.query.shape[1]
        mask = call.mask.nbytes if isinstance(call.mask, Tensor) else 0
        bias = 0 if call.bias is None else call.bias.nbytes
        own_row = call.bias is not None and call.bias.shape[1] == count  # else one row says all queries'
        sinks = 0 if call.sinks is None else call.sinks.nbytes
        own_sink = call.sinks is not None and call.sinks.ndim == 2
        beside = {"input": call.input, "output": call.output, "residual": call.residual}
        return cls(
            vectors=sum(vectors.numel() for vectors in (call.query, call.key, call.value)) // count,
            beside={name: tensor.nbytes // count for name, tensor in beside.items() if tensor is not None},
            token=0 if own_row else bias // count,
            pair=(mask + (bias if own_row else 0)) // count**2,
            sinks=0 if own_sink else sinks,
            sinks_token=sinks // count if own_sink else 0,
        )


@dataclass(frozen=True)
class Probe:
    """What one short pass has shown of each attention layer, in calling order.

    turning: whether positions rotate its queries (None: it cannot be told).
    layers:  how many bytes a trace stores of it.
    outcome: bytes of what the pass ends in, such as the logits after the last token.
    """

    turning: tuple[bool | None, ...]
    layers: tuple[LayerBytes, ...]
    outcome: int

    @classmethod
    def of(cls, recorder: Recorder, outcome: Tensor | None) -> Probe:
        """Read what a pass has shown.

        Args:
            recorder: of a pass of two tokens or more, with input, output and residual stored.
            outcome: what it ended in, such as the logits [1, vocabulary] after the last token; None: nothing known.

        Returns:
            What is known of each layer.
        """
        return cls(
            turning=tuple(rotates(call) if call.arguments is not None else None for call in recorder.calls),
            layers=tuple(map(LayerBytes.of, recorder.calls)),
            outcome=0 if outcome is None else outcome.nbytes,
        )
