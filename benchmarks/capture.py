"""What recording attention costs: token counts go in; a table of seconds, peak memory and ratios comes out.

Three ways through the packaged model, with the same token ids, on the CPU, in one run of this program:

    plain      the library's forward pass with SDPA, recording nothing: what every other row is divided by
    recording  `model.trace(ids)`: the same pass, with each layer's queries, keys and values kept by reference
    eager      what one would do without this project: a second model object with attn_implementation="eager" and
               output_attentions=True, which keeps every head's n x n weights

All three ask for the last token's logits alone (all of them would be 0.4 GB at 2048 tokens) and use no key/value cache.
Before anything is timed the results are compared: the logits of plain and recording are equal bit for bit, and the
weights that a trace computes are within 2e-5 of the eager ones for heads of the first, a middle and the last layer.

Seconds are medians over rounds, each of which runs the three ways one after the other, so that a machine that slows
down slows all of them. Every peak is taken in a fresh process of its own, which runs one way once: the process's
largest resident size, less what it was with the model loaded and a pass of 8 tokens done.

What bounds them: plain and recording are bound by matrix products, and recording adds only the references' memory,
layers x n x (heads + 2 kv_heads) x d_head numbers, linear in n (the peak grows by half as much again: what is freed
between kept tensors leaves gaps in the C library's heap), and the reading of the tokens. Eager is bound by memory
traffic: layers x heads x n x n numbers are written, and kept.

    python -m benchmarks.capture                        # 128, 512 and 2048 tokens, 3 rounds: under 4 minutes on 2 cores
    python -m benchmarks.capture --tokens 64,256 --rounds 5
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAYS = ("plain", "recording", "eager")
TOLERANCE = 2e-5  # the eager pass sums in another order than SDPA, which shows in later layers by up to 4e-6
TEXT = (
    "Houston, we have a problem. The cat sat on the mat because it was tired; the dog sat on the cat because it was "
    "not. We'll always have Paris, and Paris will always have the light: a lamp is light, a feather is light. "
)
RESULTS = Path(__file__).parent.parent / "bench-results"


def main() -> None:
    options = _options()
    if options.measure:  # in a process of its own, started below
        print(json.dumps(_seconds(options) if options.measure == "seconds" else _peak(options)))
        return
    # This process loads no model itself: a child may begin with its parent's peak as its own.
    record = _measured("seconds", options.tokens, options.rounds)
    for n in options.tokens:
        for way in WAYS:
            record["runs"][str(n)][way] |= _measured(way, [n], options.rounds)
    print(_table(record))
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / "capture.json"
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"\nWritten to {file.relative_to(RESULTS.parent)}.")


def _options() -> argparse.Namespace:
    def lengths(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(prog="python -m benchmarks.capture", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tokens", type=lengths, default=[128, 512, 2048], metavar="N,N,...", help="prompt lengths")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is timed (3)")
    parser.add_argument("--measure", choices=("seconds", *WAYS), help=argparse.SUPPRESS)
    return parser.parse_args()


def _measured(what: str, tokens: list[int], rounds: int) -> dict[str, Any]:
    """What a fresh process measured."""
    print(f"measuring {what} at {', '.join(map(str, tokens))} tokens ...", file=sys.stderr)
    arguments = ["--measure", what, "--tokens", ",".join(map(str, tokens)), "--rounds", str(rounds)]
    command = [sys.executable, "-m", "benchmarks.capture", *arguments]
    done = subprocess.run(command, cwd=RESULTS.parent, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# -- in a process of its own ----------------------------------------------------------------------------------------


def _seconds(options: argparse.Namespace) -> dict[str, Any]:
    """Every way timed at every length, results compared first."""
    import torch
    import transformers

    import inspector

    model = inspector.load()
    ways = {way: _way(way, model) for way in WAYS}
    runs: dict[str, dict[str, Any]] = {}
    for n in options.tokens:
        ids = _ids(model, n)
        _assert_equal({way: run(ids) for way, run in ways.items()})
        timed: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way, run in ways.items():
                gc.collect()  # what the last way kept is given back before this one starts
                start = time.perf_counter()
                result = run(ids)
                timed[way].append(time.perf_counter() - start)
                del result
        runs[str(n)] = {way: {"seconds": statistics.median(timed[way]), "rounds": timed[way]} for way in WAYS}
    return {
        "model": model.name,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "attention": model.model.config._attn_implementation,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "runs": runs,
    }


def _peak(options: argparse.Namespace) -> dict[str, Any]:
    """One way run once: the bytes by which the process grew, and the bytes that the result keeps."""
    import inspector

    model = inspector.load()
    run = _way(options.measure, model)
    ids = _ids(model, options.tokens[0])
    run(ids[:8])  # maps the weights into memory, which belongs to the model
    _give_back()
    loaded = _resident()
    result = run(ids)
    return {"peak_bytes": _resident() - loaded, "kept_bytes": _kept(options.measure, result)}


def _way(way: str, model: Any) -> Callable[[list[int]], Any]:
    """A function from token ids to this way's result."""
    import torch
    from transformers import AutoModelForCausalLM

    from inspector.convert import quiet

    def forward(library: Any, **wanted: Any) -> Callable[[list[int]], Any]:
        def run(ids: list[int]) -> Any:
            with torch.inference_mode():
                return library(torch.tensor([ids]), use_cache=False, logits_to_keep=1, **wanted)

        return run

    if way == "recording":
        return lambda ids: model.trace(ids)
    if way == "plain":
        return forward(model.model)
    with quiet():
        eager = AutoModelForCausalLM.from_pretrained(
            model.source.folder, dtype=model.dtype, attn_implementation="eager", local_files_only=True
        )
    return forward(eager.eval().requires_grad_(False), output_attentions=True)


