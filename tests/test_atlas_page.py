"""The page Atlas: its numbers are the atlas's own, it opens what the server was told of and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from screen_app import SCREENS, chosen_in, new_app, payloads
from streamlit.testing.v1 import AppTest

import inspector
from inspector import atlas
from inspector.errors import InspectorError
from inspector.heads.labels import LABELS, Score
from inspector.heads.report import HeadFindings, HeadReport
from inspector.ui import state
from inspector.ui.components.token_text import html_of
from inspector.ui.server import atlases, findings, launch, settings


@pytest.fixture(scope="module")
def made(small_atlas: atlas.Atlas) -> atlas.Atlas:
    return small_atlas


@pytest.fixture
def folder(made: atlas.Atlas) -> Path:
    return Path(made.manifest["model"])


@pytest.fixture
def told(made: atlas.Atlas, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.ATLAS_VARIABLE, json.dumps([str(made.folder)]))
    monkeypatch.setenv(settings.MODELS_VARIABLE, json.dumps([str(folder)]))


def page(folder: Path, **chosen: str) -> AppTest:
    app = new_app(state.Request(str(folder), "w1 w2 w3 w1"), **chosen)
    app.run()
    app.switch_page(SCREENS["Atlas"]).run()
    assert not app.exception
    return app


def tables(app: AppTest, column: str) -> list[pd.DataFrame]:
    """The page's tables that have a column, in their order."""
    return [each.value for each in app.dataframe if column in each.value]


@pytest.mark.usefixtures("told")
def test_grid_and_card_have_the_atlass_numbers(made, folder):
    app = page(folder, layer="1", head="2", by="back 1", beside="local")
    assert not app.error
    header, numbers = payloads(app, "atlas_grid")
    assert header["selected"] == [1, 2]
    assert np.allclose(numbers.reshape(header["shape"]).ravel(), made.heads["back 1"], atol=1e-7)
    assert atlases.without_places(made).summary() in [each.value.replace("\\", "") for each in app.caption]
    card = made.card(1, 2)
    scores = tables(app, "what it does")[0].set_index("what it does")["mean"]
    assert scores["Previous token"] == card.scores["back 1"]
    far = card.histograms[card.histograms["of"] == "distance"]["value"]
    header, numbers = payloads(app, "atlas_distance")
    drawn = len(header["axis"])
    assert np.allclose(numbers[:drawn], far[:drawn] / far.sum())
    assert far[drawn - 2 :].astype(bool).tolist() == [True] + [False] * (len(far) - drawn + 1)  # one empty bin
    for kind, shown in zip(("key", "query"), tables(app, "mass"), strict=True):
        assert list(shown["mass"]) == list(card.tokens[card.tokens["of"] == kind]["mass"])
    top = card.examples[card.examples["of"] == "top"].iloc[0]
    assert any(top["tokens"][int(top["query"])] in each.proto.body for each in app.get("html"))
    first = tables(app, "weight")[0].iloc[0]
    assert first["weight"] == pytest.approx(top["largest"], abs=1e-3)
    assert chosen_in(app).items() >= {"layer": "1", "head": "2", "by": "back 1", "beside": "local"}.items()


@pytest.mark.usefixtures("told")
def test_a_head_that_is_like_it_and_its_example_open_on_a_click(made, folder):
    app = page(folder, layer="0", head="1")
    near = made.alike(0, 1, 1).iloc[0]
    app.button(key="atlas_alike_0").click().run()
    assert f"Layer {near['layer']}, head {near['head']}" in [each.value for each in app.header]
    one = made.card(int(near["layer"]), int(near["head"])).examples.iloc[0]
    app.button(key="atlas_open_0").click().run()
    assert not app.exception
    asked, chosen = app.session_state["request"], app.session_state["selection"]
    assert (asked.model, asked.prompt) == (str(folder), one["prompt"])
    assert list(inspector.load(folder).tokenize(one["prompt"]).ids) == list(one["ids"])
    assert (chosen["layer"], chosen["head"], chosen["query"]) == (near["layer"], near["head"], one["query"])
    assert chosen["key"] == one["keys"][0]


