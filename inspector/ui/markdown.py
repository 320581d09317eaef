"""Text from people, tokenizers and hubs goes in; the same text as literal Markdown comes out.

Token text is data: it never reaches `unsafe_allow_html`, and its *stars*, [links] and <tags> stay characters.
"""

from __future__ import annotations

import re

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")  # every ASCII punctuation mark may be escaped in CommonMark

_DRAWN = re.compile(r"(?<!\S)([<~>-])(->|-|>|=)(?!\S)")  # Streamlit draws "->", "--", ">=" and so on as one sign
_JOINER = "\u2060"  # no width, no space: keeps two characters from being taken for one sign


def plain(text: str) -> str:
    """`text` so that Markdown shows exactly its characters, on one line."""
    line = _DRAWN.sub(rf"\1{_JOINER}\2", " ".join(text.split()))
    return _PUNCTUATION.sub(r"\\\1", line)


def short(text: str, most: int = 60) -> str:
    """At most `most` characters of `text` on one line, with an ellipsis where it was cut."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def count(number: int, noun: str) -> str:
    """1 token, 2 tokens, 1,024 tokens."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def ordered(numbers: list[int]) -> str:
    """3; 3 and 4; 3, 4 and 5."""
    words = [str(number) for number in numbers]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
