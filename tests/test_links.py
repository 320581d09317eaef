"""Links and uploaded traces: what comes from outside opens what it says, and loads nothing it should not.

What needs a browser (reading the fragment, the clipboard) is in test_browser.py.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from screen_app import MAIN, SCREENS, field, new_app, open_app, payloads, press, whole
from streamlit.testing.v1 import AppTest

import inspector
from inspector.errors import InspectorError
from inspector.loading.source import PACKAGED
from inspector.ui import downloads, links, savable, state, uploads
from inspector.ui.examples import EXAMPLES
from inspector.ui.server import settings, shared, traces

DEFAULT = state.Request(PACKAGED, EXAMPLES[0].prompt)
PROMPT = 'Red lion, 日本 🙂 שלום\n</script> "quoted" %41 & #?='


def warnings(app: AppTest) -> str:
    return " ".join(warning.value for warning in app.warning).replace("\\", "")


# -- links ---------------------------------------------------------------------------------------------------


REQUEST = {"model": PACKAGED, "prompt": PROMPT, "generate": 3, "chat": True}


def test_a_request_comes_back_as_it_was():
    assert links.request_in(REQUEST) == state.Request(PACKAGED, PROMPT, generate=3, chat=True)
    assert links.request_in({"prompt": PROMPT, "generate": "3", "chat": "1"}) == links.request_in(REQUEST)


@pytest.mark.parametrize(
    "said",
    [None, 5, [], "prompt=x", {}, {"prompt": ""}, {"prompt": 5}, {"prompt": "\ud800"}, {"prompt": ["x"]},
     {"prompt": "a" * (settings.MOST_CHARACTERS + 1)}, {"model": "/etc"}],
)  # fmt: skip
def test_what_is_no_request_is_none(said):
    assert links.request_in(said) is None


@pytest.mark.parametrize(
    ("generate", "taken"),
    [("3", 3), ("999", 200), (7, 7), ("0", 0), ("-1", 0), (-1, 0), ("x", 0), ("٣", 0), ("1e9", 0), (1.5, 0), (True, 0),
     ("9999999", 200), ("9" * 8, 0), (None, 0)],
)  # fmt: skip
def test_a_link_lets_the_model_write_no_more_than_the_field_does(generate, taken):
    assert links.request_in({"prompt": "w1 w2", "generate": generate}).generate == taken


@pytest.mark.parametrize(("most", "taken"), [("2000", 1500), ("1000", 1000)])
def test_a_link_takes_as_many_written_tokens_as_this_server_allows(monkeypatch, most, taken):
    monkeypatch.setenv(settings.WRITTEN_VARIABLE, most)
    assert links.request_in({"prompt": "w1 w2", "generate": "1500"}).generate == taken


@pytest.mark.parametrize("model", ["/etc", "owner/other", 5, None, ["x"], "x" * 2000])
def test_a_tab_asks_for_no_model_that_this_server_does_not_offer(monkeypatch, model):
    monkeypatch.setenv(settings.MODELS_VARIABLE, json.dumps([PACKAGED]))
    assert links.request_in({"prompt": "w1", "model": model}) == state.Request(PACKAGED, "w1")


def test_a_link_carries_four_kilobytes():
    assert links.MOST == 4096
    assert links.fits("a" * 4096)
    assert not links.fits("a" * 4097)
    assert not links.fits("日" * 456)  # 9 characters each


def test_only_an_offered_name_can_stand_in_a_link(monkeypatch, tmp_path):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    names = ["owner/one", "two", "/srv/model", "folder", "C:\\model", "a.gguf", "../up", "~/model"]
    monkeypatch.setenv(settings.MODELS_VARIABLE, json.dumps(names))
    assert [name for name in names if links.linkable(name)] == ["owner/one", "two"]
    assert not links.linkable("owner/three")


def test_an_open_server_does_not_let_a_link_choose(monkeypatch):
    told = {"server.address": "localhost", "server.allowedHosts": ["localhost"]}
    monkeypatch.setattr(settings.st, "get_option", told.get)
    assert settings.model_choice().allows("owner/any")  # typed by whoever sits here
    assert not links.linkable("owner/any")
    assert links.linkable(PACKAGED)


# -- arriving ------------------------------------------------------------------------------------------------


@pytest.fixture
def arriving(monkeypatch):
    """What a tab and its address say, taken as the app takes it; returns the session's state."""

    def arrive(answer: object, **query: str) -> dict[str, Any]:
        session: dict[str, Any] = {}
        fake = SimpleNamespace(session_state=session, query_params=SimpleNamespace(to_dict=lambda: query))
        monkeypatch.setattr(state, "st", fake)
        monkeypatch.setattr(links, "st", fake)
        links._take(answer)
        return session

    return arrive


