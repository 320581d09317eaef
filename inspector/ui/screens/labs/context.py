"""Show what a longer prompt costs, by formula and counted from real tensors: "What does a long context cost?".

Some of it grows with the square of the prompt's tokens, some with their number, some not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import pandas as pd
import streamlit as st

from inspector.learn import attention_sizes, costs, counted_costs
from inspector.ui.components.chart import show_chart
from inspector.ui.markdown import count, plain
from inspector.ui.progress import Current, attempt
from inspector.ui.screens import common
from inspector.ui.screens.labs import frame
from inspector.ui.server import traces

if TYPE_CHECKING:
    from inspector.learn.attention_sizes import Parameters, Sizes
    from inspector.text import Progress
    from inspector.trace.trace import Trace

# One hue for what grows alike; blue is n², purple is n, grey does not grow.
NAME = "context"
COLOURS = {
    "weights of one head": "#9cc6ec",
    "weights of one layer": "#5a9edb",
    "weights of all layers": "#2a6fb8",
    "key/value cache": "#8e5fc2",
    "stored by the capture": "#bb9bdd",
    "attention's parameters": "#8a94a3",
    "all parameters": "#667080",
}
TOKENS = "context_tokens"
USUAL = (8192, 4096)  # tokens and d_model of the well-known example


def show() -> None:
    """Draw the screen for the prompt on screen."""
    page = frame.begin(
        NAME,
        "Each line is what one thing takes in memory as the prompt grows; both axes are logarithmic, and twice as "
        "steep means growing with n². Dots are real tensors, counted to the byte.",
    )
    if page is None:
        return
    shown, chosen = page
    trace, layer = shown.trace, chosen.layer
    found = attempt(lambda _: attention_sizes.sizes(trace))
    if found is None:
        return
    frame.about(shown)
    counted, counts, why = _count(shown, layer)
    here = trace.n  # Streamlit keeps what names the options longer than the page: it must not refer to the trace
    options = sorted({*costs.steps(found.limit), here})
    n = st.select_slider(
        "Tokens n",
        options,
        value=options[-1],
        key=TOKENS,
        format_func=lambda tokens: f"{tokens:,}" + (" (this prompt)" if tokens == here else ""),
    )
    _metrics(costs.growth(found, counted, layer, n))
    _chart(found, counted, counts, layer, n)
    _table(costs.growth(found, counted, layer, n), found, layer, n)
    with st.expander("Formulas with this model's sizes, in bytes"):
        _formulas(found, counted)
    if counts is not None:
        _compared(found, counted, counts, why, layer)
    _sharing(found, n)
    with st.expander("What if every pair of tokens had a matrix of its own?"):
        _full_tensor(found)
    common.terms("attention weight", "key/value cache", "parameter", "activation", "d_head", "d_model")
    frame.end(NAME)


def _count(shown: Current, layer: int) -> tuple[Parameters | None, pd.DataFrame | None, str]:
    """Count the parameters and real tensors; None where there is no model to run."""
    if shown.trace.model is None:
        st.info(
            "This trace was opened from a file and has no model to run: its parameters and real tensors are not "
            "counted, only formulas are shown.",
            icon=":material/info:",
        )
        return None, None, ""

    def make(trace: Trace, report: Progress) -> tuple[Parameters, pd.DataFrame, str]:
        model = traces.model(shown.request)
        counts, why = counted_costs.measured(trace, layer, progress=report)
        return attention_sizes.parameters(model), counts, why

    made = attempt(lambda report: traces.from_trace(shown.request, ("costs", layer), make, progress=report))
    return made or (None, None, "")


def _metrics(table: pd.DataFrame) -> None:
    """Show the main sizes at the chosen number of tokens."""
    sizes = dict(zip(table["what"], table["size"], strict=True))
    with st.container(horizontal=True):
        for what in ("weights of all layers", "key/value cache", "attention's parameters", "all parameters"):
            if what in sizes:
                st.metric(what.capitalize(), sizes[what], width=190)


def _chart(found: Sizes, counted: Parameters | None, counts: pd.DataFrame | None, layer: int, n: int) -> None:
    """Draw lines by formula, counted dots, and where the chosen number of tokens stands."""
    lines = costs.long(costs.by_formula(found, counted, layer, costs.steps(found.limit)), "formula")
    names = [what for what in COLOURS if what in set(lines["what"])]
    colour = alt.Color(
        "what",
        scale=alt.Scale(domain=names, range=[COLOURS[what] for what in names]),
        sort=names,
        legend=alt.Legend(title=None, orient="right", labelLimit=220),
    )
    base = alt.Chart(lines).encode(
        x=alt.X("tokens", scale=alt.Scale(type="log", nice=False), title="tokens n", axis=alt.Axis(format="~s")),
        y=alt.Y(
            "bytes", scale=alt.Scale(type="log"), title="bytes", axis=alt.Axis(labelExpr="format(datum.value, '~s')")
        ),
        color=colour,
        tooltip=["what", alt.Tooltip("tokens", format=","), alt.Tooltip("bytes", format=","), "size", "how"],
    )
    layers = [base.mark_line(strokeWidth=2.5)]
    if counts is not None:
        layers.append(base.properties(data=costs.long(counts, "counted")).mark_point(filled=True, size=45, opacity=1))
    rule = alt.Chart(pd.DataFrame({"tokens": [n]})).mark_rule(strokeDash=[4, 4], color="#808a98").encode(x="tokens")
    drawn = alt.layer(*layers, rule).properties(height=360)
    show_chart(drawn, lines, title="Bytes by number of tokens", key="costs")


def _table(table: pd.DataFrame, found: Sizes, layer: int, n: int) -> None:
    """List every size at the chosen number of tokens."""
    st.markdown(f"## {count(n, 'token')} in {plain(found.dtype)}, {found.element} bytes a number")
    config = {
        "bytes": st.column_config.NumberColumn(format="localized"),
        "twice the tokens": st.column_config.NumberColumn(
            "cost of doubling n", format="× %.3g", help="What twice as many tokens multiply it by."
        ),
    }
    st.dataframe(table, hide_index=True, column_config=config)
    st.caption(
        f"“One layer” is layer {layer}. Scores take as much as weights, and masked pairs take their place too. Fast "
        "functions never store all weights at once: they work in blocks."
    )


def _formulas(found: Sizes, counted: Parameters | None) -> None:
    """Write the formulas with this model's sizes."""
    for what, formula in costs.formulas(found).items():
        st.markdown(f"{what.capitalize()}")
        st.latex(formula)
    st.caption(
        "L layers, H query heads, G key/value heads, d = d_head, m = d_model, b bytes a number, n tokens. No n in the "
        "parameters: the same matrices serve every token."
    )
    if counted is not None and (rest := counted.attention - (found.matrices() or 0)):
        st.caption(
            f"The attention modules have {rest:,} bytes more than these four matrices: biases, norms and the like."
        )


