"""JavaScript and Python agree on the names of headers (types.d.ts) and on the numbers that tests/js compares.

`python -m tests.test_scripts` writes tests/js/python.json again. What JavaScript makes of it is asked by `make check`.
"""

from __future__ import annotations

import base64
import json
import math
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.analysis.maps import Picture
from inspector.learn import softmax
from inspector.ui import state
from inspector.views import canvases, colours, head_question, header_types, map_headers, standalone
from inspector.views.softmax_page import page_of_softmax

PYTHON = Path(__file__).parent / "js" / "python.json"
HOSTS = files("inspector.ui.components")
ENTRIES = [
    *(HOSTS / f"{name}.js" for name in ("heatmap", "strips", "frame", "link", "explore", "talk", "memory", "mask")),
    *(
        canvases.JS / f"{name}.js"
        for name in ("saved_head", "saved_grid", "saved_strips", "saved_explore", "softmax_page", "widget")
    ),
]


def told(html: str) -> dict[str, Any]:
    found = re.search(r'id="page">([^<]*)</script>', html)
    assert found is not None
    return json.loads(found.group(1))


def declared(interface: str) -> set[str]:
    """The fields of an interface in types.d.ts."""
    text = canvases.text(canvases.JS / "types.d.ts")
    found = re.search(rf"^export interface {interface}(?: extends \w+)? \{{\n(.*?)^\}}", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return set(re.findall(r"^  (\w+)\??:", found.group(1), re.MULTILINE))


@pytest.mark.parametrize(
    "name",
    ["MapHeader", "GridHeader", "StripsHeader", "StripsPanel", "FrameHeader", "ExploreMeasure", "ExploreHeader",
     "HeadAsked", "HeadAnswer"],
)  # fmt: skip
def test_python_writes_the_fields_that_javascript_reads(name):
    assert set(getattr(header_types, name).__annotations__) == declared(name)


def test_saved_pages_are_told_the_fields_that_they_read():
    page = standalone.page(title="t", facts=[], footer=[], component="heatmap", payload=b"")
    assert set(told(page)) == declared("SavedPage")
    assert set(told(page_of_softmax())) == declared("SoftmaxPage")
    assert set(standalone.Details.__annotations__) - {"places"} == declared("Details")


def test_the_form_of_a_question_is_the_same_in_both_languages():
    found = re.search(r"^const VERSION = (\d+);", canvases.text(canvases.JS / "explore_ask.js"), re.MULTILINE)
    assert found is not None
    assert int(found.group(1)) == head_question.VERSION
    whole = declared("HeadQuestion") | set(header_types.HeadAsked.__annotations__)
    assert whole == set(head_question.FIELDS)


@pytest.mark.parametrize("name", ["show", "scale", "unit"])
def test_the_screens_fields_offer_what_the_server_knows(name):
    skeleton = canvases.SKELETONS["explore"]
    field = re.search(rf'<select id="{name}" name="{name}"[^>]*>(.*?)</select>', skeleton)
    assert field is not None
    assert dict(re.findall(r'<option value="(\w+)">([^<]+)</option>', field.group(1))) == state.CHOICES[name]


# -- the joiner ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_joined_script_imports_nothing_and_says_each_module_once(entry):
    script = canvases.joined(entry)
    made = re.findall(r"^const \$(\w+) = \(\(\) => \{$", script, re.MULTILINE)
    assert len(made) == len(set(made))
    for name in re.findall(r"= \$(\w+);$", script, re.MULTILINE):
        assert script.index(f"const ${name} = ") < script.index(f"}} = ${name};")
    assert script.count("export ") == ("export default function" in script)
    assert "import " not in script
    assert "/**" not in script


def test_what_cannot_be_joined_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(canvases, "JS", tmp_path)
    (tmp_path / "a.js").write_text('import { b } from "./b.js";\nexport const a = b;\n')
    (tmp_path / "b.js").write_text('import { a } from "./a.js";\nexport const b = a;\n')
    with pytest.raises(RuntimeError, match=r"circle: a.js -> b.js -> a.js"):
        canvases.joined(tmp_path / "a.js")
    (tmp_path / "c.js").write_text("export const c = 1;\n")
    (tmp_path / "a.js").write_text('import { c as d } from "./c.js";\nconst a = d;\n')
    with pytest.raises(RuntimeError, match="gives an import another name"):
        canvases.joined(tmp_path / "a.js")
    for wrong in ('import * as b from "./b.js";\n', "export class A {}\n", 'const a = "</script>";\n'):
        (tmp_path / "a.js").write_text(wrong)
        with pytest.raises(RuntimeError, match=r"a.js cannot be joined: write import"):
            canvases.joined(tmp_path / "a.js")


def test_names_of_modules_never_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(canvases, "JS", tmp_path)
    (tmp_path / "b.js").write_text("const own = 1; // a note\n/** Text. */\nexport function b() {\n  return own;\n}\n")
    (tmp_path / "a.js").write_text('import {\n  b,\n} from "./b.js";\n\n// A note.\nconst own = b();\n')
    assert canvases.joined(tmp_path / "a.js") == (
        "const $b = (() => {\nconst own = 1;\nfunction b() {\nreturn own;\n}\nreturn { b };\n})();\n"
        "const { b } = $b;\nconst own = b();\n"
    )


# -- the same numbers ----------------------------------------------------------------------------------------


def python_numbers() -> dict[str, Any]:
    """What JavaScript must compute as Python does."""
    weights = [0.0, 1e-6, 1e-4, 0.001, 0.0123, 0.1, 0.25, 1 / 3, 0.5, 0.9999, 1.0, math.nan]
    painted = []
    for shade, theme in {"light": colours.LIGHT, "dark": colours.DARK}.items():
        cases = [(scale, top, None) for scale in colours.SCALES for top in (None, 2.5)]
        for scale, top, limit in [*cases, ("linear", None, 3.0)]:
            factor = (top or 1.0) if limit is None else 1.0
            values = [value * factor for value in weights] if limit is None else [*np.linspace(-3, 3, 25), math.nan]
            found = colours.painted(np.array(values), theme, scale=scale, top=factor, limit=limit)
            shown = [None if math.isnan(value) else value for value in values]
            case = {"shade": shade, "scale": scale, "top": top, "limit": limit}
            painted.append(case | {"values": shown, "colours": found.tolist()})
    shares = [
        softmax.shares(numbers, scale=scale) for numbers in ((1, 1.1), (-3, 0, 2.5), (7,)) for scale in (0.01, 1, 100)
    ]
    texts = ["1, 1.1", "1, 1.1;−2\n3e2\t.5 [+4.]", "(1;2)"]
    values = np.array([[1, np.nan, np.nan], [0.25, 0.75, np.nan], [0.5, 0.125, 0.375]], dtype=np.float32)
    header = map_headers.map_header(
        Picture(values, 1, 3), ["a", "b", "日本"], kind="weights", scale="sqrt", label="a map"
    )
    return {
        "colours": painted,
        "softmax": [{"inputs": each.inputs, "weights": each.weights, "bits": each.entropy} for each in shares],
        "parsed": [{"text": text, "numbers": softmax.parse(text)} for text in texts],
        "message": base64.b64encode(map_headers.map_payload(header, values, version="1")).decode(),
    }


def test_the_numbers_that_javascript_is_held_to_are_pythons():
    stored = json.loads(PYTHON.read_text(encoding="utf-8"))
    found = json.loads(json.dumps(python_numbers()))
    for part in ("colours", "parsed", "message"):
        assert stored[part] == found[part], f"{part} changed: python -m tests.test_scripts writes tests/js/python.json"
    for before, now in zip(stored["softmax"], found["softmax"], strict=True):
        assert before["weights"] == pytest.approx(now["weights"], rel=1e-15)  # machines' exponentials differ so much
        assert (before["inputs"], before["bits"]) == (now["inputs"], pytest.approx(now["bits"], rel=1e-14, abs=1e-15))


if __name__ == "__main__":
    PYTHON.write_text(json.dumps(python_numbers(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