@pytest.mark.parametrize("answer", [None, 5, "x", [], {}, {"said": 5, "request": "x", "selection": [1]}])
def test_a_tab_that_remembers_nothing_begins_with_the_first_example(arriving, answer):
    assert arriving(answer)["request"] == DEFAULT


def test_a_reload_brings_back_prompt_and_selection(arriving):
    session = arriving(
        {"said": {"layer": "3"}, "request": REQUEST, "selection": {"layer": 7, "head": 2, "scale": "log"}}
    )
    assert session["request"] == links.request_in(REQUEST)
    assert session["selection"] == {"layer": 3, "head": 2, "scale": "log"}  # the address is newer
    assert "offered_by_link" not in session


def test_a_links_prompt_waits_for_a_click_unless_this_browser_made_the_link(arriving):
    link = {"prompt": PROMPT, "generate": "2", "layer": "5"}
    asked = state.Request(PACKAGED, PROMPT, generate=2)
    session = arriving({"said": link, "own": False, "selection": {"layer": 7, "head": 2}})
    assert (session["request"], session["offered_by_link"].request) == (DEFAULT, asked)
    assert session["selection"] == {"layer": 7, "head": 2}  # nor is anything chosen before the click
    links._run(session["offered_by_link"])
    assert (session["request"], session["selection"]) == (asked, {"layer": 5, "head": 2})
    assert "offered_by_link" not in session
    assert arriving({"said": link, "own": "yes"})["request"] == DEFAULT  # nothing but true is true
    session = arriving({"said": link, "own": True})
    assert (session["request"], session.get("offered_by_link")) == (asked, None)
    assert session["selection"] == {"layer": 5}
    session = arriving({"said": link, "request": {"prompt": PROMPT}})  # a reload of the link's own page
    assert (session["request"], session.get("offered_by_link")) == (asked, None)


@pytest.mark.parametrize("name", ["/etc", "owner/unoffered", "../up", "<b>x</b>"])
def test_a_link_loads_no_model_that_is_not_offered(arriving, name):
    for session in (arriving({"said": {"model": name}}), arriving({}, model=name)):
        assert session["request"] == DEFAULT
        assert "a link cannot load one" in session["link_note"].sentence
        assert name in session["link_note"].sentence


def test_a_link_opens_the_model_it_names(arriving, monkeypatch):
    monkeypatch.setenv(settings.MODELS_VARIABLE, json.dumps(["owner/one", PACKAGED]))
    for session in (arriving({"said": {"model": PACKAGED}}), arriving({}, model=PACKAGED)):
        assert session["request"] == DEFAULT
        assert "link_note" not in session


def test_an_older_link_opens_what_it_showed(arriving):
    session = arriving(
        {"said": {"prompt": PROMPT}}, prompt="in-fragment", generate="2", layer="5", show="scaled_scores"
    )
    assert session["offered_by_link"].request == state.Request(PACKAGED, PROMPT, generate=2)
    links._run(session["offered_by_link"])
    assert session["selection"] == {"layer": 5, "show": "scaled_scores"}
    session = arriving({"said": {}}, prompt="in-fragment")
    assert session["request"] == DEFAULT
    assert "did not arrive whole" in session["link_note"].sentence


