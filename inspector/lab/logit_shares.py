"""Split a next token's logit into what each part of the model wrote: embedding, heads, MLPs, or heads by source token.

It is a direct share: what a part adds to the logit by its own vector, the norms held at the scale that they had. What a
part does to later parts is not in it; `lab.experiment` and `lab.sweep` measure that.
Source: direct logit attribution, as in Wang et al. 2022, https://arxiv.org/abs/2211.00593.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import pandas as pd
import torch
from torch import Tensor

from inspector.analysis.logit_terms import Foil, LogitSum, logit_sum
from inspector.analysis.residual_terms import AttentionPart, ResidualSum, head_contexts, recorded, residual_sum
from inspector.errors import InspectorError
from inspector.lab.effects import token_id
from inspector.model.model import model_of
from inspector.text import refuse_other
from inspector.trace.trace import Trace
from inspector.trace.whole_numbers import shown, whole_number

By = Literal["head", "component", "source"]
MISS = 1e-5  # of max(1, |logit|), the larger of two that are compared: float32 rounds each by its own size


def attribution(
    trace: Trace,
    token: str | int | None = None,
    against: str | int | None = None,
    *,
    query: int = -1,
    by: By = "head",
) -> pd.DataFrame:
    """Split the logit of a next token into direct shares of the parts of the model, which add up to it.

    Args:
        trace: the prompt's trace.
        token: the next token, a text that is one token or an id; None: the most probable one.
        against: what its logit is compared with: another token, likewise, or "mean", the mean of the vocabulary (the
            token of this text is given by its id); None: nothing, the shares are those of the logit itself.
        query: the token after which it stands, by its position (negative: from the end).
        by: "component" (embedding, each layer's attention and MLP), "head" (attention by head) or "source" (each
            head by the token that it looks at).

    Returns:
        A row a part: part, kind (embedding, attention, head, bias, mlp; of blocks without attention also mixer, and
            difference: their output minus their input), layer, head, source and source_token where
        they tell parts apart, and share, in the unit of logits. `frame.attrs` has token, label, against, query, by,
        logit (before a soft-cap), remainder (the logit minus the sum of the shares), limit (how large that may be),
        cap and after_cap (where the model has a soft-cap: its limit, and the difference of logits after it).

    Raises:
        InspectorError: the parts do not add up to the logit in this model, or there is no such token, position or head.
        NoModel: the trace was opened from a file, without its model.
    """
    refuse_other(by, get_args(By), "way to split a logit")
    return LogitParts(trace, query, heads=by != "component").frame(token, against, by)


class LogitParts:
    """One token's final residual stream in parts, from which any next token's logit can be split. One pass is run."""

    def __init__(self, trace: Trace, query: int = -1, *, heads: bool = True) -> None:
        """Run the pass.

        Args:
            trace: the prompt's trace.
            query: the token after which next tokens stand, by its position (negative: from the end).
            heads: whether heads will be told apart.

        Raises:
            InspectorError: as `attribution`.
        """
        self.trace, self.query = trace, position(trace, query)
        self.model = model_of(trace, "what its parts write")
        run = recorded(trace, [self.query])
        self.sum: ResidualSum = residual_sum(run, heads=heads)
        self.logits: LogitSum = logit_sum(self.model, run.recorder, self.sum.result, run.next_logits())

    @cached_property
    def contexts(self) -> list[Tensor]:
        """Each layer's heads' context vectors [h, d_value]."""
        return [head_contexts(self.trace, part, [self.query])[:, 0] for part in self.sum.attention]

    def chosen(self, token: str | int | None, against: str | int | None) -> tuple[int, Foil]:
        """Return the ids of a token and its foil.

        Args:
            token: as in `attribution`.
            against: as in `attribution`.
        """
        first = int(self.logits.logits.argmax()) if token is None else token_id(token, self.model)
        if against is None:
            return first, None
        return first, "mean" if against == "mean" else token_id(against, self.model)

    def frame(self, token: str | int | None, against: str | int | None, by: By) -> pd.DataFrame:
        """Split a logit.

        Args:
            token: as in `attribution`.
            against: as in `attribution`.
            by: as in `attribution`.

        Returns:
            The frame of `attribution`.

        Raises:
            InspectorError: the parts do not add up to it.
        """
        y, foil = self.chosen(token, against)
        u, constants = self.logits.direction(y, foil)
        rows = [row.record() for row in self._rows(u, by)]
        rows += [Row(name, "bias", share=share).record() for name, share in constants]
        frame = pd.DataFrame(rows, columns=list(Row("", "").record()))
        frame = frame.astype(dict.fromkeys(("layer", "head", "source"), "Int64"))
        if by != "source":
            frame = frame.drop(columns=["source", "source_token"])
        logit = self.logits.value(self.logits.before_cap, y, foil)
        remainder = logit - float(frame["share"].sum())
        each = (self.logits.value(self.logits.before_cap, y, None), logit)  # the token's own, and less its foil's
        limit = MISS * max(1.0, abs(each[0]), abs(each[0] - each[1]))
        if not abs(remainder) <= limit:
            raise InspectorError(
                f"The {len(frame)} parts of {self.model.name} add up to {logit - remainder:.6g}, and the logit is "
                f"{logit:.6g}: they miss it by {abs(remainder):.2g}, more than the {limit:.1g} that float32 sums may, "
                "so no share is shown; load the model in float32, or take another."
            )
        frame.attrs = {
            "token": y,
            "label": self._label(y),
            "against": foil,
            "against_label": self._label(foil) if isinstance(foil, int) else foil,
            "query": self.query,
            "by": by,
            "logit": logit,
            "remainder": remainder,
            "limit": limit,
            "cap": self.logits.cap,
            "after_cap": None if self.logits.cap is None else self.logits.value(self.logits.logits, y, foil),
        }
        return frame

    def _label(self, token: int) -> str:
        return self.model.tokenize([token]).labels[0]

    def _rows(self, u: Tensor, by: By) -> Iterator[Row]:
        """Yield every part with its share in the direction `u` [m] of the residual stream."""
        yield Row("embedding", "embedding", share=_product(self.sum.embedding, u))
        for part, others, before in zip(self.sum.attention, self.sum.others, self.sum.between[:-1], strict=True):
            yield from (Row(one.part, one.kind, share=_product(one.vectors, u)) for one in before)
            if by == "component":
                yield Row(f"attention {part.layer}", "attention", part.layer, share=_product(part.added, u))
            else:
                yield from self._head_rows(part, u, by)
                if (bias := part.bias()) is not None:
                    yield Row(f"bias of attention {part.layer}", "bias", part.layer, share=_product(bias, u))
            for number, other in enumerate(others):
                name = f"MLP {part.layer}" + (f" ({number + 1})" if number else "")
                yield Row(name, "mlp", part.layer, share=_product(other, u))
        yield from (Row(one.part, one.kind, share=_product(one.vectors, u)) for one in self.sum.between[-1])

    def _head_rows(self, part: AttentionPart, u: Tensor, by: By) -> Iterator[Row]:
        context = self.contexts[self.sum.attention.index(part)]
        through = self.through(part, u)
        if by == "head":
            for head, share in enumerate((context * through).sum(-1).tolist()):
                yield Row(f"head {part.layer}.{head}", "head", part.layer, head, share=share)
            return
        shares = self.by_source(part, u)
        for head, sources in enumerate(shares.tolist()):
            for source, share in enumerate(sources):
                label = self.trace.tokens.labels[source]
                yield Row(f"head {part.layer}.{head}", "head", part.layer, head, source, label, share)

    def through(self, part: AttentionPart, u: Tensor) -> Tensor:
        """Return the direction of each head's context vector that stands for `u`, its gate not among it.

        Args:
            part: the layer.
            u: [m], in the residual stream.

        Returns:
            [h, d_value].
        """
        return torch.einsum("hmd,m->hd", part.output_matrix(), part.back(u))

    def by_source(self, part: AttentionPart, u: Tensor) -> Tensor:
        """Return each head's share by the token that it looks at.

        Args:
            part: the layer.
            u: [m], in the residual stream.

        Returns:
            [h, s], of the tokens up to the query; their sum is the head's share.

        Raises:
            InspectorError: the layer's head outputs were edited, so that they are no sum of values.
        """
        if self.trace.stored[part.layer].edited_context is not None:
            raise InspectorError(
                f"The head outputs of layer {part.layer} were edited, so they are no sum over source tokens; trace the "
                "prompt without that edit."
            )
        through, gate = self.through(part, u), part.gate()
        if gate is not None:
            through = through * gate[:, 0]
        weights = self.trace.weights(part.layer, queries=[self.query])[:, 0].detach().double()  # [h, s]
        value = self.trace.value(part.layer).detach().double()  # [g, s, d_value]
        each = torch.einsum("gsd,gjd->gjs", value, through.unflatten(0, (len(value), -1))).flatten(0, 1)  # [h, s]
        return (weights * each)[:, : self.query + 1]


@dataclass(frozen=True)
class Row:
    """One part and its share."""

    part: str
    kind: str
    layer: int | None = None
    head: int | None = None
    source: int | None = None
    source_token: str | None = None
    share: float = 0.0

    def record(self) -> dict[str, Any]:
        """Return it as a row of the frame."""
        return dict(vars(self))


def position(trace: Trace, query: int) -> int:
    """Return a token's position, counted from 0.

    Args:
        trace: the prompt's trace.
        query: the position; negative: from the end.

    Returns:
        The position.

    Raises:
        InspectorError: there is no such token.
    """
    number = whole_number(query)
    if number is None or not -trace.n <= number < trace.n:
        raise InspectorError(f"Query token {shown(query)} does not exist: this prompt has tokens 0 to {trace.n - 1}.")
    return number % trace.n


def _product(vectors: Tensor, u: Tensor) -> float:
    return float(vectors[0].double() @ u)
