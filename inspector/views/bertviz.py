"""Draw a trace with BertViz: its head, model or neuron view as one HTML page that asks no host for anything.

    inspector.views.head_view(trace)             # in a notebook: shows itself
    inspector.views.head_view(trace).save("head.html")

The weights drawn are the trace's own to the last bit; BertViz (https://github.com/jessevig/bertviz, Vig 2019) draws
them with its own scripts, read from the installed package. Token text is data in every place, and the page forbids
itself all requests (a content security policy), whatever a token says.
"""

from __future__ import annotations

import base64
import html
import json
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from inspector.errors import InspectorError
from inspector.files import written_whole
from inspector.views.notebook_frame import framed

if TYPE_CHECKING:
    from inspector.capture.records import LayerInfo
    from inspector.trace.trace import Trace

Kind = Literal["head", "model", "neuron"]

# Shapes (SVG elements) up to which a page opens within about 2.5 s and answers the pointer within about 0.25 s,
# measured in Chromium on two cores. The head view pays most for pointing: 12 s and 4 s at 256 tokens and 9 heads.
MOST_SHAPES: dict[Kind, int] = {"head": 75_000, "model": 150_000, "neuron": 150_000}
MOST_BYTES = 32 * 2**20  # of numbers in one page: all layers travel, of which the head view shows one at a time
KNOWN = "1.4.1"  # the BertViz whose scripts the replacements below were written for

_HERE = Path(__file__).resolve().parent
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
# In BertViz's scripts: where the numbers come from, which keys a query token may look at, and its colours.
_MARKER = ("const params = PYTHON_PARAMS;", "const params = window.bertviz_params;")
_EARLIER = ("i <= index", "config.attention[config.filter].allowed[index][i]")
_COLOURS = ("return PALETTE[config.mode][name]", "return window.bertviz_colours[name] ?? PALETTE[config.mode][name]")


@dataclass(frozen=True)
class View:
    """A whole page; `width` and `height` in pixels when nothing is cut off or shrunk."""

    html: str = field(repr=False)
    title: str
    width: int
    height: int

    def save(self, path: str | Path) -> Path:
        """Write the page to one file that any browser opens, without a network; whole or not at all.

        Args:
            path: the file to write; one that is there is replaced.

        Returns:
            The path.
        """
        path = Path(path)
        with written_whole(path) as part:
            part.write_bytes(self.html.encode())
        return path

    def _repr_html_(self) -> str:
        """Return the page in a frame."""
        return framed(self.html, title=self.title, height=self.height)


def head_view(
    trace: Trace,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    *,
    chosen: int | None = None,
    dark: bool = False,
) -> View:
    """Draw one layer's heads as lines between two columns of tokens, one layer at a time.

    A line's strength is its attention weight divided by the number of heads shown.

    Args:
        trace: whose weights are drawn.
        layers: which layers a reader can choose from; None: all.
        heads: which heads of each layer; None: all.
        chosen: the head whose lines are orange; those of the others are blue.
        dark: draw light on dark.

    Returns:
        The page.

    Raises:
        InspectorError: a layer or head does not exist, or a browser could not draw so many lines.
    """
    layers, heads = _chosen(trace, layers, heads)
    _refuse("head", f"The head view of {_count(len(heads), 'head')}", trace.n, heads=len(heads))
    numbers = "".join(f"<span>{head}</span>" for head in heads)
    choice = '<label>Layer: <select id="layer"></select></label>' if len(layers) > 1 else f"Layer {layers[0]}"
    params = {
        "attention": [_attention(trace, layers, heads, most=13)],
        "default_filter": "0",
        "layer": layers[0],
        "heads": None,
        "include_layers": layers,
        "chosen": heads.index(chosen) if chosen in heads else -1,
        "count": len(heads),
    }
    return _page(
        trace,
        "head",
        f"Head view of {_layers(layers)}",
        params,
        above=f'{choice}<div class="heads" aria-label="heads, in the order of the squares">{numbers}</div>',
        width=max(345, 20 * len(heads)) + 20,
        height=math.ceil(22.5 * trace.n) + 135,
        dark=dark,
    )


