"""Figures and tables to keep: every number in them is the trace's, whatever a token says, and files are whole."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import tiny
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

import inspector
from inspector import views
from inspector.analysis import maps, thumbnails
from inspector.analysis.thumbnails import MASKED, draw_thumbnails
from inspector.errors import InspectorError
from inspector.ui.components import heatmap
from inspector.views import (
    canvases,
    captions,
    colours,
    figures,
    fonts,
    pages,
    payload,
    ramps,
    static_files,
    static_grid,
    static_map,
    tables,
)

HOSTILE = '</script><img src=x onerror="document.title=1"> <!-- "quoted" \'single\' 日本 🙂 שלום \x07\x0c & ]]>'
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def hostile(smollm):
    return smollm.trace(HOSTILE)


def stored(html: str, name: str) -> bytes:
    found = re.search(rf'id="{name}">([^<]*)</script>', html)
    assert found is not None
    return base64.b64decode(found.group(1))


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own


def told(html: str) -> dict:
    found = re.search(r'id="page">([^<]*)</script>', html)
    assert found is not None
    return json.loads(found.group(1))


def lower(values: np.ndarray) -> np.ndarray:
    return values[np.tril_indices(len(values))]


# -- static figures: SVG, PDF, PNG ---------------------------------------------------------------------------


def image_of(element: ET.Element) -> np.ndarray:
    """The pixels of an image in an SVG."""
    data = element.get("{http://www.w3.org/1999/xlink}href").partition("base64,")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.packaged
@pytest.mark.parametrize("kind", figures.KINDS)
@pytest.mark.parametrize("scale", colours.SCALES)
def test_every_cell_of_an_svg_is_the_traces_number(houston, kind, scale):
    root = parsed(views.head_figure(houston, 3, 5, kind=kind, scale=scale).svg)
    picture = maps.picture(houston, 3, 5, kind=kind).values
    cells = {
        (int(c.get("data-row")), int(c.get("data-column"))): c for c in root.iter(f"{SVG}path") if c.get("data-row")
    }
    assert set(cells) == {(t, s) for t in range(8) for s in range(t + 1)}
    limit = float(np.nanmax(np.abs(picture)))
    around = limit if kind == "scaled_scores" else None
    top = limit if kind == "weighted_values" else 1.0
    painted = colours.painted(picture, colours.LIGHT, scale=scale, top=top, limit=around)
    for (t, s), cell in cells.items():
        assert np.float32(cell.get("data-value")) == picture[t, s]
        assert colours.rgb(cell.get("fill")) == tuple(painted[t, s])
        reading = cell.find(f"{SVG}title").text
        assert reading.startswith(f"{t} {houston.tokens.labels[t]} → {s} {houston.tokens.labels[s]}: ")
        assert float(reading.split()[-1]) == pytest.approx(float(picture[t, s]), rel=1e-3)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {f"{t} {label}" for t, label in enumerate(houston.tokens.labels)} <= set(texts)
    assert any("transformers" in text and "float32" in text for text in texts)
    assert any("Houston, we have a problem" in text for text in texts)


@pytest.mark.packaged
def test_a_long_prompt_is_pooled_as_the_app_pools(smollm):
    trace = smollm.trace("one two three four five six seven eight " * 20)
    assert trace.n > figures.DRAWN_UP_TO
    figure = views.head_figure(trace, 16, 0)
    picture = maps.picture(trace, 16, 0, exact_up_to=figures.DRAWN_UP_TO)
    assert f"largest of {picture.pool} × {picture.pool}" in figure.svg
    assert "0–1" in figure.svg
    # So many cells are one image, each cell a square of its pixels.
    pixels = max((image_of(image) for image in parsed(figure.svg).iter(f"{SVG}image")), key=len)
    times = len(pixels) // len(picture.values)
    assert times * len(picture.values) == len(pixels)
    painted = colours.painted(picture.values, colours.LIGHT, scale="sqrt")
    assert np.array_equal(pixels[..., :3], painted.repeat(times, axis=0).repeat(times, axis=1))


TOKENS = (1, 8, 40, 300)


@pytest.fixture(scope="module")
def by_length(smollm):
    ids = smollm.tokenize("Houston, we have a problem. 日本語 $\\frac$ _x and unquestionably long words. " * 30).ids
    return {n: smollm.trace(list(ids[:n])) for n in TOKENS}


def layout(figure: views.Figure) -> tuple[list[tuple[Text, Bbox]], Bbox, Bbox]:
    """Every text that is drawn and its box, the map's box and the whole figure's, in pixels, y upwards."""
    drawn = figure.drawing.figure
    with static_files.settings():
        canvas = FigureCanvasAgg(drawn)
        canvas.draw()
    texts = [text for text in drawn.findobj(Text) if text.get_text().strip() and text.get_visible()]
    inside = {id(text) for axes in drawn.axes for axis in (axes.xaxis, axes.yaxis) for text in hidden(axis)}
    boxes = [(text, text.get_window_extent(canvas.get_renderer())) for text in texts if id(text) not in inside]
    return boxes, drawn.axes[0].get_window_extent(), drawn.bbox


def hidden(axis) -> list[Text]:
    """The texts of an axis that are not drawn: those of its other side, or all."""
    if not axis.get_visible():
        return [*axis.get_ticklabels(which="both"), axis.label]
    ticks = axis.get_major_ticks()
    return [tick.label1 for tick in ticks if not tick.label1.get_visible()] + [
        tick.label2 for tick in ticks if not tick.label2.get_visible()
    ]


@pytest.mark.packaged
@pytest.mark.parametrize("n", TOKENS)
@pytest.mark.parametrize(("kind", "width"), [*((kind, None) for kind in figures.KINDS), ("weights", 3.3)])
def test_the_map_lies_below_the_title_and_the_labels_beside_it(by_length, kind, n, width):
    trace = by_length[n]
    figure = views.head_figure(trace, 3, 5, kind=kind, width=width, font_size=7 if width else None)
    boxes, there, page = layout(figure)
    said = {text.get_label(): box for text, box in boxes}
    title = next(box for text, box in said.items() if text.startswith("Layer 3, head 5"))
    model = next(box for text, box in said.items() if text.startswith("smollm2"))
    small = next(box for text, box in said.items() if text.startswith("Attention Inspector"))
    legend = next(box for text, box in said.items() if text.lower().startswith(ramps.VALUE_NAMES[kind][:6]))
    if kind == "weights":
        legend = said["weight (square-root scale)"]
    down = [title, model, said["key token"], there, legend, small]
    assert all(upper.y0 >= lower.y1 - 0.5 for upper, lower in itertools.pairwise(down))
    assert said["query token"].x1 <= there.x0
    assert small.y0 >= page.y0
    # Nothing is cut off, and no two texts lie upon each other (slanted ones are asked below).
    slanted = [(text, box) for text, box in boxes if text.get_rotation() == 45]
    straight = [(text, box) for text, box in boxes if text.get_rotation() != 45]
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.x1 <= page.x1 + 0.5, text
        assert box.y0 >= 0, text
        assert box.y1 <= page.y1, text
        assert text in [t for t, _ in slanted] or not box.overlaps(there), text
    for (one, box), (other, beside) in itertools.combinations(straight, 2):
        assert not shrunk_box(box).overlaps(shrunk_box(beside)), (one, other)
    for (one, box), (other, beside) in itertools.product(slanted, straight):
        assert not shrunk_box(box).overlaps(shrunk_box(beside)), (one, other)
    # Each label stands beside its row or above its column.
    pool = maps.picture(trace, 3, 5, exact_up_to=figures.DRAWN_UP_TO).pool
    count = -(-n // pool)
    step = there.width / count
    size = figure.drawing.figure.dpi / 72 * (7 if width else figures.FONT_SIZE)
    rows = [(text, box) for text, box in straight if re.match(r"\d+[ –]", text.get_label()) and box.x1 < there.x0]
    assert rows
    assert slanted
    for text, box in rows:
        row = int(re.match(r"\d+", text.get_label()).group()) // pool
        middle = there.y1 - (row + 0.5) * step
        assert abs((box.y0 + box.y1) / 2 - middle) < 0.35 * size, text
    columns = []
    for text, _ in slanted:
        column = int(re.match(r"\d+", text.get_label()).group()) // pool
        x, y = text.get_transform().transform(text.get_position())
        assert x == pytest.approx(there.x0 + (column + 0.5) * step, abs=0.5)
        assert there.y1 < y < there.y1 + size
        columns.append(x)
    between = np.diff(sorted(columns)) * np.sin(np.pi / 4)  # from one slanted line to the next
    assert (between > size).all()


def shrunk_box(box: Bbox) -> Bbox:
    """A box without its edge: neighbours may touch."""
    return box.padded(-0.6)


@pytest.mark.packaged
@pytest.mark.parametrize("n", TOKENS)
@pytest.mark.parametrize("kind", figures.KINDS)
def test_the_png_shows_every_cell_in_its_colour_and_its_place(by_length, kind, n):
    trace, dark = by_length[n], kind == "scaled_scores"
    figure = views.head_figure(trace, 3, 5, kind=kind, dark=dark)
    theme = colours.DARK if dark else colours.LIGHT
    image = Image.open(io.BytesIO(figure.png(1500)))
    assert image.width == 1500
    pixels = np.asarray(image.convert("RGB"))
    picture = maps.picture(trace, 3, 5, kind=kind, exact_up_to=figures.DRAWN_UP_TO).values
    limit = payload.limit(picture)
    painted = colours.painted(
        picture,
        theme,
        scale="sqrt",
        top=limit if kind == "weighted_values" else 1.0,
        limit=limit if kind == "scaled_scores" else None,
    )
    place = figure.drawing.figure.axes[0].get_position()
    left, right = place.x0 * image.width, place.x1 * image.width
    top, bottom = (1 - place.y1) * image.height, (1 - place.y0) * image.height
    at = (np.arange(len(picture)) + 0.5) / len(picture)
    rows, columns = (top + at * (bottom - top)).astype(int), (left + at * (right - left)).astype(int)
    assert np.array_equal(pixels[rows][:, columns], painted)
    # Nowhere above or below it is anything as wide as it.
    masked = (pixels == colours.rgb(theme.masked)).all(-1)
    outside = np.r_[0 : int(top) - 2, int(bottom) + 3 : image.height]
    assert masked[outside].sum(1).max() < max(60, 0.2 * (right - left))
    assert tuple(pixels[1, 1]) == colours.rgb(theme.background)


@pytest.mark.packaged
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [700, 1600])
def test_a_png_has_the_width_asked_for_and_says_what_it_is(houston, dark, width):
    image = Image.open(io.BytesIO(views.head_figure(houston, 3, 5, dark=dark).png(width)))
    assert image.width == width
    assert image.text["Title"] == "Layer 3, head 5: attention weights"
    assert "Houston, we have a problem" in image.text["Description"]


@pytest.mark.packaged
def test_the_grid_holds_every_head(houston):
    figure = views.grid_figure(houston)
    (pixels,) = [found for found in map(image_of, parsed(figure.svg).iter(f"{SVG}image")) if found.shape[0] > 1]
    grid = static_grid.HeadGrid(draw_thumbnails(houston), houston.layers, "sqrt", colours.LIGHT)
    small, place, times = draw_thumbnails(houston).pixels, grid.place, grid.times
    gap = (place - 8 * times) // 2
    weights = np.where(small == MASKED, np.nan, ((small.astype(float) - 1) / 254) ** 2)
    painted = colours.painted(weights, colours.LIGHT, scale="sqrt")
    for layer in range(30):
        for head in range(9):
            top, left = round(grid.rows[head] * place) + gap, layer * place + gap
            drawn = pixels[top : top + 8 * times : times, left : left + 8 * times : times]
            assert np.array_equal(drawn[..., :3], painted[layer * 9 + head])
            assert (drawn[..., 3] == 255).all()
    exact = colours.painted(houston.weights(2, 1).numpy(), colours.LIGHT, scale="sqrt").astype(int)
    seen = np.tril(np.ones((8, 8), dtype=bool))
    assert np.abs(painted[2 * 9 + 1][seen].astype(int) - exact[seen]).max() <= 3  # small pictures have 254 levels
    assert grid.rows[3] - grid.rows[2] > 1.1  # a gap between groups
    boxes, there, page = layout(figure)
    for text, box in boxes:
        assert not box.overlaps(there), text
        assert 0 <= box.x0 < box.x1 <= page.x1, text
        assert 0 <= box.y0 < box.y1 <= page.y1, text
    for (one, box), (other, beside) in itertools.combinations(boxes, 2):
        assert not shrunk_box(box).overlaps(shrunk_box(beside)), (one, other)
    assert {str(layer) for layer in range(30)} <= {text.get_label() for text, _ in boxes}
    assert Image.open(io.BytesIO(figure.png(900))).width == 900


ALPHABETS = "日本語 🙂 $\\frac{a}{b}$ _x ^2 </script> <b>&amp; ␣ नमस्ते "
ALPHABETS += "שלום مرحبا \x00\x07\x1b\ud800\u2028\u202e\ufffe \U0010fffe"


@pytest.mark.packaged
@pytest.mark.parametrize("form", ["svg", "pdf", "png"])
def test_any_token_can_be_drawn(hostile, form):
    """Under warnings as errors: matplotlib warns of each letter that no font has."""
    for figure in (
        views.head_figure(hostile, 0, 0, verification=ALPHABETS),
        views.head_figure(hostile, 0, 0, width=3, font_size=6, verification=ALPHABETS * 5),
        views.grid_figure(hostile, verification=ALPHABETS),
    ):
        if form != "svg":
            found = figure.png(600) if form == "png" else figure.pdf
            assert found.startswith(b"%PDF" if form == "pdf" else b"\x89PNG")
            continue
        root = parsed(figure.svg)  # well formed, whatever the tokens say
        assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
            "svg", "title", "desc", "rect", "g", "text", "image", "path"
        }  # fmt: skip
        assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]
        texts = "".join(text.text for text in root.iter(f"{SVG}text"))
        assert "日本" in texts  # also where no font here has it: whoever opens it has other fonts
        assert "🙂" in texts
        assert "$\\frac{a}{b}$" in texts.replace(" ", "")


def test_what_no_font_has_is_drawn_all_the_same():
    assert fonts.drawable("a日本b") in ("a日本b", "a\ufffd\ufffdb")  # as this machine's fonts are
    assert fonts.drawable("\x00\ud800\u202e\U0010fffe") == 4 * "\ufffd"
    assert fonts.drawable("3 שלום") == "\u200e3 שלום"  # the position stays at the left
    text = fonts.drawable(ALPHABETS)
    found = fonts.properties(ALPHABETS, 10).get_family()
    known = [font_manager.get_font(font_manager.findfont(family)) for family in found]
    assert all(any(font.get_char_index(ord(letter)) for font in known) for letter in text)
    assert fonts.width("日本", 10) > 0
    assert fonts.fitted("unquestionably", 30, 10).endswith("…")
    assert fonts.width(fonts.fitted("unquestionably", 30, 10), 10) <= 30
    assert fonts.wrapped("one unquestionably", 40, 10)[0] == "one"
    assert all(fonts.width(line, 10) <= 40 for line in fonts.wrapped("one unquestionably " * 3, 40, 10))


def test_labels_of_letters_that_xml_does_not_know_are_readable_in_an_svg(tmp_path):
    trace = tiny.load("grouped", tmp_path).trace("w1 w2")
    shown = static_map.HeadMap(maps.picture(trace, 0, 0), ("\x00\ufffe", "\ud800<b>"), "weights", "sqrt", colours.LIGHT)
    with static_files.settings():
        drawing = static_map.figure(shown, captions.Captions(trace, "a\x00b"), width=None, font_size=9)
    texts = [text.text for text in parsed(static_files.to_svg(drawing)).iter() if text.text]
    assert "1 \ufffd<b> → 0 \ufffd\ufffd: attention weight" in " ".join(texts)
    assert {"a\ufffdb", "0 \ufffd\ufffd", "1 \ufffd<b>"} <= set(texts)


def test_each_letter_is_drawn_by_the_first_font_that_has_it(monkeypatch):
    monkeypatch.setattr(fonts, "FAMILIES", ("cmr10", "no such font", "DejaVu Sans"))
    for cached in (fonts._family_of, fonts._file):
        cached.cache_clear()
    try:
        assert fonts.properties("abc", 10).get_family() == ["cmr10"]
        assert fonts.properties("ab␣c", 10).get_family() == ["cmr10", "DejaVu Sans"]
    finally:
        for cached in (fonts._family_of, fonts._file):
            cached.cache_clear()


@pytest.mark.packaged
def test_a_pdf_has_its_fonts_in_it(houston):
    pdf = views.head_figure(houston, 3, 5).pdf
    assert b"/FontFile2" in pdf  # TrueType
    assert b"/Type3" not in pdf
    assert b"/CreationDate" not in pdf


@pytest.mark.packaged
def test_figures_are_the_same_bytes_each_time_whatever_matplotlib_is_set_to(houston):
    before = dict(matplotlib.rcParams)
    first = views.head_figure(houston, 3, 5)
    made = first.svg, first.pdf, first.png(500), views.grid_figure(houston).svg
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context(
        {"font.size": 30, "font.family": "serif", "axes.facecolor": "red", "svg.fonttype": "path"}
    ):
        again = views.head_figure(houston, 3, 5)
        assert (again.svg, again.pdf, again.png(500), views.grid_figure(houston).svg) == made
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("kind", figures.KINDS)
@pytest.mark.parametrize("scale", colours.SCALES)
def test_matplotlibs_norm_and_colours_are_ours(kind, scale):
    values = np.random.default_rng(0).uniform(0, 1, (60, 60)) ** 3 * 7
    values = values - 2 if kind == "scaled_scores" else values / 7 if kind == "weights" else values
    values[3, 5] = np.nan
    largest = 1.0 if kind == "weights" else payload.limit(values)
    ramp = ramps.ramp(colours.LIGHT, kind, scale, largest=largest)
    limit, top = (largest, 1.0) if kind == "scaled_scores" else (None, largest)
    painted = colours.painted(values, colours.LIGHT, scale=scale, top=top, limit=limit)
    assert np.array_equal(ramp.cmap(ramp.norm(values), bytes=True)[..., :3], painted)
    numbers = np.linspace(ramp.norm.vmin, ramp.norm.vmax, 50)
    assert ramp.norm.inverse(ramp.norm(numbers).data) == pytest.approx(numbers, rel=1e-6, abs=1e-9)
    assert ramp.norm(ramp.ticks[-1][0]) == pytest.approx(255.5 / 256)


@pytest.mark.packaged
@pytest.mark.parametrize("n", [8, 300])
def test_a_map_is_drawn_into_somebodys_axes(by_length, n):
    figure = MatplotlibFigure(figsize=(8, 4), dpi=300)
    left, right = figure.subplots(1, 2)
    left.plot([1, 2], [3, 4])
    before = dict(matplotlib.rcParams)
    made = views.head_figure(by_length[n], 3, 5, kind="scaled_scores", ax=right, colorbar=True, font_size=7)
    assert isinstance(made, views.Figure)
    assert dict(matplotlib.rcParams) == before
    assert len(left.lines) == 1
    assert len(figure.axes) == 3  # and the colour bar
    assert figure.axes[2].get_ylabel() == "scaled score"
    assert (right.get_title(), right.get_xlabel(), right.get_ylabel()) == ("", "key token", "query token")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    picture = maps.picture(by_length[n], 3, 5, kind="scaled_scores", exact_up_to=figures.DRAWN_UP_TO)
    painted = colours.painted(picture.values, colours.LIGHT, scale="sqrt", limit=payload.limit(picture.values))
    middles = picture.pool * np.arange(len(picture.values)) + (picture.pool - 1) / 2
    for row, column in [(4, 3), (5, 2), (7, 7), (1, 6)]:  # tokens are at whole numbers of both axes
        x, y = right.transData.transform((middles[column], middles[row]))
        assert tuple(pixels[pixels.shape[0] - 1 - int(y), int(x)]) == tuple(painted[row, column])
    labels = [label.get_text() for label in right.get_yticklabels()]
    assert labels[0] == ("0 H" if n == 8 else "0–2")
    figure.savefig(io.BytesIO(), format="pdf")


@pytest.mark.packaged
def test_all_heads_are_drawn_into_somebodys_axes(houston):
    figure = MatplotlibFigure(figsize=(8, 3))
    axes = figure.subplots()
    views.grid_figure(houston, ax=axes, colorbar=True)
    assert (axes.get_xlabel(), axes.get_ylabel(), len(axes.images)) == ("layer", "head", 1)
    assert figure.axes[1].get_ylabel() == "weight (square-root scale)"
    figure.savefig(io.BytesIO(), format="svg")


def test_matplotlib_is_imported_when_a_figure_is_made_and_pyplot_never(tmp_path):
    code = (
        "import sys, tiny\nfrom inspector import views\n"
        f"trace = tiny.load('grouped', {str(tmp_path)!r}).trace('w1 w2 w3')\n"
        "figure = views.head_figure(trace, 0, 0)\nfigure.html\n"
        "assert 'matplotlib' not in sys.modules\n"
        "figure.svg, figure.pdf, figure.png(), views.grid_figure(trace).svg\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr


def test_colours_are_the_apps():
    script = canvases.text(canvases.JS / "colours.js")
    for shade, theme in {"light": colours.LIGHT, "dark": colours.DARK}.items():
        block = re.search(rf"{shade}: \{{(.*?)\n  \}}", script, re.S).group(1)
        for name, stops in {"sequential": theme.sequential, "diverging": theme.diverging}.items():
            assert tuple(json.loads(re.search(rf"{name}: (\[.*?\])", block).group(1))) == stops
        assert f'masked: "{theme.masked}"' in block


# -- the HTML page -------------------------------------------------------------------------------------------


@pytest.mark.packaged
@pytest.mark.parametrize("kind", figures.KINDS)
def test_the_pages_payload_is_the_traces_numbers(houston, kind):
    html = views.head_figure(houston, 3, 5, kind=kind, verification="Reproduced bit for bit.").html
    header, numbers = payload.decode(stored(html, "payload"), "float32")
    assert np.array_equal(numbers, lower(maps.picture(houston, 3, 5, kind=kind).values))
    assert header["rows"] == header["columns"] == list(houston.tokens.labels)
    page = told(html)
    assert dict(page["facts"])["Model"] == "smollm2-135m-instruct"
    assert dict(page["facts"])["Prompt"] == "Houston, we have a problem"
    assert page["footer"][0] == "Reproduced bit for bit."
    assert "torch" in page["footer"][1]


@pytest.mark.packaged
def test_the_page_of_all_heads_holds_every_heads_numbers(houston):
    html = views.grid_figure(houston, selected=(4, 2)).html
    header, pixels = payload.decode(stored(html, "payload"), "uint8")
    assert (header["heads"], header["selected"]) == ([9] * 30, [4, 2])
    assert np.array_equal(pixels.reshape(270, 8, 8), thumbnails.draw_thumbnails(houston).pixels)
    numbers, places = stored(html, "details"), told(html)["details"]["numbers"]
    for layer, head in [(0, 0), (4, 2), (29, 8)]:
        packing, start, end = places[layer][head]
        assert packing == "lower"
        assert np.array_equal(np.frombuffer(numbers[start:end], "<f4"), lower(houston.weights(layer, head).numpy()))


@pytest.mark.packaged
def test_the_page_of_all_heads_says_when_it_holds_small_pictures_only(houston, monkeypatch):
    monkeypatch.setattr(pages, "DETAIL_BYTES", 100)
    html = views.grid_figure(houston).html
    assert 'id="details"' not in html
    assert "too long" in dict(told(html)["facts"])["Heads"]


@pytest.mark.packaged
def test_a_page_shows_what_the_app_shows(houston, monkeypatch):
    """The header of a saved page is the app's."""
    sent: list[bytes] = []
    monkeypatch.setattr(heatmap, "_mount", lambda data, key, **_: sent.append(data))
    for kind in figures.KINDS:
        picture = maps.picture(houston, 3, 5, kind=kind)
        title = f"Layer 3, head 5: {figures.KINDS[kind]}"
        heatmap.attention_map(picture, houston.tokens.labels, kind=kind, scale="log", label=title, key="x")
        app, _ = payload.decode(sent.pop(), "float32")
        made = views.head_figure(houston, 3, 5, kind=kind, scale="log")
        page, _ = payload.decode(stored(made.html, "payload"), "float32")
        assert {**app, "version": ""} == {**page, "version": ""}


