"""Make a trace's layers of the attention calls of one forward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields

from inspector.capture.hooks import block_number
from inspector.capture.records import Call, Layer, LayerInfo, Recorded
from inspector.errors import InspectorError
from inspector.loading.weight_checks import all_finite
from reimpl.spec import MaskRule


def make_layers(calls: Sequence[Call], names: Mapping[int, str], rope: Sequence[bool | None]) -> list[Layer]:
    """Make a layer of each call.

    Args:
        calls: the recorded attention calls, in order.
        names: names of the model's attention modules, by their id().
        rope: for each call whether positions rotate its queries (None: it cannot be told), as measured on another pass;
            left out where that pass had another number of calls.

    Returns:
        A layer for each call, in order.
    """
    known = rope if len(rope) == len(calls) else [None] * len(calls)
    before: Counter[int] = Counter()  # how often each module has attended
    found = []
    for index, (call, rotated) in enumerate(zip(calls, known, strict=True)):
        name, repeat = names.get(id(call.module), f"attention {index}"), before[id(call.module)]
        found.append(_layer(call, _info(call, index, name, repeat, rotated)))
        before[id(call.module)] += 1
    return found


def refuse_unusable(layers: Sequence[Layer], n: int, model_name: str) -> None:
    """Refuse layers that cannot be shown.

    Args:
        layers: the layers of one prompt.
        n: how many tokens it has.
        model_name: for the error's sentence.

    Raises:
        InspectorError: a layer attended to anything but the n tokens, or its vectors hold infinite numbers or NaN.
    """
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


def _info(call: Call, index: int, name: str, repeat: int, rope: bool | None) -> LayerInfo:
    rule = call.mask if isinstance(call.mask, MaskRule) else None
    return LayerInfo(
        index=index,
        name=name,
        block=block_number(name),
        heads=call.query.shape[0],
        kv_heads=call.key.shape[0],
        d_head=call.query.shape[-1],
        d_value=call.value.shape[-1],
        window=call.window if rule is None else rule.window,
        chunk=None if rule is None else rule.chunk,
        scale=call.scale,
        softcap=call.softcap,
        sinks=call.sinks is not None,
        bias=call.bias is not None,
        rope=rope,
        repeat=repeat,
    )


def _layer(call: Call, info: LayerInfo) -> Layer:
    recorded = {one.name: getattr(call, one.name) for one in fields(Recorded)}
    return Layer(info=info, call=call if call.input is not None else None, **recorded)