def model_view(
    trace: Trace,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    *,
    chosen: tuple[int, int] | None = None,
    dark: bool = False,
) -> View:
    """Draw small pictures of many heads, a row per layer, a column per head; a click enlarges one.

    Args:
        trace: whose weights are drawn.
        layers: which layers; None: all.
        heads: which heads of each layer; None: all.
        chosen: the (layer, head) whose lines are orange; those of the others are blue.
        dark: draw light on dark.

    Returns:
        The page.

    Raises:
        InspectorError: a layer or head does not exist, or a browser could not draw so many lines.
    """
    layers, heads = _chosen(trace, layers, heads)
    what = f"The model view of {_count(len(layers), 'layer')} × {_count(len(heads), 'head')}"
    _refuse("model", what, trace.n, heads=len(layers) * len(heads))
    # BertViz fits as many columns into its width as the model has heads: neither one giant nor a hundred slivers.
    columns = max(len(heads), min(trace.layers[layers[0]].heads, 12))
    box = 7 * 12 / columns
    at = None if chosen is None or chosen[0] not in layers or chosen[1] not in heads else chosen
    params = {
        "attention": [_attention(trace, layers, heads, most=10)],
        "default_filter": "0",
        "include_layers": layers,
        "include_heads": heads,
        "total_heads": columns,
        "chosen_at": None if at is None else [layers.index(at[0]), heads.index(at[1])],
    }
    small, detail = len(layers) * (trace.n * box + 10) + 38, trace.n * 18 + 55
    return _page(
        trace,
        "model",
        f"Model view of {_layers(layers)}",
        params,
        above="",
        width=990,
        height=math.ceil(max(small, detail)) + 65,
        dark=dark,
    )


def neuron_view(trace: Trace, layer: int = 0, head: int = 0, *, dark: bool = False) -> View:
    """Draw one head from queries and keys (after RoPE) to scores to weights, element by element.

    BertViz divides q·k by the square root of d_head. Queries are therefore drawn times (the model's scale × that root):
    what it computes is the model's scaled score. The weights are the trace's own; where a model does more
    between the two (a soft-cap, a bias, sinks), the page says so.

    Args:
        trace: whose vectors and weights are drawn.
        layer: from 0.
        head: a query head, from 0.
        dark: draw light on dark.

    Returns:
        The page, on which a reader chooses the query token.

    Raises:
        InspectorError: there is no such head, or a browser could not draw so many shapes.
    """
    query, key = trace.query(layer, head), trace.key(layer, head)
    _refuse("neuron", "The neuron view of one head", trace.n, width=query.shape[-1])
    info, weights = trace.layers[layer], trace.weights(layer, head)
    factor = info.scale * math.sqrt(query.shape[-1])
    labels = _labels(trace, most=14)
    part = {
        "left_text": labels,
        "right_text": labels,
        "attn": _packed(weights[None, None]),
        "queries": _packed((query.double() * factor)[None, None]),
        "keys": _packed(key[None, None]),
        "allowed": _packed(trace.allowed(layer, head=head)),
    }
    params = {"attention": {"all": part}, "default_filter": "all", "bidirectional": False, "layer": 0, "head": 0}
    notes = [html.escape(note) for note in _between(info, factor)]
    return _page(
        trace,
        "neuron",
        f"Neuron view of layer {layer}, head {head}",
        params,
        above='<button id="expand" type="button">Show queries and keys</button>'
        + "".join(f'<p class="quiet">{note}</p>' for note in notes),
        width=1032,
        height=26 * trace.n + 190 + 24 * len(notes),
        dark=dark,
    )


def shapes(kind: Kind, tokens: int, *, heads: int = 1, width: int = 0) -> int:
    """Estimate how many SVG elements BertViz makes; `width` is d_head, for the neuron view alone."""
    pairs = tokens**2
    if kind == "neuron":
        return 7 * pairs + 3 * tokens * width
    return heads * (pairs + (3 if kind == "head" else 1) * tokens)


def most_heads(kind: Kind, tokens: int) -> int:
    """Return how many heads (in all layers together) one page can hold."""
    return MOST_SHAPES[kind] // shapes(kind, tokens)