def test_nothing_is_shown_or_run_before_the_tab_has_answered(monkeypatch):
    monkeypatch.setattr(traces, "model", lambda *_: pytest.fail("loaded"))
    app = AppTest.from_file(str(MAIN), default_timeout=60).run()
    assert not app.exception
    assert [caption.value for caption in app.caption] == ["Opening …"]
    assert not app.text_area
    assert "request" not in app.session_state


@pytest.mark.packaged
def test_an_offered_prompt_runs_after_one_click():
    app = new_app()
    offered = links.Offer(state.Request(PACKAGED, "Four *five* <b>"), {"layer": "5", "head": "3"})
    app.session_state["offered_by_link"] = offered
    app.run()
    assert app.session_state["selection"]["layer"] != 5
    assert told(app)["selection"] is None  # the tab keeps its own
    assert app.text[0].value == "Four *five* <b>"
    assert app.session_state["request"] == DEFAULT
    app.button(key="run_link").click().run()
    assert app.session_state["request"] == state.Request(PACKAGED, "Four *five* <b>")
    assert not [button for button in app.button if button.key == "run_link"]
    chosen = app.session_state["selection"]
    assert (chosen["layer"], chosen["head"]) == (5, 3)
    assert told(app)["selection"]["layer"] == 5
    app.run()
    assert told(app)["selection"] is None  # once: what is chosen afterwards stays


def told(app: AppTest) -> dict[str, Any]:
    """What the tab is told to remember."""
    return json.loads(next(found.proto.json for found in app.get("bidi_component") if found.key == "tab"))


# -- making one ----------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_a_link_says_what_it_contains_and_never_a_path(tmp_path):
    app = opened(new_app(layer="5", head="3"), "share")
    assert _link(app) == {"model": PACKAGED, "prompt": EXAMPLES[0].prompt}
    assert any("Whoever gets the link can read it" in caption.value for caption in app.caption)
    app.toggle(key="link_with_prompt").set_value(False).run()
    assert _link(app) == {"model": PACKAGED}
    tiny.save("grouped", tmp_path)
    app = opened(new_app(state.Request(str(tmp_path), "w1 w2 w3", generate=2)), "share")
    assert _link(app) == {"prompt": "w1 w2 w3", "generate": "2"}
    assert any("a link contains no path" in caption.value for caption in app.caption)


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_a_prompt_too_long_for_a_link_is_said(tiny_model, tmp_path):
    app = opened(new_app(state.Request(str(tmp_path), "w1 w2 " + " " * links.MOST + "w3")), "share")
    assert app.toggle(key="link_with_prompt").disabled
    assert any("too long for a link" in caption.value for caption in app.caption)
    assert _link(app) == {}


def opened(app: AppTest, name: str, edition: int = 0) -> AppTest:
    """The app with a part of the bar open, as a click on it opens it."""
    app.session_state[f"bar_{name}_{edition}"] = True
    app.run()
    assert not app.exception
    return app


def _link(app: AppTest) -> dict[str, str]:
    for found in app.get("bidi_component"):
        if found.key == "link":
            return json.loads(found.proto.json)["said"]
    raise AssertionError("no link on screen")


# -- what is saved (the files themselves: test_figures.py and test_browser.py) ---------------------------------


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_weights_that_cannot_be_shown_cannot_be_saved(tiny_model, tmp_path):
    request = state.Request(str(tmp_path), "w1 w2 w3")
    app = opened(new_app(request, layer="1"), "export").switch_page(SCREENS["Vectors"]).run()
    pictures, head = app.selectbox(key="export_picture").options, "Layer 1, head 0: attention weights"
    assert pictures[0] == "Query before RoPE of each token, a column per dimension"
    assert pictures[-2:] == [head, "All heads"]
    whole = {"SVG", "PDF", "PNG", "HTML page", "CSV", "CSV for spreadsheets", "Vectors (safetensors)"}
    assert {button.label for button in app.get("download_button")} >= whole
    app.selectbox(key="export_picture").set_value(head).run()
    assert {button.label for button in app.get("download_button")} >= whole | {"Parquet"}
    traces.trace(request).stored[1].unexplained = "a part of it is not modelled"
    app.run()
    assert not app.exception
    assert not {head, "All heads"} & set(app.selectbox(key="export_picture").options)
    assert "Parquet" not in {button.label for button in app.get("download_button")}
    assert any("a part of it is not modelled" in caption.value for caption in app.caption)


