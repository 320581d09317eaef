"""What a visitor asked for and chose, in the app run by AppTest: the address, the prompt, the models on offer; and the
small parts that pages are made of."""

from __future__ import annotations

import dataclasses
import json
import re
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from head_questions import asked
from screen_app import SCREENS, chosen_in, field, new_app, open_app, payloads, press, whole

import inspector
from inspector.analysis import head_scores
from inspector.ui import state, uploads
from inspector.ui.examples import EXAMPLES
from inspector.ui.markdown import plain
from inspector.ui.server import pictures, settings, traces
from inspector.views import canvases
from inspector.views.payload import decode, encode, pack

HOSTILE = '</script><img src=x onerror="document.title=1"> <!-- *bold* [link](http://x.test) 日本 🙂'


@pytest.mark.packaged
@pytest.mark.parametrize(
    "said",
    [{"layer": 99, "head": 0}, {"layer": -1}, {"layer": "x", "head": "<b>"}, {"head": 9, "layer": 0}, "layer=3", None,
     {"scale": "rainbow", "show": "secrets"}, {"layer": True, "head": [3]}, {"layer": 10**30}, [3, 4]],
)  # fmt: skip
def test_what_does_not_fit_in_the_address_falls_back(monkeypatch, houston, said):
    monkeypatch.setattr(state, "st", SimpleNamespace(session_state={}))
    state.select_said(said)
    chosen = state.selection(houston.layers, houston.n, lambda: (7, 2))
    assert 0 <= chosen.layer < 30
    assert 0 <= chosen.head < 9
    usual = dataclasses.asdict(state.Selection(0, 0))
    rest = {name: value for name, value in dataclasses.asdict(chosen).items() if name not in ("layer", "head")}
    assert rest == {name: usual[name] for name in rest}


@pytest.mark.packaged
@pytest.mark.parametrize(
    ("written", "taken"), [("32767", 32767), ("32768", -1), ("9999999", -1), ("9" * 4999, -1), ("٣", -1), ("-1", -1)]
)
def test_any_token_of_a_trace_can_stand_in_the_address(monkeypatch, houston, written, taken):
    monkeypatch.setattr(state, "st", SimpleNamespace(session_state={}))
    state.select_said({"query": written, "key": "10000"})
    chosen = state.selection(houston.layers, uploads.MOST_TOKENS, lambda: (0, 0))
    assert (chosen.query, chosen.key) == (taken, 10_000)


@pytest.mark.packaged
def test_selection_is_kept_across_pages_and_stands_in_the_address():
    app = open_app("Vectors", layer="5", head="3")
    app.number_input(key="layer_field").set_value(6).run()
    assert chosen_in(app)["layer"] == "6"
    app.switch_page(SCREENS["Pair"]).run()
    assert app.header[0].value == "Layer 6, head 3"
    assert chosen_in(app) == {"layer": "6", "head": "3"}
    told = next(json.loads(found.proto.json) for found in app.get("bidi_component") if found.proto.id.endswith("-tab"))
    assert told["selection"]["layer"] == 6
    assert told["request"]["prompt"] == EXAMPLES[0].prompt


@pytest.mark.packaged
def test_small_pictures_are_drawn_only_where_they_are_shown(monkeypatch):
    monkeypatch.setattr(pictures, "thumbnails", lambda *_: pytest.fail("drawn"))
    app = new_app().switch_page(SCREENS["Vectors"]).run()
    assert not app.exception
    assert app.header[0].value == "Layer 16, head 0"  # the example's


@pytest.mark.packaged
def test_an_empty_prompt_gives_one_sentence_and_keeps_the_screen():
    app = open_app()
    field(app, "prompt").set_value("   ")
    press(app, "Run")
    assert len(app.error) == 1
    assert "prompt is empty" in app.error[0].value.replace("\\", "")
    assert app.get("bidi_component")  # the earlier prompt is still there
    field(app, "prompt").set_value("Hello there")
    press(app, "Run")
    assert not app.error


@pytest.mark.packaged
def test_an_unknown_model_gives_one_sentence_and_keeps_the_screen(tmp_path):
    app = open_app()
    missing = str(tmp_path / "no-such-model")
    app.session_state["request"] = state.Request(missing, EXAMPLES[0].prompt)
    app.run()
    assert not app.exception
    assert len(app.error) == 1
    assert "no-such-model" in app.error[0].value.replace("\\", "")
    assert app.get("bidi_component")


@pytest.mark.packaged
def test_token_text_stays_text(smollm):
    app = open_app()
    field(app, "prompt").set_value(HOSTILE)
    press(app, "Run")
    assert not app.exception
    header, _ = payloads(app, "explore", "uint8")
    assert header["tokens"] == list(smollm.trace(HOSTILE).tokens.labels)
    for text in [*app.markdown, *app.caption]:
        assert not text.allow_html
        assert "<img" not in text.value.replace("\\<", "")  # an escaped one is text


