"""Remember what a visitor has asked for and chosen: the request, and layer, head, what to show and scale.

Both are remembered by the browser's tab too (components/memory.py), for a reload, and the selection stands behind the #
of the address. Everything that comes from there is checked, and what does not fit falls back to the default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from inspector.analysis.head_scores import MEASURES
from inspector.analysis.score_definitions import EVERY
from inspector.errors import InspectorError
from inspector.learn.stations import STATIONS
from inspector.ui.edits import read_edits
from inspector.ui.examples import EXAMPLES
from inspector.ui.server.settings import MOST_CHARACTERS, model_choice
from inspector.views.head_question import SCALES, SHOWS, SINKS, UNITS

if TYPE_CHECKING:
    from inspector.capture.records import LayerInfo

VIEWS = {"head": "Head view", "model": "Model view", "neuron": "Neuron view"}  # BertViz's
STATISTICS = {
    **{measure.name: measure.title for measure in EVERY.values() if measure.name != "narrow"},
    "distance variance": "Spread of distances (variance)",
    "largest weight": "Largest weight of all rows",
}  # of an atlas
ORDERS = {"layers": "All, by layer and head", **{measure.name: measure.title for measure in MEASURES}}
SPLITS = {"compared": "Compared with another", "alone": "By itself"}

_REQUEST, _SELECTION, _PROBLEM = "request", "selection", "problem"
_UPLOADED, _AGREED = "uploaded_trace", "agreed_request"
_REFUSED, _BEFORE, _OTHER = "edits_refused", "edits_before", "other_prompt"
TEXTS = ("token", "against")  # fields of the selection that are any short text, of one prompt
WORDS = (*TEXTS, "atlas")  # and those of any
MOST_TEXT = 100
MOST_BEFORE = 50  # lists of edits that can be gone back to
NUMBER = re.compile(r"[0-9]{1,7}")  # in an address; whether there is such a layer or token is judged where it is used


@dataclass(frozen=True)
class Request:
    """One model and one prompt: what is computed, and part of the key under which it is stored.

    Attributes:
        model: a model's name, folder or file.
        prompt: the prompt's text.
        file: of a trace that a visitor uploaded, the hash of the file's bytes; nothing is run then, model and prompt
            only say what the file says.
        file_name: what that file was called, a word for the screen and never a path.
        generate: how many tokens the model goes on to write after the prompt, which are then looked at with it.
        precision: vectors are stored rounded to this dtype; empty: as the model made them.
        chat: whether the prompt goes through the tokenizer's chat template first.
    """

    model: str
    prompt: str
    file: str = ""
    file_name: str = ""
    generate: int = 0
    precision: str = ""
    chat: bool = False


@dataclass(frozen=True)
class Selection:
    """What is looked at. Field names are the names in the address; what is at its default is left out there.

    Attributes:
        layer: counts attention layers from 0.
        head: the query head, from 0.
        show: which numbers.
        scale: the colour scale.
        query: position of the query token that was chosen; -1: none.
        key: position of the key token that was chosen; -1: none.
        sink: whether the first token's column is left out and the rest scaled up.
        unit: cells of tokens or of words.
        order: a measure of head_scores by which the heads are sorted, or "layers".
        view: which of BertViz's.
        station: how far the Walkthrough has come.
        edits: what is changed of the attention, on paper (ui/edits.py); empty: the page Change begins with its own.
        token: the next token whose logit Change looks at; empty: the most probable one.
        against: the token whose logit is subtracted; empty: the mean of all.
        split: whether Why splits the logit against that, or by itself.
        cut: whether Why cuts each token off in turn.
        atlas: the atlas on the page Atlas, by the name that the server gives it; empty: the first.
        by: the statistic that colours the atlas's grid.
        beside: the other statistic of its scatter.
    """

    layer: int
    head: int
    show: str = "weights"
    scale: str = "sqrt"
    query: int = -1
    key: int = -1
    sink: str = "with"
    unit: str = "tokens"
    order: str = "layers"
    view: str = "head"
    station: str = "tokens"
    edits: str = ""
    token: str = ""
    against: str = ""
    split: str = "compared"
    cut: str = "no"
    atlas: str = ""
    by: str = "first"
    beside: str = "entropy"


@dataclass(frozen=True)
class Problem:
    """A request that failed, and the sentence that says why; not tried again until asked for again."""

    request: Request
    sentence: str


# -- the request -----------------------------------------------------------------------------------------


def request() -> Request:
    """Return what this visitor asked for last; on the first visit the first model with the first example."""
    if _REQUEST not in st.session_state:
        st.session_state[_REQUEST] = Request(model_choice().models[0], EXAMPLES[0].prompt)
    asked: Request = st.session_state[_REQUEST]
    return asked


def has_asked() -> bool:
    """Return whether this visitor has a request already, their own or the first visit's."""
    return _REQUEST in st.session_state


