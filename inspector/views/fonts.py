"""Choose the fonts of a static figure letter by letter, and measure text with them.

Token text may hold anything. What no installed font has becomes a replacement character, so that matplotlib never
has to warn of a missing glyph; the text of an SVG is put back as it was (svg.py), since its reader has other fonts.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

from matplotlib import font_manager
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

# The first that is installed and has a letter draws it. matplotlib brings DejaVu Sans, so there is always one.
FAMILIES = (
    "DejaVu Sans",
    "Noto Sans",
    "Arial",
    "Liberation Sans",
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Hiragino Sans",
    "PingFang SC",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "WenQuanYi Zen Hei",
    "MS Gothic",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Nirmala UI",
    "Arial Unicode MS",
    "Segoe UI Symbol",
    "Noto Sans Symbols",
    "Noto Sans Symbols 2",
    "Noto Emoji",
    "Symbola",
)
MISSING = "\ufffd"
# Says "from left to right" without being seen: a position and its token stay in this order, also where the token is
# written from right to left.
LEFT_TO_RIGHT = "\u200e"
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")
# Two that are no letters, and those that turn the direction of what follows.
_REFUSED = frozenset("\ufffe\uffff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_RENDERER: Any = RendererAgg  # without type information
_DPI = 288  # for measuring: four times matplotlib's point, so that rounding to pixels is small


def clean(text: str) -> str:
    """Replace what XML or a font does not take, or what would turn text around: controls, surrogates, line ends."""
    return "".join(
        MISSING if letter in _REFUSED or unicodedata.category(letter) in _CONTROLS else letter for letter in text
    )


def drawable(text: str, *, bold: bool = False) -> str:
    """Return a text in which every letter is one that an installed font has."""
    letters = []
    for letter in clean(text):
        if _family_of(letter, bold) is not None:
            letters.append(letter)
        elif unicodedata.category(letter) not in ("Cf", "Mn"):  # what has no shape of its own is left out
            letters.append(" " if letter.isspace() else MISSING)
    right_to_left = any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in letters)
    return LEFT_TO_RIGHT * right_to_left + "".join(letters)


def properties(text: str, size: float, *, bold: bool = False) -> FontProperties:
    """Return the fonts that have this text's letters, in the order in which they are asked for one."""
    found = {FAMILIES[0]: None} | {_family_of(letter, bold) or FAMILIES[0]: None for letter in drawable(text)}
    return FontProperties(family=list(found), size=size, weight="bold" if bold else "normal")


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return how wide a text is when it is drawn, in points."""
    return _width_at_ten(text, bold) * size / 10


def fitted(text: str, room: float, size: float) -> str:
    """Return as much of a text as fits into `room` points, with an ellipsis where it was cut."""
    if width(text, size) <= room:
        return text
    letters = list(text[:200])
    while len(letters) > 1 and width("".join(letters) + "…", size) > room:
        letters.pop()
    return "".join(letters) + "…"


def wrapped(text: str, room: float, size: float, *, bold: bool = False) -> list[str]:
    """Break a text at its spaces, and a word that is too long inside, into lines no wider than `room` points."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if width(longer, size, bold=bold) <= room:
            lines[-1] = longer
            continue
        lines += [""] * bool(lines[-1])
        for letter in word:
            if lines[-1] and width(lines[-1] + letter, size, bold=bold) > room:
                lines.append("")
            lines[-1] += letter
    return lines


@lru_cache(maxsize=65536)
def _family_of(letter: str, bold: bool) -> str | None:
    """Return the first installed family that has this letter."""
    for family in FAMILIES:
        file = _file(family, bold)
        if file is not None and font_manager.get_font(file).get_char_index(ord(letter)):
            return family
    return None


@lru_cache(maxsize=64)
def _file(family: str, bold: bool) -> str | None:
    """Return the file of an installed family; None where it is not installed."""
    if family not in font_manager.get_font_names():
        return None
    return str(font_manager.findfont(FontProperties(family=family, weight="bold" if bold else "normal")))


@lru_cache(maxsize=16384)
def _width_at_ten(text: str, bold: bool) -> float:
    """Return the width of a text of ten points."""
    renderer: Any = _RENDERER(1, 1, _DPI)
    drawn = drawable(text, bold=bold)
    wide, _, _ = renderer.get_text_width_height_descent(drawn, properties(text, 10, bold=bold), ismath=False)
    return float(wide) * 72 / _DPI
