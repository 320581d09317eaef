"""Every screen of the app, run by Streamlit's AppTest: no exception, and the numbers sent to the browser are the
Trace's. What needs a real browser (canvas, hover, clicks, network) is in test_browser.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

import inspector
from inspector import metrics, views
from inspector.ui import cached, offer, state
from inspector.ui.examples import EXAMPLES
from inspector.ui.main import PAGES
from inspector.ui.text import plain
from inspector.views.payload import decode, encode, pack

MAIN = Path(inspector.__file__).parent / "ui" / "main.py"
SCREENS = {title: f"screens/{file}" for pages in PAGES.values() for file, title in pages}
HOSTILE = '</script><img src=x onerror="document.title=1"> <!-- *bold* [link](http://x.test) 日本 🙂'


@pytest.fixture(autouse=True)
def _no_offer_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(offer.MODEL_VARIABLE, raising=False)
    monkeypatch.delenv(offer.MODELS_VARIABLE, raising=False)


def open_app(screen: str = "Heads", **address: str) -> AppTest:
    app = AppTest.from_file(str(MAIN), default_timeout=120)
    for name, value in address.items():
        app.query_params[name] = value
    app.run()
    if screen != "Heads":
        app.switch_page(SCREENS[screen]).run()
    assert not app.exception
    return app


def address_of(app: AppTest) -> dict[str, str]:
    """The address bar's parameters; AppTest gives each as a text or as a list of one."""
    return {name: said[0] if isinstance(said, list) else said for name, said in app.query_params.items()}


def payloads(app: AppTest, key: str, dtype: str = "float32"):
    """Header and numbers of the component whose key is `key`."""
    for found in app.get("bidi_component"):
        if key in found.proto.id:
            return decode(found.proto.bytes, dtype)
    raise AssertionError(f"no component with key {key}")


def whole(header, numbers) -> np.ndarray:
    """The picture as [rows, columns] with NaN where nothing was sent."""
    rows, columns = header["shape"]
    if header["packing"] == "full":
        return numbers.reshape(rows, columns)
    full = np.full((rows, columns), np.nan, dtype=np.float32)
    full[np.tril_indices(rows)] = numbers
    return full


@pytest.mark.packaged
@pytest.mark.parametrize("screen", SCREENS)
def test_every_screen_opens_with_a_prompt_already_on_it(screen):
    app = open_app(screen)
    assert not app.error
    assert any("How to read it" in text.value for text in app.markdown)
    assert any("8 tokens" in text.value for text in app.caption)


@pytest.mark.packaged
def test_heads_sends_the_traces_own_weights(houston):
    app = open_app(layer="5", head="3")
    header, numbers = payloads(app, "map")
    sent = whole(header, numbers)
    expected = houston.weights(5, 3).numpy()
    causal = np.tril(np.ones_like(expected, dtype=bool))
    assert np.array_equal(sent[causal], expected[causal])  # float32, to the last bit
    assert np.isnan(sent[~causal]).all()
    assert header["rows"] == header["columns"] == list(houston.tokens.labels)

    table = app.dataframe[0].value
    strongest = np.sort(expected[causal])[::-1][:50]
    assert table["weight"].to_list() == pytest.approx(strongest.tolist(), abs=0)
    first = table.iloc[0]
    assert first["weight"] == expected[first["query position"], first["key position"]]


@pytest.mark.packaged
def test_scores_are_not_weights(houston):
    app = open_app(layer="5", head="3", show="scaled_scores")
    header, numbers = payloads(app, "map")
    expected = houston.scaled_scores(5, 3).numpy()
    lower = np.tril_indices(houston.n)
    assert np.array_equal(numbers, expected[lower])
    assert header["value_name"] == "scaled score"
    assert header["palette"] == "diverging"


