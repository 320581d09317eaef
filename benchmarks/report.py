"""Write the tables of results.md from what was measured."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from datetime import date
from typing import Any

from benchmarks import app_tables, judging, sums
from benchmarks.bounds import Size
from benchmarks.forward import TIMED_UP_TO
from benchmarks.tables import failed, large, ratio, seconds, table
from benchmarks.ways import TITLES, Way

PACKAGES = ("torch", "transformers", "bertviz", "transformer-lens")


def machine() -> dict[str, Any]:
    """Read cores, memory, versions, date, and what matters of the packaged model. Nothing names a machine or person.

    Returns:
        The facts, ready for JSON.
    """
    import json

    import torch

    from inspector.loading.resolve import find_model
    from inspector.loading.source import PACKAGED

    folder = find_model(PACKAGED).folder
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder else {}
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "date": date.today().isoformat(),
        "model": PACKAGED,
        "size": dataclasses.asdict(Size.of(_Config(config))),
        "dtype": "float32",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": os.getloadavg()[0],  # processes that wanted a core in the last minute, before this run
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }


class _Config:
    """A config.json's settings as attributes."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.__dict__.update(settings)


def size(facts: dict[str, Any]) -> Size:
    """Return the packaged model's sizes.

    Args:
        facts: what `machine` returned.

    Returns:
        The sizes.
    """
    return Size(**facts["size"])


def markdown(record: dict[str, Any]) -> str:
    """Write all tables.

    Args:
        record: what was measured.

    Returns:
        The text.
    """
    facts = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    busy = f" Load before the run: {facts['load']:.1f}." if "load" in facts else ""
    return "\n".join(
        [
            "# Benchmarks",
            "",
            f"`{record['command']}`, {facts['date']}, {record['seconds'] / 60:.1f} minutes. {facts['model']}, "
            f"{facts['dtype']}, CPU: {facts['cores']} cores, {facts['threads']} threads, "
            f"{large(facts['memory_bytes'])} of memory, {facts['system']}. {versions}.{busy}",
            "",
            "Everything was compared before it was timed, and nothing would stand here had it differed. Ratios are the "
            "result; seconds depend on the machine and on what else it does. "
            "[docs/performance.md](../docs/performance.md) says what bounds them.",
            "",
            *_forward(record),
            *_bounds(record),
            *pictures(record),
            *_pages(record["pages"]),
            *_loading(record["loading"]),
            *_verification(record["verification"]),
            *(app_tables.tables(record["app"]) if "app" in record else ()),  # it may be measured by itself, later
            *_sums(record.get("sums", {})),
            *_judging(record.get("judging", {})),
            *_atlas(record.get("atlas", {})),
        ]
    ).rstrip()


def _forward(record: dict[str, Any]) -> list[str]:
    title = "A prompt through the model"
    if "failed" in record["forward"]:
        return failed(title, record["forward"])
    facts, rows = size(record["machine"]), []
    for n, found in record["forward"].items():
        plain, plain_peak = _plain(found), record["peaks"][n]["plain"].get("peak_bytes")
        for way, name in TITLES.items():
            if why := record["skipped"][n].get(way):
                if why.startswith("not run: minutes"):
                    why = f"not run: about {_more(record, way, int(n))}"
                elif way == "eager":
                    why += f" ({facts.layers} layers × {facts.heads} heads × {n}² × 4 bytes)"
                rows.append([n, name, "", "", "", "", "", why])
                continue
            taken, peak = found["ways"].get(way, {}).get("seconds"), record["peaks"][n][way]
            rows.append(
                [
                    n, name, seconds(taken), ratio(taken, plain), large(peak["peak_bytes"]) if peak.get("peak_bytes")
                    else "", ratio(peak.get("peak_bytes"), plain_peak), large(peak["stored_bytes"])
                    if peak.get("stored_bytes") else "", peak.get("failed", ""),
                ]
            )  # fmt: skip
    return [
        f"## {title}",
        "",
        f"Seconds: medians, the ways in turn (above {TIMED_UP_TO} tokens: once, in the processes of the peaks). "
        "Peak: above the loaded model, in a process of its own. Kept: what the result holds on to. Ratios are to the "
        "plain pass.",
        "",
        *table(["tokens", "way", "seconds", "× plain", "peak", "× plain", "kept", ""], rows),
    ]


