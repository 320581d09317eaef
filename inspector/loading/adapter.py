"""A folder that holds a PEFT adapter: its base is found, and the adapter is put into it.

adapter_config.json ─► the base's name ─► the base, found like any model ─► base + adapter, by PEFT

Where a whole model lies beside the adapter, that is the base, whatever the adapter's settings name: so the library
does it where PEFT is installed.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from inspector.errors import InspectorError
from inspector.loading.packed_weights import is_installed
from inspector.loading.source import PACKAGED, Source, written_as_path
from inspector.text import few, first_sentence

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # as reimpl/low_rank.py has them, without torch
PICKLED = "adapter_model.bin"
# PEFT's tasks with another head than a language model's, and what the classes that have it are called.
OTHER_HEADS = {"SEQ_CLS": "ForSequenceClassification", "TOKEN_CLS": "ForTokenClassification"}


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter and no whole model.

    Args:
        folder: any.
    """
    return (folder / SETTINGS).is_file() and not (folder / "config.json").exists()


def adapter_source(folder: Path, name: str, find_base: Callable[[str, str | None], Source]) -> Source:
    """Find the base of an adapter.

    Args:
        folder: holds the adapter.
        name: what the user called it.
        find_base: finds a model by its name and revision.

    Returns:
        The base's source, with the adapter in it.

    Raises:
        InspectorError: PEFT is not installed, the adapter's files cannot be used, or its base cannot be found.
    """
    if not is_installed("peft"):
        raise InspectorError(
            f"'{name}' is a PEFT adapter, and the package that puts it into its base is not installed: run "
            "`pip install peft`."
        )
    settings = _usable_settings(folder, name)
    base = str(settings.get("base_model_name_or_path") or "").strip()
    if not base:
        raise InspectorError(
            f"The {SETTINGS} of '{name}' names no base model: write a hub id or a folder as base_model_name_or_path."
        )
    beside = folder / base
    place = str(beside) if not Path(base).exists() and base.startswith(".") and beside.exists() else base
    local = place == PACKAGED or Path(place).expanduser().exists() or written_as_path(place)
    try:
        source = find_base(place, None if local else settings.get("revision"))
    except InspectorError as error:
        raise InspectorError(
            f"The base model '{base}' that the {SETTINGS} of '{name}' names (base_model_name_or_path) cannot be "
            f"taken: {error}"
        ) from error
    if source.adapter is not None:
        raise InspectorError(
            f"The base of the adapter '{name}' is an adapter itself ('{base}'): merge that one into its base first "
            "(merge_and_unload)."
        )
    note = f"The adapter in {folder.resolve()} is added to its base {source.name}. {source.note}"
    remark = f"{source.remark} {_left_out_head(settings, source)}".strip()
    return replace(source, kind="adapter", name=name, note=note, remark=remark, adapter=folder.resolve())


def _left_out_head(settings: Mapping[str, Any], source: Source) -> str:
    """Say that an adapter was trained with a head that its base does not have; empty where it was not."""
    task, folder = settings.get("task_type"), source.folder
    if task not in OTHER_HEADS or folder is None:
        return ""
    named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or [""]
    if str(named[0]).endswith(OTHER_HEADS[task]):
        return ""
    return (
        f"The adapter was trained with a head of its own ({task}), which is left out: what follows the last layer is "
        "its base's."
    )


def with_adapter_beside(source: Source) -> Source:
    """Add to a model's source the adapter that lies in its folder, if one does.

    Args:
        source: of a folder or a hub's model.

    Returns:
        The source with the adapter, or with a remark that it is left out for want of PEFT; as it was without one.

    Raises:
        InspectorError: the adapter's files cannot be used.
    """
    folder = source.folder
    if folder is None or not (folder / SETTINGS).is_file():
        return source
    if not is_installed("peft"):
        left_out = (
            f"The adapter beside the weights in {folder} is left out, as the library does without the package peft: "
            "run `pip install peft` to have it added."
        )
        return replace(source, remark=f"{source.remark} {left_out}".strip())
    _usable_settings(folder, source.name)
    note = f"{source.note} The adapter beside them is added, as the library does it."
    return replace(source, note=note, adapter=folder)


