"""Compute one shard of an atlas in whatever process this is: what workers are sent, and all that they need to know."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import torch

from inspector.atlas.corpus import Rows
from inspector.atlas.part import Part
from inspector.atlas.plan import PARTS, ROWS, Plan
from inspector.atlas.shard import run_shard
from inspector.errors import InspectorError
from inspector.model.load_model import load
from inspector.model.model import Model
from inspector.text import Progress, no_progress

_loaded: dict[tuple[str, str, str], Model] = {}  # a process's one model


def part_path(folder: Path, number: int) -> Path:
    """Return the file of a shard's part.

    Args:
        folder: the atlas's.
        number: of the shard.
    """
    return folder / PARTS / f"{number:05d}.safetensors"


def work(folder: str, number: int) -> int:
    """Compute one shard and write its part, in a worker that loads the model once.

    Args:
        folder: the atlas's, on a disk that all workers see.
        number: of the shard.

    Returns:
        The number.

    Raises:
        InspectorError: this worker's model is not the plan's.
    """
    plan = Plan.load(Path(folder))
    place = plan.model, str(plan.source["dtype"]), str(plan.source["device"])
    if place not in _loaded:
        _loaded.clear()
        _loaded[place] = load(plan.model, dtype=place[1], device=place[2], revision=plan.source["revision"])
    model = _loaded[place]
    if model.provenance != plan.source:
        other = [name for name, value in plan.source.items() if model.provenance.get(name) != value]
        raise InspectorError(
            f"The worker {socket.gethostname()} has another {', '.join(other)} than the atlas's plan: give all workers "
            "the same versions and files."
        )
    run(model, Path(folder), plan, number)
    return number


def run(model: Model, folder: Path, plan: Plan, number: int, progress: Progress = no_progress) -> None:
    """Compute one shard with a model that is at hand, and write its part, whole; one that is there stays.

    Args:
        model: the plan's.
        folder: the atlas's.
        plan: the atlas's.
        number: of the shard.
        progress: called as progress(message, fraction) after each batch.
    """
    path = part_path(folder, number)
    if path.exists():
        return
    before, start, used = torch.get_num_threads(), time.perf_counter(), time.process_time()
    torch.set_num_threads(plan.threads)
    try:
        rows = Rows.load(folder / ROWS / f"{number:05d}.safetensors")
        part: Part = run_shard(model, rows, plan.options(model.vocabulary), progress=progress)
    finally:
        torch.set_num_threads(before)
    part.facts |= {
        "seconds": round(time.perf_counter() - start, 3),
        "cpu_seconds": round(time.process_time() - used, 3),
        "host": socket.gethostname(),
        "process": os.getpid(),
    }
    part.save(path)