def _plain(found: dict[str, Any]) -> float | None:
    seconds: float | None = found["ways"].get("plain", {}).get("seconds")
    return seconds


def _more(record: dict[str, Any], way: Way, n: int) -> str:
    """Estimate the seconds of a way at n: its time beyond a plain pass grows with n² from the longest measured."""
    lengths = [int(m) for m, found in record["forward"].items() if way in found["ways"]]
    now = _plain(record["forward"][str(n)])
    if not lengths or now is None:
        return "minutes"
    longest = max(lengths)
    measured = record["forward"][str(longest)]["ways"]
    beyond = max(0.0, measured[way]["seconds"] - measured["plain"]["seconds"]) * (n / longest) ** 2
    return f"{now + beyond:.0f} s"


def _bounds(record: dict[str, Any]) -> list[str]:
    title = "What the arithmetic comes to"
    can = record["yardsticks"]
    if "failed" in can or "failed" in record["forward"]:
        return failed(title, can if "failed" in can else record["forward"])
    facts, rows = size(record["machine"]), []
    for n, found in record["forward"].items():
        linear, attention = facts.linear(int(n)), facts.attention(int(n))
        least = (linear + attention) / can["matmul"]
        reached = [
            f"{100 * least / found['ways'][way]['seconds']:.0f}%" if way in found["ways"] else ""
            for way in ("plain", "capture")
        ]
        rows.append(
            [
                n, large(linear, "FLOP"), large(attention, "FLOP"), seconds(least), *reached,
                large(facts.vectors(int(n))), large(facts.all_weights(int(n))),
            ]
        )  # fmt: skip
    head = [
        "tokens", "projections, MLPs", "attention", "at full speed (s)", "plain reaches", "capture reaches",
        "q, k, v", "all weights",
    ]  # fmt: skip
    return [
        f"## {title}",
        "",
        f"Yardsticks of the same run: a float32 product of 2048 × 2048 matrices does {large(can['matmul'], 'FLOP')}/s, "
        f"one as wide as the model's MLP (576 to 1536) {large(can['matmul_model'], 'FLOP')}/s; a copy of 256 MiB moves "
        f"{large(can['copy'])}/s. Full speed is the first of these.",
        "",
        *table(head, rows),
    ]


def pictures(record: dict[str, Any]) -> list[str]:
    """Write the table of what pictures cost.

    Args:
        record: what was measured.

    Returns:
        The table's lines.
    """
    title = "Pictures, on the server"
    if "failed" in record["forward"]:
        return failed(title, record["forward"])
    rows = []
    for n, found in record["forward"].items():
        shown, plain = found["pictures"], _plain(found)
        if shown is None:
            continue
        rows += [
            [n, "another head (picture, bytes, strongest pairs)", seconds(shown["head"]), ratio(shown["head"], plain),
             large(shown["head_bytes"])],
            [n, "grid of all heads, vectors at hand", seconds(shown.get("grid")), ratio(shown.get("grid"), plain),
             large(shown["grid_bytes"]) if shown["grid_bytes"] else "not run: minutes"],
        ]  # fmt: skip
        if "grid" in shown:
            whole = shown["grid"] + found["ways"]["capture"]["seconds"]
            rows.append([n, "grid from the prompt: capture and grid", seconds(whole), ratio(whole, plain), ""])
        if "eager" in shown:
            eager = shown["eager"]
            rows.append([n, "the same by the library's eager pass", seconds(eager), ratio(eager, plain), ""])
    return [f"## {title}", "", *table(["tokens", "what", "seconds", "× plain", "bytes sent"], rows)]