def _usable_settings(folder: Path, name: str) -> dict[str, Any]:
    """Return an adapter's settings, or refuse it where these or its weights cannot be used."""
    from reimpl.errors import CheckpointError
    from reimpl.low_rank import read_settings

    try:
        settings = read_settings(folder)
    except CheckpointError as error:
        raise InspectorError(f"The adapter '{name}' cannot be used: {error}") from error
    if (folder / WEIGHTS).is_file():
        return settings
    if (folder / PICKLED).is_file():
        where = f"only as a pickled file ({PICKLED}), which can run code when it is read"
    else:
        where = f"in no {WEIGHTS}"
    raise InspectorError(
        f"The adapter '{name}' holds its weights {where}: save it again with PEFT's save_pretrained, which writes "
        f"safetensors{f', or take away its {SETTINGS}' if (folder / 'config.json').exists() else ''}."
    )


def with_adapter(model: Any, folder: Path, name: str) -> Any:
    """Put an adapter into its base model.

    Args:
        model: the library's model of the base.
        folder: holds the adapter.
        name: what the user called it.

    Returns:
        The library's model with the adapter merged into its matrices; where these are packed, or cannot be merged,
        with the adapter beside them.

    Raises:
        InspectorError: PEFT cannot load the adapter into this base, or it is no adapter of matrices.
    """
    import peft

    from inspector.loading.unwrap import refuse_outside_modules

    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
        refuse_outside_modules({"default": config})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _fit_vocabulary(model, folder, name)
            adapted = peft.PeftModel.from_pretrained(model, str(folder), config=config)
        _refuse_other_base(adapted, folder, name)
        if getattr(model, "quantization_method", None) is None:
            return adapted.merge_and_unload()
        return adapted.get_base_model()
    except InspectorError:
        raise
    except Exception as error:  # PEFT says what does not fit in errors of many kinds
        raise InspectorError(
            f"PEFT could not put the adapter '{name}' into its base ({first_sentence(error)}): check that "
            f"base_model_name_or_path in its {SETTINGS} names the model that it was trained on."
        ) from error


def _stored(folder: Path) -> dict[str, list[int]]:
    """Return the shapes of an adapter's tensors by name; its weights are not read."""
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="numpy") as file:
        return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  (not a dict)


def _fit_vocabulary(model: Any, folder: Path, name: str) -> None:
    """Give a base as many tokens as the adapter has embeddings for, where it was trained with tokens of its own."""
    stored = _stored(folder)
    sizes = {}
    for kind in ("input", "output"):
        part = getattr(model, f"get_{kind}_embeddings")()
        place = next((place for place, module in model.named_modules() if module is part), None)
        sizes[kind] = stored.get(f"base_model.model.{place}.weight", [0])[0]
    tokens = max(sizes.values())
    if not tokens or tokens == model.get_input_embeddings().weight.shape[0]:
        return
    tied = getattr(model.config, "tie_word_embeddings", False)
    if not tied and len(set(sizes.values())) > 1:
        raise InspectorError(
            f"The adapter '{name}' was trained with {tokens:,} tokens and holds embeddings or logits of these alone: "
            "save it again with both (modules_to_save)."
        )
    model.resize_token_embeddings(tokens, mean_resizing=False)


def _refuse_other_base(adapted: Any, folder: Path, name: str) -> None:
    """Refuse an adapter of which the base has no place for a part, or lacks one: PEFT would go on without it."""
    import peft

    # Whether to save embeddings, PEFT would ask the hub.
    wanted, stored = set(peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)), set(_stored(folder))
    odd = sorted(key for key in wanted ^ stored if ".lora_" in key)
    if odd:
        raise InspectorError(
            f"The adapter '{name}' does not fit its base: {few(odd)} {'is' if len(odd) == 1 else 'are'} in one of "
            f"them alone; name the model that it was trained on as base_model_name_or_path in its {SETTINGS}."
        )