@pytest.mark.packaged
def test_the_grid_shows_every_head(houston):
    app = open_app(layer="5", head="3")
    header, levels = payloads(app, "grid", "uint8")
    assert (header["heads"], header["groups"]) == ([9] * 30, [3] * 30)
    assert header["selected"] == [5, 3]
    pictures = levels.reshape(30, 9, houston.n, houston.n)
    for layer, head in [(0, 0), (5, 3), (29, 8)]:
        weights = houston.weights(layer, head).numpy()
        allowed = np.tril(np.ones_like(weights, dtype=bool))
        seen = ((pictures[layer, head].astype(float) - 1) / 254) ** 2
        assert np.abs(np.sqrt(seen[allowed]) - np.sqrt(weights[allowed])).max() <= 0.5 / 254 + 1e-6
        assert (pictures[layer, head][~allowed] == metrics.MASKED).all()


@pytest.mark.packaged
def test_vectors_are_the_traces(houston):
    app = open_app("Vectors", layer="7", head="4")
    expected = {
        "query before RoPE": houston.query(7, 4, rope=False),
        "query after RoPE": houston.query(7, 4),
        "key before RoPE": houston.key(7, 4, rope=False),
        "key after RoPE": houston.key(7, 4),
        "value": houston.value(7, 4),
    }
    for name, values in expected.items():
        header, numbers = payloads(app, f"map {name}")
        assert header["value_name"] == name
        assert np.array_equal(whole(header, numbers), values.numpy()), name
    lengths, plane, numbers = (table.value for table in app.dataframe)
    assert lengths["query after RoPE"].to_list() == pytest.approx(houston.query(7, 4).norm(dim=1).tolist())
    assert np.array_equal(
        numbers.drop(columns="token").to_numpy(dtype=np.float32), houston.query(7, 4, rope=False).numpy()
    )
    assert list(plane["token"]) == 2 * list(houston.tokens.labels)
    _, similar = payloads(app, "cosines")
    assert similar.reshape(8, 8).diagonal() == pytest.approx(1)
    assert any("shares key/value head 1 with query heads 3 and 5" in text.value for text in app.caption)


@pytest.mark.packaged
def test_pair_shows_every_step_from_two_vectors_to_one_weight(houston):
    app = open_app("Pair", layer="5", head="3", query="6", key="2")
    header, numbers = payloads(app, "product")
    query, key = houston.query(5, 3)[6], houston.key(5, 3)[2]
    assert np.array_equal(numbers.reshape(3, 64), torch.stack([query, key, query * key]).numpy())
    assert header["panels"][0]["title"] == f"query vector after RoPE: 6 {houston.tokens.labels[6]}"
    assert (header["partner"][5], header["notes"][37]) == (37, "plane 5, with dimension 5")
    shown = {metric.label: metric.value.replace("−", "-") for metric in app.metric}
    weights, scores = houston.weights(5, 3)[6], houston.scaled_scores(5, 3)[6]
    assert list(shown) == ["Score", "× scale", "= scaled score", "softmax over 7 keys", "= attention weight"]
    assert shown["Score"] == f"{houston.scores(5, 3)[6, 2].item():.5g}"
    assert shown["× scale"] == "0.125"
    assert shown["= scaled score"] == f"{scores[2].item():.5g}"
    above, below = map(float, shown["softmax over 7 keys"].split(" / "))
    assert above / below == pytest.approx(weights[2].item(), rel=1e-4)
    assert shown["= attention weight"] == f"{weights[2].item():.5g}"

    header, numbers = payloads(app, "row")
    assert np.array_equal(numbers.reshape(2, 7)[0], houston.weights(5, 3, queries=slice(6, 7))[0, :7].numpy())
    assert numbers.reshape(2, 7)[1] == pytest.approx(scores[:7].numpy(), rel=1e-5)
    assert (header["picks"], header["marked"]) == (list(range(7)), 2)
    header, numbers = payloads(app, "planes")
    assert numbers.reshape(3, 32)[0].sum() == pytest.approx(houston.scores(5, 3)[6, 2].item(), rel=1e-5)
    assert header["axis"][0] == "6.28"

    app.segmented_control(key="rotation").set_value("Before RoPE").run()
    _, numbers = payloads(app, "product")
    assert np.array_equal(numbers.reshape(3, 64)[0], houston.query(5, 3, rope=False)[6].numpy())
    assert app.metric[0].value.replace("−", "-") == shown["Score"]  # the score is the one after RoPE


