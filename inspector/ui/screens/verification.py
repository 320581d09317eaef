"""Show the verification report of the prompt on screen, in one sentence and in full: the screen Verification."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from inspector.errors import InspectorError
from inspector.ui.markdown import count, plain
from inspector.ui.progress import attempt, current
from inspector.ui.screens import common, own_attention
from inspector.ui.server import results
from inspector.verification.compare import STAGE_NAMES

if TYPE_CHECKING:
    from inspector import VerificationReport
    from inspector.ui.progress import Current
    from inspector.ui.state import Request
    from inspector.verification.spliced_run import SplicedResult

_WANTED = "verification_wanted"
_NUMBERS = {
    "layer": st.column_config.NumberColumn("layer", width="small"),
    "stage": st.column_config.TextColumn("stage"),
    "max_abs": st.column_config.NumberColumn("largest difference", format="%.3g"),
    "max_rel": st.column_config.NumberColumn("relative", format="%.3g"),
    "differing": st.column_config.NumberColumn("numbers that differ", format="localized"),
    "elements": st.column_config.NumberColumn("numbers compared", format="localized"),
    "tolerance": st.column_config.NumberColumn("tolerance", format="%.1e"),
    "reason": st.column_config.TextColumn("why this tolerance", width="large"),
    "worst_layer": st.column_config.TextColumn("worst layer", width="small"),
    "judged": st.column_config.NumberColumn("ours, largest distance", format="%.3g"),
    "library": st.column_config.NumberColumn("the library's", format="%.3g"),
    "ok": st.column_config.TextColumn("passed", width="small"),
}


def show() -> None:
    """Draw the screen for the prompt on screen."""
    common.heading("Verify", "Are these numbers the model's own?")
    st.markdown(
        "A second, independent implementation of attention reads the same checkpoint and "
        "computes every stage again; here both are compared, number by number. Then mistakes are planted in "
        "it on purpose, to show that a difference would be noticed."
    )
    shown = current()
    if shown is None:
        return
    common.facts(shown)
    if shown.request.file:
        st.info(
            "A trace opened from a file has numbers and no model to compare them with: run its prompt to verify it.",
            icon=":material/info:",
        )
        return
    _report(shown)
    own_attention.show(shown)
    _types()


def _types() -> None:
    """List the model types that can be verified."""
    with st.expander("Which models can be verified"):
        types = results.verifiable_types()
        st.markdown(
            f"The second implementation has {len(types)} model types: a model is verified where its config.json "
            "names one of these as model_type. Other decoders' attention is shown too, and called not verified."
        )
        st.dataframe(pd.DataFrame({"model type": types}), hide_index=True, height=300, width=360)


def _report(shown: Current) -> None:
    """Draw this prompt's report, or the button that asks for it."""
    report = results.finished_report(shown.request)
    if report is None and st.session_state.get(_WANTED) != shown.request:
        try:
            results.refuse_verification(shown.trace)
        except InspectorError as error:
            st.info(plain(str(error)), icon=":material/memory:")
            return
        st.markdown(
            f"{_so_far(shown)} It runs the model many times over, so it takes longer than looking: about 15 seconds "
            "for a small model and a short prompt."
        )
        # Remembered: a button alone is forgotten when anything else is clicked while it runs.
        st.button("Verify this prompt", type="primary", key="verify", on_click=_want, args=(shown.request,))
        return
    if report is None:
        report = attempt(lambda say: results.report(shown.request, say), on_cancel=_not_wanted)
        st.session_state.pop(_WANTED, None)
        if report is None:
            return
    _verdict(report)
    _stages(report)
    if report.spliced is not None:
        _spliced(report.spliced)
    _controls(report.controls)


def _so_far(shown: Current) -> str:
    """Say what has been compared while nobody waited, and what is still to be done."""
    tokens = f"this prompt of {count(shown.trace.n, 'token')}"
    stages = results.compared(shown.request)
    if stages is None:
        return f"Not verified yet for {tokens}."
    numbers = count(stages.elements, "number")
    return (
        f"For {tokens} every stage of every layer was compared in the background: {numbers}, of which "
        f"{stages.differing:,} differ. Still to come: the layers swapped into the model, and "
        "planted mistakes."
    )


def _not_wanted() -> None:
    """Forget that a report was asked for."""
    st.session_state.pop(_WANTED, None)


def _want(request: Request) -> None:
    """Remember that this prompt's report was asked for."""
    st.session_state[_WANTED] = request


