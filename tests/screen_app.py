"""The app as Streamlit's AppTest runs it, for tests: open a page, press a button, read what was sent to the browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from streamlit.testing.v1 import AppTest

import inspector
from inspector.ui.main import PAGES
from inspector.views.payload import decode

MAIN = Path(inspector.__file__).parent / "ui" / "main.py"
SCREENS = {title: f"screens/{file}" for pages in PAGES.values() for file, title in pages}
# Screen -> words of its sentence on how to read it.
READS = {
    "Heads": "Each row is a query token, each column a key token",
    "Vectors": "Each row is a token, each column one of the vector's dimensions",
    "Pair": "One query token looks at one key token",
    "BertViz": "Lines run from each query token on the left",
    "Verification": "A second, independent implementation of attention",
    "Walkthrough": "Follow one query token through one head",
    "Softmax": "Softmax turns any numbers into positive shares",
    "Position": "RoPE turns a query and a key two dimensions at a time",
    "Mask and heads": "one head's weights as the model computes them",
    "Context": "Each line is what one thing takes in memory",
    "Two contexts": "The same word in two prompts",
    "it → cat": "what does “it” look at?",
    "Same numbers, four ways": "computed in four ways from the same queries",
}


def open_app(screen: str = "Heads", **address: str) -> AppTest:
    app = AppTest.from_file(str(MAIN), default_timeout=120)
    for name, value in address.items():
        app.query_params[name] = value
    app.run()
    if screen != "Heads":
        app.switch_page(SCREENS[screen]).run()
    assert not app.exception
    return app


def address_of(app: AppTest) -> dict[str, str]:
    """The address bar's parameters; AppTest gives each as a text or as a list of one."""
    return {name: said[0] if isinstance(said, list) else said for name, said in app.query_params.items()}


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


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click()
    app.run()