@pytest.mark.packaged
def test_examples_run_at_once():
    app = open_app()
    app.button(key="example_1").click().run()
    assert not app.exception
    assert field(app, "prompt").value == EXAMPLES[1].prompt
    assert any("Look for" in text.value for text in app.caption)
    assert payloads(app, "explore", "uint8")[0]["selected"] == list(EXAMPLES[1].where)


@pytest.mark.packaged
def test_each_example_shows_what_its_sentence_says(smollm):
    def weights(number: int) -> tuple[list[str], torch.Tensor]:
        trace = smollm.trace(EXAMPLES[number].prompt)
        return list(trace.tokens.labels), trace.weights(*EXAMPLES[number].where)

    _, back = weights(0)
    assert back.diagonal(-1).mean() > 0.7
    labels, cat = weights(1)
    assert cat[labels.index("␣it"), labels.index("␣cat")] > 0.7
    assert cat[labels.index("␣tired"), labels.index("␣cat")] > 0.7
    labels, again = weights(2)
    assert torch.stack([again[t, t - 11] for t in range(13, len(labels))]).mean() > 0.8
    labels, light = weights(3)
    assert light[labels.index("␣light", 5), labels.index("␣box")] > 0.9
    assert light[labels.index("␣dim"), labels.index("␣light")] > 0.6
    labels, days = weights(4)
    assert torch.stack([days[t, t - 2] for t in range(2, len(labels), 2)]).mean() > 0.7
    labels, _ = weights(5)
    assert "語⟨1/3⟩" in labels


def test_only_the_listed_models_are_offered(monkeypatch):
    monkeypatch.setenv(settings.MODELS_VARIABLE, json.dumps(["owner/one", "owner/two"]))
    monkeypatch.setenv(settings.MODEL_VARIABLE, "owner/two")
    offered = settings.model_choice()
    assert offered == settings.ModelChoice(("owner/two", "owner/one"), any_other=False)
    assert offered.allows("owner/one")
    assert not offered.allows("/etc")
    monkeypatch.setenv(settings.MODELS_VARIABLE, "a, b")
    assert settings.model_choice().models == ("owner/two", "a", "b")


@pytest.mark.parametrize(
    ("address", "hosts", "is_open"),
    [
        ("localhost", ["localhost", "127.0.0.1", "::1"], True),
        ("127.0.0.1", ["localhost"], True),
        ("0.0.0.0", ["localhost"], False),
        (None, ["localhost"], False),
        ("localhost", ["localhost", "attention.example.org"], False),  # a proxy stands in front
        ("localhost", [], False),  # any name is answered
    ],
)
def test_any_model_only_where_this_machine_alone_listens(monkeypatch, address, hosts, is_open):
    monkeypatch.setattr(settings.st, "get_option", {"server.address": address, "server.allowedHosts": hosts}.get)
    assert settings.model_choice() == settings.ModelChoice((inspector.loading.source.PACKAGED,), any_other=is_open)


def test_a_model_outside_the_list_is_refused(monkeypatch):
    monkeypatch.setenv(settings.MODELS_VARIABLE, json.dumps(["owner/one"]))
    app = new_app(state.Request("/etc", "hello"))
    app.run()
    assert "not among this server's models" in app.error[0].value.replace("\\", "")


# -- small parts ---------------------------------------------------------------------------------------------


def test_a_checkpoint_written_anew_is_another_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"1")
    request = state.Request(str(tmp_path), "x")
    before = traces.model_key(request)
    (tmp_path / "model.safetensors").write_bytes(b"22")
    assert traces.model_key(request) != before


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_another_dtype_or_revision_is_another_model_and_trace(tiny_model, monkeypatch):
    request = state.Request(str(tiny_model.source.folder), "w1 w2 w3")
    first, trace = traces.model(request), traces.trace(request)
    monkeypatch.setattr(traces, "DTYPE", "bfloat16")
    half = traces.trace(request)
    assert (half.query(0, 0).dtype, trace.query(0, 0).dtype) == (torch.bfloat16, torch.float32)
    monkeypatch.setattr(traces, "REVISION", "another")
    revised = traces.model_key(request)
    monkeypatch.undo()
    assert revised != traces.model_key(request)
    assert traces.model(request) is first  # both are kept side by side
    assert traces.trace(request) is trace
    keys = {traces.key_of_run(request, first)}
    first.source = dataclasses.replace(first.source, revision="moved on")  # a hub's model of the same name
    assert traces.key_of_run(request, first) not in keys


def test_plain_text_has_no_markdown_left():
    assert plain("*a* [b](c) <d>\n`e`") == r"\*a\* \[b\]\(c\) \<d\> \`e\`"