def _assert_equal(results: dict[str, Any]) -> None:
    import torch

    trace, weights = results["recording"], results["eager"].attentions
    assert torch.equal(trace.last_logits, results["plain"].logits[0]), "recording changed the logits"
    assert len(trace.layers) == len(weights)
    for layer in sorted({0, len(weights) // 2, len(weights) - 1}):
        for head in sorted({0, trace.layers[layer].heads // 2, trace.layers[layer].heads - 1}):
            apart = float((trace.weights(layer, head) - weights[layer][0, head]).abs().max())
            assert apart <= TOLERANCE, f"layer {layer}, head {head}: weights differ from eager ones by {apart:.2g}"


def _ids(model: Any, n: int) -> list[int]:
    """The first n tokens of a text said over and over."""
    ids: list[int] = model.tokenizer(TEXT * (n // 40 + 1)).input_ids
    assert len(ids) >= n
    return ids[:n]


def _kept(way: str, result: Any) -> int:
    if way == "recording":
        return int(result.nbytes)
    return sum(weights.nbytes for weights in result.attentions) if way == "eager" else 0


def _give_back() -> None:
    """Has the system take back what loading has freed, and count the largest resident size anew, where it can.

    Without this some 30 MB that the C library keeps at hand would serve a short pass, which would seem to cost nothing.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc on Linux has it
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # 5: the largest resident size becomes the present one
        Path("/proc/self/clear_refs").write_text("5")


def _resident() -> int:
    """The largest resident size of this process so far, in bytes."""
    with contextlib.suppress(OSError):  # unlike getrusage's, this one can begin anew
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# -- the table ------------------------------------------------------------------------------------------------------


def _table(record: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = [
        f"{record['model']}, {record['dtype']} on {record['device']}, {record['threads']} threads ({versions})",
        "Equal before timed: logits bit for bit (plain, recording), weights to 2e-5 (recording, eager).",
        "",
        f"{'tokens':>6}  {'way':<9} {'seconds':>8} {'x plain':>8} {'peak MB':>8} {'x plain':>8} {'kept MB':>8}",
    ]
    for n, ways in record["runs"].items():
        plain = ways["plain"]
        for way, found in ways.items():
            slower = found["seconds"] / plain["seconds"]
            larger = found["peak_bytes"] / max(plain["peak_bytes"], 1)
            lines.append(
                f"{n:>6}  {way:<9} {found['seconds']:>8.3f} {slower:>8.2f} {found['peak_bytes'] / 2**20:>8.0f} "
                f"{larger:>8.2f} {found['kept_bytes'] / 2**20:>8.0f}"
            )
    return "\n".join([*lines, "", "Peak: above the loaded model. Kept: what the result holds on to."])


if __name__ == "__main__":
    main()