@pytest.mark.packaged
def test_pair_begins_with_the_last_token_and_its_strongest_key_and_keeps_what_fits(houston):
    app = open_app("Pair", layer="16", head="0")
    assert app.selectbox(key="query_field").value == 7
    assert app.selectbox(key="key_field").value == 1 + houston.weights(16, 0)[7, 1:].argmax().item()
    assert address_of(app) == {"layer": "16", "head": "0"}
    app.selectbox(key="key_field").set_value(3).run()
    app.selectbox(key="query_field").set_value(4).run()
    assert address_of(app) == {"layer": "16", "head": "0", "query": "4", "key": "3"}
    app.selectbox(key="query_field").set_value(2).run()  # cannot look at token 3
    assert address_of(app) == {"layer": "16", "head": "0", "query": "2"}
    assert app.selectbox(key="key_field").options == [f"{s} {houston.tokens.labels[s]}" for s in range(3)]
    linked = open_app("Pair", layer="16", head="0", query="2", key="5")
    assert any("cannot look at key token 5" in text.value for text in linked.caption)


@pytest.mark.parametrize("tiny_model", ["smollm3", "gemma2"], indirect=True)
def test_pair_with_a_layer_without_rope_and_with_a_soft_cap(tiny_model, tmp_path):
    app = AppTest.from_file(str(MAIN), default_timeout=120)
    app.session_state["request"] = state.Request(str(tmp_path), "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10")
    app.query_params["layer"] = "1"
    app.switch_page(SCREENS["Pair"]).run()
    assert not app.exception
    assert not app.error
    labels = [metric.label for metric in app.metric]
    said = [info.value for info in app.info]
    if tiny_model.model.config.model_type == "gemma2":
        assert "soft-capped" in labels
        assert payloads(app, "planes")
    else:
        assert any("does not use RoPE" in text for text in said)
        assert header_titles(app)[0].startswith("query vector: 9")


def header_titles(app: AppTest) -> list[str]:
    header, _ = payloads(app, "product")
    return [panel["title"] for panel in header["panels"]]


def bertviz_page(app: AppTest) -> str:
    """The whole page that the screen BertViz sends into its frame."""
    _, body = payloads(app, "bertviz", "uint8")
    return body.tobytes().decode()


@pytest.mark.packaged
def test_bertviz_sends_the_view_that_python_makes(houston):
    app = open_app("BertViz", layer="7", head="4")
    assert bertviz_page(app) == views.head_view(houston, [7]).html
    app.multiselect(key="bertviz_heads").set_value([8, 1]).run()
    assert bertviz_page(app) == views.head_view(houston, [7], [1, 8]).html

    app.segmented_control(key="view_field").set_value("model").run()
    assert bertviz_page(app) == views.model_view(houston, [5, 6, 7, 8, 9], [1, 8]).html  # heads stay picked
    app.multiselect(key="bertviz_layers").set_value([29]).run()
    app.multiselect(key="bertviz_heads").set_value([]).run()
    assert bertviz_page(app) == views.model_view(houston, [29]).html

    app.segmented_control(key="view_field").set_value("neuron").run()
    assert bertviz_page(app) == views.neuron_view(houston, 7, 4).html
    app.number_input(key="head_field").set_value(5).run()
    assert bertviz_page(app) == views.neuron_view(houston, 7, 5).html
    assert address_of(app)["head"] == "5"
    assert address_of(app)["view"] == "neuron"
    assert not app.error
    assert (
        bertviz_page(open_app("BertViz", layer="7", head="5", view="neuron")) == views.neuron_view(houston, 7, 5).html
    )
    wrong = open_app("BertViz", layer="7", head="5", view="<script>")
    assert bertviz_page(wrong) == views.head_view(houston, [7]).html
    assert "view" not in address_of(wrong)


