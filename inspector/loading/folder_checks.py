"""Refuse a folder that is no causal language model to load, in one sentence that says why.

No hub is asked here and no weights are read: file names, config.json and the headers of the safetensors files decide.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from inspector.errors import InspectorError
from inspector.files import duplicate_keys
from inspector.loading.packed_weights import refuse_packed
from inspector.text import few, first_sentence

PICKLED = (".bin", ".pt", ".pth", ".ckpt")
# As reimpl/weights_on_disk.py has them (a test compares), here without torch, which listing models does not need.
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer*", "vocab.*", "*.model", "*.tiktoken", "tekken.json")


def refuse_unreadable(folder: Path, name: str, *, trust_remote_code: bool = False) -> None:
    """Refuse a folder without a causal model's settings, whole weight files or tokenizer.

    Args:
        folder: the folder to look through.
        name: what the user called the model; sentences name it.
        trust_remote_code: whether Python code in the folder may run.

    Raises:
        InspectorError: naming the first thing that is missing or damaged.
    """
    files = sorted(p.name for p in folder.iterdir() if p.exists())
    refuse_without_weights(name, files, str(folder))
    refuse_other_kinds(folder, name, trust_remote_code=trust_remote_code)
    for path in weight_files(folder, name):
        if broken := broken_safetensors(path):
            raise InspectorError(
                f"The weights of '{name}' cannot be used: {broken}; delete {path.resolve()} "
                "and download the file again."
            )
    if not any(p.is_file() for pattern in TOKENIZER_FILES for p in folder.glob(pattern)):
        raise InspectorError(no_tokenizer(name, folder))


def refuse_without_weights(name: str, files: list[str], where: str) -> None:
    """Refuse a list of files that has no config.json or no weights as safetensors.

    Args:
        name: what the user called the model.
        files: the names of the files, of a folder or of a hub's repository.
        where: that place, in words.

    Raises:
        InspectorError: naming what is missing.
    """
    if "config.json" not in files:
        if "adapter_config.json" in files:
            raise InspectorError(
                f"'{name}' is a PEFT adapter and no whole model: download it and give its folder, whose base is then "
                "loaded with it."
            )
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
    raise InspectorError(
        f"There is no {SINGLE} (or {INDEX}) in {where}: download the weights, or choose another model."
    )


def refuse_other_kinds(folder: Path, name: str, *, trust_remote_code: bool) -> None:
    """Refuse a config.json that is not a decoder's; it is read before any weights are downloaded.

    Args:
        folder: holds config.json.
        name: what the user called the model.
        trust_remote_code: whether Python code that the model brings may run.

    Raises:
        InspectorError: for encoders, sequence-to-sequence models, unknown types, and code that is not trusted.
    """
    import transformers
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    from inspector.loading.auto_class import decoder_class, is_causal

    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        refuse_packed(raw, name)
        kind, code = raw.get("model_type"), raw.get("auto_map") or {}
        if trust_remote_code and "AutoModelForCausalLM" in code:
            return
        known = kind in CONFIG_MAPPING_NAMES
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True) if known else None
    except InspectorError:
        raise
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


def wanted_weights(name: str, there: Collection[str], download: Callable[[str], Path]) -> list[str]:
    """Return the names of the weight files of a hub's repository, by the library's rule, the index with its shards.

    Args:
        name: what the user called the model.
        there: the names of the repository's files.
        download: fetches a file of it by its name; called for config.json and the index.

    Returns:
        File names without folders.

    Raises:
        InspectorError: where the index cannot be read, or names files outside its folder.
    """
    from reimpl import weights_on_disk as rule

    with _about(name):
        chosen = rule.chosen_file(download("config.json").parent, there)
        if chosen is None or not chosen.endswith(rule.INDEX_END):
            return [chosen or SINGLE]
        return [chosen, *rule.shards(download(chosen))]


def weight_files(folder: Path, name: str) -> list[Path]:
    """Return the safetensors files that a folder's weights are read from, by the library's rule.

    Args:
        folder: the model's.
        name: what the user called the model.

    Returns:
        Their paths.

    Raises:
        InspectorError: one is missing, or the index cannot be read or names files outside the folder.
    """
    from reimpl import weights_on_disk as rule

    with _about(name):
        return rule.weight_files(folder)


@contextmanager
def _about(name: str) -> Iterator[None]:
    """Turn the reimplementation's refusal of weight files into an error about this model."""
    from reimpl.errors import CheckpointError

    try:
        yield
    except CheckpointError as error:
        raise InspectorError(f"The weights of '{name}' cannot be used: {error}") from error


def broken_safetensors(path: Path) -> str | None:
    """Return what is wrong with a safetensors file, in a few words, or None; its weights are not read."""
    size = path.stat().st_size
    try:
        with safe_open(path, framework="numpy"):  # checks that header and file fit together; torch is not needed for it
            twice = duplicate_keys(path)
    except (SafetensorError, ValueError, OSError) as error:
        why = first_sentence(error).removeprefix("Error while deserializing header: ")[:200]
        return f"{path.name} ({size:,} bytes) is cut short or damaged ({why})"
    names = few([repr(name[:80]) for name in twice])
    return f"{path.name} is damaged: its header names {names} twice" if twice else None


def no_tokenizer(name: str, folder: Path) -> str:
    """Return the sentence about a model without a tokenizer."""
    return (
        f"There is no tokenizer for '{name}' in {folder}: put its tokenizer files (tokenizer.json, "
        "tokenizer_config.json) beside the weights."
    )
