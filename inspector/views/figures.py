"""A trace goes in; a figure to keep comes out: one head's map, or every head as a small picture.

    inspector.views.head_figure(trace, 3, 5).save("head.html")      # or .svg, .png
    inspector.views.grid_figure(trace)                              # in a notebook: shows itself

SVG and PNG are for papers and slides. The HTML file is the app's own picture with exact readings under the pointer and
the arrow keys; it opens anywhere and asks no host for anything. All numbers are the trace's own.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inspector.analysis import maps
from inspector.errors import InspectorError
from inspector.files import written_whole
from inspector.views import colours, drawing, headers, map_headers, provenance, standalone
from inspector.views import payload as data
from inspector.views.drawing import Box, Cells, Pixels, Scene, Text

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

# Kind -> what a figure is of, and what one number is called.
KINDS: dict[maps.Kind, tuple[str, str]] = {
    "weights": ("attention weights", "attention weight"),
    "scaled_scores": ("scaled scores", "scaled score"),
    "weighted_values": ("attention weight × value length", "weight × value length"),
}
WITHOUT_FIRST = "without the first token's column, the rest of each row scaled up to the row's sum"
DRAWN_UP_TO = 128  # cells a side in SVG and PNG; what is longer is pooled, as the app pools beyond 1024
DETAIL_BYTES = 8 * 2**20  # of exact numbers in one page of all heads; beyond it holds the small pictures alone
_SUFFIXES = (".svg", ".png", ".html")
_MARGIN, _PROMPT = 24, 100
_LEGEND = 640  # pixels that a legend takes at most


@dataclass(frozen=True)
class Figure:
    """One picture in three forms. `title` and `height` (pixels, of the HTML page) are for whoever frames it."""

    title: str
    height: int
    _scene: Callable[[], Scene] = field(repr=False)
    _html: Callable[[], str] = field(repr=False)

    @cached_property
    def scene(self) -> Scene:
        """What SVG and PNG draw, with every place in it."""
        return self._scene()

    @cached_property
    def svg(self) -> str:
        """A vector picture: labels are text; up to 64 tokens each cell says its reading (data-value: exact)."""
        return drawing.to_svg(self.scene)

    def png(self, width: int = 1600) -> bytes:
        """The same picture, `width` pixels wide."""
        if not 100 <= width <= 20_000:
            raise InspectorError(f"A picture {width} pixels wide cannot be drawn; choose 100 to 20,000.")
        return drawing.to_png(self.scene, width)

    @cached_property
    def html(self) -> str:
        """One page with exact readings on hover and keyboard, for any browser, without a network."""
        return self._html()

    def save(self, path: str | Path) -> Path:
        """Write .svg, .png or .html, as the name ends; whole or not at all."""
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in _SUFFIXES:
            raise InspectorError(f'{path.name} ends in "{path.suffix}"; a figure is saved as {", ".join(_SUFFIXES)}.')
        content = self.png() if suffix == ".png" else (self.svg if suffix == ".svg" else self.html).encode()
        with written_whole(path) as part:
            part.write_bytes(content)
        return path

    def _repr_html_(self) -> str:
        """The page in a frame that can run scripts and reach nothing around it."""
        return (
            f'<iframe sandbox="allow-scripts" title="{html.escape(self.title)}" srcdoc="{html.escape(self.html)}" '
            f'style="width: 100%; height: {self.height}px; border: 0"></iframe>'
        )


def head_figure(
    trace: Trace,
    layer: int,
    head: int,
    kind: maps.Kind = "weights",
    scale: str = "sqrt",
    dark: bool = False,
    *,
    without_first: bool = False,
    verification: str = "",
) -> Figure:
    """One head's attention weights, scaled scores, or weights times the lengths of the values they bring. Grey cells
    are masked. In SVG and PNG a prompt of more than 128 tokens is pooled (each cell the largest of k x k, and the
    picture says so), in HTML one of more than 1024.

    `scale` colours weights: linear, sqrt or log. `dark`: a dark picture. `without_first`: without the first token's
    column. `verification`: a report's `summary()`, to stand beneath.
    """
    trace.query(layer, head)  # refuses, in a sentence, a head that does not exist
    _refuse(kind, scale)
    without_first = without_first and kind != "scaled_scores"  # scores stand for themselves: nothing to scale up
    title = f"Layer {layer}, head {head}: {KINDS[kind][0]}"
    words = _Words(trace, title, verification, WITHOUT_FIRST if without_first else "")

    def picture(exact_up_to: int) -> maps.Picture:
        return maps.picture(trace, layer, head, kind=kind, without_first=without_first, exact_up_to=exact_up_to)

    def page() -> str:
        found = picture(maps.EXACT_UP_TO)
        join = trace.prompt_length if trace.prompt_length < trace.n else None
        note = ", without the first token" if without_first else ""
        header = map_headers.map_header(
            found, trace.tokens.labels, kind=kind, scale=scale, label=title, note=note, join=join
        )
        return standalone.page(
            title=title,
            facts=[*words.facts, ("Head", f"layer {layer}, head {head} ({trace.layers[layer].name})")],
            footer=words.footer,
            component="heatmap",
            payload=map_headers.map_payload(header, found.values, version="saved"),
            dark=dark,
        )

    def scene() -> Scene:
        theme = colours.DARK if dark else colours.LIGHT
        return _head_scene(picture(DRAWN_UP_TO), trace.tokens.labels, words, kind, scale, theme)

    return Figure(title, 900, scene, page)


def grid_figure(
    trace: Trace,
    scale: str = "sqrt",
    dark: bool = False,
    *,
    selected: tuple[int, int] = (0, 0),
    verification: str = "",
    pictures: maps.Thumbnails | None = None,
) -> Figure:
    """Every head as a small picture, layers across, heads downwards. In the HTML file a click shows a head in full with
    exact numbers, where all heads' numbers take no more than 8 MB (270 heads: about 120 tokens).

    `pictures`: `metrics.thumbnails(trace)`, if it is at hand already.
    """
    _refuse("weights", scale)
    title = f"Attention weights of all {sum(layer.heads for layer in trace.layers)} heads"
    words = _Words(trace, title, verification, "" if pictures is None else pictures.said())

    def small() -> maps.Thumbnails:
        return maps.thumbnails(trace) if pictures is None else pictures

    def page() -> str:
        found, details = small(), _details(trace, scale)
        hint = "click one, or choose it with the arrow keys and Enter, to see it below"
        if details is None:
            hint = "the prompt is too long for every head's exact numbers in one file: save one head for those"
        return standalone.page(
            title=title,
            facts=[*words.facts, ("Heads", f"layers across, heads downwards; {hint}")],
            footer=words.footer,
            component="grid",
            payload=headers.grid_payload(
                headers.grid_header(found, trace.layers, selected=selected, scale=scale), found
            ),
            dark=dark,
            details=details,
            selected=selected,
        )

    def scene() -> Scene:
        return _grid_scene(trace, small(), words, scale, colours.DARK if dark else colours.LIGHT)

    return Figure(title, 700 if _too_many(trace) else 1300, scene, page)


def _refuse(kind: str, scale: str) -> None:
    if kind not in KINDS:
        raise InspectorError(f'kind="{kind}" is not drawn; choose one of {", ".join(KINDS)}.')
    if scale not in colours.SCALES:
        raise InspectorError(f'scale="{scale}" is not known; choose one of {", ".join(colours.SCALES)}.')


# -- words ---------------------------------------------------------------------------------------------------


class _Words:
    """What stands around a picture."""

    def __init__(self, trace: Trace, title: str, verification: str, note: str = "") -> None:
        self.title, self.note = title, note
        self.model = provenance.model_name(trace)
        self.count = f"{trace.n:,} tokens" if trace.n != 1 else "1 token"
        if trace.prompt_length < trace.n:
            self.count += f", the last {trace.n - trace.prompt_length:,} written by the model"
        self.prompt = trace.prompt if trace.prompt is not None else "".join(trace.tokens.texts)
        said = str(provenance.source(trace).get("note") or "")
        self.footer = [line for line in (verification, provenance.line(trace), said) if line]
        self.facts = [("Model", self.model), ("Prompt", self.prompt), ("Length", self.count)]
        self.facts += [("Shown", note)] if note else []

    def short_prompt(self) -> str:
        line = " ".join(self.prompt.split())
        return line if len(line) <= _PROMPT else line[: _PROMPT - 1] + "…"


# -- pictures ------------------------------------------------------------------------------------------------


def _axis(labels: Sequence[str], pool: int, count: int) -> list[str]:
    """What each row or column is called, as in the app: 3 ␣we, or 6–7 for a pooled one."""
    if pool == 1:
        return [f"{t} {label}" for t, label in enumerate(labels)]
    return [f"{at * pool}–{min((at + 1) * pool, len(labels)) - 1}" for at in range(count)]


def _head_scene(
    picture: maps.Picture,
    labels: Sequence[str],
    words: _Words,
    kind: maps.Kind,
    scale: str,
    theme: colours.Theme,
) -> Scene:
    rows, columns = picture.values.shape
    names = _axis(labels, picture.pool, rows)
    step = max(5, min(56, 680 // max(rows, columns)))
    widest = min(150.0, max(drawing.text_width(name) for name in names))
    left, room = _MARGIN + 22 + widest + 8, widest
    scene, top = _titled(words, theme, left + columns * step + 0.75 * room + _MARGIN)
    if picture.pool > 1:
        pooled = f"Each cell is the largest of {picture.pool} × {picture.pool}."
        scene.parts.append(Text(_MARGIN, top, pooled, theme.quiet))
        top += 18
    top += 0.72 * room + 34
    limit = data.limit(picture.values) if kind == "scaled_scores" else None
    largest = data.limit(picture.values) if kind == "weighted_values" else 1.0
    cells = Cells(
        x=left,
        y=top,
        step=step,
        colours=colours.painted(picture.values, theme, scale=scale, top=largest, limit=limit),
        ground=theme.masked,
        shown=~np.isnan(picture.values),
        values=picture.values,
        rows=names,
        columns=names,
        what=KINDS[kind][1] if picture.pool == 1 else f"largest {KINDS[kind][1]}",
    )
    scene.parts += [cells, Box(left, top, columns * step, rows * step, None, theme.border)]
    short = [drawing.fitted(name, widest) for name in names]
    for t in range(0, rows, -(-15 // step)):
        scene.parts.append(Text(left - 8, top + (t + 0.5) * step, short[t], theme.text, anchor="end"))
    for s in range(0, columns, -(-18 // step)):  # slanted lines stand closer
        scene.parts.append(Text(left + (s + 0.5) * step, top - 9, short[s], theme.text, turn=-45))
    middle = top + rows * step / 2
    scene.parts.append(Text(_MARGIN + 4, middle, "query token", theme.quiet, anchor="middle", turn=-90))
    scene.parts.append(
        Text(left + columns * step / 2, top - 0.72 * room - 24, "key token", theme.quiet, anchor="middle")
    )
    return _footed(scene, words, theme, top + rows * step + 24, _legend(theme, kind, scale, largest, limit))


def _grid_scene(trace: Trace, pictures: maps.Thumbnails, words: _Words, scale: str, theme: colours.Theme) -> Scene:
    layers = trace.layers
    groups, heads = [layer.kv_heads for layer in layers], [layer.heads for layer in layers]
    shared = len(set(zip(groups, heads, strict=True))) == 1 and groups[0] < heads[0]
    size, gap = max(18, min(72, 1100 // len(layers))), 7
    left = _MARGIN + 48.0
    scene, top = _titled(words, theme, left + len(layers) * size + _MARGIN)
    top += 18
    levels = pictures.pixels.astype(np.float64)
    weights = np.where(levels == maps.MASKED, np.nan, ((levels - 1) / 254) ** 2)
    painted = colours.painted(weights, theme, scale=scale)
    scene.parts.append(Text(left - 8, top - 10, "layer", theme.text, size=11, anchor="end"))
    at, bottom = 0, top
    for layer, count in enumerate(heads):
        x = left + layer * size
        scene.parts.append(Text(x + (size - 2) / 2, top - 10, str(layer), theme.text, size=11, anchor="middle"))
        for head in range(count):
            y = top + head * size + (layers[layer].kv_head(head) * gap if shared else 0)
            scene.parts.append(Pixels(x, y, size - 2, size - 2, painted[at]))
            if layer == 0:
                name = "head 0" if head == 0 else str(head)
                scene.parts.append(Text(left - 8, y + (size - 2) / 2, name, theme.text, size=11, anchor="end"))
            at, bottom = at + 1, max(bottom, y + size)
    if shared:
        note = "A gap parts groups of query heads that share a key/value head."
        scene.parts.append(Text(left, bottom + 12, note, theme.quiet, size=11))
        bottom += 20
    return _footed(scene, words, theme, bottom + 22, _legend(theme, "weights", scale, 1.0, None))


def _titled(words: _Words, theme: colours.Theme, width: float) -> tuple[Scene, float]:
    """A scene with its head lines, at least wide enough for them; and where the next line goes."""
    lines = [f"{words.model} · {words.count}", f"“{words.short_prompt()}”"]
    lines += [words.note[0].upper() + words.note[1:] + "."] if words.note else []
    needed = max(drawing.text_width(words.title, 18, bold=True), *(drawing.text_width(line) for line in lines), _LEGEND)
    description = " · ".join([words.title, *lines, *words.footer])
    scene = Scene(max(width, needed + 2 * _MARGIN), 0, theme.background, words.title, description)
    scene.parts.append(Text(_MARGIN, _MARGIN + 8, words.title, theme.text, size=18, bold=True))
    for at, line in enumerate(lines):
        scene.parts.append(Text(_MARGIN, _MARGIN + 34 + 18 * at, line, theme.quiet))
    return scene, _MARGIN + 34 + 18 * len(lines)


def _footed(scene: Scene, words: _Words, theme: colours.Theme, y: float, legend: _Legend) -> Scene:
    """The scene with its legend at `y` and its last lines beneath."""
    bar, high = 260.0, 11.0
    scene.parts.append(Text(_MARGIN, y + high / 2, legend.name, theme.text))
    x = _MARGIN + drawing.text_width(legend.name) + 22
    scene.parts.append(Pixels(x, y, bar, high, colours.ramp(legend.stops)[None]))
    scene.parts.append(Box(x, y, bar, high, None, theme.border))
    for place, number in legend.ticks:
        scene.parts.append(Text(x + place * bar, y + 23, number, theme.text, size=11, anchor="middle"))
    scene.parts.append(Box(x + bar + 26, y, 14, high, theme.masked, theme.border))
    scene.parts.append(Text(x + bar + 47, y + high / 2, data.MASKED_NOTE, theme.text))
    y += 52
    for line in words.footer:
        for part in _wrapped(line, scene.width - 2 * _MARGIN, 10):
            scene.parts.append(Text(_MARGIN, y, part, theme.quiet, size=10))
            y += 14
        y += 2
    scene.height = y + _MARGIN - 10
    return scene


def _wrapped(line: str, room: float, size: int) -> list[str]:
    lines = [""]
    for word in line.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and drawing.text_width(longer, size) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@dataclass(frozen=True)
class _Legend:
    """A ramp's name, its stops, and numbers at places 0..1 along it."""

    name: str
    stops: tuple[str, ...]
    ticks: list[tuple[float, str]]


