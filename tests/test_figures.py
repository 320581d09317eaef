"""Figures and tables to keep: every number in them is the trace's, whatever a token says, and files are whole."""

from __future__ import annotations

import base64
import io
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
import tiny
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

import inspector
from inspector import views
from inspector.analysis import maps
from inspector.errors import InspectorError
from inspector.ui.components import heatmap
from inspector.views import canvases, colours, drawing, figures, payload, tables

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


# -- SVG and PNG ---------------------------------------------------------------------------------------------


@pytest.mark.packaged
@pytest.mark.parametrize("kind", figures.KINDS)
@pytest.mark.parametrize("scale", colours.SCALES)
def test_every_cell_of_an_svg_is_the_traces_number(houston, kind, scale):
    root = parsed(views.head_figure(houston, 3, 5, kind, scale).svg)
    picture = maps.picture(houston, 3, 5, kind=kind).values
    cells = {
        (int(c.get("data-row")), int(c.get("data-column"))): c for c in root.iter(f"{SVG}rect") if c.get("data-row")
    }
    assert set(cells) == {(t, s) for t in range(8) for s in range(t + 1)}
    for (t, s), cell in cells.items():
        assert np.float32(cell.get("data-value")) == picture[t, s]
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
    (cells,) = (part for part in figure.scene.parts if isinstance(part, drawing.Cells))
    assert np.array_equal(cells.values, picture.values, equal_nan=True)
    assert f"largest of {picture.pool} × {picture.pool}" in figure.svg
    assert "0–1" in figure.svg
    # Drawn by colour: the strokes of each colour cover exactly its cells.
    covered = np.zeros((*picture.values.shape, 3), dtype=int) - 1
    for path in parsed(figure.svg).iter(f"{SVG}path"):
        for x, y, wide in re.findall(r"M(\d+) (\d+)h(\d+)v1", path.get("d")):
            covered[int(y), int(x) : int(x) + int(wide)] = colours.rgb(path.get("fill"))
    shown = ~np.isnan(picture.values)
    assert np.array_equal(covered[shown], cells.colours[shown])
    assert (covered[~shown] == -1).all()


@pytest.mark.packaged
@pytest.mark.parametrize("kind", figures.KINDS)
def test_the_map_lies_below_the_title_and_the_labels_beside_it(houston, kind):
    figure = views.head_figure(houston, 3, 5, kind)
    root = parsed(figure.svg)
    height = float(root.get("height"))
    places = {text.text: (float(text.get("x")), float(text.get("y"))) for text in root.iter(f"{SVG}text")}
    (group,) = root.iter(f"{SVG}g")
    left, top, step = map(float, re.findall(r"[\d.]+", group.get("transform")))
    bottom, right = top + 8 * step, left + 8 * step
    title = next(place for text, place in places.items() if text.startswith("Layer 3, head 5"))
    prompt = next(place for text, place in places.items() if "Houston, we have" in text)
    assert title[1] < prompt[1] < places["key token"][1] < top < bottom < height
    legend = next(place for text, place in places.items() if text.lower().startswith(figures.KINDS[kind][1][:6]))
    assert legend[1] > bottom
    for t, label in enumerate(houston.tokens.labels):
        found = [
            (float(text.get("x")), float(text.get("y")), text.get("text-anchor"))
            for text in root.iter(f"{SVG}text")
            if text.text == f"{t} {label}"
        ]
        rows = [(x, y) for x, y, anchor in found if anchor == "end"]
        columns = [(x, y) for x, y, anchor in found if anchor != "end"]
        assert [(x < left, y) for x, y in rows] == [(True, pytest.approx(top + (t + 0.5) * step))]
        assert [(x, y < top) for x, y in columns] == [(pytest.approx(left + (t + 0.5) * step), True)]
    assert right < float(root.get("width"))
    # The same in the PNG: the map's corner is where the scene has it, and nothing of it is above.
    image = Image.open(io.BytesIO(figure.png(round(float(root.get("width"))))))
    pixels = np.asarray(image.convert("RGB")).astype(int)
    masked = np.array(colours.rgb(colours.LIGHT.masked))
    there = np.argwhere((pixels[: int(bottom), int(left) : int(right)] == masked).all(-1))
    assert there[:, 0].min() >= int(top) - 1
    assert there[:, 0].max() < bottom


@pytest.mark.packaged
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [700, 1600])
def test_a_png_has_the_colours_of_its_cells(houston, dark, width):
    figure = views.head_figure(houston, 3, 5, dark=dark)
    image = Image.open(io.BytesIO(figure.png(width)))
    assert image.width == width
    assert image.text["Title"] == "Layer 3, head 5: attention weights"
    (cells,) = (part for part in figure.scene.parts if isinstance(part, drawing.Cells))
    theme = colours.DARK if dark else colours.LIGHT
    weights = houston.weights(3, 5).numpy()

    def pixel(row: int, column: int) -> tuple[int, ...]:
        scale = width / figure.scene.width
        x, y = cells.x + (column + 0.5) * cells.step, cells.y + (row + 0.5) * cells.step
        return image.getpixel((int(x * scale), int(y * scale)))

    assert pixel(1, 6) == colours.rgb(theme.masked)
    for row, column in [(0, 0), (5, 2), (7, 7)]:
        level = int(np.floor(255 * np.sqrt(float(weights[row, column])) + 0.5))
        assert pixel(row, column) == tuple(colours.ramp(theme.sequential)[level])
    assert image.getpixel((1, 1)) == colours.rgb(theme.background)


