"""Follow one token's final residual stream to its logits, so that a logit becomes a sum over what was written into it.

logit of y = (final norm of the residual stream) · (row y of the output embeddings) + bias, times a factor in some
models. The norm is held at the scale that it had for this token. A soft-cap after that is no sum: the shares add up to
the logit before it. Source: Elhage et al. 2021 (direct path), Wang et al. 2022, https://arxiv.org/abs/2211.00593.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from inspector.analysis.frozen_steps import FrozenStep, factor_between, frozen
from inspector.capture.residual_parts import Passed, ResidualPartsRecorder
from inspector.errors import InspectorError
from inspector.model.matrices import own_matrix
from inspector.model.model import Model

ROUNDINGS = 8  # of the largest logit: a factor and a tanh
Foil = int | Literal["mean"] | None


@dataclass(frozen=True)
class LogitSum:
    """How the final residual stream of one token becomes its logits.

    Attributes:
        steps: what stands between the last block and the output embeddings, each with its scale frozen.
        matrix: the output embeddings [vocabulary, m].
        bias: [vocabulary], or None.
        factor: what the products are multiplied by.
        cap: the limit that a soft-cap puts on logits; None where there is none.
        before_cap: the logits before that [vocabulary], float64; the model's own where there is none.
        logits: the model's logits [vocabulary], float64.
    """

    steps: tuple[FrozenStep, ...]
    matrix: Tensor
    bias: Tensor | None
    factor: float
    cap: float | None
    before_cap: Tensor
    logits: Tensor

    def value(self, logits: Tensor, token: int, foil: Foil) -> float:
        """Return a token's logit, against its foil where there is one.

        Args:
            logits: [vocabulary].
            token: its id.
            foil: another's id, "mean" for the mean of all, or None.
        """
        return float(logits[token] - (0 if foil is None else logits.mean() if foil == "mean" else logits[foil]))

    def direction(self, token: int, foil: Foil) -> tuple[Tensor, list[tuple[str, float]]]:
        """Return the direction in the residual stream whose product with a part is the part's share.

        Args:
            token: the token's id.
            foil: another's id, "mean" for the mean of all, or None.

        Returns:
            [m], in float64; and the shares that belong to no part of the residual stream, by name: biases.
        """
        u = self._row(self.matrix, token, foil) * self.factor
        constants = []
        if self.bias is not None:
            constants.append(("bias of the output embeddings", float(self._row(self.bias, token, foil)) * self.factor))
        for step in reversed(self.steps):
            if step.bias is not None:
                constants.append(("bias of the final norm", float(step.bias @ u)))
            u = step.back(u)
        return u, constants

    def of_vectors(self, vectors: Tensor) -> Tensor:
        """Return what parts of the residual stream add to every logit, biases aside.

        Args:
            vectors: [..., m].

        Returns:
            [..., vocabulary], float32 or wider.
        """
        for step in self.steps:
            vectors = step.apply(vectors[..., None, :])[..., 0, :]
        return vectors.to(self.matrix.dtype) @ self.matrix.T * self.factor

    def _row(self, table: Tensor, token: int, foil: Foil) -> Tensor:
        row = table[token].double()
        if foil is None:
            return row
        return row - (table.mean(0, dtype=torch.float64) if foil == "mean" else table[foil].double())


def logit_sum(model: Model, recorder: ResidualPartsRecorder, last: Tensor, logits: Tensor) -> LogitSum:
    """Find how the final residual stream of the one token that was recorded became its logits.

    Args:
        model: the model.
        recorder: of a pass, of one token.
        last: what the last block returned for it [1, m].
        logits: the model's [1, vocabulary].

    Returns:
        The way, checked in every element.

    Raises:
        InspectorError: something else stands between the last block and the logits.
    """
    head = model.model.get_output_embeddings()
    called = next((one for one in reversed(recorder.outside) if one.module is head), None)
    if called is None or not isinstance(head, nn.Module):
        raise InspectorError(f"What the output embeddings of {model.name} receive could not be read from it as it ran.")
    steps = _chain(model, last, called, recorder.outside)
    factor, cap, before_cap = _after_products(model, called.returned[0].double(), logits[0].double())
    bias = getattr(head, "bias", None)
    return LogitSum(
        steps=steps,
        matrix=own_matrix(head, model.dtype),
        bias=None if bias is None else bias.detach(),
        factor=factor,
        cap=cap,
        before_cap=before_cap,
        logits=logits[0].double(),
    )


def _chain(model: Model, last: Tensor, head: Passed, outside: Sequence[Passed]) -> tuple[FrozenStep, ...]:
    """Return what leads from the last block's result to what the output embeddings receive."""
    steps, at = [], last
    for one in outside:
        done = one is head or torch.equal(at, head.received)
        if not done and torch.equal(one.received, at) and one.returned.shape == at.shape:
            steps.append(frozen(one))
            at = one.returned
    if torch.equal(at, head.received):
        return tuple(steps)
    try:
        return (*steps, factor_between(at, head.received))
    except InspectorError as error:
        raise InspectorError(
            f"What stands between the last block of {model.name} and its logits is no norm or factor that was seen "
            "as it ran, so no logit is split."
        ) from error


def _after_products(model: Model, products: Tensor, logits: Tensor) -> tuple[float, float | None, Tensor]:
    """Return the factor and the soft-cap [vocabulary] that make logits of products, and the logits before the cap."""
    room = ROUNDINGS * torch.finfo(model.dtype).eps * float(logits.abs().max())
    if torch.equal(products, logits):
        return 1.0, None, logits
    factor = float(products @ logits / (products @ products))
    if float((products * factor - logits).abs().max()) <= room:
        return factor, None, logits
    cap = _cap(products, logits)
    off = float((cap * torch.tanh(products / cap) - logits).abs().max())
    if not off <= room:
        raise InspectorError(
            f"The logits of {model.name} are its output embeddings' products neither times a factor nor soft-capped: "
            f"the nearest soft-cap misses them by {off:.2g}, more than {room:.1g} of rounding; no logit is split."
        )
    return 1.0, cap, products


def _cap(products: Tensor, logits: Tensor) -> float:
    """Return the limit c for which c·tanh(product / c) is the logit of the largest product: it grows with c."""
    at = int(products.abs().argmax())
    product, logit = float(products[at].abs()), float(logits[at].abs())
    low, high = max(logit, 1e-30), 1e6
    for _ in range(100):
        middle = (low + high) / 2
        value = middle * float(torch.tanh(torch.tensor(product / middle, dtype=torch.float64)))
        low, high = (middle, high) if value < logit else (low, middle)
    return (low + high) / 2
