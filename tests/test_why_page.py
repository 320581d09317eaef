"""The page Why: three levels of sums whose numbers are Python's, and cutting off beside what attention says."""

from __future__ import annotations

import numpy as np
import pytest
from screen_app import open_app, payloads

from inspector import lab
from inspector.lab.effects import token_id
from inspector.ui.server import reasons

pytestmark = pytest.mark.packaged


def shares(app, key: str) -> np.ndarray:
    """The numbers of a picture's first row of bars."""
    header, numbers = payloads(app, key)
    return numbers[: len(header["names"])]


def test_each_level_is_pythons_and_a_click_leads_on(houston):
    app = open_app("Why", token=" that", against=" to")
    assert not app.error
    found = lab.explain(houston, " that", " to", heads=reasons.HEADS, sources=reasons.SOURCES, parts=reasons.PARTS)
    assert found.summary() in [text.value.replace("\\", "") for text in app.markdown]
    assert shares(app, "why_logit") == pytest.approx(
        [line.share for line in found.logit.lines if line.kind == "head"], abs=1e-6
    )
    shown = {line.kind for line in found.logit.lines}
    assert shown >= {"head", "mlp", "embedding"}
    assert sum(line.share for line in found.logit.lines) == pytest.approx(found.logit.value, abs=1e-4)
    head = found.logit.lines[0]
    assert shares(app, "why_sources") == pytest.approx([line.share for line in head.below.lines], abs=1e-6)
    second = found.logit.lines[1]
    app.session_state["selection"] = {
        **app.session_state["selection"],
        "layer": second.layer,
        "head": second.head,
        "key": second.below.lines[1].source,
    }
    app.run()
    assert shares(app, "why_sources") == pytest.approx([line.share for line in second.below.lines], abs=1e-6)
    score = second.below.lines[1].below
    assert shares(app, "why_score") == pytest.approx([line.share for line in score.lines], abs=1e-5)
    assert any(f"Head {second.layer}.{second.head} wrote" in text.value for text in app.markdown)


def test_cutting_off_stands_beside_attention_where_asked_for(houston):
    app = open_app("Why")
    app.toggle(key="why_cut").set_value(True).run()
    assert not app.exception
    assert not app.error
    report = lab.token_importance(houston)
    assert report.summary() in [text.value.replace("\\", "") for text in app.markdown]
    assert shares(app, "why_measures") == pytest.approx(report.table["cut_kl_bits"].to_numpy(), abs=1e-6)


def test_against_mean_is_the_token_and_by_itself_is_a_choice(smollm, houston):
    app = open_app("Why", against="mean")
    found = lab.explain(houston, None, token_id("mean", smollm), heads=reasons.HEADS, parts=0)
    assert found.against != "mean"
    assert shares(app, "why_logit") == pytest.approx(
        [line.share for line in found.logit.lines if line.kind == "head"], abs=1e-6
    )
    app = open_app("Why", against="mean", split="alone")
    found = lab.explain(houston, None, None, heads=reasons.HEADS, parts=0)
    assert shares(app, "why_logit") == pytest.approx(
        [line.share for line in found.logit.lines if line.kind == "head"], abs=1e-6
    )


@pytest.mark.parametrize(("field", "text"), [("token_field", " two words"), ("against_field", "zzqqxx")])
def test_what_is_no_token_is_refused_in_a_sentence(field, text):
    app = open_app("Why")
    app.text_input(key=field).set_value(text).run()
    assert not app.exception
    assert any("tokens in smollm2-135m-instruct" in error.value.replace("\\", "") for error in app.error)
