"""Give a host what it needs to show a canvas: the skeleton, the style, and one script joined from ES modules.

The modules in views/js know no host. The app (inspector/ui/components), a saved page (standalone.py) and the softmax
page each add a module of their own, the entry, and take the text that `joined` makes of it and all that it imports.
"""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal

Name = Literal["grid", "heatmap", "strips", "explore"]

JS = files("inspector.views") / "js"

# The same numbers as a table, which the script fills when it is opened.
_TABLE = """<details class="numbers"><summary>Table</summary><div role="region" tabindex="0"></div></details>"""

# What a canvas's script looks for in its root.
SKELETONS: dict[Name, str] = {
    "grid": """
<div class="heads">
  <canvas tabindex="0" role="application" aria-roledescription="grid of heads" data-testid="heads"></canvas>
  <div class="tip" hidden></div>
  <p class="readout" aria-live="polite" data-testid="head-readout"></p>
</div>
""",
    "heatmap": f"""
<div class="map">
  <canvas tabindex="0" role="application" aria-roledescription="map of numbers" data-testid="map"></canvas>
  <div class="tip" data-testid="tip" hidden></div>
  <p class="readout" aria-live="polite" data-testid="readout"></p>
  <div class="legend" data-testid="legend"></div>
  <div class="strip" data-testid="strip" hidden></div>
  {_TABLE}
</div>
""",
    "strips": f"""
<div class="columns">
  <canvas tabindex="0" role="application" aria-roledescription="picture of numbers"></canvas>
  <div class="tip" hidden></div>
  <p class="readout" aria-live="polite"></p>
  {_TABLE}
</div>
""",
}
SKELETONS["explore"] = (JS / "explore.html").read_text(encoding="utf-8").replace("MAP", SKELETONS["heatmap"])
_STYLES: dict[Name, tuple[str, ...]] = {
    "grid": ("grid.css",),
    "heatmap": ("heatmap.css", "table.css"),
    "strips": ("heatmap.css", "strips.css", "table.css"),
    "explore": ("heatmap.css", "explore.css"),
}

_IMPORT = re.compile(r'^import \{([\w,\s]+)\} from "(?:\./|\.\./\.\./views/js/)(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:const|function) (\w+))", re.MULTILINE)
_COMMENT = re.compile(r"/\*\*[\s\S]*?\*/ ?|^\s*//.*\n|(?<=[;,{]) // .*$", re.MULTILINE)


def style(name: Name) -> str:
    """Return the style sheet of a canvas; its colours are CSS variables, --canvas-text and the like.

    Args:
        name: which canvas.

    Returns:
        CSS for a root of the canvas's own.
    """
    return "".join(text(JS / file) for file in _STYLES[name])


def text(file: Traversable) -> str:
    """Return the text of a script or a style sheet.

    Args:
        file: in views/js, or beside a host's Python.

    Returns:
        The text, as it stands in the file.
    """
    return file.read_text(encoding="utf-8")


def joined(entry: Traversable) -> str:
    """Return a module and all that it imports as one script without imports.

    Each imported module becomes a function of its own that returns what it exports, so that no name of one meets a name
    of another. Comments and indentation stay behind: the app sends its scripts again with changed messages.

    Args:
        entry: the module to begin with, in views/js or beside the host's Python.

    Returns:
        The script. What the entry exports by default stays exported.

    Raises:
        RuntimeError: modules import each other in a circle, or something is written as the joiner does not read it.
    """
    modules: dict[str, str] = {}
    body = _linked(entry, modules, ())
    script = "".join([*modules.values(), body])
    if "</script" in script or re.search(r"^(import|export(?! default function))\b", script, re.MULTILINE):
        rule = "write import { a } from './b.js', and export before const and function"
        raise RuntimeError(f"{entry.name} cannot be joined: {rule}.")
    return script


def _linked(module: Traversable, done: dict[str, str], above: tuple[Traversable, ...]) -> str:
    """Return a module's text with its imports as constants, once what it imports stands in `done`."""
    if module in above:
        circle = " -> ".join(each.name for each in (*above, module))
        raise RuntimeError(f"Modules import each other in a circle: {circle}.")

    def linked(found: re.Match[str]) -> str:
        names, other = " ".join(found[1].split()).rstrip(","), found[2]
        if " as " in names:
            raise RuntimeError(f"{module.name} cannot be joined: it gives an import another name ({names}).")
        if other not in done:
            body = _linked(JS / f"{other}.js", done, (*above, module))
            exported = ", ".join(_EXPORT.findall(body))
            done[other] = f"const ${other} = (() => {{\n{_EXPORT.sub('', body)}return {{ {exported} }};\n}})();\n"
        return f"const {{ {names} }} = ${other};\n"

    return re.sub(r"^\s+", "", _COMMENT.sub("", _IMPORT.sub(linked, text(module))), flags=re.MULTILINE)