@pytest.mark.packaged
def test_a_page_holds_no_markup_from_outside_and_asks_no_host(hostile):
    for figure in (views.head_figure(hostile, 0, 0, verification=HOSTILE), views.grid_figure(hostile)):
        text = figure.html
        assert "<img src=x" not in text
        assert text.count("</script") == text.count("<script")
        assert not re.findall(r"""(?:src|href)\s*=\s*["']|https?://|@import|url\(""", text)
        assert "default-src 'none'" in text
        assert dict(told(text)["facts"])["Prompt"] == HOSTILE
        shown = figure._repr_html_()
        assert shown.count('<iframe sandbox="allow-scripts" ') == 1
        assert shown.count("<") == 6  # style, words and frame with their ends: the page within is escaped


def test_a_model_in_a_folder_is_named_without_its_place(tmp_path):
    trace = tiny.load("grouped", tmp_path / "my-model").trace("w1 w2 w3")
    figure = views.head_figure(trace, 0, 0)
    assert "my-model" in figure.svg
    assert str(tmp_path) not in figure.svg + figure.html + str(views.vectors(trace, 0, 0).metadata)


def test_where_the_model_went_on_by_itself_is_said(tmp_path):
    trace = tiny.load("grouped", tmp_path).trace("w1 w2 w3", generate=2)
    figure = views.head_figure(trace, 0, 0)
    assert "5 tokens, the last 2 written by the model" in figure.svg
    header, _ = payload.decode(stored(figure.html, "payload"), "float32")
    assert header["join"] == 3


