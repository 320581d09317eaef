"""Run every benchmark, one after the other, each in a process of its own.

Prints the tables, and saves them as benchmarks/results.md and benchmarks/results.json.

    make bench                                # all lengths; some minutes on two quiet cores
    .venv/bin/python -m benchmarks --tokens 128,512 --rounds 5
    .venv/bin/python -m benchmarks --app      # the app in a browser alone; the other tables stay as they were saved
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import ROUNDS, report
from benchmarks.forward import TIMED_UP_TO, from_once
from benchmarks.process import available, measured
from benchmarks.ways import TITLES, Way, missing, needs

HERE = Path(__file__).parent
MOST_BYTES = 9 * 2**30  # that one way may need; less where the machine has less to give
SLOW = {"weights": 2048, "lens_vectors": 2048}  # tokens beyond which a way is estimated: it takes minutes


def main() -> None:
    """Measure, print and save."""
    options = _options()
    if options.app:
        record = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
        _save(record | {"app": app()}, options.out)
        return
    started = time.perf_counter()
    record = measure(options.tokens, options.rounds, first=not options.no_first)
    lengths = "" if options.tokens == list(ROUNDS) else " --tokens " + ",".join(map(str, options.tokens))
    rounds = "" if options.rounds is None else f" --rounds {options.rounds}"
    said = lengths + rounds + (" --no-first" if options.no_first else "")  # where it is saved is nobody else's matter
    record["command"] = f"python -m benchmarks{said}" if said else "make bench"
    record["seconds"] = time.perf_counter() - started
    _save(record, options.out)


def _save(record: dict[str, Any], out: Path) -> None:
    """Print the tables, and save them and the numbers."""
    text = report.markdown(record)
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.md").write_text(text + "\n", encoding="utf-8")
    (out / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"\nSaved as {out / 'results.md'} and results.json.", file=sys.stderr)


def app() -> dict[str, Any]:
    """Measure the app in a browser, where there is one.

    Returns:
        What `benchmarks.app.measure` returns, with the day and how busy the machine was before.
    """
    facts = {"date": date.today().isoformat(), "load": os.getloadavg()[0]}
    return facts | measured("benchmarks.app:measure", patience=1800)


def measure(tokens: list[int], rounds: int | None = None, *, first: bool = True) -> dict[str, Any]:
    """Measure everything, by benchmark; what failed says so in its place.

    Args:
        tokens: prompt lengths.
        rounds: how often each way is timed; None: more often for shorter prompts.
        first: whether to load for the first time, too.

    Returns:
        The record that results.json has.
    """
    # This process loads no model itself: a child may begin with its parent's peak as its own.
    facts = report.machine()
    size = report.size(facts)
    limit = min(MOST_BYTES, available() * 3 // 4)
    plan, skipped = [], {}
    for n in tokens:
        skipped[str(n)] = {way: why for way in TITLES if (why := _skip(way, size, n, limit))}
        ways = [way for way in TITLES if way not in skipped[str(n)]]
        plan.append((n, rounds or next((r for m, r in ROUNDS.items() if n <= m), 1), ways))
    record: dict[str, Any] = {"machine": facts, "yardsticks": measured("benchmarks.bounds:yardsticks")}
    short = [part for part in plan if part[0] <= TIMED_UP_TO]
    record["forward"] = measured("benchmarks.forward:seconds", plan=short, patience=1200)
    record["skipped"] = skipped
    record["peaks"] = peaks = {}
    for n, _, ways in plan:
        peaks[str(n)] = {way: measured("benchmarks.forward:once", way=way, n=n) for way in ways}
        if n > TIMED_UP_TO and "failed" not in record["forward"]:
            record["forward"][str(n)] = from_once(peaks[str(n)])
    record["pages"] = measured("benchmarks.pages:measure", tokens=[n for n in (64, 256, 1024) if n <= max(tokens)])
    record["loading"] = measured("benchmarks.loading:measure", rounds=rounds or 3, first=first)
    record["verification"] = measured("benchmarks.verification:measure", tokens=[n for n in tokens if n <= 512])
    record["sums"] = measured("benchmarks.sums:measure", tokens=[14, 64], rounds=rounds or 5)
    record["judging"] = measured("benchmarks.judging:measure", rounds=rounds or 3, patience=1200)
    record["atlas"] = measured("benchmarks.atlas:ratio")
    record["app"] = app()
    return record


def _skip(way: Way, size: Any, n: int, limit: int) -> str:
    """Say why a way is not gone at this length; empty: it is."""
    if why := missing(way):
        return why
    if (bytes_needed := needs(way, size, n)) > limit:
        return f"not run: needs at least {report.large(bytes_needed)}"
    return "not run: minutes" if n > SLOW.get(way, n) else ""


def _options() -> argparse.Namespace:
    """Read the command line."""

    def lengths(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tokens", type=lengths, default=list(ROUNDS), metavar="N,N,...", help="prompt lengths")
    parser.add_argument("--rounds", type=int, help="how often each way is timed (more often for shorter prompts)")
    parser.add_argument("--no-first", action="store_true", help="leave out loading for the first time, and GGUF")
    parser.add_argument("--app", action="store_true", help="measure the app in a browser alone")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for results.md and results.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