def test_plain_text_holds_no_sign_that_streamlit_would_draw_as_another():
    signs = ["->", "<-", "<->", "--", ">=", "<=", "~="]
    drawn = re.compile(r"(^|\s)(<->|->|<-|--|>=|<=|~=)(\s|$)")  # as in Streamlit's own page
    for sign in signs:
        for text in (sign, f"a {sign} b", f"{sign} {sign}"):
            shown = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", plain(text))  # as Markdown reads it
            assert shown.replace("\u2060", "") == text
            assert drawn.search(text)
            assert not drawn.search(shown)
    assert plain("a->b") == r"a\-\>b"  # not drawn, not changed


def test_payload_round_trip():
    values = np.arange(9, dtype=np.float32).reshape(3, 3)
    packing, numbers = pack(values)
    assert packing == "full"
    values[np.triu_indices(3, 1)] = np.nan
    packing, numbers = pack(values)
    assert (packing, numbers.tolist()) == ("lower", [0, 3, 4, 6, 7, 8])
    header, found = decode(encode({"label": "日"}, numbers), "float32")
    assert header == {"label": "日"}
    assert found.tolist() == numbers.tolist()
    assert len(encode({"label": "日"}, numbers)) % 4 == 0


def test_components_scripts_are_small_and_never_build_html():
    for name in ("explore.js", "talk.js", "memory.js", "heatmap.js", "strips.js", "frame.js", "link.js"):
        script = canvases.joined(files("inspector.ui.components") / name)
        most = 73_000 if name == "explore.js" else 27_000  # its message does not change for a prompt
        assert len(script.encode()) < most, name  # it is sent again with each message that changed
        for unsafe in (".innerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert unsafe not in script


def answer(app, words: str):
    """Header and numbers of the answer to what the Explore screen asks."""
    name = payloads(app, "explore", "uint8")[0]["id"]
    app.session_state["explore_question"] = asked(words, name)
    app.run()
    assert not app.exception
    header, numbers = payloads(app, "talk")
    return header["map"], numbers


@pytest.mark.packaged
def test_heads_can_be_sorted_by_what_they_do(houston):
    found = {measure["name"]: measure for measure in payloads(open_app(), "explore", "uint8")[0]["measures"]}
    frame = head_scores.measures(houston)
    for name, measure in found.items():
        assert measure["scores"] == pytest.approx(frame[name].to_list(), abs=5e-5), name
    assert found["back 1"]["best"] == 16 * 9  # the head of the first example: one token back
    assert found["back 1"]["note"] == "4 heads · best score 0.76"
    assert (found["repeated"]["best"], found["repeated"]["note"]) == (-1, "needs a repeat")


@pytest.mark.packaged
def test_the_first_token_left_out_and_whole_words(smollm):
    app = open_app()
    weights = smollm.trace(EXAMPLES[0].prompt).weights(13, 8).numpy()
    header, numbers = answer(app, "13.8 weights sqrt with words")
    assert header["rows"] == ["Houston", ",", "␣we", "␣have", "␣a", "␣problem"]
    np.testing.assert_allclose(np.nansum(whole(header, numbers), axis=1), 1, rtol=1e-5)  # rows are still shares
    numbers = whole(*answer(app, "13.8 weights sqrt without tokens"))
    np.testing.assert_allclose(numbers[5, 1:6], weights[5, 1:6] / weights[5, 1:6].sum(), rtol=1e-5)
    lengths = smollm.trace(EXAMPLES[0].prompt).value(13, 8).norm(dim=-1).numpy()
    numbers = whole(*answer(app, "13.8 weighted_values sqrt with tokens"))
    np.testing.assert_allclose(numbers[7, :8], weights[7] * lengths, rtol=1e-5)


@pytest.mark.packaged
def test_a_chosen_pair_is_kept_for_its_page():
    app = open_app("Pair", layer="13", head="8", query="5", key="2")
    assert (app.selectbox(key="query_field").value, app.selectbox(key="key_field").value) == (5, 2)
    assert "query" not in chosen_in(open_app("Pair", layer="13", head="8", query="500"))  # not in this prompt


@pytest.mark.packaged
def test_the_model_goes_on_and_the_join_is_marked(smollm):
    app = open_app()
    field(app, "generate").set_value(6)
    press(app, "Run")
    header, _ = payloads(app, "explore", "uint8")
    traced = smollm.trace(EXAMPLES[0].prompt, generate=6)
    assert (len(header["tokens"]), header["join"], header["map"]["join"]) == (14, 8, 8)
    assert header["tokens"] == list(traced.tokens.labels)
    said = " ".join(text.value for text in [*app.markdown, *app.caption]).replace("\\", "")
    assert "The model wrote 6 tokens:** " + "".join(traced.tokens.texts[8:]).strip() in " ".join(said.split())
    assert traced.written_again() == (6, 6)
    assert "6 of 6 are the most probable ones again" in said


@pytest.mark.packaged
def test_the_chat_template_is_a_switch(smollm):
    app = open_app()
    field(app, "chat").set_value(True)
    press(app, "Run")
    assert not app.error
    header, _ = payloads(app, "explore", "uint8")
    assert header["tokens"] == list(smollm.trace(EXAMPLES[0].prompt, chat=True).tokens.labels)