# -- what is drawn ---------------------------------------------------------------------------------------------------


def _chosen(trace: Trace, layers: Sequence[int] | None, heads: Sequence[int] | None) -> tuple[list[int], list[int]]:
    """Return the layers and heads to draw; BertViz wants the same heads in each of them."""
    layers = list(range(len(trace.layers))) if layers is None else list(dict.fromkeys(layers))
    if not layers or (heads is not None and not heads):
        raise InspectorError("No layer or no head was chosen: name at least one of each, or leave them out for all.")
    missing = next((layer for layer in layers if not 0 <= layer < len(trace.layers)), None)
    if missing is not None:
        raise InspectorError(f"Layer {missing} does not exist: this model has layers 0 to {len(trace.layers) - 1}.")
    counts = {trace.layers[layer].heads for layer in layers}
    if heads is None:
        if len(counts) > 1:
            low, high = min(counts), max(counts)
            raise InspectorError(
                f"These layers have between {low} and {high} heads, and BertViz draws the same heads in each: "
                "choose layers with equally many, or name the heads."
            )
        return layers, list(range(counts.pop()))
    heads = list(dict.fromkeys(heads))
    for layer in layers:
        wrong = next((head for head in heads if not 0 <= head < trace.layers[layer].heads), None)
        if wrong is not None:
            most = trace.layers[layer].heads - 1
            raise InspectorError(f"Head {wrong} does not exist: layer {layer} has heads 0 to {most}.")
    return layers, heads


def _refuse(kind: Kind, what: str, tokens: int, *, heads: int = 1, width: int = 0) -> None:
    """Refuse, in a sentence, what would make a browser stop answering."""
    most = MOST_SHAPES[kind]
    needed = shapes(kind, tokens, heads=heads, width=width)
    if needed <= most:
        return
    fit = most_heads(kind, tokens) if heads > 1 else 0
    shorter = next((n for n in range(tokens, 0, -1) if shapes(kind, n, width=width) <= most), 1)
    instead = f"choose at most {_count(fit, 'head')} in all" if fit else f"use at most {_count(shorter, 'token')}"
    raise InspectorError(
        f"{what} at {_count(tokens, 'token')} takes {needed:,} shapes and BertViz stays usable to {most:,}: "
        f"{instead}, or look at the Heads page, which draws any number."
    )


def _attention(trace: Trace, layers: list[int], heads: list[int], *, most: int) -> dict[str, Any]:
    """Return BertViz's own record of one set of layers: weights [layers, heads, t, s] and the texts on both sides."""
    size = 4 * len(layers) * len(heads) * trace.n**2
    if size > 2 * MOST_BYTES:  # half of each table is masked and does not travel
        raise InspectorError(
            f"The weights of {_count(len(layers), 'layer')} × {_count(len(heads), 'head')} at "
            f"{_count(trace.n, 'token')} take {size / 2**21:,.0f} MB and one page holds {MOST_BYTES / 2**20:.0f} MB: "
            "choose fewer layers or heads."
        )
    weights = torch.stack([torch.stack([trace.weights(layer, head) for head in heads]) for layer in layers])
    labels = _labels(trace, most=most)
    return {"name": None, "attn": _packed(weights), "left_text": labels, "right_text": labels}


def _between(info: LayerInfo, factor: float) -> list[str]:
    """Say what the neuron view's picture leaves out between q·k and the weights, one sentence each."""
    notes = []
    if not math.isclose(factor, 1.0, rel_tol=1e-6):
        notes.append(
            f"Queries are drawn times {factor:.4g}, so that q·k divided by the root of d_head, as BertViz does, is "
            "the model's own scaled score."
        )
    steps = [
        f"caps scores softly at {info.softcap:g}" if info.softcap is not None else "",
        "adds a bias to scores" if info.bias else "",
        "gives part of each row to an attention sink, so that rows add up to less than 1" if info.sinks else "",
    ]
    steps = [step for step in steps if step]
    if steps:
        notes.append(
            f"Between q·k and the weights this layer also {', and '.join(steps)}; BertViz does not draw that step. "
            "The weights drawn are the model's."
        )
    return notes


