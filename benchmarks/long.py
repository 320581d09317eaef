"""What a long prompt costs: a number of tokens goes in; seconds, peak memory and ratios of recording it, and the
seconds of looking at it, come out.

Recording is timed against the library's own forward pass of the same tokens with the same logits asked for, one after
the other in each round; peaks are taken in a fresh process each. The text is real: Python's own library, from this
machine. Before anything is timed results are compared: the logits of both passes bit for bit; rows of weights with
their softmax in float64; a pooled picture with the largest of plainly computed rows; rows of the sampled pictures of
all heads with exact ones.

    python -m benchmarks.long                     # 8192 tokens, 2 rounds: some 8 minutes on 2 cores
    python -m benchmarks.long --tokens 2048
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.capture import RESULTS, _give_back, _resident, _way

ROUNDING = 1e-5  # of a weight, float32 against float64: scores of up to 100 carry an error of 100 x 6e-8


def main() -> None:
    options = _options()
    if options.measure:  # in a process of its own, started below
        print(json.dumps(_seconds(options) if options.measure == "seconds" else _peak(options)))
        return
    record: dict[str, Any] = {"tokens": options.tokens, "peaks": {}}
    for way in ("plain", "recording", "half"):
        record["peaks"][way] = _measured(way, options)
    record |= _measured("seconds", options)
    print(_table(record))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "long.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tokens", type=int, default=8192, help="prompt length (8192)")
    parser.add_argument("--rounds", type=int, default=2, help="how often each pass is timed (2)")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measured(what: str, options: argparse.Namespace) -> dict[str, Any]:
    print(f"measuring {what} at {options.tokens:,} tokens ...", file=sys.stderr, flush=True)
    arguments = ["--measure", what, "--tokens", str(options.tokens), "--rounds", str(options.rounds)]
    command = [sys.executable, "-m", "benchmarks.long", *arguments]
    done = subprocess.run(command, cwd=RESULTS.parent, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _ids(model: Any, n: int) -> list[int]:
    """The first n tokens of Python's library, file after file."""
    text = ""
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text += file.read_text(encoding="utf-8", errors="ignore")
        if len(text) > 8 * n:
            break
    ids: list[int] = model.tokenizer(text, verbose=False).input_ids[:n]
    assert len(ids) == n
    return ids


def _run(way: str, model: Any) -> Callable[[list[int]], Any]:
    return (lambda ids: model.trace(ids, precision="float16")) if way == "half" else _way(way, model)


def _peak(options: argparse.Namespace) -> dict[str, Any]:
    """One way run once: the bytes by which the process grew, and the bytes that the result keeps."""
    import inspector

    model = inspector.load()
    ids, run = _ids(model, options.tokens), _run(options.measure, model)
    run(ids[:8])
    _give_back()
    before = _resident()
    result = run(ids)
    return {"peak_bytes": _resident() - before, "kept_bytes": getattr(result, "nbytes", 0)}


def _seconds(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    import inspector
    from inspector import measures, metrics

    model = inspector.load()
    ids = _ids(model, options.tokens)
    cost = model.cost(ids)
    passes: dict[str, list[float]] = {"plain": [], "recording": []}
    trace, logits = None, None
    for _ in range(options.rounds):
        for way, seconds in passes.items():
            trace = None if way == "recording" else trace
            gc.collect()
            start = time.perf_counter()
            result = _run(way, model)(ids)
            seconds.append(time.perf_counter() - start)
            if way == "plain":
                logits = result.logits[0]
            else:
                trace = result
                assert torch.equal(trace.last_logits, logits), "recording changed the logits"
    assert trace is not None
    _assert_equal(trace)
    layer, head, sample = 12, 4, 64
    looks = {
        "picture": lambda: metrics.picture(trace, layer, head),
        "row": lambda: trace.weights(layer, head, [trace.n // 2]),
        "strongest pairs": lambda: metrics.strongest_pairs(trace, layer, head),
        "grid, 64 rows": lambda: metrics.thumbnails(trace, sample=sample),
        "measures, 64 rows": lambda: measures.measures(trace, sample=sample),
    }
    looked = {}
    for name, look in looks.items():
        looked[name] = []
        for _ in range(5):
            start = time.perf_counter()
            look()
            looked[name].append(time.perf_counter() - start)
    return {"passes": passes, "looks": looked, "estimate": vars(cost), "threads": torch.get_num_threads()}


def _assert_equal(trace: Any) -> None:
    import numpy as np
    import torch

    from inspector import metrics

    layer, head, n = 12, 4, trace.n
    query, key = trace.query(layer, head).double(), trace.key(layer, head).double()
    picture = metrics.picture(trace, layer, head)
    k = picture.pool
    for block in (0, picture.values.shape[0] // 2, picture.values.shape[0] - 1):
        rows = range(block * k, min(n, (block + 1) * k))
        exact = torch.zeros(len(rows), n, dtype=torch.float64)
        for at, t in enumerate(rows):
            exact[at, : t + 1] = torch.softmax(key[: t + 1] @ query[t] * trace.layers[layer].scale, 0)
        assert float((trace.weights(layer, head, list(rows)) - exact).abs().max()) <= ROUNDING
        padded = torch.nn.functional.pad(exact.amax(0), (0, -n % k)).view(-1, k).amax(1)
        assert np.nanmax(np.abs(picture.values[block] - padded.numpy())) <= ROUNDING
    grid = metrics.thumbnails(trace, sample=64)
    positions = metrics.spread(n, grid.pool, 64)
    some = trace.weights(layer, head, [t for t in positions if t // grid.pool == 0])
    first = 1 + round(254 * float(some[:, : grid.pool].max()) ** 0.5)
    at = sum(info.heads for info in trace.layers[:layer]) + head
    assert abs(int(grid.pixels[at, 0, 0]) - first) <= 1


def _table(record: dict[str, Any]) -> str:
    plain, recording = (record["passes"][way] for way in ("plain", "recording"))
    ratios = [b / a for a, b in zip(plain, recording, strict=True)]
    lines = [
        f"{record['tokens']:,} tokens, {record['threads']} threads",
        f"plain     {min(plain):7.1f} s at best",
        f"recording {min(recording):7.1f} s at best, {statistics.median(ratios):.3f} x plain (median of rounds)",
        f"estimated {record['estimate']['seconds']:7.1f} s, peak {record['estimate']['peak_bytes'] / 1e9:.2f} GB",
    ]
    for way, found in record["peaks"].items():
        peak, kept = found["peak_bytes"] / 1e9, found["kept_bytes"] / 1e9
        lines.append(f"{way:<10} peak {peak:5.2f} GB above the model, keeps {kept:.2f} GB")
    for name, seconds in record["looks"].items():
        lines.append(f"{name:<20} {min(seconds) * 1000:8.1f} ms at best of {len(seconds)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
