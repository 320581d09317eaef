"""The pages Change and Compare: what they show is what inspector.lab finds, and edits are believed nowhere."""

from __future__ import annotations

import json
import statistics

import numpy as np
import pytest
from screen_app import SCREENS, open_app, payloads, whole
from streamlit.testing.v1 import AppTest

from inspector import lab
from inspector.capture.edits import Edit, Source
from inspector.errors import InspectorError
from inspector.ui.edits import MOST_EDITS, MOST_PAPER, MOST_SOURCE_TOKENS, NONE, read_edits, write_edits
from inspector.ui.examples import EXAMPLES
from inspector.ui.screens.change_edits import in_words

FILE = '{"schema":1,"edits":[{"kind":"patch","what":"context","source":{"trace":"/etc/passwd","sha256":"0"}}]}'
GONE = write_edits([Edit(kind="zero", layers=(5,), heads=(3,))])


@pytest.fixture(scope="module")
def example(smollm):
    """The finished example, as Python runs it."""
    layer, heads = EXAMPLES[0].gone
    return lab.experiment(smollm, EXAMPLES[0].prompt, lab.zero(layer, heads), random_heads=5)


@pytest.mark.packaged
def test_change_opens_with_a_finished_example_whose_numbers_are_pythons(example, smollm, houston):
    app = open_app("Change")
    assert not app.error
    one = example.results[0]
    assert (one.effect.kl_bits, one.control.differing) == (pytest.approx(1.772, abs=0.002), 0)
    others = statistics.median(each.kl_bits for each in one.random)
    assert one.effect.kl_bits >= 1
    assert one.effect.kl_bits > 5 * others > 0
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["KL divergence"] == f"{one.effect.kl_bits:.3f} bits"
    assert shown["Random heads"] == f"{others:.3f} bits"
    assert shown["Loss per token"] == f"{one.effect.loss_before:.3f} → {one.effect.loss_after:.3f}"
    said = [caption.value.replace("\\", "") for caption in app.caption]
    assert f"Control: the same edits at strength 0: 0 of {8 * smollm.vocabulary:,} logits differ." in said
    assert "Law (held exactly): what leaves the head is 0 in every element, and no other head or token changes." in said
    _, numbers = payloads(app, "next_change")
    tokens = one.effect.next_tokens
    assert numbers.reshape(2, -1) == pytest.approx(
        np.array([[each.before for each in tokens], [each.after for each in tokens]]), rel=1e-6
    )
    _, losses = payloads(app, "losses")
    assert losses.reshape(3, -1)[1] == pytest.approx(np.array(one.effect.losses_after), rel=1e-6)
    edited = smollm.trace(houston.tokens.ids, edits=one.edits)
    maps = {name: whole(*payloads(app, name)) for name in ("map_before", "map_after", "map_apart")}
    below = np.tril_indices(8)
    assert np.array_equal(maps["map_before"][below], houston.weights(16, 0).numpy()[below])
    assert np.array_equal(maps["map_after"][below], edited.weights(16, 0).numpy()[below])
    assert np.array_equal(maps["map_apart"][below], maps["map_after"][below] - maps["map_before"][below])


@pytest.mark.packaged
def test_edits_are_added_removed_undone_and_cleared():
    app = open_app("Change", layer="5", head="3", edits=GONE)

    def edits():
        return app.session_state["selection"]["edits"]

    app.button(key="add_cut_this_edge").click().run()
    two = read_edits(edits())
    assert [edit.kind for edit in two] == ["zero", "cut"]
    assert two[1].queries == (7,)
    app.button(key="remove_edit_0").click().run()
    assert read_edits(edits()) == two[1:]
    app.button(key="undo_edits").click().run()
    assert read_edits(edits()) == two
    app.button(key="clear_edits").click().run()
    assert edits() == NONE
    assert any("Nothing is changed" in info.value for info in app.info)
    assert not app.metric
    assert not app.exception