def _compared(found: Sizes, counted: Parameters | None, counts: pd.DataFrame, why: str, layer: int) -> None:
    """Compare the formulas with real tensors."""
    formula = costs.by_formula(found, counted, layer, counts["tokens"])
    table = costs.compared(formula, counts).astype({"tokens": "Int64"})
    if counted is not None and counted.matrices is not None and (expected := found.matrices()) is not None:
        table.loc[len(table)] = ["W_q, W_k, W_v, W_o", pd.NA, expected, counted.matrices, counted.matrices - expected]
    differing = table[table["difference"] != 0]
    if len(differing):
        largest = differing.iloc[-1]
        st.warning(
            f"{len(differing)} of {len(table)} counts differ from the formula, such as {largest['what']}: counted is "
            f"× {largest['counted'] / largest['formula']:.3g}. This model caches something else than the formula's "
            "keys and values, perhaps a compressed form of them.",
            icon=":material/warning:",
        )
    words = f"{len(table)} counts of real tensors, each equal to its formula to the byte"
    with frame.proof(words if not len(differing) else "Formula against real tensors"):
        whole = {n: st.column_config.NumberColumn(format="localized") for n in ("formula", "counted", "difference")}
        st.dataframe(
            table.astype({"tokens": "Int64"}).replace({"tokens": {0: pd.NA}}), hide_index=True, column_config=whole
        )
        st.caption(
            "Counted are the weights this app computes, the library's own cache after one forward pass, and the "
            "queries, keys and values it recorded; where the prompt is too short, its tokens are repeated."
        )
    if why:
        st.info(f"The cache was not counted. {plain(why)}", icon=":material/info:")


def _sharing(found: Sizes, n: int) -> None:
    """Show what sharing keys and values among query heads saves."""
    here, alone = found.cache(n), found.without_sharing().cache(n)
    if here == alone:
        st.caption("Every query head has keys and values of its own here, so nothing in the cache is shared.")
        return
    first = found.layers[0]
    st.markdown("**Sharing keys and values among query heads** saves memory in the cache:")
    with st.container(horizontal=True):
        st.metric(f"Cache with {count(first.kv_heads, 'key/value head')} a layer", costs.human(here), width=300)
        st.metric(f"If all {first.heads} heads had their own", costs.human(alone), width=300)
        st.metric("Saved", f"× {alone / here:.3g}", width=130)


def _full_tensor(found: Sizes) -> None:
    """Show the size of a matrix of its own for every pair of tokens."""
    n, d = USUAL
    st.markdown(
        "A learned matrix of its own for every pair of tokens would be a tensor [n, n, d_model, d_model]. Attention "
        "needs one number for each pair and head instead: a dot product. One set of matrices serves all tokens."
    )
    with st.container(horizontal=True):
        st.metric(f"n {n:,}, d_model {d:,}, float32", costs.human(costs.nobody_builds(n, d)), width=300)
        if found.d_model is not None:
            own = found.limit or n
            size = costs.nobody_builds(own, found.d_model, element=found.element)
            st.metric(
                f"This model: n {own:,}, d_model {found.d_model:,}, {plain(found.dtype)}", costs.human(size), width=400
            )


if __name__ == "__main__":  # Streamlit runs a page as a script
    show()
