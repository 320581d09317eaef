"""Read a GGUF file with the library's own functions, so that weights and tokenizer are exactly the library's."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from inspector.errors import InspectorError
from inspector.text import Progress


def refuse_what_is_no_gguf(path: Path) -> None:
    """Raise InspectorError unless the file starts as a GGUF file does."""
    with path.open("rb") as file:
        start = file.read(4)
    if start != b"GGUF":
        raise InspectorError(
            f"{path.name} is not a GGUF file: it starts with {start!r} instead of b'GGUF'; give the path of "
            "a GGUF file, or of a folder with config.json and safetensors."
        )


def read_with_library(gguf: Path) -> tuple[Any, Any, Mapping[str, Any]]:
    """Read a GGUF file as `from_pretrained(folder, gguf_file=name)` does, in float32.

    Args:
        gguf: the file.

    Returns:
        The library's model, its tokenizer, and what `output_loading_info=True` says.

    Raises:
        Exception: of any kind, as the library raises them for damaged files.
    """
    import torch
    import transformers

    place: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, **place)
    except Exception as error:  # the tokenizers library raises plain Exception
        raise ValueError(f"its tokenizer: {error}") from error
    # Newer versions can keep some architectures' weights packed where a kernel for them is installed.
    if hasattr(transformers, "GgufConfig"):
        place["quantization_config"] = transformers.GgufConfig(dequantize=True)
    model, loading_info = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, output_loading_info=True, **place
    )
    return model, tokenizer, loading_info


@contextmanager
def parsed_once(gguf: Path, say: Progress) -> Iterator[None]:
    """Let the library's calls share one parsed reader and one table of tensor names, for the time of one conversion.

    Of the 16 s that the library takes for SmolLM2 (2 cores), 6 go to parsing the same metadata three times, 2 to
    slicing a memory map (an ndarray of the same memory is twice as quick), and 3 to making the table of tensor names
    397 times, once for each module. The library looks both up in `gguf` at each call, so that it is enough to replace
    them there.

    Args:
        gguf: the file.
        say: is called instead of the library's progress bar.
    """
    import gguf as package
    import numpy as np
    from transformers import modeling_gguf_pytorch_utils as library

    class Reader(package.GGUFReader):  # type: ignore[misc,unused-ignore]
        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, memory_map: Any) -> None:
            self._plain = memory_map.view(np.ndarray)

    def bar(tensors: Any, **_: Any) -> Iterable[Any]:
        for index, tensor in enumerate(tensors):
            say(f"Unpacking the weights of {gguf.name}", 0.25 + 0.45 * index / len(tensors))
            yield tensor

    with ExitStack() as replaced:
        replaced.enter_context(_replaced(package, "GGUFReader", functools.cache(Reader)))
        replaced.enter_context(_replaced(package, "get_tensor_name_map", functools.cache(package.get_tensor_name_map)))
        replaced.enter_context(_replaced(library, "tqdm", bar))
        yield


@contextmanager
def _replaced(module: Any, attribute: str, value: Any) -> Iterator[None]:
    """Replace a module's attribute for a while, if it has it."""
    original = getattr(module, attribute, None)
    if original is None:  # a version of the library that does not use it: slower, not wrong
        yield
        return
    setattr(module, attribute, value)
    try:
        yield
    finally:
        setattr(module, attribute, original)
