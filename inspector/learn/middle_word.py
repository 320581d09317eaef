"""Choose the token that a page begins with: a content word in the middle, for which there is something to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inspector.trace.tokens import Tokens

LETTERS = 4  # a word this long is rarely a function word
FORWARD = 0.6  # how far into the prompt: enough tokens before it to look at, some after it to be masked


def content_word(tokens: Tokens) -> int:
    """Return the position of a word that stands in the middle and is not the last token.

    Args:
        tokens: the prompt's tokens.

    Returns:
        The last token of the word of LETTERS letters or more that is nearest to the middle; where there is none, the
        middle token; 0 for a single token.
    """
    n = len(tokens)
    middle = FORWARD * (n - 1)
    words = [
        group[-1]
        for group in tokens.words
        if group[0] > 0 and group[-1] < n - 1 and _letters("".join(tokens.texts[at] for at in group)) >= LETTERS
    ]
    return min(words, key=lambda at: abs(at - middle), default=int(middle))


def _letters(text: str) -> int:
    """Count the letters."""
    return sum(character.isalpha() for character in text)
