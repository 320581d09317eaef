"""Change a part of the model's attention and see what follows, each result beside its control: the screen Change."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from inspector.analysis import maps
from inspector.errors import InspectorError
from inspector.ui import shown_pictures, state
from inspector.ui.components.chart import show_table
from inspector.ui.components.heatmap import matrix_map
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.edits import read_edits
from inspector.ui.markdown import count, plain
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import change_edits, common
from inspector.ui.screens.common import number
from inspector.ui.server import changes, traces

if TYPE_CHECKING:
    from inspector import Trace
    from inspector.lab import ExperimentReport
    from inspector.lab.report import PromptResult

MOST_CHANGED = 5  # heads that are offered


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = common.begin_page(
        "Take a part of the attention away and run the text again: what does the model expect then? Every result "
        "stands beside its control, the same edits with no strength, which may change nothing.",
        title="Change",
    )
    if page is None:
        return
    shown, chosen = page
    try:
        paper = change_edits.edits_shown(shown, chosen)
        read_edits(paper)
    except InspectorError as refused:  # what stands in the session is read again before it is believed
        st.error(plain(str(refused)), icon=":material/warning:")
        return
    change_edits.controls(shown, chosen, paper)
    st.markdown("## Edits")
    change_edits.list_of_edits(paper)
    if not read_edits(paper):
        st.info("Nothing is changed: add an edit above.", icon=":material/info:")
        return
    readout_fields(chosen)
    report = attempt(lambda say: changes.experiment(shown.request, paper, chosen.token, chosen.against, say))
    if report is None:
        return
    _result(report)
    note = f"Edits: {'; '.join(map(str, report.results[0].edits))}."
    _next_tokens(report.results[0], note)
    _losses(report.results[0], note)
    _save(shown, paper, report)
    _maps(shown, chosen, paper)


def readout_fields(chosen: state.Selection) -> None:
    """Draw fields for the token that is looked at, and its foil.

    Args:
        chosen: the selection.
    """
    for name in state.TEXTS:
        st.session_state[f"{name}_field"] = getattr(chosen, name)

    def take() -> None:
        state.select(**{name: st.session_state[f"{name}_field"][: state.MOST_TEXT] for name in state.TEXTS})

    with st.container(horizontal=True):
        fields = (("Next token", "token", "the most probable one"), ("Against", "against", "the mean of all"))
        for title, name, usual in fields:
            st.text_input(
                title,
                key=f"{name}_field",
                placeholder=usual,
                on_change=take,
                width=220,
                help="One token as it stands in a text: most words begin with a space.",
            )


def _result(report: ExperimentReport) -> None:
    """Say what followed: numbers, the control, laws and the same edits of other heads."""
    one = report.results[0]
    effect = one.effect
    foil = f"“{one.labels[1]}”" if len(one.labels) > 1 else "the mean of all"
    fields = [
        ("KL divergence", f"{effect.kl_bits:.3f} bits", "Of the next token's distribution after, from that before."),
        (
            f"Logit of “{one.labels[0]}” − {foil}",
            f"{number(effect.readout_before)} → {number(effect.readout_after)}",
            f"Changed by {number(effect.readout_change)}.",
        ),
        (f"Rank of “{one.labels[0]}”", f"{effect.rank_before} → {effect.rank_after}", "1 is the most probable token."),
    ]
    if effect.loss_before is not None and effect.loss_after is not None:
        loss = f"{effect.loss_before:.3f} → {effect.loss_after:.3f}"
        fields.append(("Loss per token", loss, "Mean negative log-probability of the text's own tokens, in nats."))
    if one.random:
        others = statistics.median(each.kl_bits for each in one.random)
        title, words = "Random heads", f"The same done to {len(one.random)} draws of other heads: their median KL."
        fields.append((title, f"{others:.3f} bits", words))
    st.markdown("## What follows")
    with st.container(horizontal=True, gap="small", key="effects"):
        for title, value, meaning in fields:
            st.metric(plain(title), value, help=plain(meaning), border=True, width="content")
    for sentence in control_lines(one):
        st.caption(plain(sentence))
    if not report.ok:
        st.error(plain(report.summary()), icon=":material/warning:")
    for remark in report.remarks:
        st.info(plain(remark), icon=":material/info:")
    show_table(report.table, title="What follows", key="experiment")


def control_lines(one: PromptResult) -> list[str]:
    """Return what the control found, and for each law measured how far it was missed.

    Args:
        one: what an experiment found of a prompt.

    Returns:
        Sentences.
    """
    control = one.control
    said = [f"Control: the same edits at strength 0: {control.differing:,} of {control.elements:,} logits differ."]
    if any(edit.kind == "patch" for edit in one.edits):
        said = [
            f"Control: the same edits at strength 0, values patched from the text itself: {control.differing:,} of "
            f"{control.elements:,} logits differ."
        ]
    for law in one.laws:
        missed = "exactly" if law.remainder == 0 else f"to {law.remainder:.2g}"
        words = (
            f"held {missed}" if law.held else f"not held: missed by {law.remainder:.2g}, {law.tolerance:.2g} allowed"
        )
        said.append(f"Law ({words}): {law.law}.")
    if not one.differing:
        said.append("The edits changed no logit at all.")
    return said


def _next_tokens(one: PromptResult, note: str) -> None:
    """Draw the probabilities of the next tokens before and after."""
    tokens = one.effect.next_tokens
    labels = [each.label for each in tokens]
    before, after = [each.before for each in tokens], [each.after for each in tokens]
    top = max(*before, *after)
    st.markdown("### Next tokens")
    aligned(
        [
            Panel("bars", "probability before", before, "before", limit=top, scale="linear"),
            Panel("bars", "probability after", after, "after", limit=top, scale="linear"),
        ],
        names=[f"next token {label}" for label in labels],
        axis=labels,
        turned=True,
        label="Next tokens: probability before and after the edits, a column per token",
        key="next_change",
        notes=[f"logit {each.logit_change:+.3f}, rank {each.rank_before} → {each.rank_after}" for each in tokens],
        note=note,
    )


def _losses(one: PromptResult, note: str) -> None:
    """Draw the loss of each token of the text before and after."""
    effect = one.effect
    if effect.losses_before is None or effect.losses_after is None or not effect.losses_before:
        return
    labels = list(one.tokens.labels[1:])
    before, after = np.array(effect.losses_before), np.array(effect.losses_after)
    top = float(max(before.max(), after.max()))
    st.markdown("### Loss along the text")
    aligned(
        [
            Panel("strip", "loss before", before, "before", limit=top),
            Panel("strip", "loss after", after, "after", limit=top),
            Panel("strip", "change: orange is worse, blue better", after - before, "change"),
        ],
        names=[f"token {position} {label}" for position, label in enumerate(labels, 1)],
        axis=labels,
        turned=True,
        label="Loss of each token: before and after the edits, in nats, a column per token",
        key="losses",
        note=note,
    )


def _maps(shown: Current, chosen: state.Selection, paper: str) -> None:
    """Draw the chosen head's map before and after, and the difference; offer the heads that changed most."""
    found = attempt(lambda say: (changes.edited_trace(shown.request, paper, say),
                                 changes.changed_heads(shown.request, paper, say)))  # fmt: skip
    if found is None:
        return
    edited, comparison = found
    st.markdown(f"## Layer {chosen.layer}, head {chosen.head}: where it looks")
    heads_that_changed(comparison.table, "Heads that look elsewhere most, by Jensen-Shannon divergence in bits")
    three_maps(shown.trace, edited, chosen, ("before", "after"), notes=("", edited.edits_in_words()))


