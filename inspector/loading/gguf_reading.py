"""Read a GGUF file with the library's own functions, so that weights and tokenizer are exactly the library's."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from inspector.errors import InspectorError
from inspector.loading.gguf_words import MODEL, PRE
from inspector.text import Progress, few, first_sentence

PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


def refuse_what_is_no_gguf(path: Path) -> None:
    """Raise InspectorError unless the file starts as a GGUF file does."""
    with path.open("rb") as file:
        start = file.read(4)
    if start != b"GGUF":
        raise InspectorError(
            f"{path.name} is not a GGUF file: it starts with {start!r} instead of b'GGUF'; give the path of "
            "a GGUF file, or of a folder with config.json and safetensors."
        )


def parts_of(gguf: Path) -> list[Path]:
    """Return the files that a GGUF model stands in, the first one first: one, or as many as its name says.

    Args:
        gguf: the file, or any of the files of a model that was split.

    Returns:
        Paths in the same folder.

    Raises:
        InspectorError: a part is missing.
    """
    named = PART.fullmatch(gguf.name)
    if named is None:
        return [gguf]
    parts = [gguf.with_name(f"{named[1]}-{part:05}-of-{named[3]}.gguf") for part in range(1, int(named[3]) + 1)]
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        raise InspectorError(
            f"{gguf.name} is one of {len(parts)} parts of a model, and {few(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not beside it: put all parts into one folder."
        )
    return parts


def refuse_misnamed_part(gguf: Path) -> None:
    """Refuse a part of a split model whose name does not say which others belong to it; call it in `parsed_once`.

    Args:
        gguf: the file.

    Raises:
        InspectorError: with the names that the parts need.
    """
    import gguf as package

    try:
        fields = package.GGUFReader(str(gguf)).fields
        count, number = (
            int(fields[f"split.{key}"].contents()) if f"split.{key}" in fields else 0 for key in ("count", "no")
        )
    except Exception:  # a damaged file ends in errors of any kind; the library's reading says them
        return
    if count > 1 and count != len(parts_of(gguf)):
        raise InspectorError(
            f"{gguf.name} holds part {number + 1} of the {count} that a model was split into, and its name does not "
            f"say where the others are: name them NAME-00001-of-{count:05}.gguf to NAME-{count:05}-of-{count:05}.gguf, "
            "in one folder."
        )


def why_unreadable(gguf: Path, error: Exception) -> str:
    """Say why the library could not read a GGUF file: what the file lacks if it is whole, else that it may not be.

    Args:
        gguf: the file.
        error: what the library raised.

    Returns:
        A sentence with the next step.
    """
    import transformers
    from gguf import GGUFReader

    said = f"The library could not read {gguf.name} ({gguf.stat().st_size:,} bytes): {first_sentence(error)}"
    try:
        fields = GGUFReader(gguf).fields
        architecture = str(fields["general.architecture"].contents())
    except Exception:  # a damaged file ends in errors of any kind
        return f"{said}; the file may be cut short (compare its size with its source's)."
    if "is not supported" in said:
        return (
            f"{gguf.name} holds a model of the architecture '{architecture}', which transformers "
            f"{transformers.__version__} does not read from GGUF: give the model's safetensors folder or its hub id."
        )
    if "tokenizer.ggml.model" not in fields:
        return (
            f"{gguf.name} holds no tokenizer (no key tokenizer.ggml.model): give the model's safetensors folder or its "
            "hub id, or a GGUF file made with its tokenizer."
        )
    return f"{said}; give the model's safetensors folder or its hub id."


def metadata(gguf: Path, model: Any) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return what a GGUF file says beside its weights; call it where `parsed_once` holds.

    Args:
        gguf: the file.
        model: the library's model of it.

    Returns:
        Its keys and values; its factors of rotary frequencies by name; names of tensors that the model has no place
        for, without these.
    """
    import gguf as package
    from transformers import modeling_gguf_pytorch_utils as library

    reader = package.GGUFReader(str(gguf))
    short = (PRE, MODEL)  # a tokenizer's other fields are long lists, which the library reads
    keys = {
        name: field.contents()
        for name, field in reader.fields.items()
        if name in short or not name.startswith("tokenizer.")
    }
    processor = library.TENSOR_PROCESSORS.get(keys["general.architecture"], library.TensorProcessor)
    places = library.get_gguf_hf_weights_map(model, processor(config=model.config.to_dict()))
    factors = {tensor.name: tensor.data for tensor in reader.tensors if tensor.name in FACTORS}
    return keys, factors, [t.name for t in reader.tensors if t.name not in places and t.name not in FACTORS]


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

    one_file: Any = package.GGUFReader

    class Reader(one_file):  # type: ignore[misc]
        def __init__(self, path: str, mode: str = "r") -> None:
            super().__init__(path, mode)
            architecture = self.fields.get("general.architecture")
            if architecture is not None and architecture.contents() == "llama":
                # Of a Llama that is called "mistral" the library would make another class, with a window of its own.
                self.fields.pop("general.name", None)
            for part in parts_of(Path(path))[1:]:  # the first part has all keys, each part some tensors
                self.tensors += one_file(part).tensors

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
