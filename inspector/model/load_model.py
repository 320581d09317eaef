"""`inspector.load`: a model by its name, folder or file, or one that is loaded already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel

from inspector.errors import InspectorError
from inspector.loading.library_model import load_library_model
from inspector.loading.resolve import find_model
from inspector.loading.source import PACKAGED, Source
from inspector.loading.unwrap import unwrapped
from inspector.loading.weight_checks import refuse_broken_numbers
from inspector.model.model import Model
from inspector.text import Progress

if TYPE_CHECKING:
    from transformers import Pipeline  # brings much that nothing here needs


def load(
    name: str | Path | nn.Module | Pipeline | Model = PACKAGED,
    tokenizer: Any = None,
    *,
    dtype: str | torch.dtype = "float32",
    device: str = "cpu",
    device_map: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Model:
    """Load a causal language model.

    Args:
        name: the packaged default, a hub id (owner/name), a folder (with a model, or a PEFT adapter, whose base is
            then loaded with it), a .gguf file, or a PreTrainedModel that is loaded already, which is left as it is
            (its passes here run in eval mode); what torch.compile, DataParallel, PEFT or a pipeline made of one is
            looked into as well.
        tokenizer: the library's tokenizer, needed with a model object; else the checkpoint's own, or the pipeline's.
        dtype: what the model runs in: "float32", "bfloat16", "float16", "float64", "auto" (the file's), or torch's own.
        device: where it runs, such as "cpu" or "cuda".
        device_map: accelerate's map, such as "auto"; overrides `device`.
        revision: a hub repository's branch, tag or commit.
        token: for a hub repository that asks for one.
        trust_remote_code: run code that comes with the checkpoint.
        progress: called as progress(message, fraction done or None) while files are fetched or converted.

    Returns:
        The model, ready for `trace`.

    Raises:
        InspectorError: everything that a user can mend, as one sentence.
    """
    if isinstance(name, Model) and tokenizer is None:
        return name
    name, tokenizer = unwrapped(name, tokenizer)
    if isinstance(name, PreTrainedModel):
        if tokenizer is None:
            raise InspectorError("A model given as an object needs its tokenizer too: load(model, tokenizer).")
        if not callable(tokenizer) or not hasattr(tokenizer, "decode"):
            raise InspectorError(
                f"The tokenizer of a model given as an object is the library's own, and this is a "
                f"{type(tokenizer).__name__}: give what AutoTokenizer.from_pretrained returns."
            )
        title = str(getattr(name.config, "_name_or_path", "") or type(name).__name__)
        refuse_broken_numbers(title, name)
        source = Source(
            kind="memory", name=title, folder=None, revision=None, note="A model object handed over in memory."
        )
        return Model(name, tokenizer, source)
    if not isinstance(name, str | Path):
        raise InspectorError(
            f"load takes a model's name, its folder, a .gguf file or a PreTrainedModel, and this is a "
            f"{type(name).__name__}: give one of those."
        )
    source = find_model(
        str(name), revision=revision, token=token, trust_remote_code=trust_remote_code, progress=progress
    )
    library_model, library_tokenizer = load_library_model(
        source, dtype=dtype, device=device, device_map=device_map, trust_remote_code=trust_remote_code
    )
    return Model(library_model, tokenizer or library_tokenizer, source)
