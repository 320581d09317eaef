"""Say why the model expects a token: what wrote its logit, from which tokens, why a head looked there: the page Why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from inspector.ui import state
from inspector.ui.components.chart import show_table
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.markdown import plain
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import change, common
from inspector.ui.screens.common import number
from inspector.ui.server import reasons

if TYPE_CHECKING:
    from inspector.lab import Explanation, ImportanceReport
    from inspector.lab.explanation import Level, Line

CUT = "why_cut"
# Where numbers of a picture come from: said under each.
COMPUTED = "Computed from vectors recorded as the model ran and from its weights, norms frozen at the scale they had."


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = common.begin_page(
        "Why does the model expect this next token? Its logit is a sum of what each part of the model wrote; a head's "
        "part, a sum over the tokens it looked at; and why it looked there, a sum over what made that score. Click a "
        "bar to go down a level.",
        title="Why",
    )
    if page is None:
        return
    shown, chosen = page
    if common.lacks_model(shown, "An explanation"):
        return
    change.readout_fields(chosen)
    alone = _split(chosen)
    found = attempt(
        lambda say: reasons.explanation(shown.request, chosen.query, chosen.token, chosen.against, say, alone=alone)
    )
    if found is None:
        return
    _levels(shown, found, chosen)
    _cutting(shown, chosen)
    common.terms("logit", "head", "MLP", "residual", "embedding", "attention weight", "scaled score")


def _split(chosen: state.Selection) -> bool:
    """Draw the choice whether the logit is compared with another; return whether it stands by itself."""
    st.session_state["why_split"] = chosen.split

    def take() -> None:
        state.select(split=st.session_state["why_split"] or chosen.split)

    st.segmented_control(
        "Split the logit",
        list(state.SPLITS),
        format_func=lambda name: state.SPLITS[name],
        key="why_split",
        on_change=take,
        help="Compared: its logit minus the logit of the token in “Against”, or minus the mean of all tokens where "
        "that field is empty. What all next tokens have in common then drops out of every share.",
    )
    return chosen.split == "alone"


def _levels(shown: Current, found: Explanation, chosen: state.Selection) -> None:
    """Draw the three levels: the logit by part, the chosen head by token, the chosen token's score by part."""
    st.markdown(f"## Why {plain(f'“{found.label}” after “{found.tokens.labels[found.query]}”')}")
    st.markdown(plain(found.summary()))
    _kinds(found)
    if not found.ok:
        st.error("The shares do not add up to their number within rounding.", icon=":material/warning:")
    heads = [line for line in found.logit.lines if line.below is not None]
    head = next((line for line in heads if (line.layer, line.head) == (chosen.layer, chosen.head)), None)
    head = head or next(iter(heads), None)
    written = tuple(line for line in found.logit.lines if line.kind == "head")
    by_head, by_token = st.columns(2, gap="large")  # a click on the left changes what stands on the right
    with by_head:
        st.markdown("### What each head wrote")
        _bars(written, found.logit.unit, "The heads' part of its logit", "logit", head, _choose_head)
        st.caption(
            f"{COMPUTED} “Head 29.1” is head 1 of layer 29. What a head does by way of later parts is not in its bar."
        )
    if head is not None and head.below is not None:
        with by_token:
            source = _sources(shown, head, head.below, chosen, found.query)
        if source is not None and source.below is not None:
            _score(source.name, source.below)
        elif head.below.note:
            st.caption(plain(head.below.note))
    show_table(found.table, title="All three levels", key="why", label="Table: all three levels")


def _sources(shown: Current, head: Line, level: Level, chosen: state.Selection, query: int) -> Line | None:
    """Draw a head's share by the token that it looked at; return the token that is chosen."""
    st.markdown(f"### Head {head.layer}.{head.head} wrote {number(head.share)}: from which tokens")
    _promoted(shown, head, query)
    lines = [line for line in level.lines if line.source is not None]
    source = next((line for line in lines if line.source == chosen.key), None) or next(iter(lines), None)
    _bars(level.lines, level.unit, "Its share by the token looked at", "sources", source, _choose_key)
    st.caption(
        f"Each is the attention weight times what the token's value vector writes through W_o. {COMPUTED} Rounding "
        f"leaves {level.remainder:.1e}."
    )
    return source


def _score(name: str, score: Level) -> None:
    """Draw the score of the chosen token by what wrote its key."""
    st.markdown(f"### Why it looks at {plain(name)}: its score, {score.of}, is {number(score.value)}")
    _bars(score.lines, score.unit, "The score by what wrote the key", "score", None, None)
    st.caption(
        "“MLP 20” is what the MLP of layer 20 had added to that token's vector, “attention 16” what all heads of layer "
        "16 had. Query and keys are recorded; each bar is the query times that part of the key, rotated "
        f"at its position, less the same part's mean over all keys. {COMPUTED} Rounding leaves {score.remainder:.1e}."
    )
    if score.note:
        st.caption(plain(score.note))


