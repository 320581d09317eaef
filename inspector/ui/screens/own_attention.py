"""Draw "Check your own attention" on the page Verify: uploads, or code that the server was started with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from inspector.errors import InspectorError
from inspector.judging.dump_arrays import KINDS
from inspector.judging.report_sentences import name_of
from inspector.ui.markdown import count, plain
from inspector.ui.progress import attempt
from inspector.ui.screens.mistake_gallery import show_gallery
from inspector.ui.screens.own_pictures import draw_angles
from inspector.ui.server import judged
from inspector.ui.server.settings import attentions

if TYPE_CHECKING:
    from inspector.judging.report import Judgement
    from inspector.ui.progress import Current
    from inspector.ui.state import Request

_FILES, _NAME, _FOUND = "own_files", "own_name", "own_judgement"
_KINDS = [*(kind.removeprefix(".") for kind in KINDS), "json"]
_COLUMNS = {
    "step": st.column_config.TextColumn("step"),
    "stage": st.column_config.TextColumn("stage"),
    "ok": st.column_config.TextColumn("right", width="small"),
    "max_abs": st.column_config.NumberColumn("largest difference", format="%.3g"),
    "tolerance": st.column_config.NumberColumn("rounding", format="%.1e"),
    "differing": st.column_config.NumberColumn("numbers that differ", format="localized"),
    "elements": st.column_config.NumberColumn("numbers compared", format="localized"),
    "worst_layer": st.column_config.NumberColumn("worst layer", width="small"),
}


def show(shown: Current) -> None:
    """Draw the section for the prompt on screen."""
    st.header("Check your own attention", anchor=False)
    st.markdown(
        "You write attention yourself? Run it on this prompt, upload its numbers, and see at which step it first "
        "differs from the model's, and why. `attention-inspector reference` writes the right numbers, with a README of "
        "names and shapes; any of its layers and stages will do, as safetensors, .npy or .npz."
    )
    files = st.file_uploader(
        "Your numbers",
        type=_KINDS,
        accept_multiple_files=True,
        max_upload_size=judged.MOST_MB,
        key=_FILES,
    )
    if files:
        uploads = [judged.Uploaded(file.name, file.getvalue()) for file in files]
        st.button("Judge the upload", key="judge_upload", type="primary", on_click=_forget)
        if st.session_state.get("judge_upload"):
            _keep(
                shown.request,
                attempt(lambda say: judged.judge_uploaded(shown.request, uploads, say), on_cancel=_forget),
            )
    if names := attentions():
        chosen = st.selectbox("Or your code, which this server was started with", names, key=_NAME)
        st.button("Judge this code", key="judge_code", on_click=_forget)
        if st.session_state.get("judge_code"):
            _keep(shown.request, attempt(lambda say: judged.judge_named(shown.request, chosen, say), on_cancel=_forget))
    show_gallery(shown, lambda report: _keep(shown.request, report), _forget)
    found: tuple[Request, Judgement] | None = st.session_state.get(_FOUND)
    if found is not None and found[0] == shown.request:
        _show(*found)


def _keep(request: Request, report: Judgement | None) -> None:
    """Remember a judgement while its prompt is on screen."""
    if report is not None:
        st.session_state[_FOUND] = request, report


def _forget() -> None:
    """Let go of the judgement before."""
    st.session_state.pop(_FOUND, None)


def _show(request: Request, report: Judgement) -> None:
    """Draw a judgement: its sentence, causes, steps, and the picture of its angles."""
    words = f"**{plain(report.verdict.capitalize())}.** {plain(report.summary())}"
    if report.ok:
        st.success(words, icon=":material/check_circle:")
    elif report.verdict == "different":
        st.error(words, icon=":material/error:")
    else:
        st.warning(words, icon=":material/help:")
    for cause in report.causes[1:]:  # the first is in the sentence
        st.markdown(f"Also: {plain(cause)}.")
    if report.said:
        st.caption(" ".join(f"{plain(one[0].upper() + one[1:])}." for one in report.said))
    frame = report.by_stage
    if len(frame):
        frame = frame.assign(
            stage=[name_of(str(stage)) for stage in frame["stage"]],
            ok=frame["ok"].map({True: "✓ yes", False: "✗ no"}),
        )
        st.dataframe(frame, hide_index=True, height="content", column_order=list(_COLUMNS), column_config=_COLUMNS)
    with st.expander(f"All {count(len(report.table), 'comparison')}, and which mistakes would have shown"):
        st.dataframe(report.table, hide_index=True)
        st.dataframe(report.power, hide_index=True)
    try:
        found = judged.angles(request, report)
    except InspectorError:
        return
    if found is not None:
        draw_angles(
            {"yours, measured": found.yours, "the model's": found.model}, "query", found.layer, key="own_angles"
        )
