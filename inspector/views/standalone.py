"""Write one HTML file that shows a canvas as the app shows it, opened anywhere.

It holds the canvases' own scripts, asks no host for anything and forbids itself to: its content security policy allows
these very scripts and styles, by their hashes, and nothing else. What comes from outside (tokens, prompt, model) lies
in it as JSON and base64, never as markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inspector.views import canvases

_ENTRIES = {
    "heatmap": "saved_head.js",
    "grid": "saved_grid.js",
    "strips": "saved_strips.js",
    "explore": "saved_explore.js",
}
_DARK = (
    ":root { color-scheme: dark; --canvas-background: #0f141b; --canvas-raised: #1a212b; "
    "--canvas-text: #e6eaf0; --canvas-border: #333d4a; --canvas-accent: #3584d4; --quiet: #a3adba; }"
)


@dataclass(frozen=True)
class Details:
    """Every head's numbers for a page of all heads.

    header: the maps'. numbers: their bytes, one after the other. places: for each layer and head its packing, where it
    starts and where it ends.
    """

    header: Mapping[str, object]
    numbers: bytes
    places: list[list[tuple[str, int, int]]]


def page(
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    footer: Sequence[str],
    component: canvases.Name,
    payload: bytes,
    dark: bool = False,
    details: Details | None = None,
    selected: tuple[int, int] = (0, 0),
) -> str:
    """Return the file's text.

    Args:
        title: what the page shows.
        facts: names and texts that stand above the canvas.
        footer: lines below it.
        component: the canvas.
        payload: its message.
        dark: always dark; else as the reader's system is set.
        details: of a grid, to show the chosen head's map below it.
        selected: of a grid, the chosen layer and head.

    Returns:
        HTML that needs nothing else.
    """
    used: list[canvases.Name] = [component]
    if details is not None:
        used.append("heatmap")
    told: dict[str, Any] = {
        "title": title,
        "facts": [list(fact) for fact in facts],
        "footer": list(footer),
        "styles": {name: canvases.style(name) for name in used},
        "selected": list(selected),
        "details": None if details is None else {"header": details.header, "numbers": details.places},
    }
    stored = {"payload": payload}
    if details is not None:
        stored["details"] = details.numbers
    script = canvases.joined(canvases.JS / _ENTRIES[component])
    style = base_style(dark=dark)
    skeletons = "".join(f'<template id="{name}-skeleton">{canvases.SKELETONS[name]}</template>\n' for name in used)
    order = sorted(used)  # the grid stands above the map of its chosen head
    places = "\n".join(
        ('<h2 hidden></h2>\n<div id="heatmap" hidden></div>' if details is not None else '<div id="heatmap"></div>')
        if name == "heatmap"
        else f'<div id="{name}"></div>'
        for name in order
    )
    data = "\n".join(
        f'<script type="text/plain" id="{name}">{base64.b64encode(bytes_).decode()}</script>'
        for name, bytes_ in stored.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy(script, style)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="Attention Inspector">
<title>Attention Inspector</title>
<style>{style}</style>
</head>
<body>
<main>
<h1></h1>
<dl class="facts"></dl>
{places}
<footer></footer>
</main>
{skeletons}<script type="application/json" id="page">{safe_json(told)}</script>
{data}
<script type="module">{script}</script>
</body>
</html>
"""


def base_style(*, dark: bool = False) -> str:
    """Return the style that all saved pages share.

    Args:
        dark: always dark; else light or dark as the reader's system is set.

    Returns:
        CSS with the canvases' variables, --canvas-text and the like.
    """
    style = canvases.text(canvases.JS / "saved_page.css")
    return style.replace("/* DARK */", _DARK if dark else f"@media (prefers-color-scheme: dark) {{ {_DARK} }}")


def policy(script: str, style: str) -> str:
    """Return a content security policy that allows one script and one style, by their hashes, and nothing else.

    Args:
        script: the page's only script.
        style: the page's only style sheet.

    Returns:
        The policy, for a meta element.
    """
    return f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'"


def _hash(text: str) -> str:
    """Return the hash of a script or style as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def safe_json(told: dict[str, Any]) -> str:
    """Return JSON that no HTML parser mistakes for markup.

    Args:
        told: what the page's script reads.

    Returns:
        JSON in which <, > and & are escaped.
    """
    text = json.dumps(told, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