@pytest.mark.usefixtures("told")
def test_a_finders_labels_stand_on_the_card_with_their_nulls(made, folder, tmp_path, monkeypatch):
    low, high = Score(0.1, 0.0, 0.1, 0.01, 0.1, 0.1, 0.01), Score(0.75, 0.0, 0.05, 0.01, 0.7, 0.05, 0.01)
    found = tuple(
        HeadFindings(1, head, {one.name: high if (one.name, head) == ("Self", 2) else low for one in LABELS}, 0.0, 0.0)
        for head in (1, 2)
    )
    report = HeadReport(str(folder), "", {}, found, (), 0)
    file = tmp_path / "heads.json"
    file.write_text(report.to_json())
    monkeypatch.setenv(settings.HEADS_VARIABLE, json.dumps([str(file)]))
    app = page(folder, layer="1", head="2")
    assert "The finder: **Self** 0.75 (null 0.05 ± 0.01, on plain English)." in [each.value for each in app.markdown]
    assert tables(app, "given")[0]["given"].sum() == 1
    app = page(folder, layer="1", head="1")
    assert "The finder gives this head no label." in [each.value for each in app.markdown]
    trace = inspector.load(folder).trace([1, 2, 3])
    said = findings.sentences(trace)  # beneath the head's scores on Explore
    place = sum(layer.heads for layer in trace.layers[:1])
    assert said[place + 2] == "Over many texts: Self 0.75 (null 0.05, on plain English)."
    assert said[place + 1] == said[0] == "Over many texts it gets no label."
    monkeypatch.delenv(settings.HEADS_VARIABLE)
    assert findings.sentences(trace) == []
    monkeypatch.setenv(settings.HEADS_VARIABLE, json.dumps([str(file)]))
    file.write_text("{}")
    with pytest.raises(InspectorError, match="is not what the command heads writes"):
        launch.start_server(heads=[str(file)], open_browser=False)


@pytest.mark.usefixtures("told")
def test_a_head_is_taken_out_of_its_example(made, folder):
    app = page(folder, layer="0", head="1")
    app.button(key="atlas_without_0").click().run()
    assert not app.exception
    assert app.session_state["request"].prompt == made.examples(0, 1).iloc[0]["prompt"]
    assert json.loads(app.session_state["selection"]["edits"])["edits"] == [
        {"kind": "zero", "layers": [0], "heads": [1]}
    ]


def test_without_an_atlas_the_page_says_how_to_make_one(folder):
    app = page(folder)
    assert [each.value for each in app.code] == [
        "attention-inspector atlas smollm2-135m-instruct --out atlas\nattention-inspector app --atlas atlas"
    ]


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("name", ["/etc", "../small-atlas", "other", "small-atlas (2)"])
def test_only_what_the_server_was_told_of_opens(made, folder, name):
    app = page(folder, atlas=name)
    assert atlases.without_places(made).summary() in [
        each.value.replace("\\", "") for each in app.caption
    ]  # the first one, as without a name
    with pytest.raises(InspectorError, match="This server was not started with an atlas"):
        atlases.opened(name)


def test_visitors_read_no_place_of_this_machine(made):
    said = atlases.without_places(made)
    assert str(made.folder.parent) in json.dumps(made.manifest)
    assert str(made.folder.parent) not in json.dumps(said.manifest)
    assert "run" not in said.manifest


def test_what_is_no_atlas_is_refused_at_the_start(tmp_path):
    with pytest.raises(InspectorError, match="holds no finished atlas"):
        launch.start_server(atlas=[str(tmp_path)], open_browser=False)


def test_token_text_stays_text():
    said = html_of(["<b>", '" onmouseover="'], {0: 0.5}, query=1)
    assert "<b>" not in said
    assert said.count("<span") == 2
    assert 'title="1 &quot; onmouseover=&quot;"' in said
    assert "32%" in said  # 45 * sqrt(0.5)