def test_windows_and_layers_of_unlike_heads_are_drawn(tmp_path):
    trace = tiny.load("mistral", tmp_path).trace(tiny.ids(20))
    root = parsed(views.head_figure(trace, 1, 2).svg)
    cells = {(int(c.get("data-row")), int(c.get("data-column"))) for c in root.iter(f"{SVG}path") if c.get("data-row")}
    assert cells == {(t, s) for t in range(20) for s in range(max(0, t - 6), t + 1)}
    assert len(views.frame(trace, 1, 2)) == len(cells)
    header, _ = payload.decode(stored(views.head_figure(trace, 1, 2).html, "payload"), "float32")
    assert header["shape"] == [20, 20]


@pytest.mark.packaged
def test_files_are_saved_by_their_suffix(houston, tmp_path):
    figure = views.head_figure(houston, 3, 5)
    for name in ("a.svg", "a.pdf", "a.png", "a.html"):
        assert figure.save(tmp_path / name) == tmp_path / name
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == figure.svg
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == figure.html
    assert (tmp_path / "a.pdf").read_bytes() == figure.pdf
    assert (tmp_path / "a.png").read_bytes() == figure.png()
    for wrong, words in [
        (lambda: figure.save(tmp_path / "a.gif"), r'a\.gif ends in "\.gif"'),
        (lambda: figure.save(tmp_path / "no" / "a.svg"), "not a folder that exists"),
        (lambda: figure.png(10), "10 pixels wide"),
        (lambda: views.head_figure(houston, 3, 9), "Head 9 does not exist"),
        (lambda: views.head_figure(houston, 3, 5, kind="logits"), 'kind="logits"'),
        (lambda: views.grid_figure(houston, scale="cubic"), 'scale="cubic"'),
        (lambda: views.head_figure(houston, 3, 5, width=0.2), "width=0.2 cannot be drawn; choose 1 to 60 inches"),
        (lambda: views.head_figure(houston, 3, 5, font_size=99), "font_size=99"),
        (lambda: views.head_figure(houston, 3, 5, width=1.5, font_size=20).svg, r"width of \d\.\d inches or more"),
        (lambda: views.grid_figure(houston, width=1.5).svg, "no room for 30 layers"),
        (lambda: views.head_figure(houston, 3, 5, ax=MatplotlibFigure()), "ax= takes one Axes"),
        (lambda: views.head_figure(houston, 3, 5, colorbar=True), "colorbar=True is for ax="),
        (lambda: views.vectors(houston, 3, 5).save(tmp_path / "v.npz"), r'ends in "\.npz"'),
    ]:
        with pytest.raises(InspectorError, match=words):
            wrong()
    assert len(list(tmp_path.iterdir())) == 4


