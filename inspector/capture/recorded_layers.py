"""The attention calls of one forward pass go in; the layers of a trace come out, each with what it is like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from inspector.capture.hooks import block_number
from inspector.capture.records import Call, Layer, LayerInfo
from inspector.errors import InspectorError
from inspector.loading.weight_checks import all_finite
from reimpl.spec import MaskRule


def layers(calls: Sequence[Call], names: Mapping[int, str], turning: Sequence[bool | None]) -> list[Layer]:
    """A layer for each call. names: of the model's attention modules, by their id(). turning: for each call whether
    positions turn its queries, where that was measured on as many calls."""
    same = len(turning) == len(calls)
    found = [
        _layer(i, call, names.get(id(call.module), f"attention {i}"), turning[i] if same else None)
        for i, call in enumerate(calls)
    ]
    for layer, repeat in zip(found, _repeats(calls), strict=True):
        layer.info = replace(layer.info, repeat=repeat)
    return found


def refuse_unusable(layers: Sequence[Layer], n: int, model_name: str) -> None:
    """Raises InspectorError where a layer attended to anything but the prompt's n tokens, or its vectors hold numbers
    that are none."""
    for layer in layers:
        shape = layer.query.shape[1], layer.key.shape[1]
        if layer.has_vectors and shape != (n, n):
            raise InspectorError(
                f"{layer.info.name} of {model_name} attended from {shape[0]} to {shape[1]} positions where the "
                f"prompt has {n} tokens; attention to anything but those is not shown yet."
            )
        for what in ("query", "key", "value"):
            if not all_finite(getattr(layer, what)):
                dtype = str(getattr(layer, what).dtype).removeprefix("torch.")
                raise InspectorError(
                    f"This prompt's {what} vectors in {layer.info.name} of {model_name} hold infinite numbers or NaN "
                    f"in {dtype}; load the model in a dtype of a wider range, such as float32."
                )


def _layer(index: int, call: Call, name: str, turning: bool | None) -> Layer:
    info = LayerInfo(
        index=index,
        name=name,
        block=block_number(name),
        heads=call.query.shape[0],
        kv_heads=call.key.shape[0],
        d_head=call.query.shape[-1],
        d_value=call.value.shape[-1],
        window=call.mask.window if isinstance(call.mask, MaskRule) else call.window,
        chunk=call.mask.chunk if isinstance(call.mask, MaskRule) else None,
        scale=call.scale,
        softcap=call.softcap,
        sinks=call.sinks is not None,
        bias=call.bias is not None,
        rope=turning,
    )
    return Layer(
        info=info,
        query=call.query,
        key=call.key,
        value=call.value,
        mask=call.mask,
        sinks=call.sinks,
        bias=call.bias,
        input=call.input,
        output=call.output,
        residual=call.residual,
        call=call if call.input is not None else None,
        unexplained=call.unexplained,
    )


def _repeats(calls: Sequence[Call]) -> list[int]:
    """For each call how often its module has attended before."""
    seen: Counter[int] = Counter()
    found = []
    for call in calls:
        found.append(seen[id(call.module)])
        seen[id(call.module)] += 1
    return found
