"""Measure seconds and peak memory of every way through the model.

Seconds are medians over rounds, each of which goes all ways one after the other, so that a machine that slows down
slows all of them. Every peak is taken in a fresh process of its own, which goes one way once: the process's largest
resident size, less what it was with the model loaded and a pass of 8 tokens done. A prompt of more than TIMED_UP_TO
tokens is run in those processes alone, which then give its seconds, too.
"""

from __future__ import annotations

import gc
import hashlib
import statistics
import time
from collections.abc import Mapping
from typing import Any

from benchmarks import pictures
from benchmarks.process import give_back, resident
from benchmarks.ways import Run, Way, assert_equal, ids_of, last_logits, make, stored_bytes

EQUAL_FIRST_UP_TO = 512  # tokens: of a longer prompt the timed results themselves are compared, which saves passes
TIMED_UP_TO = 2048  # tokens


def seconds(plan: list[tuple[int, int, list[Way]]]) -> dict[str, Any]:
    """Time the ways at several lengths.

    Args:
        plan: (tokens, rounds, ways) for each length; plain and capture are among the ways.

    Returns:
        By length: seconds by way, and what pictures cost.
    """
    import inspector

    model = inspector.load()
    runs = {way: make(way, model) for way in dict.fromkeys(way for _, _, ways in plan for way in ways)}
    found = {}
    for n, rounds, ways in plan:
        ids = ids_of(model, n)
        timed, trace = timed_equal({way: runs[way] for way in ways}, ids, rounds)
        found[str(n)] = {"ways": timed, "pictures": pictures.measure(trace, runs.get("eager"), rounds)}
    return found


def timed_equal(runs: Mapping[Way, Run], ids: list[int], rounds: int) -> tuple[dict[str, Any], Any]:
    """Time ways whose results are compared with a trace's before (of long prompts, while they are timed).

    Args:
        runs: way -> function from token ids to its result.
        ids: the prompt.
        rounds: how often each way is timed.

    Returns:
        Seconds by way, and that trace.
    """
    first = len(ids) <= EQUAL_FIRST_UP_TO
    trace = runs["capture"](ids) if first else None
    if first:
        for way, run in runs.items():
            assert_equal(trace, way, run(ids))
    taken: dict[Way, list[float]] = {way: [] for way in runs}
    for _ in range(rounds):
        for way in sorted(runs, key=lambda way: way != "capture"):  # what the others are compared with, first
            gc.collect()  # what the last way kept is given back before this one starts
            start = time.perf_counter()
            result = runs[way](ids)
            taken[way].append(time.perf_counter() - start)
            if not first:
                trace = result if way == "capture" else trace
                assert_equal(trace, way, result)
            del result
    return {way: {"seconds": statistics.median(taken[way]), "rounds": taken[way]} for way in runs}, trace


def once(way: Way, n: int) -> dict[str, Any]:
    """Go one way once, in this process.

    Args:
        way: the way.
        n: tokens.

    Returns:
        peak_bytes: by which the process grew; stored_bytes: that the result stores; seconds; logits: a hash of the last
        token's; pictures: what those of a long prompt's capture cost.
    """
    import inspector

    model = inspector.load()
    run = make(way, model)
    ids = ids_of(model, n)
    run(ids[:8])  # maps the weights into memory, which belongs to the model
    give_back()
    loaded = resident()
    start = time.perf_counter()
    result = run(ids)
    found: dict[str, Any] = {"seconds": time.perf_counter() - start, "peak_bytes": resident() - loaded}
    logits = last_logits(way, result)
    found |= {"stored_bytes": stored_bytes(way, result), "logits": hashlib.sha256(logits.numpy().tobytes()).hexdigest()}
    if way == "capture" and n > TIMED_UP_TO:
        found["pictures"] = pictures.measure(result, None, 3)
    return found


def from_once(found: Mapping[Way, dict[str, Any]]) -> dict[str, Any]:
    """Return what `seconds` gives of one length, from what `once` gave of each way.

    That plain's and capture's logits are equal is asserted.

    Args:
        found: way -> what `once` returned.

    Returns:
        Seconds by way, and what pictures cost.
    """
    if "failed" not in found["plain"] | found["capture"]:
        same = found["plain"]["logits"] == found["capture"]["logits"]
        assert same, "plain: recording changed the logits"
    done = {way: one["seconds"] for way, one in found.items() if "seconds" in one}
    ways = {way: {"seconds": seconds, "rounds": [seconds]} for way, seconds in done.items()}
    return {"ways": ways, "pictures": found["capture"].get("pictures")}