def _promoted(shown: Current, head: Line, query: int) -> None:
    """Say which next tokens a head promotes and suppresses here."""
    layer, number_ = head.layer or 0, head.head or 0
    both = attempt(lambda say: reasons.promoted(shown.request, layer, number_, query, say), may_lack=True)
    if both is not None:
        said = [
            f"**{side}**: " + ", ".join(f"“{plain(label)}” {number(share)}" for label, share in tokens)
            for side, tokens in both.items()
        ]
        st.caption(f"Of all next tokens, by its own vector, less the mean of all: {'; '.join(said)}.")


def _kinds(found: Explanation) -> None:
    """Say how much of the logit heads, MLPs and the rest wrote, and that all of it adds up."""
    from inspector.lab.run_explain import KINDS

    names = {"head": "heads", **KINDS, "embedding": "the embedding"}
    sums = {name: sum(line.share for line in found.logit.lines if line.kind == kind) for kind, name in names.items()}
    said = ", ".join(f"{name} {number(value)}" for name, value in sums.items() if value)
    st.markdown(
        f"By kind of part: {said}. That adds up to {number(found.logit.value)}; rounding leaves "
        f"{found.logit.remainder:.1e}."
    )


def _bars(
    lines: Sequence[Line], unit: str, title: str, key: str, picked: Line | None, choose: Callable[[Line], None] | None
) -> None:
    """Draw summands as bars, and say what they add up to."""
    names = [line.name for line in lines]

    def pick(at: int) -> None:
        if choose is not None:
            choose(lines[at])

    aligned(
        [Panel("bars", f"share of the {unit}", [line.share for line in lines], "share")],
        names=names,
        axis=names,
        turned=True,
        label=f"{title}: a bar per part",
        key=f"why_{key}",
        marked=-1 if picked is None else lines.index(picked),
        on_pick=pick if choose else None,
    )
    st.caption(f"The {len(lines)} bars add up to {number(sum(line.share for line in lines))}.")


def _choose_head(line: Line) -> None:
    """Take a head's bar as the choice; a bar of anything else is none."""
    if line.layer is not None and line.head is not None:
        state.select(layer=line.layer, head=line.head)


def _choose_key(line: Line) -> None:
    """Take a token's bar as the chosen key token."""
    if line.source is not None:
        state.select(key=line.source)


def _cutting(shown: Current, chosen: state.Selection) -> None:
    """Draw, where asked for, what cutting each token off does, beside what attention says."""
    st.markdown("## Does attention say which tokens matter here?")
    st.session_state[CUT] = chosen.cut == "yes"

    def take() -> None:
        state.select(cut="yes" if st.session_state[CUT] else "no")

    if not st.toggle(f"Cut off each of the {shown.trace.n - 1:,} earlier tokens in turn", key=CUT, on_change=take):
        st.caption(
            "Each costs a run of the model. Its effect on the next token then stands beside attention and other "
            "measures."
        )
        return
    report = attempt(lambda say: reasons.importance(shown.request, chosen.token, chosen.against, say))
    if report is None:
        return
    st.markdown(plain(report.summary()))
    _measures(report)


def _measures(report: ImportanceReport) -> None:
    """Draw the effect of cutting each token off above the measures, and each measure's rank correlation with it."""
    from inspector.lab.importance_report import MEASURES

    frame = report.table
    labels = [f"{row.position} {row.token}" for row in frame.itertuples()]
    shown = [name for name in MEASURES if name in frame]
    panels = [Panel("bars", "effect of cutting it off, in bits (KL)", frame["cut_kl_bits"], "bits")]
    panels += [Panel("strip", MEASURES[name], frame[name], MEASURES[name]) for name in shown]
    aligned(
        panels,
        names=[f"token {label}" for label in labels],
        axis=list(frame["token"]),
        turned=True,
        label="What cutting off does, and what measures say, a column per token",
        key="why_measures",
    )
    st.caption(
        "Bars: measured, a run of the model for each token, which no later token may look at then. Strips: attention "
        "and values as recorded; outputs and shares computed, norms frozen; gradients computed in one more run."
    )
    correlations = pd.DataFrame(
        [{"measure": MEASURES[name], "rank correlation with the effect": report.correlations[name]} for name in shown]
    )
    st.dataframe(correlations, hide_index=True, key="why_correlations")


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
