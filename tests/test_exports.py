"""Files of what a page shows: any canvas as a figure, and tables that no spreadsheet takes for formulas."""

from __future__ import annotations

import base64
import csv
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
import tiny
from PIL import Image

from inspector.analysis import vectors
from inspector.analysis.maps import Picture
from inspector.ui import savable, shown_pictures
from inspector.ui.components import heatmap
from inspector.views import canvas_figures, canvas_tables, colours, csv_files, map_headers, payload, strips_headers

FORMULAS = ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "－1", "a;=1", "a,=1", "a\t@b"]
FORMULAS += ["=cmd|' /C calc'!A0"]
HARMLESS = ["␣the", "a-b", "e=mc", "1+1", "x@y", "", "日本 🙂", "'quoted'"]
BEGINS = tuple("=+-@\t\r＝＋－＠")


def table() -> pd.DataFrame:
    texts = FORMULAS + HARMLESS
    numbers = np.linspace(-1, 1, len(texts)).astype(np.float32)
    return pd.DataFrame({"key token": texts, "weight": numbers, "=position": range(len(texts))})


def cells(text: str, delimiter: str) -> list[str]:
    """Every text cell as a spreadsheet set to this delimiter finds it, with and without respect for quotes."""
    rows = [*csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)]
    rows += [*csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=csv.QUOTE_NONE)]
    found = [cell.strip('"') for row in rows for cell in row]
    return [cell for cell in found if not re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_text_of_a_token_begins_a_formula_in_a_spreadsheet(delimiter):
    safe = csv_files.for_spreadsheets(table()).decode("utf-8-sig")
    assert not [cell for cell in cells(safe, delimiter) if cell.startswith(BEGINS)]
    plain = csv_files.exact(table()).decode()
    assert [cell for cell in cells(plain, delimiter) if cell.startswith(BEGINS)]  # the control: the exact form has them


def test_numbers_stay_numbers_and_the_exact_form_is_exact():
    frame = table()
    for written, texts in ((csv_files.exact(frame), frame["key token"]), (csv_files.for_spreadsheets(frame), None)):
        found = pd.read_csv(
            io.BytesIO(written), dtype={"weight": "float32"}, keep_default_na=False, encoding="utf-8-sig"
        )
        assert np.array_equal(found["weight"], frame["weight"])
        assert found["key token"].to_list()[-len(HARMLESS) :] == HARMLESS
        if texts is not None:
            assert found["key token"].to_list()[:4] == texts.to_list()[:4]
    assert csv_files.for_spreadsheets(frame).startswith(b"\xef\xbb\xbf")


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return tiny.load("grouped", tmp_path_factory.mktemp("model")).trace(tiny.ids(9))


def stored(html: str) -> bytes:
    found = re.search(r'id="payload">([^<]*)</script>', html)
    assert found is not None
    return base64.b64decode(found.group(1))


def images(svg: str) -> list[np.ndarray]:
    """The pixels of every image in an SVG, the largest first."""
    found = [
        each.get("{http://www.w3.org/1999/xlink}href")
        for each in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}image")  # noqa: S314 - our own
    ]
    made = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition("base64,")[2])))) for data in found]
    return sorted(made, key=lambda pixels: -pixels.size)