def test_a_file_is_named_after_model_layer_and_head(tmp_path):
    trace = tiny.load("grouped", tmp_path / "my model").trace("w1 w2")
    assert downloads.file_name(trace, "pairs", "csv", (3, 5)) == "my-model-layer3-head5-pairs.csv"
    trace.model_name = "owner/name"
    assert downloads.file_name(trace, "all-heads", "html") == "owner-name-all-heads.html"
    trace.model_name = "///"
    assert downloads.file_name(trace, "trace", "safetensors") == "model-trace.safetensors"


def test_limits_are_said(tmp_path):
    head = savable.Savable("a head", "weights", head=(0, 0), figure=lambda dark: None)
    trace = tiny.load("grouped", tmp_path).trace(tiny.ids(200))
    said = " ".join(downloads._limits(trace, head, words=True))
    assert "128 × 128 cells at most" in said
    assert "single tokens" in said
    long = SimpleNamespace(n=8000, nbytes=300 * 2**20)
    said = " ".join(downloads._limits(long, head, words=False))
    assert "32,004,000 pairs" in said
    assert "2,000,000 pairs at most" in said
    assert "200 MB" in said
    said = " ".join(downloads._limits(SimpleNamespace(n=8000, nbytes=900 * 2**20), None, words=True))
    assert "500 MB" in said
    assert "single tokens" not in said  # only what is offered has limits
    assert "pairs" not in said


# -- uploaded traces -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(smollm, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("trace") / "t.safetensors"
    return smollm.trace("One two three").save(path).read_bytes()


def upload(app: AppTest, content: bytes, name: str = "mine.safetensors") -> AppTest:
    app.file_uploader(key="trace_file").set_value((name, content, "application/octet-stream")).run()
    assert not app.exception
    return app


@pytest.mark.packaged
def test_an_uploaded_trace_is_shown_as_any_other(smollm, file):
    app = upload(open_app(layer="5", head="3"), file, "my *file*.safetensors")
    assert not app.error
    said = next(text.value for text in app.markdown if "Opened from the file" in text.value).replace("\\", "")
    assert "my *file*.safetensors" in said
    assert f"captured with {PACKAGED} (transformers" in said
    expected = smollm.trace("One two three").weights(5, 3).numpy()[np.tril_indices(3)]
    header, numbers = payloads(app, "explore", "uint8")
    sent = np.frombuffer(numbers[2 * 270 * 9 :].tobytes(), np.float16).reshape(270, 6)
    assert np.array_equal(sent[5 * 9 + 3], expected.astype(np.float16))
    assert header["next"] == []  # a file brings no model along
    assert any("cannot contain an uploaded trace" in text.value for text in opened(app, "share", 1).caption)

    app.switch_page(SCREENS["Vectors"]).run()
    assert not app.exception
    assert not app.error
    assert np.array_equal(whole(*payloads(app, "map key after RoPE")), smollm.trace("One two three").key(5, 3).numpy())
    with pytest.raises(AssertionError):
        payloads(app, "map key before RoPE")

    app.button(key="close_file").click().run()
    assert not any("Opened from the file" in text.value for text in app.markdown)
    assert app.session_state["request"] == DEFAULT
    assert whole(*payloads(app, "map key before RoPE")).shape == (8, 64)
    app.button(key="show_file").click().run()
    assert any("Opened from the file" in text.value for text in app.markdown)


@pytest.mark.packaged
def test_what_needs_the_model_says_so(file):
    app = upload(open_app("Verify"), file)
    assert not app.exception
    assert any("no model to compare them with" in text.value for text in app.info)
    assert not [button for button in app.button if button.label == "Verify this prompt"]


