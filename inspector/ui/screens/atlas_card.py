"""Draw one head's card on the page Atlas: scores, histograms, tokens, examples, and the heads most like it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from inspector.capture.edits import Edit
from inspector.ui import links, state
from inspector.ui.components.strips import Panel, aligned
from inspector.ui.components.token_text import show_token_text
from inspector.ui.edits import write_edits
from inspector.ui.markdown import plain
from inspector.ui.pages import file_of
from inspector.ui.progress import attempt
from inspector.ui.server import atlases
from inspector.ui.server.findings import findings_of
from inspector.ui.server.settings import model_choice

if TYPE_CHECKING:
    from inspector.atlas import Atlas, Card

SHOWN, ALIKE = 5, 5
KINDS = {"top": "Rows with its largest weights", "sample": "Rows chosen by hash"}


def show(found: Atlas, layer: int, head: int) -> None:
    """Draw the card of one head.

    Args:
        found: the atlas.
        layer: counts attention layers from 0.
        head: the query head, from 0.
    """
    card = attempt(lambda _: atlases.card(found, layer, head))
    if card is None:
        return
    st.header(f"Layer {layer}, head {head}", anchor=False)
    _found(found.manifest["model"], layer, head)
    st.space("small")
    scores, histograms = st.columns([2, 3], gap="large")
    with scores:
        _scores(card)
    with histograms:
        _histograms(card)
    _tokens(card)
    _examples(found, card, layer, head)
    _alike(found, layer, head)
    save(f"Card of {layer}.{head} (JSON)", f"atlas-layer{layer}-head{head}.json", _as_json(found, card))


def choose(layer: int, head: int) -> None:
    """Choose a head, and no token: the atlas's rows are other texts than the prompt.

    Args:
        layer: counts attention layers from 0.
        head: the query head, from 0.
    """
    state.select(layer=layer, head=head, query=-1, key=-1)


def save(label: str, file: str, content: bytes) -> None:
    """Draw one download button.

    Args:
        label: what it says.
        file: the file's name.
        content: what is in it.
    """
    kind = "application/json" if file.endswith(".json") else "text/csv"
    st.download_button(label, content, file_name=file, mime=kind, on_click="ignore", key=f"save {file}")


def _found(model: str, layer: int, head: int) -> None:
    """Say what the finder found of the head, each label beside its null, where this server was given its file."""
    rows = findings_of(model, layer, head)
    if not rows:
        return
    given = [
        f"**{plain(one.label)}** {one.score:.2f} (null {one.null:.2f} ± {one.null_sd:.2f}, on {plain(one.evidence)})"
        for one in rows
        if one.given
    ]
    st.markdown(f"The finder: {'; '.join(given)}." if given else "The finder gives this head no label.")
    with st.expander("Table: every label's score and null"):
        st.dataframe(pd.DataFrame([asdict(one) for one in rows]), hide_index=True, key="atlas_findings")


def _scores(card: Card) -> None:
    """List the head's scores with their standard errors."""
    rows = [
        {"what it does": title, "mean": card.scores[name], "± standard error": card.scores.get(f"{name} error")}
        for name, title in state.STATISTICS.items()
        if name in card.scores and pd.notna(card.scores[name])
    ]
    frame = pd.DataFrame(rows)
    numbers = {name: st.column_config.NumberColumn(name, format="%.4f") for name in frame.columns[1:]}
    st.dataframe(frame, hide_index=True, height=380, column_config=numbers, key="atlas_scores")


def _histograms(card: Card) -> None:
    """Draw how far it looks, and how broadly."""
    far = _filled(card.histograms[card.histograms["of"] == "distance"])
    bins = [
        f"{low:.0f}" if high == low + 1 else f"{low:.0f}–{high - 1:.0f}"
        for low, high in zip(far["from"], far["below"], strict=True)
    ]
    whole = far["value"].sum() or 1
    aligned(
        [Panel("bars", "share of its weight, the first token aside", far["value"] / whole, "share")],
        names=[f"{name} tokens back" for name in bins],
        axis=bins,
        axis_name="tokens back",
        label="How far it looks: a bar for each distance",
        key="atlas_distance",
    )
    broad = _filled(card.histograms[card.histograms["of"] == "entropy"])
    aligned(
        [Panel("bars", "query tokens, by the entropy of their weights", broad["value"], "query tokens")],
        names=[f"{low:g} to {high:g} bits" for low, high in zip(broad["from"], broad["below"], strict=True)],
        axis=[f"{low:g}" for low in broad["from"]],
        axis_name="entropy in bits",
        label="How broadly it looks: query tokens by the entropy of their weights",
        key="atlas_entropy",
    )


def _filled(histogram: pd.DataFrame) -> pd.DataFrame:
    """Leave out the empty bins at the end, but for one: texts of 128 tokens have no distance of 10,000."""
    return histogram[: max(int(histogram["value"].to_numpy().nonzero()[0].max(initial=0)) + 2, 4)]