@pytest.mark.packaged
def test_bertviz_draws_as_many_heads_as_a_browser_bears_and_says_so(smollm):
    app = open_app("BertViz", layer="7", head="8")
    prompt = "one two three four five six seven eight " * 15
    app.sidebar.text_area[0].set_value(prompt)
    _press(app, "Run")
    assert not app.error
    assert bertviz_page(app) == views.head_view(smollm.trace(prompt), [7], [5, 6, 7, 8]).html
    assert app.multiselect(key="bertviz_heads").placeholder == "5 to 8, as many as fit"
    app.multiselect(key="bertviz_heads").set_value(list(range(9))).run()
    assert "choose at most 4 heads in all" in app.error[0].value.replace("\\", "")
    app.segmented_control(key="view_field").set_value("neuron").run()
    assert not app.error
    app.sidebar.text_area[0].set_value(prompt * 2)
    _press(app, "Run")
    assert "use at most" in app.error[0].value
    assert not app.exception


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_heads_picked_for_another_model_are_let_go(tiny_model, tmp_path):
    app = AppTest.from_file(str(MAIN), default_timeout=120)
    app.session_state["request"] = state.Request(str(tmp_path), "w1 w2 w3")
    app.session_state["bertviz_heads"] = [2, 8]
    app.switch_page(SCREENS["BertViz"]).run()
    assert not app.exception
    assert app.multiselect(key="bertviz_heads").value == [2]
    assert len(app.get("bidi_component")) == 1


@pytest.mark.packaged
def test_verification_runs_once_and_is_then_shown_to_everybody():
    app = open_app("Verification")
    app.sidebar.text_area[0].set_value("The cat sat")
    _press(app, "Run")
    _press(app, "Verify this prompt")
    assert not app.exception
    assert "Reproduced" in app.success[0].value
    assert any("planted" in text.value and "caught" in text.value for text in app.subheader)
    stages = app.dataframe[0].value
    assert len(stages) == 8
    assert set(stages["ok"]) == {"✓ yes"}
    assert len(app.dataframe[1].value) == 30 * 8

    somebody_else = open_app("Verification")
    somebody_else.sidebar.text_area[0].set_value("The cat sat")
    _press(somebody_else, "Run")
    assert somebody_else.success  # no second run, no button


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_a_prompt_too_long_to_keep_its_inputs_is_verified(tiny_model, tmp_path):
    prompt = "w1 w2" + " " * cached.KEEP_INPUT_UP_TO + "w3 w1"
    app = AppTest.from_file(str(MAIN), default_timeout=120)
    app.session_state["request"] = state.Request(str(tmp_path), prompt)
    app.switch_page(SCREENS["Verification"]).run()
    _press(app, "Verify this prompt")
    assert not app.exception
    assert not app.error
    assert "Reproduced" in app.success[0].value


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_a_prompt_that_would_take_too_much_memory_is_not_verified(tiny_model, tmp_path, monkeypatch):
    app = AppTest.from_file(str(MAIN), default_timeout=120)
    app.session_state["request"] = state.Request(str(tmp_path), "w1 w2 w3")
    app.switch_page(SCREENS["Verification"]).run()
    monkeypatch.setenv("ATTENTION_INSPECTOR_MEMORY_GB", "0.000001")
    app.run()
    assert "3 × 3" in app.info[0].value
    assert not [button for button in app.button if button.label == "Verify this prompt"]


def test_progress_says_which_step_of_a_verification_is_next():
    said = [cached._next_step(done, 2 + 1 + 3, layers=2) for done in range(1, 7)]
    assert said == [
        "Comparing layer 2 of 2",
        "Running the reimplementation inside the library's model",
        "Planting mistake 1 of 3",
        "Planting mistake 2 of 3",
        "Planting mistake 3 of 3",
        "Writing the report",
    ]


def _press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click()
    app.run()


# -- address, errors, tokens ---------------------------------------------------------------------------------


@pytest.mark.packaged
@pytest.mark.parametrize(
    "address",
    [{"layer": "99", "head": "0"}, {"layer": "-1"}, {"layer": "x", "head": "<b>"}, {"head": "9", "layer": "0"},
     {"scale": "rainbow", "show": "secrets"}],
)  # fmt: skip
def test_what_does_not_fit_in_the_address_falls_back(address):
    app = open_app(**address)
    assert not app.error
    assert 0 <= int(address_of(app)["layer"]) < 30
    assert 0 <= int(address_of(app)["head"]) < 9
    assert address_of(app).keys() <= {"layer", "head"}  # the rest is at its default


