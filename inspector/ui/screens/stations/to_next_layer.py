"""Draw the stations from the attention output to the next layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from inspector.ui import state
from inspector.ui.markdown import count, plain
from inspector.ui.pages import file_of
from inspector.ui.progress import attempt
from inspector.ui.screens.common import number, quoted
from inspector.ui.screens.labs.frame import proof
from inspector.ui.screens.stations.at import At, formula, terms
from inspector.ui.screens.stations.to_vectors import strips


def residual(at: At) -> None:
    """Draw how the attention output is added to the residual."""
    at.words.markdown(
        "The attention output does not replace the token's vector: it is **added** to it. Attention *updates* what is "
        "known about a token with what it found at others."
    )
    found = at.residual_stream()
    if found is None or found.residual is None or found.output is None:
        return
    if not found.added_to:
        strips(
            [
                (f"residual of {at.query_label} before layer {at.layer}", found.residual),
                ("attention output", found.output),
            ],
            "residual",
        )
        st.info(
            "No part of this block was called with residual + attention output: this model normalises or weighs the "
            "attention output before it adds it, or adds the feed-forward network's output at the same time.",
            icon=":material/info:",
        )
        terms(at, "residual", "attention output", "activation")
        return
    formula(
        at,
        r"\text{residual} \leftarrow \text{residual} + o",
        ("residual", f"[{len(found.residual)}]"),
        ("o", f"[{len(found.output)}]"),
    )
    after = found.residual + found.output
    strips(
        [
            (f"residual of {at.query_label} before layer {at.layer}", found.residual),
            ("+ attention output", found.output),
            ("= sum", after),
        ],
        "residual",
    )
    lengths = [float(np.linalg.norm(vector)) for vector in (found.residual, found.output, after)]
    st.caption(
        f"Lengths: {number(lengths[0])} + {number(lengths[1])} gives {number(lengths[2])}: vectors that do not point "
        "the same way. Each strip has its own colour scale."
    )
    with proof("The model's next part received exactly this sum"):
        st.caption(
            plain(
                f"Measured: the block's next part, {found.added_to}, was called with exactly this sum: equal in all "
                f"{count(len(after), 'number')}."
            )
        )
    terms(at, "residual", "attention output", "activation")


def following(at: At) -> None:
    """Draw what the next layer receives, or the next tokens."""
    last = at.layer == len(at.trace.layers) - 1
    at.words.markdown(
        "The rest of the block, a feed-forward network that works on each token alone, adds its own part. Then the "
        "next layer begins with the updated vectors."
        if not last
        else "This was the last layer with attention. After the rest of its block and a last norm, what the token's "
        "vector has become is turned into a score for every token of the vocabulary: what comes next?"
    )
    found = at.residual_stream()
    if found is None or found.residual is None or found.output is None:
        return
    if not last and found.next_residual is not None:
        skipped = _blocks_between(at)
        after = found.residual + found.output
        rest = found.next_residual - after
        parts = [("+ attention output", found.output), ("+ what the rest of the block added", rest)]
        if not found.added_to:
            parts = [("+ all that was added in between", found.next_residual - found.residual)]
        strips(
            [
                (f"residual of {at.query_label} before layer {at.layer}", found.residual),
                *parts,
                (f"= residual before {'the next block' if skipped else f'layer {at.layer + 1}'}", found.next_residual),
            ],
            "next residual",
        )
        turned = float(
            found.residual
            @ found.next_residual
            / (np.linalg.norm(found.residual) * np.linalg.norm(found.next_residual))
        )
        if skipped:
            st.caption(
                f"Before layer {at.layer + 1} this model has {count(skipped, 'block')} without attention: that layer "
                "receives what is made of the vector there."
            )
        st.caption(f"Cosine between the residual before and after this layer: {turned:.5f} (1: the same direction).")

        layer, heads = at.layer + 1, at.trace.layers[at.layer + 1].heads
        following_head = min(at.head, heads - 1)

        def go_on() -> None:  # Streamlit keeps it longer than the page: it refers to numbers, not the trace
            state.select(layer=layer, head=following_head, station="input")

        st.button(f"Go on in layer {at.layer + 1}", on_click=go_on, icon=":material/arrow_forward:")
    elif last:
        likely = attempt(lambda _: at.trace.next_tokens(8), may_lack=True)
        if likely is not None:
            end = quoted(at.trace, at.trace.n - 1)
            st.markdown(f"**Most probable next tokens** after the last token of the prompt, {end}")
            frame = pd.DataFrame(likely, columns=["token", "id", "probability"])
            st.dataframe(
                frame,
                hide_index=True,
                column_config={"probability": st.column_config.NumberColumn(format="%.4f")},
            )
            st.page_link(file_of("Why"), label="What wrote it, and why", icon=":material/account_tree:")
    terms(at, "residual", "attention input")


def _blocks_between(at: At) -> int:
    """Count the blocks without attention before the next layer."""
    return max(0, at.trace.layers[at.layer + 1].block - at.info.block - 1)
