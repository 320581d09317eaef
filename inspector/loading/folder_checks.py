"""Is this folder a causal language model that can be loaded? A folder or a list of file names goes in; nothing comes
out where it is, and an InspectorError of one sentence where it is not.

No hub is asked here and no weights are read: file names, config.json and the headers of the safetensors files decide.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from inspector.errors import InspectorError
from inspector.text import few, first_sentence

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
# Bits of one number, by the name that a safetensors header gives it. What is not listed is left to the library.
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
TOKENIZER_FILES = ("tokenizer*", "vocab.*", "*.model", "*.tiktoken", "tekken.json")


def refuse_unreadable(folder: Path, name: str, *, trust_remote_code: bool = False) -> None:
    """Raises InspectorError unless `folder` holds a causal model's settings, weights and tokenizer."""
    files = sorted(p.name for p in folder.iterdir() if p.exists())
    refuse_without_weights(name, files, str(folder))
    refuse_other_kinds(folder, name, trust_remote_code=trust_remote_code)
    for file in [SINGLE] if SINGLE in files else shard_names(folder / INDEX, name):
        missing = not (folder / file).is_file()
        broken = f"{file} is missing" if missing else broken_safetensors(folder / file)
        if broken:
            raise InspectorError(
                f"The weights of '{name}' are incomplete: {broken}; delete {(folder / file).resolve()} if it "
                "is there, and fetch the file again."
            )
    if not any(p.is_file() for pattern in TOKENIZER_FILES for p in folder.glob(pattern)):
        raise InspectorError(no_tokenizer(name, folder))


def refuse_without_weights(name: str, files: list[str], where: str) -> None:
    """`files`: the names at `where`. Raises InspectorError without config.json or without safetensors."""
    if "config.json" not in files:
        ggufs = [f for f in files if f.endswith(".gguf")]
        step = f"give a GGUF file's own path ({few(ggufs)})" if ggufs else "give one written by save_pretrained"
        raise InspectorError(f"There is no config.json in {where}, so it is no model to load: {step}.")
    if SINGLE in files or INDEX in files:
        return
    pickled = [f for f in files if f.endswith(PICKLED)]
    if pickled:
        raise InspectorError(
            f"'{name}' holds its weights only as pickled files ({few(pickled)}), which can run code "
            "when they are read: convert them with save_pretrained, or choose a revision with safetensors."
        )
    raise InspectorError(f"There is no {SINGLE} (or {INDEX}) in {where}: fetch the weights, or choose another model.")


def refuse_other_kinds(folder: Path, name: str, *, trust_remote_code: bool) -> None:
    """Raises InspectorError unless config.json is that of a decoder: read before any weights are fetched."""
    import transformers
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    from inspector.loading.auto_class import decoder_class, is_causal

    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind, code = raw.get("model_type"), raw.get("auto_map") or {}
        if trust_remote_code and "AutoModelForCausalLM" in code:
            return
        known = kind in CONFIG_MAPPING_NAMES
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True) if known else None
    except Exception as error:  # the library says a value it cannot take in errors of many kinds
        raise InspectorError(
            f"The config.json of '{name}' could not be read ({first_sentence(error.__cause__ or error)}): "
            "restore it from where the model came."
        ) from error
    causal = is_causal(kind)
    masked = kind in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    wanted = "choose a decoder (a causal language model)"
    if getattr(config, "is_encoder_decoder", False):
        raise InspectorError(f"'{name}' ({kind}) is a sequence-to-sequence model, with an encoder: {wanted}.")
    # Of an encoder that can also be used as a decoder the settings say which of the two it is.
    if masked and not (causal and (getattr(config, "is_decoder", False) or getattr(config, "causal", False))):
        raise InspectorError(f"'{name}' ({kind}) is an encoder, whose tokens see those after them: {wanted}.")
    if causal or (config is not None and decoder_class(config) is not None):
        return
    if "AutoModelForCausalLM" in code:
        file = str(code["AutoModelForCausalLM"]).split(".")[0] + ".py"
        raise InspectorError(
            f"'{name}' ({kind}) needs Python code of its own ({file}): read it, and if you trust it pass "
            "trust_remote_code=True (--trust-remote-code)."
        )
    if config is None:
        raise InspectorError(
            f"'{name}' has the model type {kind!r}, which transformers {transformers.__version__} does not "
            "know: upgrade transformers, or choose another model."
        )
    raise InspectorError(f"'{name}' ({kind}) is no language model that predicts the next token: {wanted}.")


def shard_names(index: Path, name: str) -> list[str]:
    """The weight files that `index` names, each in its own folder. Raises InspectorError where it cannot be used."""
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InspectorError(
            f"The {INDEX} of '{name}' could not be read: delete {index} and fetch it again."
        ) from error
    if any("/" in shard or "\\" in shard for shard in shards):
        raise InspectorError(
            f"The {INDEX} of '{name}' names files outside its folder ({few(shards)}): choose another model."
        )
    return shards


def weight_files(folder: Path, name: str) -> list[Path]:
    """The safetensors files that a folder's weights are read from. Raises as `shard_names`."""
    return [folder / file for file in ([SINGLE] if (folder / SINGLE).is_file() else shard_names(folder / INDEX, name))]


def broken_safetensors(path: Path) -> str | None:
    """What is wrong with a safetensors file, in a few words, or None. Reads its header, not its weights."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
        if not 2 <= length <= size - 8:
            return f"{path.name} is no safetensors file or is cut short ({size:,} bytes)"
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_each_once)
        header.pop("__metadata__", None)
        tensors = [(*entry["data_offsets"], name, entry["dtype"], entry["shape"]) for name, entry in header.items()]
        tensors.sort()
        end = 0
        for first, last, name, dtype, shape in tensors:
            bits = BITS.get(dtype)
            fits = bits is None or math.prod(shape) * bits == (last - first) * 8
            if first != end or last < first or not fits:
                return f"{path.name} is corrupted: its header does not fit together at {str(name)[:80]!r}"
            end = last
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{path.name} is corrupted: its header is not readable"
    if 8 + length + end != size:
        return f"{path.name} has {size:,} bytes where its header says {8 + length + end:,}"
    return None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def no_tokenizer(name: str, folder: Path) -> str:
    """The sentence about a model without a tokenizer."""
    return (
        f"There is no tokenizer for '{name}' in {folder}: put its tokenizer files (tokenizer.json, "
        "tokenizer_config.json) beside the weights."
    )