@pytest.mark.packaged
def test_the_grid_holds_every_head(houston):
    figure = views.grid_figure(houston)
    pictures = [part for part in figure.scene.parts if isinstance(part, drawing.Pixels)]
    assert len(pictures) == 270 + 1  # and the legend's ramp
    weights = houston.weights(2, 1).numpy()
    drawn = pictures[2 * 9 + 1].colours
    assert tuple(drawn[0, 7]) == colours.rgb(colours.LIGHT.masked)
    exact = colours.painted(weights, colours.LIGHT, scale="sqrt").astype(int)
    seen = np.tril(np.ones((8, 8), dtype=bool))
    assert np.abs(drawn[seen].astype(int) - exact[seen]).max() <= 3  # small pictures have 254 levels
    assert len(parsed(figure.svg).findall(f".//{SVG}image")) == 271
    assert Image.open(io.BytesIO(figure.png(900))).width == 900


@pytest.mark.packaged
def test_any_token_can_be_drawn(hostile):
    for make in (lambda: views.head_figure(hostile, 0, 0), lambda: views.grid_figure(hostile)):
        figure = make()
        root = parsed(figure.svg)  # well formed, whatever the tokens say
        assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
            "svg", "title", "desc", "rect", "g", "text", "image", "path"
        }  # fmt: skip
        assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]
        assert Image.open(io.BytesIO(figure.png(600))).width == 600


def test_what_no_font_has_is_drawn_all_the_same(monkeypatch):
    monkeypatch.setattr(drawing, "FONTS", ("no such font.ttf",))
    scene = drawing.Scene(200, 60, "#ffffff", "t", "d", [drawing.Text(5, 30, "日\ud800🙂\x00 שa", "#000000", turn=-45)])
    assert drawing.text_width("日本") > 0
    assert Image.open(io.BytesIO(drawing.to_png(scene, 200))).size == (200, 60)
    assert "\ufffd" in drawing.to_svg(scene)


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
    html = views.head_figure(houston, 3, 5, kind, verification="Reproduced bit for bit.").html
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
    assert np.array_equal(pixels.reshape(270, 8, 8), maps.thumbnails(houston).pixels)
    numbers, places = stored(html, "details"), told(html)["details"]["numbers"]
    for layer, head in [(0, 0), (4, 2), (29, 8)]:
        packing, start, end = places[layer][head]
        assert packing == "lower"
        assert np.array_equal(np.frombuffer(numbers[start:end], "<f4"), lower(houston.weights(layer, head).numpy()))


@pytest.mark.packaged
def test_the_page_of_all_heads_says_when_it_holds_small_pictures_only(houston, monkeypatch):
    monkeypatch.setattr(figures, "DETAIL_BYTES", 100)
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
        title = f"Layer 3, head 5: {figures.KINDS[kind][0]}"
        heatmap.attention_map(picture, houston.tokens.labels, kind=kind, scale="log", label=title, key="x")
        app, _ = payload.decode(sent.pop(), "float32")
        page, _ = payload.decode(stored(views.head_figure(houston, 3, 5, kind, "log").html, "payload"), "float32")
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
        assert shown.startswith('<iframe sandbox="allow-scripts" ')
        assert shown.count("<") == 2  # the frame and its end: the page within is escaped


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
    cells = {(int(c.get("data-row")), int(c.get("data-column"))) for c in root.iter(f"{SVG}rect") if c.get("data-row")}
    assert cells == {(t, s) for t in range(20) for s in range(max(0, t - 6), t + 1)}
    assert len(views.frame(trace, 1, 2)) == len(cells)
    header, _ = payload.decode(stored(views.head_figure(trace, 1, 2).html, "payload"), "float32")
    assert header["shape"] == [20, 20]


@pytest.mark.packaged
def test_files_are_saved_by_their_suffix(houston, tmp_path):
    figure = views.head_figure(houston, 3, 5)
    for name in ("a.svg", "a.png", "a.html"):
        assert figure.save(tmp_path / name) == tmp_path / name
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == figure.svg
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == figure.html
    assert (tmp_path / "a.png").read_bytes() == figure.png()
    for wrong, words in [
        (lambda: figure.save(tmp_path / "a.pdf"), r'a\.pdf ends in "\.pdf"'),
        (lambda: figure.save(tmp_path / "no" / "a.svg"), "not a folder that exists"),
        (lambda: figure.png(10), "10 pixels wide"),
        (lambda: views.head_figure(houston, 3, 9), "Head 9 does not exist"),
        (lambda: views.head_figure(houston, 3, 5, "logits"), 'kind="logits"'),
        (lambda: views.grid_figure(houston, "cubic"), 'scale="cubic"'),
        (lambda: views.vectors(houston, 3, 5).save(tmp_path / "v.npz"), r'ends in "\.npz"'),
    ]:
        with pytest.raises(InspectorError, match=words):
            wrong()
    assert len(list(tmp_path.iterdir())) == 3


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
