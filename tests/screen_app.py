"""The app as Streamlit's AppTest runs it, for tests: open a page, press a button, read what was sent to the browser."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from streamlit.testing.v1 import AppTest

import inspector
from inspector.ui import state
from inspector.ui.examples import EXAMPLES
from inspector.ui.pages import PAGES
from inspector.ui.screens.labs.table import BY_NAME
from inspector.ui.server.settings import model_choice
from inspector.views.payload import decode

MAIN = Path(inspector.__file__).parent / "ui" / "main.py"
SCREENS = {title: f"screens/{file}" for pages in PAGES.values() for file, _, title in pages}
PATHS = {title: f"/{path}" for pages in PAGES.values() for _, path, title in pages}
# Screen -> words of its sentence on how to read it.
READS = {
    "Heads": "many heads give most of their attention to the first token",
    "Vectors": "Each row is a token, each column one of the vector's dimensions",
    "Pair": "One query token looks at one key token",
    "Lines": "Lines run from each query token on the left",
    "Change": "Take a part of the attention away and run the text again",
    "Compare": "Two prompts in one model, aligned by the tokens that both have",
    "Why": "Why does the model expect this next token?",
    "Atlas": "Means over the query tokens of many texts",
    "Verify": "A second, independent implementation of attention",
    **{
        BY_NAME[name].title: words
        for name, words in {
            "learn": "Every number on these pages is computed by the model on your text",
            "walkthrough": "Follow one query token through one head",
            "softmax": "Softmax turns any numbers into positive shares",
            "position": "RoPE turns a query and a key two dimensions at a time",
            "mask_and_heads": "One head's weights as the model computes them",
            "context": "Each line is what one thing takes in memory",
            "two_contexts": "The same word in two prompts",
            "it_and_cat": "what does “it” look at?",
            "four_ways": "computed in four ways from the same queries",
            "cross_attention": "Queries from your text, keys and values from another",
            "dropout": "some models set weights to 0 at random",
            "head_shares": "Each head's context vector times its own slice",
        }.items()
    },
}


def new_app(request: state.Request | None = None, *, script: Path = MAIN, **chosen: str) -> AppTest:
    """The app as a tab finds it that has told what it remembers: AppTest has no browser that could."""
    app = AppTest.from_file(str(script), default_timeout=120)
    app.session_state["request"] = request or state.Request(model_choice().models[0], EXAMPLES[0].prompt)
    app.session_state["selection"] = {
        name: int(value) if state.NUMBER.fullmatch(value) else value for name, value in chosen.items()
    }
    return app


def open_app(screen: str = "Heads", **chosen: str) -> AppTest:
    app = new_app(**chosen)
    app.run()
    if screen != "Heads":
        app.switch_page(SCREENS[screen]).run()
    assert not app.exception
    return app


def chosen_in(app: AppTest) -> dict[str, str]:
    """What is chosen and not as usual, in the words that stand behind the # of the address."""
    usual = asdict(state.Selection(-1, -1))
    return {name: str(value) for name, value in app.session_state["selection"].items() if value != usual[name]}


def payloads(app: AppTest, key: str, dtype: str = "float32"):
    """Header and numbers of the component whose key is `key`."""
    for found in app.get("bidi_component"):
        if key in found.proto.id:
            return decode(found.proto.bytes, dtype)
    raise AssertionError(f"no component with key {key}")


def whole(header, numbers) -> np.ndarray:
    """The picture as [rows, columns] with NaN where nothing was sent."""
    rows, columns = header["shape"]
    if header["packing"] == "full":
        return numbers.reshape(rows, columns)
    full = np.full((rows, columns), np.nan, dtype=np.float32)
    full[np.tril_indices(rows)] = numbers
    return full


def field(app: AppTest, name: str) -> Any:
    """The field of the bar whose key begins with this name: it has another one for each request."""
    fields = [*app.text_area, *app.number_input, *app.toggle]
    return next(each for each in fields if str(each.key).startswith(f"{name}_field_"))


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click()
    app.run()