@pytest.mark.packaged
def test_selection_is_kept_across_pages_and_stands_in_the_address():
    app = open_app(layer="5", head="3")
    app.number_input(key="layer_field").set_value(6).run()
    assert address_of(app)["layer"] == "6"
    app.switch_page(SCREENS["Vectors"]).run()
    assert app.subheader[0].value == "Layer 6, head 3"
    assert address_of(app) == {"layer": "6", "head": "3"}  # no prompt


@pytest.mark.packaged
def test_a_path_or_prompt_in_the_address_is_not_taken():
    app = open_app(model="/etc", prompt="hello", models="a,b")
    assert app.session_state["request"] == state.Request("smollm2-135m-instruct", EXAMPLES[0].prompt)


@pytest.mark.packaged
def test_small_pictures_are_drawn_only_where_they_are_shown(monkeypatch):
    made: list[state.Request] = []
    monkeypatch.setattr(cached, "thumbnails", lambda request, report=None: made.append(request))
    app = AppTest.from_file(str(MAIN), default_timeout=120)
    app.switch_page(SCREENS["Vectors"]).run()
    assert not app.exception
    assert (made, app.subheader[0].value) == ([], "Layer 15, head 0")
    monkeypatch.undo()
    app.switch_page(SCREENS["Heads"]).run()
    assert app.subheader[0].value == "Layer 15, head 0"  # the same head, not another page's default
    app.switch_page(SCREENS["Vectors"]).run()
    assert app.subheader[0].value == "Layer 15, head 0"


@pytest.mark.packaged
def test_an_empty_prompt_gives_one_sentence_and_keeps_the_screen():
    app = open_app()
    app.sidebar.text_area[0].set_value("   ")
    _press(app, "Run")
    assert len(app.error) == 1
    assert "prompt is empty" in app.error[0].value.replace("\\", "")
    assert app.get("bidi_component")  # the earlier prompt is still there
    app.sidebar.text_area[0].set_value("Hello there")
    _press(app, "Run")
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
    app.sidebar.text_area[0].set_value(HOSTILE)
    _press(app, "Run")
    assert not app.exception
    header, _ = payloads(app, "map")
    assert header["rows"] == list(smollm.trace(HOSTILE).tokens.labels)
    for text in [*app.markdown, *app.caption]:
        assert not text.allow_html
        assert "<img" not in text.value


@pytest.mark.packaged
def test_examples_run_at_once():
    app = open_app()
    box = next(box for box in app.sidebar.selectbox if box.label == "Example prompts")
    box.set_value(EXAMPLES[1].title).run()
    assert not app.exception
    assert app.sidebar.text_area[0].value == EXAMPLES[1].prompt
    assert any("To see here" in text.value for text in app.caption)


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


@pytest.mark.packaged
def test_show_it_goes_to_the_head_that_shows_it():
    app = open_app(layer="0", head="0")
    app.button(key="show_it").click().run()
    assert app.subheader[0].value == "Layer 16, head 0"


def test_only_the_listed_models_are_offered(monkeypatch):
    monkeypatch.setenv(offer.MODELS_VARIABLE, json.dumps(["owner/one", "owner/two"]))
    monkeypatch.setenv(offer.MODEL_VARIABLE, "owner/two")
    offered = offer.offer()
    assert offered == offer.Offer(("owner/two", "owner/one"), open=False)
    assert offered.allows("owner/one")
    assert not offered.allows("/etc")
    monkeypatch.setenv(offer.MODELS_VARIABLE, "a, b")
    assert offer.offer().models == ("owner/two", "a", "b")


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
    monkeypatch.setattr(offer.st, "get_option", {"server.address": address, "server.allowedHosts": hosts}.get)
    assert offer.offer() == offer.Offer((inspector.hub.PACKAGED,), open=is_open)