@pytest.mark.packaged
def test_an_edit_that_cannot_be_is_refused_in_a_sentence():
    edit = Edit(kind="cut", queries=(0,), keys=(0,), layers=(5,))
    app = open_app("Change", edits=write_edits([edit]))
    assert "leave it one, such as itself" in app.error[0].value.replace("\\", "")
    app = open_app("Change", edits=GONE, token="two words here")
    assert "is 3 tokens" in app.error[0].value.replace("\\", "")


@pytest.mark.packaged
def test_a_pairs_edge_is_cut_by_one_button():
    app = open_app("Pair", layer="5", head="3", query="6", key="2")
    app.button(key="cut_pair").click().run()
    cut = read_edits(app.session_state["selection"]["edits"])
    assert cut == (Edit(kind="cut", layers=(5,), heads=(3,), queries=(6,), keys=(2,)),)


@pytest.mark.packaged
def test_compare_shows_what_python_finds(smollm, houston):
    app = open_app("Compare", layer="5", head="3")
    assert not app.error
    other = smollm.trace(EXAMPLES[0].beside)
    found = lab.compare(houston, other)
    assert found.summary() in [text.value.replace("\\", "") for text in app.markdown]
    first = found.table.iloc[0]
    assert any(button.label == f"{first.layer:.0f}.{first['head']:.0f}: {first.js_bits:.3f}" for button in app.button)
    below = np.tril_indices(8)
    assert np.array_equal(whole(*payloads(app, "map_the other"))[below], other.weights(5, 3).numpy()[below])
    app.text_area(key="other_prompt_field").set_value("Houston").run()
    app.switch_page(SCREENS["Change"]).run()
    app.switch_page(SCREENS["Compare"]).run()
    assert app.text_area(key="other_prompt_field").value == "Houston"


# -- what a visitor sends ----------------------------------------------------------------------------------


@pytest.mark.packaged
def test_an_edit_that_names_a_file_is_refused_from_the_session_and_from_the_tab(monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr("inspector.model.edited_runs._opened", lambda *_: opened.append(1))
    app = open_app("Change", edits=FILE)
    assert "opens no file" in app.error[0].value
    assert not app.metric
    script = "from inspector.ui import state\nstate.select_said({'edits': EDITS})\n"
    asked = tmp_path / "said.py"
    asked.write_text(script.replace("EDITS", repr(FILE)))
    told = AppTest.from_file(str(asked)).run()
    assert "opens no file" in told.session_state["edits_refused"]
    assert "edits" not in told.session_state["selection"]
    assert not opened


WRONG = {
    "no JSON": "[",
    "another schema": '{"schema":2,"edits":[]}',
    "an unknown field": '{"schema":1,"edits":[{"kind":"zero","surprise":1}]}',
    "an unknown kind": '{"schema":1,"edits":[{"kind":"read_file"}]}',
    "a number that is none": '{"schema":1,"edits":[{"kind":"scale","factor":NaN}]}',
    "a negative place": '{"schema":1,"edits":[{"kind":"cut","keys":[-1]}]}',
    "a list as kind": '{"schema":1,"edits":[{"kind":[]}]}',
    "deep": "[" * 15_000,
    "too long": " " * (MOST_PAPER + 1),
    "too many": json.dumps({"schema": 1, "edits": [{"kind": "zero"}] * (MOST_EDITS + 1)}),
    "a file": FILE,
    "a long source": write_edits([Edit(kind="mean", source=Source(prompts=((1,) * (MOST_SOURCE_TOKENS + 1),)))]),
}


@pytest.mark.parametrize("paper", WRONG.values(), ids=list(WRONG))
def test_wrong_edits_are_refused_in_a_sentence(paper):
    with pytest.raises(InspectorError):
        read_edits(paper)


def test_edits_survive_paper():
    edits = (Edit(kind="zero", layers=(1,), heads=(3, 4, 5)), Edit(kind="rope_off"), Edit(kind="drop", keys=(0,)))
    assert read_edits(write_edits(edits)) == edits
    assert in_words(edits[0]) == "Head output set to zero, layer 1, heads 3-5"
