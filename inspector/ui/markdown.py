"""Write text from people, tokenizers and hubs as literal Markdown, and put numbers in words.

Token text is data: it never reaches `unsafe_allow_html`, and its *stars*, [links] and <tags> stay characters.
"""

from __future__ import annotations

import re

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")  # every ASCII punctuation mark may be escaped in CommonMark

_DRAWN = re.compile(r"(?<!\S)([<~>-])(->|-|>|=)(?!\S)")  # Streamlit draws "->", "--", ">=" and so on as one sign
_JOINER = "\u2060"  # no width, no space: two characters are not taken for one sign


def plain(text: str) -> str:
    """Escape a text so that Markdown shows exactly its characters, on one line.

    Args:
        text: any text.

    Returns:
        Markdown.
    """
    line = _DRAWN.sub(rf"\1{_JOINER}\2", " ".join(text.split()))
    return _PUNCTUATION.sub(r"\\\1", line)


def short(text: str, most: int = 60) -> str:
    """Cut a text to one line, with an ellipsis where it was cut.

    Args:
        text: any text.
        most: how many characters may be left.

    Returns:
        The text on one line.
    """
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def count(number: int, noun: str) -> str:
    """Write a number with its noun: 1 token, 2 tokens, 1,024 tokens.

    Args:
        number: how many.
        noun: the noun in the singular.

    Returns:
        The words.
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def ordered(numbers: list[int]) -> str:
    """Write numbers as a list in a sentence: 3; 3 and 4; 3, 4 and 5.

    Args:
        numbers: the numbers.

    Returns:
        The words.
    """
    words = [str(number) for number in numbers]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
