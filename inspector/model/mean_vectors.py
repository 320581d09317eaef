"""Read an atlas's mean context vectors, which a mean ablation puts in the place of head outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from inspector.capture.edits import Edit
from inspector.capture.records import LayerInfo
from inspector.errors import InspectorError
from inspector.text import first_sentence


def read_means(edit: Edit, name: str, layers: Sequence[LayerInfo]) -> Mapping[int, Tensor]:
    """Return the means of an edit's layers.

    Args:
        edit: a mean whose source is a file.
        name: the model's.
        layers: the model's.

    Returns:
        By layer [h, 1, d_value], in float32.

    Raises:
        InspectorError: the file cannot be read, is another than the edit names, or is of another kind of model.
    """
    source = edit.source
    path = Path(source.means if source is not None else "")
    try:
        content = path.read_bytes()
        found = load(content)
    except (OSError, SafetensorError) as error:
        raise InspectorError(
            f"{path} holds no mean vectors that can be read ({first_sentence(error)}): give an atlas's folder, or its "
            "means.safetensors."
        ) from error
    sha256 = hashlib.sha256(content).hexdigest()
    if source is not None and sha256 != source.sha256:
        raise InspectorError(
            f"{path} is not the file that this edit was made with: its hash begins with {sha256[:12]}, and the edit "
            f"names {source.sha256[:12]}; make the edit anew."
        )
    means = {}
    for layer in edit.layers if edit.layers is not None else range(len(layers)):
        info, mean = layers[layer], found.get(f"context.{layer}")
        if mean is None or tuple(mean.shape) != (info.heads, info.d_value):
            said = "none" if mean is None else "x".join(map(str, mean.shape))
            raise InspectorError(
                f"{path} is of another kind of model than {name}: layer {layer} has means {said}, and "
                f"{info.heads}x{info.d_value} are needed."
            )
        if not torch.isfinite(mean).all():
            raise InspectorError(f"{path} has numbers in layer {layer} that are not finite: build the atlas again.")
        means[layer] = mean[:, None, :]
    return means