# -- tables --------------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_pairs_survive_csv_and_parquet_to_the_last_bit(hostile, tmp_path):
    frame = views.frame(hostile, 3, 5)
    weights, scores = hostile.weights(3, 5).numpy(), hostile.scaled_scores(3, 5).numpy()
    assert np.array_equal(frame["weight"], lower(weights))
    assert np.array_equal(frame["scaled score"], lower(scores))
    assert frame["query token"].to_list() == [hostile.tokens.labels[t] for t in frame["query position"]]
    assert frame["key token"].to_list() == [hostile.tokens.labels[s] for s in frame["key position"]]
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    for again in (
        pd.read_csv(tmp_path / "a.csv", keep_default_na=False, dtype={"weight": "float32", "scaled score": "float32"}),
        pd.read_parquet(tmp_path / "a.parquet"),
    ):
        for name in frame:
            assert again[name].to_list() == frame[name].to_list(), name


@pytest.mark.packaged
def test_a_table_can_be_cut_at_whole_query_tokens(houston, monkeypatch):
    whole = views.frame(houston, 3, 5)
    assert len(whole) == 36
    for most, queries in [(36, 8), (35, 7), (28, 7), (27, 6), (1, 1), (0, 0)]:
        assert tables.queries_within(houston, 3, 5, most) == queries
    monkeypatch.setattr(
        "inspector.trace.trace.STRIP_BYTES", 3 * 4 * 8
    )  # strips of three rows: counted and joined right
    assert tables.queries_within(houston, 3, 5, 27) == 6
    pd.testing.assert_frame_equal(views.frame(houston, 3, 5, most_pairs=27), whole.iloc[:21])
    assert len(views.frame(houston, 3, 5)) == 36


