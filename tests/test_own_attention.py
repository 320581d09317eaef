"""Verify's "Check your own attention": uploads and code of this machine, judged; no name is taken from a visitor."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import tiny
from browser_app import running_app
from protocol_client import Client, component
from screen_app import SCREENS, new_app, press

import inspector
from inspector.errors import InspectorError
from inspector.judging.reference_folder import write_reference
from inspector.text import no_progress
from inspector.ui import state
from inspector.ui.server import judged, launch, settings

PROMPT = "w3 w14 w15 w9 w26 w5 w3 w14 w35"
CODE = """
import inspector
layers = inspector.load({folder!r}).reimplementation

def right(x, layer):
    return layers[layer].stages(x).output

def wrong(x, layer):
    stages = layers[layer].stages(x)
    query, key = layers[layer].rotate(stages.query_pre, stages.key_pre, __import__("torch").arange(1, len(x) + 1))
    return vars(stages) | {{"query": query, "key": key}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("grouped", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def uploads(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[judged.Uploaded]:
    out = write_reference(inspector.load(folder), PROMPT, tmp_path_factory.mktemp("reference") / "r")
    return [judged.Uploaded(file.name, file.read_bytes()) for file in sorted(out.iterdir()) if file.suffix != ".md"]


@pytest.fixture
def request_of(folder: Path) -> state.Request:
    return state.Request(str(folder), PROMPT)


@pytest.fixture
def code(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(CODE.format(folder=str(folder)))
    monkeypatch.setenv(settings.JUDGE_VARIABLE, json.dumps([f"{file}:right", f"{file}:wrong"]))
    return file


# -- the page ---------------------------------------------------------------------------------------------------------


def test_an_upload_is_judged_on_the_page(request_of, uploads):
    app = new_app(request_of)
    app.switch_page(SCREENS["Verify"]).run()
    assert not [box for box in app.selectbox if box.key == "own_name"]  # no code was offered
    files = [(file.name, file.content, "application/octet-stream") for file in uploads]
    app.file_uploader(key="own_files").set_value(files).run()
    press(app, "Judge the upload")
    assert not app.exception
    assert not app.error
    (verdict,) = app.success
    assert verdict.value.startswith("**Right.** Your attention is right")
    assert any("How far each plane of a query turns" in text.value for text in app.markdown)


def test_code_that_the_server_was_started_with_is_judged_on_the_page(request_of, code):
    app = new_app(request_of)
    app.switch_page(SCREENS["Verify"]).run()
    assert app.selectbox(key="own_name").options == [f"{code}:right", f"{code}:wrong"]
    press(app, "Judge this code")
    assert app.success[0].value.startswith("**Right.** Your attention is right")
    app.selectbox(key="own_name").select_index(1).run()
    press(app, "Judge this code")
    assert not app.exception
    assert app.error[0].value.startswith(
        "**Different.** Your attention differs first at the query after RoPE of layer 0"
    )
    assert not app.success


def test_what_is_no_dump_is_a_sentence_on_the_page(request_of):
    app = new_app(request_of)
    app.switch_page(SCREENS["Verify"]).run()
    app.file_uploader(key="own_files").set_value([("layers.0.query.npy", b"\x80\x04K\x01.", "")]).run()
    press(app, "Judge the upload")
    assert not app.exception
    (error,) = app.error
    assert error.value.replace("\\", "").startswith("layers.0.query.npy is a pickled file, which can run code")


def test_the_gallery_shows_each_mistake_and_the_judge_names_it(request_of):
    names = {one.name for one in judged.exhibits(request_of)}
    shown = judged.shown_mistakes(request_of)
    assert set(shown) == names
    assert len(names) == 11  # all but the window, which this model has not
    for name, found in shown.items():
        assert max(abs(a - b) for a, b in zip(found.your_row, found.model_row, strict=True)) > 1e-3
        report = judged.judge_exhibit(request_of, name, no_progress)
        assert report.verdict == "different"
        if found.what.startswith("all angles"):
            assert "positions times 0.125" in report.causes[0]
        else:
            assert found.what.split(" (or ")[0].split(" instead ")[0] in report.causes[0]
    assert shown["RoPE with another base"].yours[0] == pytest.approx(1, abs=1e-4)  # both turn the first plane alike
    assert shown["RoPE with another base"].yours[-1] < shown["RoPE with another base"].model[-1] / 2
    assert shown["No causal mask"].yours == ()
    with pytest.raises(InspectorError, match="no such mistake"):
        judged.judge_exhibit(request_of, "os:system", no_progress)


def test_the_gallery_is_on_the_page_without_an_upload(request_of):
    app = new_app(request_of)
    app.switch_page(SCREENS["Verify"]).run()
    app.selectbox(key="gallery_mistake").select("No causal mask").run()
    assert any("Every token sees those after it" in text.value for text in app.markdown)
    press(app, "What would the judge say?")
    assert not app.exception
    assert "your attention has no causal mask" in app.error[0].value


# -- nothing is trusted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["os:system", "json:loads", "mine.py:right", "/etc/passwd:x", "../mine.py:right", ""])
def test_no_other_name_is_run(name, request_of, code, monkeypatch):
    ran = []
    monkeypatch.setattr(judged, "named_attention", ran.append)
    with pytest.raises(InspectorError, match=r"was not started with that attention: start it with app --judge"):
        judged.judge_named(request_of, name, no_progress)
    assert not ran


def test_a_server_that_others_reach_runs_no_code(code, monkeypatch):
    assert settings.attentions() == (f"{code}:right", f"{code}:wrong")
    for option in ("server.address", "server.allowedHosts"):
        with monkeypatch.context() as patch:
            found = {"server.address": "localhost", "server.allowedHosts": ["localhost"]}
            found[option] = "0.0.0.0" if option == "server.address" else ["localhost", "class.example.org"]
            patch.setattr(settings.st, "get_option", found.get)
            assert settings.attentions() == ()


@pytest.mark.parametrize("options", [{"host": "0.0.0.0"}, {"allow_hosts": ["class.example.org"]}])
def test_code_is_offered_on_loopback_alone(options, code):
    with pytest.raises(
        InspectorError, match=r"right runs your own code for whoever reaches the server.*leave --.*host"
    ):
        launch.start_server(judge=[f"{code}:right"], open_browser=False, **options)


def test_a_name_that_leads_nowhere_is_refused_before_the_server_starts():
    with pytest.raises(InspectorError, match=r"nowhere\.py is not a file that exists"):
        launch.start_server(judge=["nowhere.py:right"], open_browser=False)


@pytest.mark.parametrize(
    "name",
    [
        "../q.npy",
        "/etc/q.npy",
        "a/b.npy",
        "a\\b.npy",
        "..",
        ".npy",
        "q.pt",
        "q.py",
        "x.json",
        "a\0.npy",
        "q" * 120 + ".npy",
    ],
)
def test_an_uploads_name_is_no_path(name, request_of):
    with pytest.raises(InspectorError, match=r"An uploaded file is neither dump\.json nor a plain name that ends in"):
        judged.judge_uploaded(request_of, [judged.Uploaded(name, b"")], no_progress)


def test_an_upload_is_bounded(request_of, monkeypatch):
    twice = [judged.Uploaded("q.npy", b"")] * 2
    with pytest.raises(InspectorError, match="An uploaded file stands twice"):
        judged.judge_uploaded(request_of, twice, no_progress)
    with pytest.raises(InspectorError, match="401 files of 0 MB are more than the 400 files and 200 MB"):
        judged.judge_uploaded(request_of, [judged.Uploaded(f"{i}.npy", b"") for i in range(401)], no_progress)
    monkeypatch.setattr(judged, "MOST_MB", 1)
    with pytest.raises(InspectorError, match="1 files of 2 MB are more"):
        judged.judge_uploaded(request_of, [judged.Uploaded("q.npy", bytes(2**21))], no_progress)


def test_angles_are_the_measured_and_the_models(request_of, uploads, folder):
    report = judged.judge_uploaded(request_of, uploads, no_progress)
    found = judged.angles(request_of, report)
    assert found is not None
    assert found.model == pytest.approx([10000.0 ** (-2 * i / 16) for i in range(8)], rel=1e-6)
    assert found.yours == pytest.approx(found.model, rel=1e-4)


def test_a_raw_client_gets_no_other_code_run(folder, code, tmp_path):
    """Whatever a visitor says that the choice of code is, only a name that the server was given is imported."""
    trap = tmp_path / "trap.py"
    trap.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'sprung')!r}).touch()\ndef mine(x, layer): ...\n")
    environment = {settings.MODELS_VARIABLE: json.dumps([str(folder)])}
    with running_app(environment=environment, says=tmp_path / "output") as address:
        client = Client(address)
        try:
            reader = component(client.run(page="verification"), "tab_reader")
            messages = client.run(said={"request": {"prompt": PROMPT}}, by=reader, event="said", page="verification")
            elements = [message.delta.new_element for message in messages]
            (box,) = [each.selectbox for each in elements if each.selectbox.label.startswith("Or your code")]
            (press,) = [each.button for each in elements if each.button.label == "Judge this code"]
            assert list(box.options) == [f"{code}:right", f"{code}:wrong"]
            for said in (f"{trap}:mine", "trap:mine", "os:getcwd", f"{code}:layers"):
                state = {box.id: {"string_value": said}, press.id: {"trigger_value": True}}
                client.run(page="verification", widgets=state)
                assert not (tmp_path / "sprung").exists()
            state = {box.id: {"string_value": f"{code}:right"}, press.id: {"trigger_value": True}}
            found = client.run(page="verification", widgets=state)
            assert any("Your attention is right" in each.delta.new_element.alert.body for each in found)
        finally:
            client.close()
    assert "Traceback" not in (tmp_path / "output").read_text(encoding="utf-8")
    runpy.run_path(str(trap))  # a negative control: this is how it would go
    assert (tmp_path / "sprung").exists()
