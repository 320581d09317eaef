"""Measure what loading costs: the packaged model for the first time and again, and a folder, against the library.

    first   the packaged GGUF file is converted to safetensors, once for each cache; the library reads the GGUF file
    warm    the packaged model again, its files checked; the library reads the GGUF file, as it has to each time
    folder  a folder with config.json and safetensors, against from_pretrained of model and tokenizer

Before anything is timed, every parameter is compared, bit for bit, and a prompt's token ids.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def measure(rounds: int = 3, first: bool = True) -> dict[str, Any]:
    """Time loading.

    Args:
        rounds: how often each case is timed.
        first: False converts nothing.

    Returns:
        Seconds by case: {"ours": ..., "library": ...}.
    """
    import inspector
    from inspector.loading.known_models import models_known

    warm = inspector.load()
    folder = Path(warm.source.folder or "")
    packaged = next(row for row in models_known() if row["kind"] == "packaged")
    gguf = Path(packaged["folder"])
    (file,) = gguf.glob("*.gguf")
    reference = from_folder(folder)
    assert_equal("folder", inspector.load(folder), reference)
    assert_equal("packaged", warm, reference)
    found: dict[str, Any] = {}
    if first:
        assert_equal("packaged, from its GGUF file", warm, from_gguf(file))
        ours = _first()
        start = time.perf_counter()
        from_gguf(file)
        found["first"] = {"ours": ours, "library": time.perf_counter() - start}
    del warm, reference
    cases: Mapping[str, Mapping[str, Callable[[], Any]]] = {
        "warm": {"ours": inspector.load},
        "folder": {"ours": lambda: inspector.load(folder), "library": lambda: from_folder(folder)},
    }
    taken: dict[str, dict[str, list[float]]] = {case: {way: [] for way in ways} for case, ways in cases.items()}
    for _ in range(rounds):
        for case, ways in cases.items():
            for way, load in ways.items():
                gc.collect()
                start = time.perf_counter()
                load()
                taken[case][way].append(time.perf_counter() - start)
    for case, ways_taken in taken.items():
        found[case] = {way: statistics.median(seconds) for way, seconds in ways_taken.items()}
    if first:
        found["warm"]["library"] = found["first"]["library"]
    return found


def from_folder(folder: Path) -> tuple[Any, Any]:
    """Load the library's model and tokenizer from a folder, as its user does.

    Args:
        folder: config.json and safetensors.

    Returns:
        Model and tokenizer.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from inspector.loading.quiet_library import quiet

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def from_gguf(file: Path) -> tuple[Any, Any]:
    """Load the same from a GGUF file.

    Args:
        file: the file.

    Returns:
        Model and tokenizer.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from inspector.loading.quiet_library import quiet

    place: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **place)
        return model, AutoTokenizer.from_pretrained(file.parent, **place)


def assert_equal(name: str, ours: Any, library: tuple[Any, Any]) -> None:
    """Assert that every parameter and a prompt's token ids are the library's.

    Args:
        name: the case, for the message.
        ours: our model.
        library: the library's model and tokenizer.
    """
    import torch

    theirs, tokenizer = library
    found, expected = ours.model.state_dict(), theirs.state_dict()
    assert found.keys() == expected.keys(), f"{name}: other parameters than the library's"
    for parameter, values in expected.items():
        assert torch.equal(found[parameter], values), f"{name}: {parameter} differs from the library's"
    prompt = "Houston, we have a problem"
    assert ours.tokenizer(prompt).input_ids == tokenizer(prompt).input_ids, f"{name}: other token ids"


def _first() -> float:
    """Seconds to load the packaged model into an empty cache."""
    import inspector

    before = os.environ.get("ATTENTION_INSPECTOR_CACHE")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["ATTENTION_INSPECTOR_CACHE"] = cache
        try:
            start = time.perf_counter()
            inspector.load()
            return time.perf_counter() - start
        finally:
            if before is None:
                del os.environ["ATTENTION_INSPECTOR_CACHE"]
            else:
                os.environ["ATTENTION_INSPECTOR_CACHE"] = before