def _verdict(report: VerificationReport) -> None:
    """Draw the report's one sentence, green or red."""
    words = f"**{plain(report.summary())}**"
    if report.ok:
        st.success(words, icon=":material/check_circle:")
    else:
        st.error(words, icon=":material/error:")


def _stages(report: VerificationReport) -> None:
    """List the comparisons, stage by stage."""
    st.header("Stage by stage", anchor=False)
    st.caption(
        "Each stage in the order of computation; of all layers the one with the largest difference. "
        "0 means the same number to the last bit."
    )
    order = ["stage", "ok", "max_abs", "tolerance", "differing", "elements", "worst_layer"]
    by_stage = _named(report.by_stage)
    layers = by_stage["worst_layer"].astype(str)
    by_stage["worst_layer"] = layers.where(by_stage["differing"] > 0, "none differs")
    st.dataframe(by_stage, hide_index=True, height="content", column_order=order, column_config=_NUMBERS)
    frame = _named(report.table)
    with st.expander(f"All {len(frame):,} comparisons: every layer and stage, with the reason of each tolerance"):
        st.dataframe(frame, hide_index=True, column_config=_NUMBERS)
    if len(report.float64):
        with st.expander("Rounding: both implementations against the same layer computed in float64"):
            st.caption("Ours may be no farther from the more exact numbers than the library's own.")
            st.dataframe(_named(report.float64), hide_index=True, height="content", column_config=_NUMBERS)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Name stages in the page's words, and write a verdict that can be read without colours."""
    verdict = frame["ok"].map({True: "✓ yes", False: "✗ no"})
    return frame.assign(stage=frame["stage"].map(_stage), ok=verdict)


def _stage(stage: str) -> str:
    """Return a stage's name on the page."""
    return STAGE_NAMES.get(stage, stage)


def _spliced(spliced: SplicedResult) -> None:
    """Show the run with the reimplementation inside the library's model."""
    st.header("Swapped into the model", anchor=False)
    st.caption(
        "The reimplementation takes the place of every attention layer of the library's model. Errors that "
        "are small at each layer could add up here."
    )
    logits, tokens = st.columns(2, gap="large")
    with logits:
        st.metric("Largest difference of a logit", f"{spliced.logits_max_abs:.3g}")
        st.caption(
            f"{spliced.logits_differing:,} of {spliced.logits_elements:,} logits differ at all. For scale: the "
            f"library's own two ways of attending differ by {spliced.sdpa_max_abs:.2g}."
        )
    with tokens:
        if not spliced.tokens_compared:
            st.caption("No text was written: the prompt fills the model's positions.")
            return
        st.metric("Generated tokens that agree", f"{spliced.tokens_equal} of {spliced.tokens_compared}")
        st.caption("Written greedily with the key/value cache on. The text:")
        st.text(spliced.text)


def _controls(controls: pd.DataFrame) -> None:
    """List the planted mistakes, and whether each was caught."""
    controls = controls.assign(stage=controls["stage"].map(_stage))
    applies = controls[controls["applies"].astype(bool)]
    caught = int(applies["caught"].astype(bool).sum())
    st.header(f"Planted mistakes: {len(applies)} planted, {caught} caught", anchor=False)
    st.caption(
        "Each is one thing people get wrong in attention. A check that could not tell it from the right way "
        "would prove nothing; the stage is the first at which it shows."
    )
    config = {
        "mistake": st.column_config.TextColumn("mistake"),
        "meaning": st.column_config.TextColumn("what it is", width="large"),
        "caught": st.column_config.TextColumn("caught", width="small"),
        "stage": st.column_config.TextColumn("first seen at"),
        "max_abs": st.column_config.NumberColumn("largest difference", format="%.3g"),
        "why_not": st.column_config.TextColumn("why it cannot be planted here", width="large"),
    }
    order = ["mistake", "meaning", "caught", "stage", "max_abs"]
    applies = applies.assign(caught=applies["caught"].map({True: "✓ yes", False: "✗ no"}))
    st.dataframe(applies, hide_index=True, height="content", column_order=order, column_config=config)
    rest = controls[~controls["applies"].astype(bool)]
    if len(rest):
        with st.expander(f"{count(len(rest), 'check')} that {'does' if len(rest) == 1 else 'do'} not apply"):
            order = ["mistake", "meaning", "why_not"]
            st.dataframe(rest, hide_index=True, column_order=order, column_config=config)


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
