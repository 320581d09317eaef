"""Whether the tokenizer that the library built is the one that the folder's tokenizer.json describes.

The library's classes rebuild some parts (how digits are cut, which special tokens are added) from their own code
instead of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

# Short and varied: each text tries one habit of tokenizers.
TEXTS = (
    "Houston, we have a problem.",
    "1234567890 + 12.5 = 20%",
    "  two  spaces,\ttab\nnew line \n\n",
    "naïve Ångström, 日本語, Привет",
    "🙂👍🏽",
    "don't WE'LL x_y == f(z);",
)
SHOWN = 12  # ids in the sentence


def tokenizer_remark(tokenizer: Any, folder: Path) -> str:
    """Compare the tokenizer's ids of a few texts with those of the folder's tokenizer.json.

    Args:
        tokenizer: the library's.
        folder: the model's.

    Returns:
        A sentence that says what differs; empty where nothing does, or where there is no such file.
    """
    path = folder / "tokenizer.json"
    try:
        described = Tokenizer.from_file(str(path))
        described.no_truncation()
        described.no_padding()
    except Exception:  # the tokenizers library raises plain Exception: for a file that is not there, or not its own
        return ""
    for text in TEXTS:
        built, due = _ids(tokenizer, text), described.encode(text).ids
        if built is not None and built != due:
            return (
                f"The tokenizer at hand is not the one of {path.name}: {text!r} is {_shown(built)} by it, and "
                f"{_shown(due)} by the file. The prompt's tokens are those of the tokenizer at hand."
            )
    return ""


def _ids(tokenizer: Any, text: str) -> list[int] | None:
    """Return a text's token ids; None where the tokenizer cannot take it."""
    try:
        return list(tokenizer(text)["input_ids"])
    except Exception:  # a tokenizer may be anybody's; a prompt that it refuses is refused when it is given
        return None


def _shown(ids: list[int]) -> str:
    """Write token ids, the first of many."""
    return f"[{', '.join(map(str, ids[:SHOWN]))}{', ...' * (len(ids) > SHOWN)}]"
