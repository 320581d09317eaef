"""Write a model's own numbers for a prompt into a folder: token ids, each layer's input, and every stage.

They are for people who write attention in C++, CUDA, MLX, JAX or Rust, and compare while they write. What is written
is what `verify` compares with: the library's own attention module, run again on its captured input.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from inspector.capture.records import Layer, LayerInfo, OnLayer
from inspector.errors import InspectorError
from inspector.files import folder_written_whole, refuse_used_folder
from inspector.judging.dump_names import INPUT
from inspector.judging.dump_settings import NAME
from inspector.judging.dumps import specs_of
from inspector.judging.reference_readme import readme
from inspector.model.model import Model
from inspector.model.options import chosen_layers, dtype_name
from inspector.text import SCHEMA
from inspector.trace.trace import Trace
from inspector.verification.compare import STAGES
from inspector.verification.prepare import Prompt, recorded_prompt
from inspector.verification.reference import library_stages

MOST_BYTES = 4 * 2**30  # of one reference: each layer has weights of n x n for every head
_NPY = (torch.float32, torch.float64, torch.float16)  # what an .npy can hold of a model's dtypes


def write_reference(
    model: Model,
    prompt: Prompt,
    folder: str | Path,
    *,
    npy: bool = False,
    layers: Iterable[int] | None = None,
    on_layer: OnLayer | None = None,
) -> Path:
    """Write the numbers that a right implementation gives for this model and prompt.

    Args:
        model: a model as `inspector.load` returns it.
        prompt: a text, token ids, or a trace.
        folder: where to; it is made, and must not exist or be empty.
        npy: one .npy for each array instead of a safetensors file for each layer; bfloat16 is then written as float32.
        layers: the attention layers to write, from 0 (None: all).
        on_layer: called as on_layer(done, total) after each layer.

    Returns:
        The folder, with a README.md that says what is in it.

    Raises:
        InspectorError: the prompt cannot be taken, there is no such layer, the reference would be too large, or the
            folder cannot be written.
    """
    folder = Path(folder).expanduser()
    refuse_used_folder(folder)
    trace, _ = recorded_prompt(model, prompt)
    count = len(trace.layers)
    chosen = sorted(chosen_layers(layers, count=count, name=model.name) or range(count))
    infos = [trace.layers[index] for index in chosen]
    specs = specs_of(model)
    _refuse_too_large(infos, trace, folder)
    settings: dict[str, Any] = {
        "schema": SCHEMA,
        "ids": list(trace.tokens.ids),
        "dtype": dtype_name(model.dtype),
        "layout": "[h, n, d]",
        "layers": chosen,
    }
    styles = {spec.rope.style for spec in specs if spec.rope is not None}
    if len(styles) == 1:
        settings["pairing"] = styles.pop()
    with folder_written_whole(folder) as part:
        _write(part, "ids", {"ids": torch.tensor(trace.tokens.ids)}, npy=npy)
        for done, index in enumerate(chosen, start=1):
            _write(part, f"layers.{index}", layer_numbers(trace.stored[index], trace), npy=npy)
            if on_layer:
                on_layer(done, len(chosen))
        (part / "README.md").write_text(readme(model, trace, infos, specs=specs, npy=npy), encoding="utf-8")
        (part / NAME).write_text(json.dumps(settings) + "\n", encoding="utf-8")
    return folder


def layer_numbers(layer: Layer, trace: Trace) -> dict[str, Tensor]:
    """Return what is written of one layer.

    Args:
        layer: a recorded layer.
        trace: the recorded prompt.

    Returns:
        Its attention input [n, m], and every stage by its name.
    """
    stages = vars(library_stages(layer, layer.info.kv_heads))
    return {INPUT: trace.input(layer.info.index), **{stage: stages[stage] for stage in STAGES}}


def _write(folder: Path, name: str, tensors: dict[str, Tensor], *, npy: bool) -> None:
    """Write one layer's arrays, or the ids."""
    plain = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
    if not npy:
        save_file(plain, folder / f"{name}.safetensors")
        return
    for key, tensor in plain.items():
        exact = tensor if tensor.dtype in _NPY or not tensor.is_floating_point() else tensor.float()
        np.save(folder / (f"{name}.npy" if key == name else f"{name}.{key}.npy"), exact.numpy(), allow_pickle=False)


def _layer_bytes(info: LayerInfo, n: int, m: int, itemsize: int) -> int:
    """Return how large one layer's arrays are."""
    vectors = 2 * info.heads * info.d_head + info.kv_heads * (2 * info.d_head + info.d_value)
    return itemsize * (info.heads * n * n + n * (vectors + info.heads * info.d_value + 2 * m))


def _refuse_too_large(infos: Sequence[LayerInfo], trace: Trace, folder: Path) -> None:
    """Refuse a reference that is larger than one may be, or than the disk has room for; the sentence says what fits."""
    first = trace.input(infos[0].index)
    m, itemsize = int(first.shape[-1]), max(4, first.dtype.itemsize)
    most = min(MOST_BYTES, shutil.disk_usage(folder.parent).free)

    def needed(n: int, count: int) -> int:
        return sum(_layer_bytes(info, n, m, itemsize) for info in infos[:count])

    if (size := needed(trace.n, len(infos))) <= most:
        return
    fits = next(n for n in range(trace.n, -1, -max(1, trace.n // 50)) if needed(n, len(infos)) <= most)
    layers = max((count for count in range(1, len(infos)) if needed(trace.n, count) <= most), default=0)
    fewer = f", or choose at most {layers} layers" if layers else ""
    n = f"{trace.n:,}"
    raise InspectorError(
        f"A reference of {n} tokens and {len(infos)} layers takes {size / 2**30:.1f} GB, with every head's {n} × {n} "
        f"weights of each layer, and may take {most / 2**30:.1f} GB: give at most about {max(1, fits):,} tokens{fewer}."
    )