def _tokens(card: Card) -> None:
    """List the tokens that it looks at most, and those that look most at others than the first."""
    titles = {"key": "Tokens that it looks at most", "query": "Tokens that look most at others than the first"}
    for place, (kind, title) in zip(st.columns(2, gap="large"), titles.items(), strict=True):
        with place:
            st.markdown(f"**{title}**")
            frame = card.tokens[card.tokens["of"] == kind][["token", "mass", "mean", "occurrences"]]
            columns = {
                "mass": st.column_config.NumberColumn("weight, summed", format="%.3g"),
                "mean": st.column_config.NumberColumn("for each occurrence", format="%.4f"),
                "occurrences": st.column_config.NumberColumn("occurrences", format="localized"),
            }
            st.dataframe(frame, hide_index=True, height=250, column_config=columns, key=f"atlas_{kind}_tokens")


def _examples(found: Atlas, card: Card, layer: int, head: int) -> None:
    """Draw examples as texts in which the query token is framed and what it looks at is coloured."""
    st.markdown("### Examples")
    kind = st.segmented_control(
        "Which", list(KINDS), format_func=KINDS.__getitem__, default="top", key="atlas_examples", required=True
    )
    if "prompt" not in card.examples:
        st.info(
            "This atlas was made by an earlier version, without its examples' texts: run the command that made it "
            "again. What was computed is kept.",
            icon=":material/info:",
        )
        return
    examples = card.examples[card.examples["of"] == kind]
    st.caption(
        "The query token is framed; the stronger the colour of another, the more of its weight (by square root). The 8 "
        "tokens with the most weight are coloured."
    )
    if not st.toggle(f"All {len(examples)}", key="atlas_all_examples"):
        examples = examples.head(SHOWN)
    can = model_choice().allows(found.manifest["model"])
    rows = []
    for number, one in enumerate(examples.itertuples()):
        weights = {int(at): float(w) for at, w in zip(one.keys, one.weights, strict=True) if w > 0}
        largest = f", its largest weight {one.largest:.3f}" if kind == "top" else ""
        st.markdown(f"Row {one.row:,}{largest}: “{plain(one.tokens[one.query])}” ({one.query}) looks back")
        show_token_text(list(one.tokens), weights, query=int(one.query), key=f"atlas_example_{number}")
        strongest = max(weights, key=weights.__getitem__, default=-1)
        if can and one.prompt is not None:
            asked = (found.manifest["model"], one.prompt, layer, head, int(one.query), strongest)
            with st.container(horizontal=True):
                if st.button("Open this example in Explore", key=f"atlas_open_{number}", on_click=_ask, args=asked):
                    st.switch_page(file_of("Heads"))
                said = f"atlas_without_{number}"
                if st.button("What if this head were gone?", key=said, on_click=_ask_without, args=asked):
                    st.switch_page(file_of("Change"))
        rows += [
            {"row": one.row, "query": one.query, "key": at, "token": one.tokens[at], "weight": weights[at]}
            for at in sorted(weights, key=weights.__getitem__, reverse=True)
        ]
    if not can:
        st.caption(f"Examples open in Explore where the server offers {plain(_name(found))}.")
    elif examples["prompt"].isna().any():
        st.caption("A row whose text would be cut into other tokens cannot be opened in Explore.")
    with st.expander("Table: the examples' weights"):
        st.dataframe(pd.DataFrame(rows), hide_index=True, height=320, key="atlas_examples_table")


def _ask(model: str, prompt: str, layer: int, head: int, query: int, key: int) -> None:
    """Ask for an example's text, with its head and pair of tokens chosen."""
    state.ask(model=model, prompt=prompt, generate=0, chat=False)
    state.forget_place()
    state.select(layer=layer, head=head, query=query, key=key)
    links.bring_choice()


def _ask_without(model: str, prompt: str, layer: int, head: int, query: int, key: int) -> None:
    """Ask for an example's text with this head's output set to zero."""
    _ask(model, prompt, layer, head, query, key)
    state.change_edits(write_edits([Edit(kind="zero", layers=(layer,), heads=(head,))]))


def _alike(found: Atlas, layer: int, head: int) -> None:
    """List the heads whose scores are nearest, each a button."""
    st.markdown("### Heads most like it")
    near = found.alike(layer, head, ALIKE)
    st.caption("By the distance of their scores, each score in units of its spread over all heads.")
    with st.container(horizontal=True):
        for place, one in enumerate(near.to_dict("records")):
            where = int(one["layer"]), int(one["head"])
            said = f"{where[0]}.{where[1]} ({one['apart']:.2f})"
            st.button(said, key=f"atlas_alike_{place}", on_click=choose, args=where)


def _name(found: Atlas) -> str:
    """Return the model's name as visitors may read it."""
    return str(atlases.without_places(found).manifest["model"])


def _as_json(found: Atlas, card: Card) -> bytes:
    """Return the card as JSON."""
    tables = {"histograms": card.histograms, "tokens": card.tokens, "examples": card.examples}
    whole = {name: json.loads(frame.to_json(orient="records")) for name, frame in tables.items()}
    said = {"schema": 1, "kind": "atlas card", "model": _name(found)}
    return json.dumps(said | {"scores": json.loads(card.scores.to_json())} | whole, indent=1).encode()