@pytest.mark.packaged
def test_another_prompt_closes_the_file(file):
    app = upload(open_app(), file)
    field(app, "prompt").set_value("Four five")
    press(app, "Run")
    assert not any("Opened from the file" in text.value for text in app.markdown)
    assert app.session_state["request"] == state.Request(PACKAGED, "Four five")


@pytest.mark.packaged
def test_what_a_file_says_loads_no_model(file, tmp_path, monkeypatch):
    app = open_app(layer="0", head="0")
    monkeypatch.setattr(inspector, "load", lambda *_, **__: pytest.fail("loaded"))
    upload(app, changed(file, tmp_path, lambda facts: facts | {"model": "/etc"}))
    assert not app.error
    assert any("captured with /etc" in text.value.replace("\\", "") for text in app.markdown)
    app.switch_page(SCREENS["Vectors"]).run()
    assert not app.exception
    assert not app.error


@pytest.mark.packaged
def test_a_trace_that_went_from_memory_is_read_again(file, monkeypatch):
    app = upload(open_app(), file)
    monkeypatch.setattr(shared.shared_store().traces, "_stored", type(shared.shared_store().traces._stored)())
    app.run()
    assert not app.exception
    assert not app.error
    assert any("Opened from the file" in text.value for text in app.markdown)


@pytest.mark.packaged
@pytest.mark.parametrize("content", [b"", b"not a trace at all", b"\xff" * 64])
def test_another_file_is_one_sentence_and_keeps_the_screen(content):
    app = upload(open_app(), content)
    assert len(app.error) == 1
    said = app.error[0].value.replace("\\", "")
    assert "“mine.safetensors” is no trace file, or a damaged one" in said
    assert tempfile.gettempdir() not in said
    assert app.get("bidi_component")


def changed(content: bytes, tmp_path: Path, facts=lambda facts: facts, tensors=lambda tensors: tensors) -> bytes:
    """The same trace file with other facts or tensors."""
    path = tmp_path / "changed.safetensors"
    path.write_bytes(content)
    with safe_open(path, framework="pt") as file:
        said = json.loads(file.metadata()["trace"])
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    save_file(tensors(held), path, metadata={"trace": json.dumps(facts(said))})
    return path.read_bytes()


def _layer(**changes):
    return lambda facts: {**facts, "layers": [{**facts["layers"][0], **changes}, *facts["layers"][1:]]}


def _tokens(**changes):
    return lambda facts: {**facts, "tokens": {**facts["tokens"], **changes}}


@pytest.mark.packaged
@pytest.mark.parametrize(
    "facts",
    [
        _layer(heads=10**9),
        _layer(kv_heads=0),
        _layer(kv_heads="3"),
        _layer(d_head=7),
        _layer(index=5),
        _layer(name=["x"]),
        _layer(scale="fast"),
        _layer(heads=9.0),
        _layer(rope=1),
        _layer(window=float("nan")),
        _layer(window="a"),
        _layer(scale=float("nan")),
        _layer(softcap=0),
        _layer(name="x" * 10**6),
        _tokens(ids=[10**400, 1, 2]),
        _tokens(ids=[1.0, 2, 3]),
        lambda facts: {**facts, "prompt_length": True},
        lambda facts: {**facts, "more": 1},
        lambda facts: {**facts, "source": {"torch": []}},
        lambda facts: {**facts, "masks": [{"rule": {**facts["masks"][0]["rule"], "window": 0}}, *facts["masks"][1:]]},
        _tokens(labels=["a"]),
        _tokens(labels=[1, 2, 3]),
        _tokens(ids=[1] * 4, labels=["a"] * 4, texts=["a"] * 4),
        lambda facts: {**facts, "layers": [], "masks": [], "unexplained": []},
        lambda facts: {**facts, "masks": [{"rule": {"window": "x"}}, *facts["masks"][1:]]},
        lambda facts: {**facts, "source": "x"},
        lambda facts: {**facts, "prompt": {"a": 1}},
        lambda facts: {**facts, "prompt_length": 99},
        lambda facts: {**facts, "format": "another"},
        lambda facts: {name: said for name, said in facts.items() if name != "tokens"},
    ],
)
def test_a_file_that_does_not_fit_together_is_one_sentence(file, tmp_path, facts):
    with pytest.raises(InspectorError, match="“made up\\.safetensors”") as caught:
        uploads.read(changed(file, tmp_path, facts), "made up.safetensors")
    assert str(tmp_path) not in str(caught.value)
    assert tempfile.gettempdir() not in str(caught.value)


