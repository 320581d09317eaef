"""Compute a layer's stages under settings: right ones, or with mistakes, from x or from numbers that are given.

Every step that is set as it should be is the reimplementation's own; given stages (somebody's) stand in for computed
ones, so that each step can be tried on somebody's own numbers of the step before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from inspector.judging.projection_step import moved, projected, rounded_to
from inspector.judging.settings import Projection, Settings, Turning
from inspector.judging.turning import turned
from inspector.judging.weighing import right_weighing, weighed
from inspector.verification.mistakes.core import MISTAKES
from reimpl.attention import CausalSelfAttention, ExternalInputs, context_vectors
from reimpl.norm import head_first
from reimpl.project import Projected, Projections

PARENTS: dict[str, tuple[str, ...]] = {
    "query_pre": (),
    "key_pre": (),
    "value": (),
    "query": ("query_pre",),
    "key": ("key_pre",),
    "weights": ("query", "key"),
    "context": ("weights", "value"),
    "output": ("context",),
}
PLANTED = {mistake.name: mistake for mistake in MISTAKES}
MOST_STORED = 2**28  # bytes of stages that a chain stores; the oldest are computed again when they are needed


def right_settings(layer: CausalSelfAttention) -> Settings:
    """Return the settings under which a layer computes what it should."""
    turning = Turning(layer.spec.rope)
    return Settings(turn_query=turning, turn_key=turning, weighing=right_weighing(layer))


class Chain:
    """One layer on one text: any stage under any settings, each computed once.

    Args:
        layers: all our layers, whose matrices may stand in the wrong place.
        index: which one is computed.
        x: its attention input [n, m].
        given: somebody's stages, which stand in for computed ones.
        external: what the layer takes from elsewhere in the model.
    """

    def __init__(
        self,
        layers: Sequence[CausalSelfAttention],
        index: int,
        x: Tensor,
        *,
        given: Mapping[str, Tensor] | None = None,
        external: ExternalInputs | None = None,
    ) -> None:
        self.layers, self.index, self.x = layers, index, x
        self.layer = layers[index]
        self.given = dict(given or {})
        self.external = external or ExternalInputs()
        self.right = right_settings(self.layer)
        self.positions = torch.arange(x.shape[0], device=x.device)
        self._made: dict[tuple[object, ...], Tensor] = {}
        self._stored = 0  # bytes of them
        self._projected: dict[str, Projected] = {}
        self._planted: dict[str, CausalSelfAttention | str] = {}

    def planted(self, name: str) -> CausalSelfAttention | str:
        """Return the layer with this planted mistake, or why it cannot have it; our layer for an empty name."""
        if not name:
            return self.layer
        if name not in self._planted:
            self._planted[name] = PLANTED[name].plant(self.layer, 10**6)
        return self._planted[name]

    def stage(self, name: str, settings: Settings) -> Tensor:
        """Return one stage, from given ones where its parents are given.

        Args:
            name: which one.
            settings: right or wrong ones.
        """
        key = (name, *settings.key_of_stage[name])
        if key not in self._made:
            with torch.inference_mode():
                made = self._compute(name, settings)
            self._made[key] = made
            self._stored += made.nbytes
            while self._stored > MOST_STORED and len(self._made) > 1:
                self._stored -= self._made.pop(next(iter(self._made))).nbytes
        return self._made[key]

    def parent(self, name: str, settings: Settings) -> Tensor:
        """Return a stage as the next step finds it: given, or computed."""
        return self.given[name] if name in self.given else self.stage(name, settings)

    def _compute(self, name: str, settings: Settings) -> Tensor:
        layer = self.planted(settings.planted)
        assert isinstance(layer, CausalSelfAttention)  # noqa: S101  (changes that do not apply are not tried)
        if name in ("query_pre", "key_pre"):
            raw = self._raw(name, settings, layer)
            setting = settings.query if name == "query_pre" else settings.key
            return raw if setting.norm == "late" else self._after(name, raw, layer)
        if name == "value":
            return self._value(settings, layer)
        if name in ("query", "key"):
            return self._turned(name, settings, layer)
        if name == "weights":
            query, key = self.parent("query", settings), self.parent("key", settings)
            return weighed(query, key, settings.weighing, layer, self.external.mask)
        if name == "context":
            return self._context(settings, layer)
        return self._output(settings, layer)

    # -- projection -----------------------------------------------------------------------------------------------

    def _all(self, layer: CausalSelfAttention, planted: str) -> Projected:
        if planted not in self._projected:
            self._projected[planted] = layer.project(self.x, self.external.shared)
        return self._projected[planted]

    def _raw(self, name: str, settings: Settings, layer: CausalSelfAttention) -> Tensor:
        """Return queries or keys before whatever comes after rotation."""
        which = name.removesuffix("_pre")
        setting = settings.query if which == "query" else settings.key
        if setting == Projection():
            made = self._all(layer, settings.planted)
            return made.query if which == "query" else made.key
        return projected(which, setting, layer, self.layers, self.x)

    def _after(self, name: str, raw: Tensor, layer: CausalSelfAttention) -> Tensor:
        """Do to queries or keys what stands between rotation and scores."""
        if not self._comes_after(layer):
            return raw
        of_query = name.startswith("query")
        other = self._other(raw, layer, key=of_query)
        query, key = layer.after_rotation(*((raw, other) if of_query else (other, raw)), self.positions)
        return query if of_query else key

    def _other(self, like: Tensor, layer: CausalSelfAttention, *, key: bool) -> Tensor:
        heads = layer.spec.kv_heads if key else layer.spec.heads
        return like.new_zeros(heads, like.shape[-2], layer.spec.d_head)

    def _value(self, settings: Settings, layer: CausalSelfAttention) -> Tensor:
        if settings.value == Projection():
            return self._all(layer, settings.planted).value
        if settings.value == Projection(turned=True):
            made = self._all(layer, settings.planted).value
        else:
            made = projected("value", settings.value, layer, self.layers, self.x)
        return self.turn(made, settings.turn_key) if settings.value.turned else made

    # -- rotation -------------------------------------------------------------------------------------------------

    def _turned(self, name: str, settings: Settings, layer: CausalSelfAttention) -> Tensor:
        """Turn queries or keys; where something comes after rotation, from our own numbers before it."""
        setting = settings.turn_query if name == "query" else settings.turn_key
        projection = settings.query if name == "query" else settings.key
        plain = settings.planted in ("", *_PLAIN) and not self._comes_after(layer)
        if plain and f"{name}_pre" in self.given:
            raw = self.given[f"{name}_pre"]
        else:
            raw = self._raw(f"{name}_pre", settings, layer)
        right = self.right.turn_query
        if setting == right and (raw.shape[0] == (layer.spec.heads if name == "query" else layer.spec.kv_heads)):
            other = self._other(raw, layer, key=name == "query")
            pair = (raw, other) if name == "query" else (other, raw)
            made = layer.rotate(*pair, self.positions)[0 if name == "query" else 1]
        else:
            made = self.turn(raw, setting) if layer.spec.shares is None or name == "query" else raw
        if projection.norm == "late":
            return head_first(getattr(layer.projections, f"{name[0]}_norm", None), made)
        return self._after(f"{name}_pre", made, layer)

    @staticmethod
    def _comes_after(layer: CausalSelfAttention) -> bool:
        after_norm = isinstance(layer.projections, Projections) and layer.projections.norms_after_rope
        return after_norm or layer.query_learned is not None or layer.spec.temperature is not None

    def turn(self, x: Tensor, setting: Turning) -> Tensor:
        """Turn vectors [heads, n, d] as the setting says."""
        for _ in range(setting.times):
            x = turned(x, setting)
        return x

    # -- weights, context, output ---------------------------------------------------------------------------------

    def _context(self, settings: Settings, layer: CausalSelfAttention) -> Tensor:
        weights, value = self.parent("weights", settings), self.parent("value", settings)
        if settings.mixing == self.right.mixing and value.shape[0] == layer.spec.kv_heads:
            return layer.weighted_sum(weights, value)
        if settings.mixing.transposed:
            weights = weights.transpose(-1, -2)
        if settings.mixing.heads is not None:
            value = value[list(settings.mixing.heads)]
        return context_vectors(weights, value)

    def _output(self, settings: Settings, layer: CausalSelfAttention) -> Tensor:
        context, at = self.parent("context", settings), settings.joining
        gate = self._all(layer, settings.planted).gate
        if at == self.right.joining:
            return layer.output_projection(context, gate)
        if at.heads_moved:
            context = moved(context, layer.spec.kv_heads)
        if at.cut == "tokens first":
            joined = torch.unflatten(context.flatten(-3), -1, (context.shape[-2], -1))
        elif at.cut == "dims first":
            joined = context.permute(1, 2, 0).flatten(1)
        else:
            joined = context.transpose(-3, -2).flatten(-2)
        joined = joined if gate is None else joined * gate
        if at.matrix == "none":
            return joined
        source = (layer if at.layer is None else self.layers[at.layer]).o_proj
        weight = rounded_to(source.weight, at.rounded) if at.rounded else source.weight
        made: Tensor = joined @ (weight if at.matrix == "transposed" else weight.T)
        made = made if source.bias is None or not at.bias else made + at.bias * source.bias
        return made + self.x if at.plus_input else made


_PLAIN = tuple(
    mistake.name for mistake in MISTAKES if mistake.name in ("no qkv bias", "qkv bias dropped", "output bias dropped")
)