def ask(
    *,
    model: str | None = None,
    prompt: str | None = None,
    generate: int | None = None,
    precision: str = "",
    chat: bool | None = None,
) -> None:
    """Ask for another model, prompt, or more tokens; forget an earlier failure, and close an uploaded trace.

    Args:
        model: the model; None: as it is.
        prompt: the prompt; None: as it is.
        generate: how many tokens the model shall write; None: as many as before.
        precision: what vectors are rounded to; empty: they are not.
        chat: whether the prompt goes through the chat template; None: as before.
    """
    before = request()
    wanted = Request(
        before.model if model is None else model,
        before.prompt if prompt is None else prompt,
        generate=before.generate if generate is None else generate,
        precision=precision,
        chat=before.chat if chat is None else chat,
    )
    st.session_state[_REQUEST] = wanted
    st.session_state.pop(_PROBLEM, None)
    close_upload()


def problem() -> Problem | None:
    """Return why the present request failed, if it did."""
    found: Problem | None = st.session_state.get(_PROBLEM)
    return found if found is not None and found.request == request() else None


def fail(sentence: str) -> None:
    """Remember that the present request failed.

    Args:
        sentence: why.
    """
    st.session_state[_PROBLEM] = Problem(request(), sentence)


def agree(precision: str = "") -> None:
    """Run the present long prompt, whose cost was shown.

    Args:
        precision: what vectors are rounded to; empty: they are not.
    """
    ask(precision=precision)
    st.session_state[_AGREED] = request()


def agreed() -> bool:
    """Return whether the visitor agreed to the present request, its cost known."""
    return bool(st.session_state.get(_AGREED) == request())


def uploaded() -> Request | None:
    """Return the uploaded trace that is shown instead of the request, if any."""
    found: Request | None = st.session_state.get(_UPLOADED)
    return found


def show_upload(uploaded: Request) -> None:
    """Show an uploaded trace; the request stays as it is, for when the file is closed.

    Args:
        uploaded: the request that shows it.
    """
    st.session_state[_UPLOADED] = uploaded


def close_upload() -> None:
    """Go back to what was asked for."""
    st.session_state.pop(_UPLOADED, None)


# -- the selection ---------------------------------------------------------------------------------------


# Field -> what it may be; the first is its default.
CHOICES: dict[str, dict[str, str]] = {
    "show": SHOWS,
    "scale": SCALES,
    "sink": SINKS,
    "unit": UNITS,
    "order": ORDERS,
    "view": VIEWS,
    "station": STATIONS,
    "split": SPLITS,
    "cut": {"no": "No", "yes": "Yes"},
    "by": STATISTICS,
    "beside": STATISTICS,
}


def selection(layers: Sequence[LayerInfo], tokens: int, default: Callable[[], tuple[int, int]]) -> Selection:
    """Return the present selection, fitted to this model and prompt.

    Args:
        layers: the model's layers.
        tokens: how many tokens the prompt has.
        default: gives the (layer, head) to show where neither the visitor nor the address says one that exists.

    Returns:
        The selection.
    """
    chosen: dict[str, Any] = dict(st.session_state.get(_SELECTION, {}))
    layer, head = chosen.get("layer", -1), chosen.get("head", -1)
    if not 0 <= layer < len(layers):
        layer, head = default()
    elif not 0 <= head < layers[layer].heads:
        head = 0
    fitted = Selection(layer, head)
    for name, options in CHOICES.items():
        if chosen.get(name) in options:
            fitted = replace(fitted, **{name: chosen[name]})
    fitted = replace(fitted, **{name: chosen.get(name, "") for name in ("edits", *WORDS)})
    for name in ("query", "key"):
        if 0 <= chosen.get(name, -1) < tokens:
            fitted = replace(fitted, **{name: chosen[name]})
    st.session_state[_SELECTION] = asdict(fitted)
    return fitted