@pytest.mark.packaged
@pytest.mark.parametrize(
    ("said", "sentence"), [("[]," * 2**20, "in about 2,09.,... values"), ("x" * 9 * 2**20, "in 9,")]
)
def test_a_file_that_says_too_much_of_itself_is_refused_before_it_is_read(file, tmp_path, monkeypatch, said, sentence):
    made = changed(file, tmp_path, lambda facts: {**facts, "source": said})
    monkeypatch.setattr(uploads, "safe_open", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(InspectorError, match=rf"“big” describes itself {sentence}.* are read: save the trace again\.$"):
        uploads.read(made, "big")


@pytest.mark.packaged
def test_what_a_trace_says_counts(smollm, file):
    """A file of little in tensors and much in words takes its words' memory, too."""
    trace = smollm.trace("One two three")
    words = sys.getsizeof("x" * 10**6)
    assert traces._trace_bytes(uploads.read(file, "same")) == pytest.approx(traces._trace_bytes(trace), abs=20_000)
    longer = smollm.trace("One two three")
    longer.prompt = "x" * 10**6
    assert traces._trace_bytes(longer) > longer.nbytes + words


@pytest.mark.packaged
@pytest.mark.parametrize("facts", [_tokens(labels=["\ud800", "b", "c"]), lambda facts: {**facts, "prompt": "\ud800"}])
def test_half_a_surrogate_pair_is_no_text(file, tmp_path, facts):
    with pytest.raises(InspectorError, match="contain half of a surrogate pair"):
        uploads.read(changed(file, tmp_path, facts), "made up.safetensors")


@pytest.mark.packaged
def test_tensors_that_do_not_fit_are_one_sentence(file, tmp_path):
    def cut(tensors):
        return {**tensors, "layers.3.key": tensors["layers.3.key"][:, :2].contiguous()}

    def whole_numbers(tensors):
        return {**tensors, "layers.3.key": torch.zeros_like(tensors["layers.3.key"], dtype=torch.int64)}

    def broken(tensors):
        return {**tensors, "layers.3.key": torch.full_like(tensors["layers.3.key"], float("nan"))}

    def more(name, value):
        return lambda tensors: {**tensors, name: value}

    none, ones = torch.ones(3, 3, dtype=torch.bool).triu(1), torch.ones(3, 3)
    nan = torch.full((9, 3, 3), float("nan"))
    for change, said in (
        (cut, "its vectors are"),
        (whole_numbers, "its vectors are"),
        (broken, "its key vectors contain"),
        (more("layers.3.bias", nan), "its bias contains infinite numbers or NaN"),
        (more("layers.3.bias", ones), "its bias is"),
        (more("layers.3.sinks", torch.ones(4)), "its sinks is"),
        (more("layers.3.input", ones[:2]), "its input is"),
        (more("layers.3.input", ones.long()), "its input is"),
    ):
        with pytest.raises(InspectorError, match=f"layer 3: {said}"):
            uploads.read(changed(file, tmp_path, tensors=change), "x.safetensors")
    for table, said in ((none, "no table of yes and no with a key for each"), (ones, r"its mask is torch\.float32")):
        made = changed(file, tmp_path, no_rule, more("layers.3.mask", table))
        with pytest.raises(InspectorError, match=f"layer 3: .*{said}"):
            uploads.read(made, "x.safetensors")


def no_rule(facts):
    """Layer 3's mask is a table."""
    return {**facts, "masks": [{"rule": None} if i == 3 else rule for i, rule in enumerate(facts["masks"])]}
