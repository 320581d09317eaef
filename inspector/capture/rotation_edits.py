"""Edit how far attention modules are told to rotate: RoPE off, on some planes, with another base or other positions.

Most models compute cosines and sines once a pass, in a module with frequencies, and hand them to every layer. For an
edited layer a twin of that module computes them again, with other frequencies or positions; the model's is untouched.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inspector.capture.edits import Edit
from inspector.errors import InspectorError

KINDS_AT_MOST = 8  # tables of one pass that are remembered: a model makes one for each kind of layer
_FOLLOWS_LENGTH = ("dynamic", "longrope")  # rules whose frequencies change with the prompt's length


@dataclass(frozen=True)
class _Made:
    """One table of cosines and sines, and how it was made."""

    module: nn.Module
    arguments: dict[str, Any]
    tables: tuple[Tensor, ...]


class Rotations:
    """The edits of rotation of one run; true where there are any."""

    def __init__(self, n: int) -> None:
        """Take none yet; the prompt has `n` tokens."""
        self._n = n
        self._by_layer: dict[int, list[Edit]] = {}
        self._made: list[_Made] = []

    def __bool__(self) -> bool:
        """Whether any layer is edited."""
        return bool(self._by_layer)

    def add(self, layer: int, edit: Edit) -> None:
        """Edit the rotation in a layer."""
        self._by_layer.setdefault(layer, []).append(edit)

    def note(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        """Remember what a module with frequencies was called with, and what it made."""
        names = list(inspect.signature(inspect.unwrap(type(module).forward)).parameters)[1:]
        arguments = dict(zip(names, args, strict=False)) | dict(kwargs)
        self._made = [*self._made[-KINDS_AT_MOST:], _Made(module, arguments, tables_in(output))]

    def changed(self, layer: int, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of a layer's module that its edits change, by name; None: it has no edit.

        Args:
            layer: which attention layer.
            arguments: of its module, by name.

        Raises:
            InspectorError: the layer is told how far to rotate in a form that is not understood, or its frequencies
                follow the prompt's length.
        """
        edits = self._by_layer.get(layer)
        if not edits:
            return None
        for name, value in arguments.items():
            tables = tables_in(value)
            for made in self._made:
                if tables and made.tables and tables[0] is made.tables[0]:
                    return {name: _again(made, edits, self._n)}
        raise InspectorError(
            f"Layer {layer} is not told how far to rotate in a form that can be edited from outside, so RoPE cannot be "
            "edited there; edit its scores by a mask, or its head outputs."
        )


def tables_in(value: Any) -> tuple[Tensor, ...]:
    """Return the tensors of position embeddings: one, or a tuple of cosines and sines."""
    if isinstance(value, Tensor):
        return (value,) if value.is_floating_point() or value.is_complex() else ()
    return tuple(value) if isinstance(value, tuple) and all(isinstance(item, Tensor) for item in value) else ()


def _again(made: _Made, edits: list[Edit], n: int) -> Any:
    """Return the module's output with other frequencies and positions."""
    rule = _rule(made)
    if rule in _FOLLOWS_LENGTH:
        raise InspectorError(
            f"RoPE's frequencies follow the prompt's length in this model (its rule is {rule!r}), so they cannot be "
            "edited; edit the mask or head outputs instead."
        )
    twin = copy.copy(made.module)
    twin.__dict__["_buffers"] = dict(made.module._buffers)
    arguments = dict(made.arguments)
    for edit in edits:
        if edit.kind == "rope_positions":
            arguments["position_ids"] = _moved(arguments.get("position_ids"), edit, n)
            continue
        for name, buffer in twin._buffers.items():
            if name.endswith("inv_freq") and "original" not in name and buffer is not None:
                twin._buffers[name] = _frequencies(buffer, edit, made)
    return twin.forward(**arguments)  # not by a call, which would report it through the model's hooks


def _frequencies(per_position: Tensor, edit: Edit, made: _Made) -> Tensor:
    """Return frequencies [planes] as an edit wants them."""
    planes = per_position.shape[-1]
    factor = torch.ones(planes, dtype=torch.float64)
    if edit.kind == "rope_off":
        wrong = next((plane for plane in edit.planes or () if not 0 <= plane < planes), None)
        if wrong is not None:
            raise InspectorError(f"Plane {wrong} does not exist: RoPE turns planes 0 to {planes - 1} here.")
        factor[list(edit.planes) if edit.planes is not None else slice(None)] = 0.0
    else:
        ratio = float(edit.base or 1) / _base(made)
        factor = ratio ** (-torch.arange(planes, dtype=torch.float64) / planes)
    factor = 1 + edit.strength * (factor - 1)
    return per_position * factor.to(per_position)


def _moved(positions: Any, edit: Edit, n: int) -> Tensor:
    """Return position ids as an edit wants them; tokens after the prompt follow its last one, one by one."""
    if not isinstance(positions, Tensor):
        raise InspectorError(
            "This model's rotation takes no positions, so they cannot be edited; edit its base instead."
        )
    if edit.positions is None:
        new = positions + int(edit.shift or 0)
    else:
        table = torch.tensor(edit.positions, device=positions.device)
        new = torch.where(positions < n, table[positions.clamp_max(n - 1)], table[-1] + positions - n + 1)
    return new if edit.strength == 1 else positions + edit.strength * (new - positions)


def _rule(made: _Made) -> str:
    found = getattr(made.module, "rope_type", "default")
    return str(found.get(made.arguments.get("layer_type"), "default") if isinstance(found, dict) else found)


def _base(made: _Made) -> float:
    """Return the base that a module's frequencies were made with."""
    parameters = getattr(getattr(made.module, "config", None), "rope_parameters", None) or {}
    parameters = parameters.get(made.arguments.get("layer_type"), parameters)
    base = parameters.get("rope_theta")
    if not isinstance(base, int | float):
        raise InspectorError(
            "This model's config names no base of RoPE, so it cannot be edited; edit its planes instead."
        )
    return float(base)
