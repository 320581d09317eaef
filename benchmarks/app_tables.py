"""Write the tables of what the app takes in a browser, each beside its goal."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import failed, large, table

TITLE = "The app, in a browser"
CLICK_MS = {14: 50, 64: 50, 96: 50, 1024: 120}  # goals, by tokens
PAGE_MS, PAGE_SECONDS, FIRST_MS = 400, 0.15, 2000
COUNTS = ("nodes", "listeners")
NAMES = {"head": "a head", "token": "a token", "role": "a role"}


def tables(app: dict[str, Any]) -> list[str]:
    """Write all of them.

    Args:
        app: what `benchmarks.app.measure` returned, with the load of the machine.

    Returns:
        The lines.
    """
    if "failed" in app:
        return failed(TITLE, app)
    return [
        f"## {TITLE}",
        "",
        f"A real browser (headless, {app['browser']}) on the app as its command starts it, both on this machine. "
        "Milliseconds are medians with quartiles, from the click until the browser has painted; seconds are the "
        f"server's processor time. {_when(app)}",
        "",
        *_clicks(app["clicks"]),
        *_pages(app["pages"], app["first"]),
        *_memory(app["memory"]),
    ]


def _when(app: dict[str, Any]) -> str:
    """Say when it was measured, and what else the machine did."""
    return f"{app['date']}, load before: {app['load']:.1f}."


def _taken(found: dict[str, float]) -> list[str]:
    """Return count, median and quartiles."""
    return [str(found["count"]), f"{found['median']:.0f}", f"{found['lower']:.0f} to {found['upper']:.0f}"]


def _clicks(clicks: dict[str, Any]) -> list[str]:
    """Write the table of clicks that paint the map."""
    rows = []
    for n, kinds in clicks.items():
        for kind, found in kinds.items():
            goal = f"{CLICK_MS[int(n)]}" if int(n) in CLICK_MS else ""
            rows.append([n, NAMES[kind], *_taken(found["painted"]), goal, f"{found['server']:.3f}"])
    return table(["tokens", "clicked", "clicks", "painted (ms)", "quartiles", "goal", "server (s)"], rows)


def _pages(pages: dict[str, Any], first: dict[str, float]) -> list[str]:
    """Write the table of pages that were opened."""
    rows = [
        [f"to {link}", *_taken(found["whole"]), str(PAGE_MS), f"{found['server']:.3f}", str(PAGE_SECONDS)]
        for link, found in pages.items()
    ]
    rows.append(["the app, in a browser that was never there", *_taken(first), str(FIRST_MS), "", ""])
    return table(["opened", "times", "there (ms)", "quartiles", "goal", "server (s)", "goal"], rows)


def _memory(memory: dict[str, Any]) -> list[str]:
    """Write the table of memory over many clicks."""
    steps, count = len(memory["resident"]) - 1, memory["clicks"]
    rows = [
        [
            str(count * at // steps),
            large(resident),
            large(page["heap_bytes"]),
            str(page["nodes"]),
            str(page["listeners"]),
        ]
        for at, (resident, page) in enumerate(zip(memory["resident"], memory["page"], strict=True))
    ]
    return [
        f"Memory over {count:,} clicks on heads and tokens: the server's resident memory, and what the page holds "
        "after a search for unused objects.",
        "",
        *table(["clicks", "server", "page's scripts", *COUNTS], rows),
    ]