def select(**changes: int | str) -> None:
    """Change part of the selection; it is fitted to the model when it is read next.

    Args:
        changes: fields of Selection with their new values.
    """
    st.session_state[_SELECTION] = {**st.session_state.get(_SELECTION, {}), **changes}


def select_said(said: object) -> None:
    """Change the selection to what a browser or an address says, as far as it is a selection.

    Args:
        said: names and values; numbers may be written as text. It may be anything.
    """
    if not isinstance(said, Mapping):
        return
    found: dict[str, int | str] = {}
    texts: dict[str, str] = {}
    for name in (field.name for field in fields(Selection)):
        value = said.get(name)
        if name in CHOICES:
            if isinstance(value, str) and value in CHOICES[name]:
                found[name] = value
        elif name in ("edits", *WORDS):
            if isinstance(value, str) or (isinstance(value, int) and name in WORDS):  # a token "7" came as a number
                texts[name] = str(value)
        elif isinstance(value, int) and not isinstance(value, bool) and -1 <= value < 10**7:
            found[name] = value
        elif isinstance(value, str):
            found[name] = int(value) if NUMBER.fullmatch(value) else -1  # falls back to the default
    select(**found, **{name: text for name, text in texts.items() if name in WORDS and len(text) <= MOST_TEXT})
    if "edits" in texts:
        _take_edits(texts["edits"])


def begin_with(layer: int, head: int) -> None:
    """Choose the head that a screen begins with, where none has been chosen.

    Args:
        layer: counts attention layers from 0.
        head: the query head, from 0.
    """
    if "layer" not in st.session_state.get(_SELECTION, {}):
        select(layer=layer, head=head)


def forget_place() -> None:
    """Forget which head and tokens were chosen, and what was changed of them; how they are shown stays."""
    for name in (_BEFORE, _REFUSED):
        st.session_state.pop(name, None)
    chosen = st.session_state.get(_SELECTION, {})
    st.session_state[_SELECTION] = {
        name: value for name, value in chosen.items() if name not in ("layer", "head", "query", "key", "edits", *TEXTS)
    }


# -- the other prompt of Compare -------------------------------------------------------------------------


def other_prompt() -> str | None:
    """Return the prompt that the visitor compares with; None where none was given yet for this one."""
    said: tuple[Request, str] | None = st.session_state.get(_OTHER)
    return said[1] if said is not None and said[0] == request() else None


def take_other_prompt(text: object) -> None:
    """Remember what the present prompt is compared with.

    Args:
        text: the other prompt; it may be anything, and what is no text or too long is left out.
    """
    if isinstance(text, str) and len(text) <= MOST_CHARACTERS:
        st.session_state[_OTHER] = (request(), text.encode("utf-8", "replace").decode("utf-8"))


# -- the edits -------------------------------------------------------------------------------------------


def change_edits(paper: str) -> None:
    """Take another list of edits; the one before can be gone back to. What is refused changes nothing, and is said.

    Args:
        paper: the edits on paper; they may come from anywhere.
    """
    before = st.session_state.get(_SELECTION, {}).get("edits", "")
    if paper != before and _take_edits(paper):
        st.session_state[_BEFORE] = [*st.session_state.get(_BEFORE, []), before][-MOST_BEFORE:]


def _take_edits(paper: str) -> bool:
    """Take a list of edits if it can be read; say why where not."""
    try:
        read_edits(paper)
    except InspectorError as refused:
        refuse_edits(str(refused))
        return False
    st.session_state.pop(_REFUSED, None)
    select(edits=paper)
    return True


def refuse_edits(sentence: str) -> None:
    """Remember why a list of edits was not taken.

    Args:
        sentence: why.
    """
    st.session_state[_REFUSED] = sentence


def refused_edits() -> str:
    """Return why the last list of edits was not taken; empty where it was."""
    return str(st.session_state.get(_REFUSED, ""))


def can_undo_edits() -> bool:
    """Return whether there is a list of edits to go back to."""
    return bool(st.session_state.get(_BEFORE))


def undo_edits() -> None:
    """Go back to the list of edits before the present one."""
    st.session_state.pop(_REFUSED, None)
    before = list(st.session_state.get(_BEFORE, []))
    if before:
        select(edits=before.pop())
        st.session_state[_BEFORE] = before


def selected() -> dict[str, Any]:
    """Return the selection as it was last read or changed; empty before that."""
    return dict(st.session_state.get(_SELECTION, {}))