def _pages(pages: dict[str, Any]) -> list[str]:
    title = "Bytes sent to the browser, against BertViz"
    if "failed" in pages:
        return failed(title, pages)
    rows = []
    for n, found in pages.items():
        stock = found["stock"]
        rows.append([n, "BertViz's page of one layer", large(stock), "1", seconds(found["stock_seconds"])])
        if found["ours"]:
            view, taken = found["ours"], seconds(found["ours_seconds"])
            rows.append([n, "our page of that BertViz view", large(view), ratio(view, stock), taken])
        else:
            rows.append([n, "our page of that BertViz view", "refused: too many shapes for a browser", "", ""])
        layer, taken = found["layer"], seconds(found["layer_seconds"])
        rows.append([n, "all heads of that layer as our pictures", large(layer), ratio(layer, stock), taken])
        rows.append([n, "one head: what a click sends", large(found["head"]), ratio(found["head"], stock), ""])
        rows.append([n, "small pictures of all heads, all layers", large(found["grid"]), "", ""])
    return [f"## {title}", "", *table(["tokens", "what", "bytes", "× BertViz's", "seconds to make"], rows)]


def _loading(loading: dict[str, Any]) -> list[str]:
    title = "Loading"
    if "failed" in loading:
        return failed(title, loading)
    names = {
        "first": ("packaged, first time (converts)", "library, from the GGUF file"),
        "warm": ("packaged, again", "library, from the GGUF file"),
        "folder": ("a folder", "library, from_pretrained"),
    }
    rows = []
    for case, found in loading.items():
        other = found.get("library")
        library = (names[case][1], seconds(other), ratio(found["ours"], other)) if other else ("", "", "")
        rows.append([names[case][0], seconds(found["ours"]), *library])
    head = ["ours", "seconds", "instead", "its seconds", "ours ÷ that"]
    return [f"## {title}", "", "Model and tokenizer, in a running process.", "", *table(head, rows)]


def _verification(verification: dict[str, Any]) -> list[str]:
    title = "Verification"
    if "failed" in verification:
        return failed(title, verification)
    rows = [
        [n, seconds(found["verify"]), ratio(found["verify"], found["plain"]), str(found["checks"]),
         str(found["caught"])]
        for n, found in verification.items()
    ]  # fmt: skip
    head = ["tokens", "seconds", "× plain", "stages compared", "mistakes caught"]
    return [f"## {title}", "", "All of `inspector.verify`; nothing else does this.", "", *table(head, rows)]


def _sums(found: dict[str, Any]) -> list[str]:
    title = "Experiments, and sums that explain a next token"
    if "failed" in found:
        return failed(title, found)
    rows = [
        [
            n,
            name,
            seconds(taken),
            ratio(taken, of["plain"]),
            str(sums.AT_MOST[name]) if sums.GOAL_AT.get(name, int(n)) == int(n) else "",
        ]
        for n, of in found.items()
        for name, taken in of.items()
        if name != "plain"
    ]
    head = ["tokens", "what", "seconds", "× plain", "at most"]
    return (
        [
            f"## {title}",
            "",
            "[docs/lab.md](../docs/lab.md) and [docs/why.md](../docs/why.md) say what they are.",
            "",
            *table(head, rows),
        ]
        if rows
        else []
    )


def _judging(found: dict[str, Any]) -> list[str]:
    title = "Judging somebody's own attention"
    if "failed" in found:
        return failed(title, found)
    rows = [
        [name, f"{row['passes']:.1f}", f"{judging.MOST['right' if name == 'right' else 'wrong']:.0f}", row["verdict"]]
        for name, row in found.items()
    ]
    said = (
        "`inspector.judge` on 8 tokens beyond the judged code's own time, the quickest of some. Right: all stages, "
        "whole, token by token and in chunks. Wrong: the output alone is handed over, with one mistake."
    )
    return (
        [f"## {title}", "", said, "", *table(["what is judged", "× plain", "at most", "verdict"], rows)] if rows else []
    )


def _atlas(found: dict[str, Any]) -> list[str]:
    title = "An atlas over a corpus"
    if "failed" in found:
        return failed(title, found)
    rows = [[seconds(found["plain"]), seconds(found["atlas"]), f"{found['ratio']:.2f}", "1.15"]] if found else []
    said = "Batches of 2 texts of 128 tokens, all statistics on, in turn with plain passes of the same; CPU seconds."
    return [f"## {title}", "", said, "", *table(["plain", "atlas", "× plain", "at most"], rows)] if rows else []