def _legend(theme: colours.Theme, kind: maps.Kind, scale: str, top: float, limit: float | None) -> _Legend:
    if limit is not None:
        ticks = [(0.5 + share / 2, f"{share * limit:.3g}".replace("-", "−")) for share in (-1, -0.5, 0, 0.5, 1)]
        return _Legend(KINDS[kind][1], theme.diverging, ticks)
    place, numbers = colours.SCALES[scale]
    at = place(np.array(numbers, dtype=np.float64)).tolist()
    said = [f"{number * top:.3g}" if kind == "weighted_values" else f"{number:g}" for number in numbers]
    said = [
        f"≤ {text}" if scale == "log" and number <= 1e-4 else text for text, number in zip(said, numbers, strict=True)
    ]
    name = (data.WEIGHTED if kind == "weighted_values" else data.WEIGHT) + data.SCALE_NOTES[scale]
    return _Legend(name, theme.sequential, list(zip(at, said, strict=True)))


def _too_many(trace: Trace) -> bool:
    """Whether all heads' numbers would be too much for one page."""
    return sum(layer.heads for layer in trace.layers) * trace.n * (trace.n + 1) * 2 > DETAIL_BYTES


def _details(trace: Trace, scale: str) -> standalone.Details | None:
    """Every head's exact weights, for the page of all heads; None where they would be too many."""
    if _too_many(trace):
        return None
    places: list[list[tuple[str, int, int]]] = []
    numbers = bytearray()
    header: Mapping[str, object] = {}
    for layer, info in enumerate(trace.layers):
        row = []
        for head in range(info.heads):
            picture = maps.picture(trace, layer, head, exact_up_to=max(1, trace.n))
            header = map_headers.map_header(picture, trace.tokens.labels, kind="weights", scale=scale, label="")
            packing, values = data.pack(picture.values)
            start = len(numbers)
            numbers += np.ascontiguousarray(values.astype("<f4")).tobytes()
            row.append((packing, start, len(numbers)))
        places.append(row)
    return standalone.Details(header, bytes(numbers), places)