def test_a_model_outside_the_list_is_refused(monkeypatch):
    monkeypatch.setenv(offer.MODELS_VARIABLE, json.dumps(["owner/one"]))
    app = AppTest.from_file(str(MAIN), default_timeout=60)
    app.session_state["request"] = state.Request("/etc", "hello")
    app.run()
    assert "not among this server's models" in app.error[0].value.replace("\\", "")


# -- small parts ---------------------------------------------------------------------------------------------


def test_a_checkpoint_written_anew_is_another_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"1")
    request = state.Request(str(tmp_path), "x")
    before = cached._model_key(request)
    (tmp_path / "model.safetensors").write_bytes(b"22")
    assert cached._model_key(request) != before


def test_plain_text_has_no_markdown_left():
    assert plain("*a* [b](c) <d>\n`e`") == r"\*a\* \[b\]\(c\) \<d\> \`e\`"


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
    folder = MAIN.parent / "components"
    shared = (folder / "common.js").read_text()
    for name in ("heatmap.js", "grid.js", "strips.js"):
        script = shared + (folder / name).read_text()
        assert len(script.encode()) < 20_000, name  # it is sent again with each message that changed
        for unsafe in (".innerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert unsafe not in script


@pytest.mark.packaged
def test_heads_in_order_of_what_they_do():
    app = open_app(order="back 1")
    header, _ = payloads(app, "grid", "uint8")
    assert len(header["order"]) == 60
    readings = [float(reading.split()[-1]) for _, _, reading in header["order"]]
    assert readings == sorted(readings, reverse=True)
    assert header["order"][0][:2] == [16, 0]  # the head of the first example: one token back
    app.selectbox(key="order_field").set_value("Look back 3").run()
    assert address_of(app)["order"] == "back 3"
    app.selectbox(key="order_field").set_value("All, by layer and head").run()
    assert payloads(app, "grid", "uint8")[0]["order"] is None


@pytest.mark.packaged
def test_the_first_token_left_out_and_whole_words(smollm):
    app = open_app(layer="13", head="8", sink="without")
    numbers = whole(*payloads(app, "map"))
    weights = smollm.trace(EXAMPLES[0].prompt).weights(13, 8).numpy()
    assert numbers[5, 0] == 0
    np.testing.assert_allclose(numbers[5, 1:6], weights[5, 1:6] / weights[5, 1:6].sum(), rtol=1e-5)
    app = open_app(layer="13", head="8", unit="words")
    header, _ = payloads(app, "map")
    assert header["rows"] == ["Houston", ",", "␣we", "␣have", "␣a", "␣problem"]
    numbers = whole(*payloads(app, "map"))
    np.testing.assert_allclose(np.nansum(numbers, axis=1), 1, rtol=1e-5)  # rows are still shares
    app = open_app(layer="13", head="8", show="weighted_values")
    lengths = smollm.trace(EXAMPLES[0].prompt).value(13, 8).norm(dim=-1).numpy()
    np.testing.assert_allclose(whole(*payloads(app, "map"))[7, :8], weights[7] * lengths, rtol=1e-5)


@pytest.mark.packaged
def test_a_chosen_pair_is_kept_and_offers_its_page():
    app = open_app(layer="13", head="8", query="5", key="2")
    header, _ = payloads(app, "map")
    assert header["selected"] == [5, 2]
    assert address_of(app) == {"layer": "13", "head": "8", "query": "5", "key": "2"}
    assert "query" not in address_of(open_app(layer="13", head="8", query="500"))  # not in this prompt


@pytest.mark.packaged
def test_the_model_goes_on_and_the_join_is_marked(smollm):
    app = open_app(layer="13", head="8")
    app.number_input(key="generate_field").set_value(6)
    _press(app, "Run")
    header, _ = payloads(app, "map")
    traced = smollm.trace(EXAMPLES[0].prompt, generate=6)
    assert (len(header["rows"]), header["join"]) == (14, 8)
    assert header["rows"] == list(traced.tokens.labels)
    said = " ".join(text.value for text in app.caption)
    assert "From token 8 on (dashed lines) the model wrote the text itself" in said
    assert traced.written_again() == (6, 6)
    assert "6 of its 6 tokens are the most probable ones again" in said