def _packed(values: Tensor) -> dict[str, Any]:
    """Encode numbers for the page: float32, exact, without a square table's upper triangle where that is all zero."""
    numbers = values.detach().float().cpu().numpy()
    rows, columns = numbers.shape[-2:]
    lower = rows == columns and not numbers[..., ~torch.ones(rows, columns).tril().bool().numpy()].any()
    sent = numbers[..., torch.ones(rows, columns).tril().bool().numpy()] if lower else numbers
    text = base64.b64encode(sent.astype("<f4").tobytes()).decode()
    return {"shape": list(numbers.shape), "lower": lower, "bytes": text}


def _labels(trace: Trace, *, most: int) -> list[str]:
    """Return token labels that fit into BertViz's columns, which cut off what is wider."""
    return [_short(label, most) for label in trace.tokens.labels]


def _short(label: str, most: int) -> str:
    room, kept = most, ""
    if sum(map(_columns, label)) <= most:
        return label
    for character in label:
        room -= _columns(character)
        if room < 1:
            break
        kept += character
    return kept + "…"


def _columns(character: str) -> int:
    """Return how many columns of type a character takes: two for Chinese, Japanese, Korean and emoji."""
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


# -- the page --------------------------------------------------------------------------------------------------------


def _page(
    trace: Trace,
    kind: Kind,
    title: str,
    params: dict[str, Any],
    *,
    above: str,
    width: int,
    height: int,
    dark: bool,
) -> View:
    # "<" and ">" stand as escapes in the data, so that no token can end the script element or open a comment in it.
    data = json.dumps({**params, "root_div_id": "bertviz"}, separators=(",", ":"))
    data = data.replace("<", "\\u003c").replace(">", "\\u003e")
    about = f"{title}, {_count(trace.n, 'token')}"
    if trace.model_name:
        about += f", {trace.model_name}"
    scripts = [
        _text("vendor/d3.min.js"),
        _text("js/bertviz.js"),
        _script(f"{kind}_view.js"),
        _text("js/bertviz_after.js"),
    ]
    page = "\n".join(
        [
            "<!doctype html>",
            _notices(),
            f'<html lang="en" data-theme="{"dark" if dark else "light"}">',
            '<head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{html.escape(about)}</title>",
            f"<style>{_text('js/bertviz.css')}</style></head>",
            f'<body class="{kind}">',
            f'<div id="bertviz">{above}<div id="vis"></div></div>',
            f'<p class="quiet">{html.escape(about)}. Drawn by BertViz {version("bertviz")}.</p>',
            f'<script type="application/json" id="data">{data}</script>',
            *(f"<script>{script}</script>" for script in scripts),
            "</body></html>",
        ]
    )
    return View(page, about, width, height)


def _notices() -> str:
    """Say whose work the page holds; licences ask for it."""
    return (
        "<!-- This page holds BertViz (https://github.com/jessevig/bertviz, Apache License 2.0, "
        "https://www.apache.org/licenses/LICENSE-2.0; three expressions replaced) and D3:\n"
        f"{_text('vendor/d3.LICENSE')}-->"
    )


@cache
def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@cache
def _script(name: str) -> str:
    """Return one of BertViz's own scripts, told where its numbers are."""
    found = find_spec("bertviz")  # importing it would bring in IPython, which a page does not need
    if found is None or not found.submodule_search_locations:
        raise InspectorError(f"BertViz is not installed: pip install bertviz=={KNOWN}")
    script = (Path(next(iter(found.submodule_search_locations))) / name).read_text(encoding="utf-8")
    replacements = [_EARLIER, _COLOURS] if name.startswith("neuron") else [_MARKER]
    for theirs, ours in replacements:
        if theirs not in script:
            raise InspectorError(
                f"BertViz {version('bertviz')} is not laid out as {KNOWN} is: pip install bertviz=={KNOWN}"
            )
        script = script.replace(theirs, ours)
    return script


def _layers(layers: list[int]) -> str:
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {', '.join(map(str, layers))}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