def heads_that_changed(table: pd.DataFrame, title: str) -> None:
    """Offer the heads that changed most as buttons, and all as a table.

    Args:
        table: as a comparison's.
        title: what stands above.
    """
    st.caption(title)
    with st.container(horizontal=True):
        for row in table.head(MOST_CHANGED).itertuples():
            place = {"layer": int(row.layer), "head": int(row.head)}
            label = f"{row.layer}.{row.head}: {row.js_bits:.3f}"
            st.button(label, key=f"changed_{row.layer}_{row.head}", on_click=state.select, kwargs=place)
    show_table(table, title="Heads by how much they changed", key="changed", label="Table: every head")


def three_maps(
    before: Trace,
    after: Trace,
    chosen: state.Selection,
    titles: tuple[str, str],
    *,
    notes: tuple[str, str] = ("", ""),
    pairs: tuple[tuple[int, int], ...] | None = None,
) -> None:
    """Draw one head's weights in two traces side by side, and their difference.

    Args:
        before: the first trace.
        after: the second.
        chosen: the selection.
        titles: what the two are called.
        notes: for saved figures: what the two are of, where that is more than the text on screen.
        pairs: positions of the tokens that both have, where they are not the same.
    """
    tables = [np.array(maps.picture(one, chosen.layer, chosen.head).values) for one in (before, after)]
    labels = [[f"{at} {label}" for at, label in enumerate(one.tokens.labels)] for one in (before, after)]
    if pairs is not None:
        rows, columns = (list(side) for side in zip(*pairs, strict=True))
        shared = [tables[0][np.ix_(rows, rows)], tables[1][np.ix_(columns, columns)]]
        names = [labels[0][row] for row in rows]
    else:
        shared, names = tables, labels[0]
    # Where either may not look, it gives 0: a mask switched off shows as a difference.
    apart = np.where(
        np.isnan(shared[0]) & np.isnan(shared[1]), np.nan, np.nan_to_num(shared[1]) - np.nan_to_num(shared[0])
    )
    places = st.columns(3, gap="medium")
    for place, title, values, names_of, note in zip(places, titles, tables, labels, notes, strict=False):
        with place:
            st.markdown(f"**{plain(title.capitalize())}**")
            matrix_map(
                values, name=f"weight {title}", row_name="query token", column_name="key token", rows=names_of,
                columns=names_of, square=True, scale=chosen.scale, limit=1.0, legend="attention weight",
                max_height=420, note=note, key=f"map_{title}",
            )  # fmt: skip
    with places[2]:
        st.markdown(f"**{plain(titles[1].capitalize())} less {plain(titles[0])}**")
        matrix_map(
            apart, name="difference of weights", row_name="query token", column_name="key token", rows=names,
            columns=names, square=True, legend="difference: orange more, blue less", max_height=420,
            note=notes[1], key="map_apart",
        )  # fmt: skip
        largest = float(np.nanmax(np.abs(apart))) if apart.size else 0.0
        differing = int(np.count_nonzero(np.nan_to_num(apart)))
        weights = count(int(np.isfinite(apart).sum()), "weight")
        same = (
            "" if differing else " Edits act on what comes after them: a head's own pattern is made before its output."
        )
        st.caption(f"{differing:,} of {weights} differ, by {number(largest)} at most.{same}")


def _save(shown: Current, paper: str, report: ExperimentReport) -> None:
    """Have Export offer the report, and the trace under the edits."""
    request = shown.request

    def whole() -> bytes:
        return traces.file_of(changes.edited_trace(request, paper))

    shown_pictures.keep("experiment_json", shown_pictures.Document("Experiment (JSON)", "experiment", "json",
                                                         lambda: report.to_json().encode()))  # fmt: skip
    if shown.trace.nbytes <= traces.MOST_FILE_BYTES:
        shown_pictures.keep(
            "edited_trace",
            shown_pictures.Document("Trace under these edits", "trace-under-edits", "safetensors", whole),
        )


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