@pytest.mark.packaged
def test_vectors_are_saved_with_their_names(houston, tmp_path):
    path = views.vectors(houston, 3, 5).save(tmp_path / "v.safetensors")
    found = load_file(path)
    assert set(found) == {"query_before_rope", "query_after_rope", "key_before_rope", "key_after_rope", "value"}
    assert np.array_equal(found["query_after_rope"], houston.query(3, 5).numpy())
    assert np.array_equal(found["key_before_rope"], houston.key(3, 5, rope=False).numpy())
    with safe_open(path, framework="np") as file:
        facts = file.metadata()
    assert (facts["model"], facts["layer"], facts["head"], facts["key_value_head"]) == (
        "smollm2-135m-instruct",
        "3",
        "5",
        "1",
    )
    assert json.loads(facts["tokens"]) == list(houston.tokens.labels)


@pytest.mark.packaged
def test_a_trace_from_a_file_has_its_vectors_after_rotation(smollm, tmp_path):
    trace = smollm.trace("One two three")
    again = inspector.open_trace(trace.save(tmp_path / "t.safetensors"))
    assert set(views.vectors(again, 3, 5).arrays) == {"query after RoPE", "key after RoPE", "value"}
    assert views.head_figure(again, 3, 5).svg == views.head_figure(trace, 3, 5).svg
