"""Read what a head does off its weights alone: its OV circuit, its QK circuit by distance, without a prompt.

The norms before and after are folded in by their weights; their scales, which depend on a prompt, are left out, so that
numbers compare tokens or heads and have no unit. Source: Elhage et al. 2021, "A mathematical framework for transformer
circuits".
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from inspector.analysis.frozen_steps import FrozenStep, frozen
from inspector.analysis.logit_terms import logit_sum
from inspector.analysis.residual_terms import recorded, residual_sum
from inspector.analysis.rope_planes import Turning, turning
from inspector.errors import InspectorError
from inspector.model.model import Model

TOKENS = 4  # of the short pass that shows which norms stand where


class Circuits:
    """The matrices of a model's heads, as they act between the residual stream and itself, and on embeddings."""

    def __init__(self, model: Model) -> None:
        """Run a few tokens, to see which norms stand before and after each layer's attention.

        Args:
            model: the model.

        Raises:
            InspectorError: what its blocks write is no sum of parts, or its family is not reimplemented.
        """
        self.model = model
        self._trace = model.trace([1 + i % (model.vocabulary - 1) for i in range(TOKENS)])
        run = recorded(self._trace, [TOKENS - 1])
        self._sum = residual_sum(run)
        self._logits = logit_sum(model, run.recorder, self._sum.result, run.next_logits())
        self._blocks = run.recorder.blocks

    def matrices(self, layer: int, head: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return W_q, W_k [d, m], W_v [d_value, m] and W_o [m, d_value] with the norms' weights folded in, float64.

        Args:
            layer: counted from 0.
            head: a query head, counted from 0.
        """
        part = self._sum.attention[layer]
        assert part.ours is not None  # noqa: S101  (heads were asked for)
        w_q, w_k, w_v, w_o = (one.detach().double() for one in part.ours.head_matrices(head))
        step = self._input_step(layer)
        if step is not None:
            w_q, w_k, w_v = (step.back(one) for one in (w_q, w_k, w_v))
        for after in part.steps:
            w_o = _unit(after).apply(w_o.T[:, None])[:, 0].T
        return w_q, w_k, w_v, w_o

    def embedded(self, ids: Tensor, layer: int) -> Tensor:
        """Return tokens' embeddings as they would come out of a layer's input norm, its weight aside [k, m].

        Args:
            ids: token ids [k].
            layer: counted from 0.
        """
        rows: Tensor = self.model.model.get_input_embeddings().weight[ids].detach().double()
        step = self._input_step(layer)
        if step is None:
            return rows
        rows = rows - rows.mean(-1, keepdim=True) if step.centred else rows
        return rows / rows.pow(2).mean(-1, keepdim=True).sqrt().clamp_min(1e-30)

    def unembedding(self, ids: Tensor | None = None) -> Tensor:
        """Return rows of the output embeddings with the final norm's weight folded in [k or vocabulary, m].

        Args:
            ids: token ids [k]; None: all.
        """
        rows = self._logits.matrix.detach()
        rows = rows if ids is None else rows[ids].double()
        for step in reversed(self._logits.steps):
            unit = _unit(step)
            rows = rows * unit.weight.to(rows.dtype)
            rows = rows - rows.mean(-1, keepdim=True) if unit.centred else rows
        return rows

    def rotation(self, layer: int, distance: int) -> Tensor:
        """Return the matrix between a query and a key that stands so many tokens before it [d, d].

        Args:
            layer: counted from 0.
            distance: in tokens.
        """
        d_head = self.model.layers[layer].d_head
        found = torch.eye(d_head, dtype=torch.float64)
        planes = self._planes[layer]
        if planes is None:
            return found
        angles = torch.from_numpy(planes.angles(1)) * -distance  # of the key, as seen from the query
        cos, sin = angles.cos() * planes.factor**2, angles.sin() * planes.factor**2
        first, second, scaled = (torch.from_numpy(x) for x in (planes.first, planes.second, planes.scaled))
        found[scaled, scaled] = planes.factor**2
        found[first, first], found[second, second] = cos, cos
        found[first, second], found[second, first] = -sin, sin
        return found

    @cached_property
    def _planes(self) -> list[Turning | None]:
        layers = self.model.layers
        return [None if info.rope is False else turning(self._trace, info.index) for info in layers]

    def _input_step(self, layer: int) -> FrozenStep | None:
        block = self._blocks[layer]
        if not block.input_known:
            raise InspectorError(f"What makes the attention input of layer {layer} could not be seen as it ran.")
        return None if block.input_step is None else _unit(frozen(block.input_step))


def _unit(step: FrozenStep) -> FrozenStep:
    return replace(step, scale=torch.ones_like(step.scale))


def refuse_no_head(model: Model, layer: int, head: int) -> None:
    """Refuse a layer or head that does not exist.

    Args:
        model: the model.
        layer: counted from 0.
        head: counted from 0.

    Raises:
        InspectorError: there is none.
    """
    layers = model.layers
    if not 0 <= layer < len(layers) or not 0 <= head < layers[layer].heads:
        raise InspectorError(
            f"There is no head {layer}.{head}: {model.name} has layers 0 to {len(layers) - 1}, with "
            f"{layers[0].heads} heads in the first."
        )