@pytest.mark.parametrize("dark", [False, True])
def test_a_figure_of_vectors_has_the_canvass_colours_numbers_and_names(trace, dark):
    values = trace.query(1, 2).detach().numpy()
    picture = vectors.pool_rows(values)
    header = map_headers.vector_header(picture, trace.tokens.labels, name="query after RoPE", limit=4.0)
    look = {"title": "Queries", "note": "Vectors: layer 1, head 2", "dark": dark}
    made = canvas_figures.map_figure(trace, header, picture.values, **look)
    theme = colours.DARK if dark else colours.LIGHT
    expected = colours.painted(values, theme, scale="linear", limit=4.0)
    drawn = images(made.svg)[0][..., :3]
    rows, columns = (side // count for side, count in zip(drawn.shape, values.shape, strict=False))
    assert np.array_equal(drawn[rows // 2 :: rows, columns // 2 :: columns], expected)
    said = "".join(ET.fromstring(made.svg).itertext())  # noqa: S314 - our own
    assert all(f"{at} {label}" in said for at, label in enumerate(trace.tokens.labels))
    assert "masked" not in made.svg
    assert made.pdf.startswith(b"%PDF")
    assert Image.open(io.BytesIO(made.png())).width == 1600
    told, numbers = payload.decode(stored(made.html), np.float32)
    assert np.array_equal(numbers.reshape(told["shape"]), values)
    frame = canvas_tables.map_frame(header, picture.values)
    assert np.array_equal(frame.to_numpy()[:, 1:].astype(np.float32), values)
    assert frame["token"].to_list() == [f"{at} {label}" for at, label in enumerate(trace.tokens.labels)]


def test_a_figure_of_strips_and_bars_has_every_panel(trace):
    values = np.array([[0.5, 0.25, 0.25], [-1.0, np.nan, 2.0], [0.5, -0.5, 0.0]], dtype=np.float32)
    panels = [
        strips_headers.panel("bars", "weights here", values, rows=[0], scale="sqrt", limit=1.0),
        strips_headers.panel("strip", "scores here", values, rows=[1]),
        strips_headers.panel("bars", "content", values, rows=[1, 2], also="position", centred=True),
    ]
    header = strips_headers.strips_header(
        panels, test_id="t", names=["key a", "key b", "=c"], axis=["a", "b", "=c"], series=["weight", "score", "more"],
        label="A row", hint="", turned=True, notes=["", "one", ""], picks=[0, 1, 2],
    )  # fmt: skip
    made = canvas_figures.strips_figure(trace, header, values, title="A row")
    said = "".join(ET.fromstring(made.svg).itertext())  # noqa: S314
    for words in ("weights here", "scores here · full colour: ±2", "content (filled), position (hollow)", "=c"):
        assert words in said
    drawn = images(made.svg)[0][0, :, :3]
    step = len(drawn) // 3
    ends = [tuple(drawn[step // 2 + at * step]) for at in range(3)]
    assert (
        ends
        == [
            tuple(colours.painted(values[1, :1], colours.LIGHT, scale="linear", limit=2.0)[0]),
            colours.rgb(colours.LIGHT.background),  # there is no number
            tuple(colours.painted(values[1, 2:], colours.LIGHT, scale="linear", limit=2.0)[0]),
        ]
    )
    told, numbers = payload.decode(stored(made.html), np.float32)
    assert np.array_equal(numbers.reshape(3, 3), values, equal_nan=True)
    assert told["picks"] is None  # nobody is told of a choice
    frame = canvas_tables.strips_frame(header, values)
    assert list(frame) == ["column", "weight", "score", "more", "note"]
    assert np.array_equal(frame[["weight", "score", "more"]].to_numpy().T, values, equal_nan=True)


def test_pooled_and_repeated_names_are_told_apart():
    header = map_headers.map_header(
        Picture(np.zeros((2, 2), np.float32), 2, 3), ["a", "b", "c"], kind="weights", scale="sqrt", label="l"
    )
    frame = canvas_tables.map_frame(header, np.eye(2, dtype=np.float32))
    assert list(frame) == ["query tokens", "0–1", "2–2"]
    same = map_headers.matrix_header(
        np.eye(2, dtype=np.float32), name="x", row_name="the", column_name="c", rows=["r", "r"], columns=["the", "the"]
    )
    assert list(canvas_tables.map_frame(same, np.eye(2, dtype=np.float32))) == ["the (row)", "the", "the (2)"]


def test_pictures_are_remembered_while_export_is_open_alone(trace, monkeypatch):
    monkeypatch.setattr(heatmap, "_mount", lambda **_: None)
    values = np.eye(3, dtype=np.float32)
    heatmap.matrix_map(values, name="share", row_name="part", column_name="dimension", key="m")
    assert shown_pictures.pictures() == []
    shown_pictures.begin(wanted=True)
    heatmap.matrix_map(values, name="share", row_name="part", column_name="dimension", key="m")
    heatmap.matrix_map(values * 2, name="share", row_name="part", column_name="dimension", key="m")  # shown again
    (picture,) = shown_pictures.pictures()
    assert isinstance(picture, shown_pictures.Map)
    assert np.array_equal(picture.values, values * 2)
    made = savable._of_page(None, picture, "What? A/B: layer 1, head 2")
    assert made.what == "what-a-b-share-a-row-per-part-a-column-per-dimension"
    shown_pictures.begin(wanted=False)
    assert shown_pictures.pictures() == []
