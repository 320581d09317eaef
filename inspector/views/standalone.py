"""A canvas's payload and words about it go in; one HTML file comes out that shows what the app shows, opened anywhere.

It holds the app's own component scripts, asks no host for anything and forbids itself to: its content security policy
allows these very scripts and styles, by their hashes, and nothing else. What comes from outside (tokens, prompt, model)
lies in it as JSON and base64, never as markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

_HERE = files("inspector") / "views" / "js"

# What the scripts look for in their root, in the app and in a saved page.
SKELETONS = {
    "heatmap": """
<div class="map">
  <canvas tabindex="0" role="application" aria-roledescription="map of numbers" data-testid="map"></canvas>
  <div class="tip" data-testid="tip" hidden></div>
  <p class="readout" aria-live="polite" data-testid="readout"></p>
  <div class="legend" data-testid="legend"></div>
  <div class="strip" data-testid="strip" hidden></div>
</div>
""",
    "grid": """
<div class="heads">
  <canvas tabindex="0" role="application" aria-roledescription="grid of heads" data-testid="heads"></canvas>
  <div class="tip" hidden></div>
  <p class="readout" aria-live="polite" data-testid="head-readout"></p>
</div>
""",
}
_ENTRY = "export default function (component)"
_DARK = (
    ":root { color-scheme: dark; --st-background-color: #0f141b; --st-secondary-background-color: #1a212b; "
    "--st-text-color: #e6eaf0; --st-border-color: #333d4a; --st-primary-color: #3584d4; --quiet: #a3adba; }"
)


@dataclass(frozen=True)
class Details:
    """Every head's numbers for a page of all heads: the map's header, their bytes one after the other, and for each
    layer and head its packing, where it starts and where it ends."""

    header: dict[str, Any]
    numbers: bytes
    places: list[list[tuple[str, int, int]]]


def page(
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    footer: Sequence[str],
    component: str,
    payload: bytes,
    dark: bool = False,
    details: Details | None = None,
    selected: tuple[int, int] = (0, 0),
) -> str:
    """The file's text. `component`: heatmap or grid; a grid with `details` shows the chosen head's map below.

    Light or dark as the reader's system is set; `dark` makes it always dark.
    """
    used = [component] + (["heatmap"] if details is not None else [])
    told: dict[str, Any] = {
        "title": title,
        "facts": [list(fact) for fact in facts],
        "footer": list(footer),
        "styles": {name: (_HERE / f"{name}.css").read_text(encoding="utf-8") for name in used},
        "selected": list(selected),
    }
    stored = {"payload": payload}
    if details is not None:
        told["details"] = {"header": details.header, "numbers": details.places}
        stored["details"] = details.numbers
    script = "\n".join([*(_component(name) for name in used), (_HERE / "standalone.js").read_text(encoding="utf-8")])
    style = base_style(dark=dark)
    skeletons = "".join(f'<template id="{name}-skeleton">{SKELETONS[name]}</template>\n' for name in used)
    order = sorted(used)  # the grid stands above the map of its chosen head
    places = "\n".join(
        ('<h2 hidden></h2>\n<div id="heatmap" hidden></div>' if details is not None else '<div id="heatmap"></div>')
        if name == "heatmap"
        else '<div id="grid"></div>'
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


def _component(name: str) -> str:
    """A component's script as one function of that name, apart from all others."""
    script = (_HERE / "common.js").read_text(encoding="utf-8")
    script += (_HERE / f"{name}.js").read_text(encoding="utf-8")
    before, entry, after = script.partition(_ENTRY)
    if not entry or "</script" in script:
        raise RuntimeError(f"{name}.js has no line '{_ENTRY}', or one that would end a script.")
    return f"const {name} = (() => {{\n{before}const shown = function (component){after}\nreturn shown;\n}})();"


def base_style(*, dark: bool = False) -> str:
    """The style that all saved pages share: light or dark as the reader's system is set; `dark`: always dark."""
    style = (_HERE / "standalone.css").read_text(encoding="utf-8")
    return style.replace("/* DARK */", _DARK if dark else f"@media (prefers-color-scheme: dark) {{ {_DARK} }}")


def policy(script: str, style: str) -> str:
    """A content security policy that allows this script and this style, by their hashes, and nothing else."""
    return f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def safe_json(told: dict[str, Any]) -> str:
    """JSON that no HTML parser mistakes for markup."""
    text = json.dumps(told, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
