"""Traces to files and back: a Trace in, one safetensors file out, and the reverse. Never half-written: a file is
completed under another name and then renamed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from inspector.errors import InspectorError
from inspector.files import written_whole
from inspector.trace.tokens import Tokens, readable
from inspector.trace.trace import Layer, LayerInfo, Trace
from reimpl.spec import MaskRule

if TYPE_CHECKING:
    from inspector.model.model import Model

FORMAT = "attention-inspector trace 3"
# 1 knew no biases and no chunks, 2 no rounded vectors and no layers left out.
READABLE = ("attention-inspector trace 1", "attention-inspector trace 2", FORMAT)
_VECTORS = ("query", "key", "value")
_OPTIONAL = ("sinks", "bias", "input", "output", "residual")


def save_trace(trace: Trace, path: Path) -> Path:
    """Write the trace's tensors and facts to `path`."""
    tensors: dict[str, Tensor] = {} if trace.last_logits is None else {"last_logits": trace.last_logits}
    rules: list[dict[str, Any]] = []
    for layer in trace.stored:
        place = f"layers.{layer.info.index}."
        for name in _VECTORS + _OPTIONAL:
            if getattr(layer, name) is not None:
                tensors[place + name] = getattr(layer, name)
        if layer.before is not None:
            tensors[place + "query_pre"], tensors[place + "key_pre"] = layer.before
        if isinstance(layer.mask, MaskRule):
            rules.append({"rule": asdict(layer.mask)})
        else:
            rules.append({"rule": None})
            tensors[place + "mask"] = layer.mask
    # Matrix products of the same numbers in another memory layout may differ in the last bit. Vectors that lie
    # token by token in memory, as most models leave them, are put back so, and give the very same weights.
    turned = sorted(name for name, tensor in tensors.items() if _token_first(tensor))
    facts = {**trace.facts(), "masks": rules, "token_first": turned, "format": FORMAT}
    whole = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().transpose(0, 1) if name in turned else tensor.detach()
        whole[name] = tensor.cpu().contiguous().clone()  # clone: files hold no two names for one memory
    with written_whole(path) as part:
        save_file(whole, part, metadata={"trace": json.dumps(facts)})
    return path


def open_trace(path: str | Path, model: Model | None = None) -> Trace:
    """Read a file that `trace.save` wrote. Weights, scores and context are computed from it as before; what needs
    the model (next tokens, shares through W_o) needs it given here as well."""
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["trace"])
            if facts["format"] not in READABLE:
                raise InspectorError(f'{path} is in the format "{facts["format"]}"; this version reads "{FORMAT}".')
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        for name in facts["token_first"]:
            tensors[name] = tensors[name].transpose(0, 1)
        # A mapped file's tensors lie on odd addresses, which changes the last bit of some products: copy them.
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        return _trace(facts, tensors, model)
    except FileNotFoundError:
        raise InspectorError(f"{path} does not exist; give a file that trace.save wrote.") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InspectorError(f"{path} is not a whole trace file ({error}); save the trace again.") from None


def _token_first(tensor: Tensor) -> bool:
    return tensor.ndim == 3 and not tensor.is_contiguous() and tensor.transpose(0, 1).is_contiguous()


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """The fields that this version knows; others come from a later one and are left out."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def _trace(facts: dict[str, Any], tensors: dict[str, Tensor], model: Model | None) -> Trace:
    layers: list[Layer] = []
    for info, rule in zip(facts["layers"], facts["masks"], strict=True):
        place = f"layers.{info['index']}."
        pre = (tensors.get(place + "query_pre"), tensors.get(place + "key_pre"))
        layers.append(
            Layer(
                info=LayerInfo(**_known(LayerInfo, info)),
                mask=tensors[place + "mask"] if rule["rule"] is None else MaskRule(**_known(MaskRule, rule["rule"])),
                before=None if pre[0] is None or pre[1] is None else (pre[0], pre[1]),
                query=tensors[place + "query"],
                key=tensors[place + "key"],
                value=tensors[place + "value"],
                sinks=tensors.get(place + "sinks"),
                bias=tensors.get(place + "bias"),
                input=tensors.get(place + "input"),
                output=tensors.get(place + "output"),
                residual=tensors.get(place + "residual"),
                unexplained=facts["unexplained"][len(layers)],
            )
        )
    tokens = Tokens(**{name: tuple(values) for name, values in facts["tokens"].items()})
    source = facts["source"]
    before = source.get("dtype") if isinstance(source, dict) else None  # the first files of format 3 say it there alone
    tokens = replace(tokens, labels=tuple(readable(label) for label in tokens.labels))  # whoever wrote them
    return Trace(
        tokens=tokens,
        layers=layers,
        last_logits=tensors.get("last_logits"),
        model=model,
        source=source,
        model_name=facts["model"],
        prompt=facts["prompt"],
        prompt_length=facts["prompt_length"],
        precision=facts.get("precision"),
        dtype=facts.get("dtype", before),
    )
