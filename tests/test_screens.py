"""Every screen of the app, run by Streamlit's AppTest: no exception, and the numbers sent to the browser are the
Trace's. What needs a real browser (canvas, hover, clicks, network) is in test_browser.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from head_questions import asked
from screen_app import READS, SCREENS, chosen_in, field, new_app, open_app, payloads, press, whole
from streamlit.testing.v1 import AppTest

from inspector import views
from inspector.ui import state
from inspector.ui.server import results, traces


@pytest.mark.packaged
@pytest.mark.parametrize("screen", SCREENS)
def test_every_screen_opens_with_a_prompt_already_on_it(screen):
    app = open_app(screen)
    assert not app.error
    assert app.title[0].value
    assert any(READS[screen] in text.value for text in [*app.markdown, *app.caption])
    if screen not in ("Heads", "Learn", "Atlas"):  # its heading says it, and the screen itself; a list; of many texts
        assert any("8 tokens" in text.value for text in app.caption)


@pytest.mark.packaged
def test_explore_sends_the_traces_own_weights_and_what_comes_next(houston):
    app = open_app()
    header, numbers = payloads(app, "explore", "uint8")
    small, n = 2 * 270 * 8 * 8, houston.n
    sent = numbers[small:].tobytes()
    weights = np.frombuffer(sent, np.float16).reshape(270, n * (n + 1) // 2)
    expected = houston.weights(5, 3).numpy()[np.tril_indices(n)].astype(np.float16)
    assert np.array_equal(weights[5 * 9 + 3], expected)
    assert header["tokens"] == list(houston.tokens.labels)
    assert header["selected"] == [16, 0]  # where the example says that there is something to see
    assert [label for label, _ in header["next"][-1]] == [label for label, _, _ in houston.next_tokens(5)]
    assert app.title[0].value.replace("\\", "").startswith("Where each of 270 attention heads looks when smollm2-135m")


@pytest.mark.packaged
def test_pages_share_the_head_that_explore_begins_with():
    app = open_app()
    app.switch_page(SCREENS["Vectors"]).run()
    assert app.header[0].value == "Layer 16, head 0"
    app.number_input(key="layer_field").set_value(3).run()
    app.button(key="example_1").click().run()  # an example has a head of its own
    app.switch_page(SCREENS["Heads"]).run()
    app.switch_page(SCREENS["Pair"]).run()
    assert app.header[0].value == "Layer 13, head 8"


@pytest.mark.packaged
def test_what_is_asked_of_a_head_is_answered_exactly(houston):
    app = open_app()
    name = payloads(app, "explore", "uint8")[0]["id"]
    question = asked("5.3 scaled_scores sqrt with tokens", name)
    app.session_state["explore_question"] = question
    app.run()
    answer, numbers = payloads(app, "talk")
    assert (answer["id"], answer["asked"]) == (name, question.asked)
    assert np.array_equal(numbers, houston.scaled_scores(5, 3).numpy()[np.tril_indices(8)])
    assert answer["map"]["value_name"] == "scaled score"
    assert answer["map"]["palette"] == "diverging"


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
    assert chosen_in(app) == {"layer": "16", "head": "0"}
    app.selectbox(key="key_field").set_value(3).run()
    app.selectbox(key="query_field").set_value(4).run()
    assert chosen_in(app) == {"layer": "16", "head": "0", "query": "4", "key": "3"}
    app.selectbox(key="query_field").set_value(2).run()  # cannot look at token 3
    assert chosen_in(app) == {"layer": "16", "head": "0", "query": "2"}
    assert app.selectbox(key="key_field").options == [f"{s} {houston.tokens.labels[s]}" for s in range(3)]
    linked = open_app("Pair", layer="16", head="0", query="2", key="5")
    assert any("cannot look at key token 5" in text.value for text in linked.caption)


@pytest.mark.parametrize("tiny_model", ["smollm3", "gemma2"], indirect=True)
def test_pair_with_a_layer_without_rope_and_with_a_soft_cap(tiny_model, tmp_path):
    app = new_app(state.Request(str(tmp_path), "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10"))
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
    app = open_app("Lines", layer="7", head="4")
    assert bertviz_page(app) == views.head_view(houston, [7], chosen=4).html
    app.multiselect(key="bertviz_heads").set_value([8, 1]).run()
    assert bertviz_page(app) == views.head_view(houston, [7], [1, 8]).html

    app.segmented_control(key="view_field").set_value("model").run()
    assert (
        bertviz_page(app) == views.model_view(houston, [5, 6, 7, 8, 9], [1, 8], chosen=(7, 4)).html
    )  # heads stay picked
    app.multiselect(key="bertviz_layers").set_value([29]).run()
    app.multiselect(key="bertviz_heads").set_value([]).run()
    assert bertviz_page(app) == views.model_view(houston, [29], chosen=(7, 4)).html

    app.segmented_control(key="view_field").set_value("neuron").run()
    assert bertviz_page(app) == views.neuron_view(houston, 7, 4).html
    app.number_input(key="head_field").set_value(5).run()
    assert bertviz_page(app) == views.neuron_view(houston, 7, 5).html
    assert chosen_in(app)["head"] == "5"
    assert chosen_in(app)["view"] == "neuron"
    assert not app.error
    assert bertviz_page(open_app("Lines", layer="7", head="5", view="neuron")) == views.neuron_view(houston, 7, 5).html
    wrong = open_app("Lines", layer="7", head="5", view="<script>")
    assert bertviz_page(wrong) == views.head_view(houston, [7], chosen=5).html
    assert "view" not in chosen_in(wrong)


@pytest.mark.packaged
def test_bertviz_draws_as_many_heads_as_a_browser_bears_and_says_so(smollm):
    app = open_app("Lines", layer="7", head="8")
    prompt = "one two three four five six seven eight " * 15
    field(app, "prompt").set_value(prompt)
    press(app, "Run")
    assert not app.error
    assert bertviz_page(app) == views.head_view(smollm.trace(prompt), [7], [5, 6, 7, 8], chosen=8).html
    assert app.multiselect(key="bertviz_heads").placeholder == "5 to 8, as many as fit"
    app.multiselect(key="bertviz_heads").set_value(list(range(9))).run()
    assert "choose at most 4 heads in all" in app.error[0].value.replace("\\", "")
    app.segmented_control(key="view_field").set_value("neuron").run()
    assert not app.error
    field(app, "prompt").set_value(prompt * 2)
    press(app, "Run")
    assert "use at most" in app.error[0].value
    assert not app.exception


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_heads_picked_for_another_model_are_let_go(tiny_model, tmp_path):
    app = new_app(state.Request(str(tmp_path), "w1 w2 w3"))
    app.session_state["bertviz_heads"] = [2, 8]
    app.switch_page(SCREENS["Lines"]).run()
    assert not app.exception
    assert app.multiselect(key="bertviz_heads").value == [2]
    assert [found.key for found in app.get("bidi_component")] == ["tab", "bertviz"]


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_verification_runs_once_and_is_then_shown_to_everybody(tiny_model, tmp_path):
    def come() -> AppTest:
        visitor = new_app(state.Request(str(tmp_path), "w1 w2 w3"))
        return visitor.switch_page(SCREENS["Verify"]).run()

    app = come()
    press(app, "Verify this prompt")
    assert not app.exception
    assert "Reproduced" in app.success[0].value
    assert any("planted" in text.value and "caught" in text.value for text in app.header)
    stages = app.dataframe[0].value
    assert len(stages) == 8
    assert set(stages["ok"]) == {"✓ yes"}
    assert len(app.dataframe[1].value) == len(traces.trace(app.session_state["request"]).layers) * 8

    assert come().success  # no second run, no button


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_a_prompt_too_long_to_keep_its_inputs_is_verified(tiny_model, tmp_path):
    prompt = "w1 w2" + " " * traces.KEEP_INPUT_UP_TO + "w3 w1"
    app = new_app(state.Request(str(tmp_path), prompt))
    app.switch_page(SCREENS["Verify"]).run()
    press(app, "Verify this prompt")
    assert not app.exception
    assert not app.error
    assert "Reproduced" in app.success[0].value


@pytest.mark.parametrize("tiny_model", ["grouped"], indirect=True)
def test_a_prompt_that_would_take_too_much_memory_is_not_verified(tiny_model, tmp_path, monkeypatch):
    app = new_app(state.Request(str(tmp_path), "w1 w2 w3"))
    app.switch_page(SCREENS["Verify"]).run()
    monkeypatch.setenv("ATTENTION_INSPECTOR_MEMORY_GB", "0.000001")
    app.run()
    assert "3 × 3" in app.info[0].value
    assert "ATTENTION" not in app.info[0].value  # a visitor cannot set it
    assert not [button for button in app.button if button.label == "Verify this prompt"]


def test_progress_says_which_step_of_a_verification_is_next():
    said = [results._next_step(done, 2 + 1 + 3, layers=2) for done in range(1, 7)]
    assert said == [
        "Comparing layer 2 of 2",
        "Running the reimplementation inside the library's model",
        "Planting mistake 1 of 3",
        "Planting mistake 2 of 3",
        "Planting mistake 3 of 3",
        "Writing the report",
    ]
