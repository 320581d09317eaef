"""Write traces to safetensors files and read them back.

A file is never half-written: it is completed under another name and then renamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from inspector.capture.edits import Edit
from inspector.capture.edits_on_paper import edits_from_data
from inspector.capture.records import Layer, LayerInfo
from inspector.errors import InspectorError
from inspector.files import duplicate_keys, written_whole
from inspector.text import few
from inspector.trace.tokens import Tokens, readable
from reimpl.spec import MaskRule

FORMAT = "attention-inspector trace 1"  # a new field with a meaning raises the number: unknown fields are refused
# A file that says which features its reader needs, so that one that knows less refuses it. Files that need none stay 1.
WITH_FEATURES = "attention-inspector trace 2"
FEATURES = ("edits",)


class TraceContents(TypedDict):
    """All of a trace but its model: the arguments of `Trace`."""

    tokens: Tokens
    layers: list[Layer]
    last_logits: Tensor | None
    source: dict[str, Any]
    model_name: str
    prompt: str | None
    prompt_length: int | None
    precision: str | None
    dtype: str | None
    edits: tuple[Edit, ...]
    token_marks: NotRequired[Tensor | None]


def write_trace(
    path: Path, *, facts: Mapping[str, Any], layers: Sequence[Layer], ends: Mapping[str, Tensor | None]
) -> None:
    """Write a trace's tensors and facts to one safetensors file, whole or not at all.

    Args:
        path: the file to write; its folder must exist.
        facts: what a file needs beside the tensors, as `Trace.facts` gives it; numbers, strings and lists.
        layers: what is stored of each attention layer.
        ends: what the pass ended in: "last_logits" [1, vocabulary] and "token_marks" [n], where they are known.

    Raises:
        InspectorError: the file could not be written.
    """
    tensors: dict[str, Tensor] = {name: tensor for name, tensor in ends.items() if tensor is not None}
    rules: list[dict[str, Any]] = []
    for layer in layers:
        place = f"layers.{layer.info.index}."
        tensors |= {place + name: tensor for name, tensor in layer.tensors()}
        if layer.before is not None:
            tensors[place + "query_pre"], tensors[place + "key_pre"] = layer.before
        rules.append({"rule": asdict(layer.mask) if isinstance(layer.mask, MaskRule) else None})
    # Matrix products of the same numbers in another memory layout may differ in the last bit. Vectors that lie
    # token by token in memory, as most models leave them, are put back so, and give the very same weights.
    token_first = sorted(name for name, tensor in tensors.items() if _token_first(tensor))
    facts = {**facts, "masks": rules, "token_first": token_first, "format": FORMAT}
    if needed := [feature for feature in FEATURES if feature in facts]:
        facts |= {"format": WITH_FEATURES, "features": needed}
    whole = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().transpose(0, 1) if name in token_first else tensor.detach()
        whole[name] = tensor.cpu().contiguous().clone()  # clone: files hold no two names for one memory
    with written_whole(path) as part:
        save_file(whole, part, metadata={"trace": json.dumps(facts)})


def read_trace(path: Path) -> TraceContents:
    """Read what `write_trace` wrote.

    Args:
        path: the safetensors file.

    Returns:
        The arguments of `Trace`, all but the model.

    Raises:
        InspectorError: there is no such file, or it is no whole trace file of a format that is read here.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["trace"])
            _refuse_format(path, facts)
            if twice := duplicate_keys(path):
                raise ValueError(f"its header has {few(twice)} twice")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        for name in facts["token_first"]:
            tensors[name] = tensors[name].transpose(0, 1)
        # A mapped file's tensors lie on odd addresses, which changes the last bit of some products: copy them.
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        return _contents(facts, tensors)
    except FileNotFoundError:
        raise InspectorError(f"{path} does not exist; give a file that trace.save wrote.") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InspectorError(
            f"{path} is no trace file, or a damaged one ({error}); give a file that trace.save wrote."
        ) from None


def _refuse_format(path: Path, facts: Mapping[str, Any]) -> None:
    if facts["format"] not in (FORMAT, WITH_FEATURES):
        raise InspectorError(
            f'{path} is in the format "{facts["format"]}"; this version reads "{FORMAT}" and "{WITH_FEATURES}".'
        )
    needed = facts["features"] if facts["format"] == WITH_FEATURES else []
    if unknown := sorted(set(needed) - set(FEATURES)):
        raise InspectorError(f"{path} needs a reader that knows {few(unknown)}: open it with a newer version.")
    if ("edits" in facts) != ("edits" in needed):
        raise ValueError("it does not say rightly whether it holds edits")


def _token_first(tensor: Tensor) -> bool:
    return tensor.ndim == 3 and not tensor.is_contiguous() and tensor.transpose(0, 1).is_contiguous()


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return a record's fields; one that this version does not know could change the numbers, and is refused."""
    unknown = sorted(set(values) - {field.name for field in fields(kind)})
    if unknown:
        raise ValueError(f"it has {few(unknown)}, which this version does not know")
    return values


def _contents(facts: dict[str, Any], tensors: dict[str, Tensor]) -> TraceContents:
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
                update=tensors.get(place + "update"),
                edited_context=tensors.get(place + "edited_context"),
                unexplained=facts["unexplained"][len(layers)],
            )
        )
    tokens = Tokens(**{name: tuple(values) for name, values in facts["tokens"].items()})
    source = facts["source"]
    tokens = replace(tokens, labels=tuple(readable(label) for label in tokens.labels))  # whoever wrote them
    return TraceContents(
        tokens=tokens,
        layers=layers,
        last_logits=tensors.get("last_logits"),
        token_marks=tensors.get("token_marks"),
        source=source,
        model_name=facts["model"],
        prompt=facts["prompt"],
        prompt_length=facts["prompt_length"],
        precision=facts["precision"],
        dtype=facts["dtype"],
        edits=edits_from_data(facts["edits"]) if "edits" in facts else (),
    )
