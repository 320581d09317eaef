"""Runs the notebooks and saves them with their outputs: `make notebook`. Not a test; test_notebook.py uses it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "self_attention_by_hand.ipynb"
COOKBOOK = sorted(path for path in (ROOT / "notebooks").glob("*.ipynb") if path != NOTEBOOK)
SECONDS = 120  # for one cell; all of them together take a few


def read(file: Path = NOTEBOOK) -> Any:
    """A notebook as it is saved."""
    return nbformat.read(file, as_version=4)


def run(notebook: Any) -> Any:
    """The same notebook with fresh outputs; raises nbclient's CellExecutionError where a cell fails.

    The kernel is a process of its own on loopback; it may not ask a hub for anything.
    """
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    # One thread: how a sum is cut among threads changes its last digits, and the saved picture holds them.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment["OMP_NUM_THREADS"] = "1"
    environment["PYTHONWARNINGS"] = "ignore:IProgress not found"  # a progress bar's remark on a package it would like
    # No times of execution, and what was printed as one piece, however the kernel sent it: saved outputs are the same
    # whenever and wherever they were made.
    same = {"record_timing": False, "coalesce_streams": True}
    import matplotlib.font_manager  # noqa: F401 - builds its cache of fonts, where it has none, here and not in a cell

    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", **same)
    return client.execute(env=environment)


def save(file: Path) -> None:
    """Run a notebook and save it with its outputs."""
    notebook = read(file)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    run(notebook)
    notebook.metadata = {name: notebook.metadata[name] for name in ("kernelspec", "language_info")}
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, file)
    print(f"{file.relative_to(ROOT)}  {file.stat().st_size // 1000} kB", flush=True)


def main() -> None:
    """Run all, or those whose names are given."""
    for file in (NOTEBOOK, *COOKBOOK):
        if not sys.argv[1:] or file.stem in sys.argv[1:]:
            save(file)


if __name__ == "__main__":
    main()
