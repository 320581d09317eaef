"""Load the library's model and tokenizer from a local folder, and refuse weights that are not what config.json says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.errors import InspectorError
from inspector.loading.adapter import with_adapter
from inspector.loading.folder_checks import no_tokenizer, refuse_unreadable
from inspector.loading.quiet_library import library_lock, quiet
from inspector.loading.releases import cannot_load
from inspector.loading.source import Source
from inspector.loading.weight_checks import (
    refuse_broken_numbers,
    refuse_far_larger,
    refuse_left_out,
    refuse_unread_weights,
)
from inspector.text import first_sentence

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16", "float64", "auto")


def load_library_model(
    source: Source,
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
    device_map: Any = None,
    trust_remote_code: bool = False,
) -> tuple[Any, Any]:
    """Load the library's model and tokenizer from a source's folder, in eval mode and without gradients.

    This folder alone is read: no code of the library asks a hub, or the hub's online converter, by itself.

    Args:
        source: what `find_model` returned.
        dtype: one of `DTYPES`, or torch's own.
        device: such as "cpu", "cuda", "cuda:1", "mps" or "auto".
        device_map: accelerate's, such as "auto", which then decides instead of `device`.
        trust_remote_code: whether Python code in the folder may run.

    Returns:
        The PreTrainedModel and the PreTrainedTokenizerBase.

    Raises:
        InspectorError: for a dtype or device that this machine lacks, files that cannot be read, and weights that
            the checkpoint lacks or that are no numbers.
    """
    from transformers import AutoTokenizer

    folder, name = source.folder, source.name
    if folder is None:
        raise InspectorError(f"'{name}' was given as an object in memory and has no files: use that object.")
    refuse_unreadable(folder, name, trust_remote_code=trust_remote_code)
    wanted = torch_dtype(dtype)
    if device_map is None:
        place = torch_device(device, wanted)
        # On the CPU no map is given: the weights then stay memory-mapped, 0.1 s instead of a copy.
        device_map = None if place.type == "cpu" else {"": place}
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    with library_lock, quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.tokenizer_folder, **local)
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
                adapter_kwargs=without_adapter(folder),  # one beside the weights is checked and added below
                **local,
            )
        except InspectorError:
            raise
        except Exception as error:  # settings that contradict each other end in an error of any kind
            if known := cannot_load(folder):
                raise InspectorError(known) from error
            raise InspectorError(
                f"The library could not load '{name}' from {folder}: {first_sentence(error.__cause__ or error)}; mend "
                "that, or choose another model, dtype or device."
            ) from error
    refuse_unread_weights(name, loading_info)
    refuse_left_out(name, loading_info, model)
    if source.adapter is not None and not getattr(model, "_hf_peft_config_loaded", False):  # else it is there
        with library_lock, quiet():
            model = with_adapter(model, source.adapter, name)
    refuse_broken_numbers(name, model)
    return model.eval().requires_grad_(False), tokenizer


def without_adapter(folder: Path) -> dict[str, str]:
    """Return what keeps the library from adding an adapter that lies beside a model's weights.

    Args:
        folder: the model's.

    Returns:
        Its `adapter_kwargs`, which have it look elsewhere; empty for older versions (5.17), which look here all the
        same and add it by themselves.
    """
    from transformers.utils import find_adapter_config_file

    elsewhere = {"subfolder": "no adapter"}
    return elsewhere if find_adapter_config_file(str(folder), **elsewhere) is None else {}


def _loader(folder: Path, name: str, *, trust_remote_code: bool) -> Any:
    """Return the library's class that loads this folder's model: the automatic one where the model brings its code."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from inspector.loading.auto_class import decoder_class

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    own_code = trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    found = None if own_code else decoder_class(config)
    if found is not None:
        refuse_far_larger(folder, name, config, found)
    return found or AutoModelForCausalLM


def torch_dtype(dtype: str | torch.dtype) -> Any:
    """Return torch's dtype of this name, or "auto".

    Args:
        dtype: one of `DTYPES`, or torch's own.

    Raises:
        InspectorError: for any other.
    """
    import torch

    if isinstance(dtype, torch.dtype):
        dtype = str(dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise InspectorError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}: choose one of them.")
    return "auto" if dtype == "auto" else getattr(torch, dtype)


def torch_device(device: str | torch.device, dtype: Any) -> torch.device:
    """Return torch's device of this name.

    Args:
        device: such as "cpu", "cuda:1" or "auto".
        dtype: what `torch_dtype` returned; not every device has every one.

    Raises:
        InspectorError: for a device that this machine lacks, or that lacks this dtype.
    """
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
