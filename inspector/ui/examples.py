"""List example prompts, each with a sentence that says what to look for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A prompt with something to see.

    Attributes:
        title: stands in the list.
        prompt: the prompt's text.
        see: what to look for; stands above the picture while this prompt is shown.
        where: (layer, head) that shows it best in the packaged model (a test measures each).
    """

    title: str
    prompt: str
    see: str
    where: tuple[int, int]


EXAMPLES = (
    Example(
        "Houston, we have a problem",
        "Houston, we have a problem",
        "many heads give most of their attention to the first token, the attention sink: a strong left edge. "
        "Others look one token back: a line below the diagonal.",
        where=(16, 0),
    ),
    Example(
        "The cat … because it was tired",
        "The cat sat on the mat because it was tired.",
        "the rows of “it” and “tired” look back at “cat”: who is tired?",
        where=(13, 8),
    ),
    Example(
        "A phrase said twice (induction)",
        "Red lion, blue moon, seven stones, old river. Red lion, blue moon, seven stones, old river.",
        "from the second “Red” on, each token looks at the one that followed it the first time: a line parallel "
        "to the diagonal. That is induction.",
        where=(18, 6),
    ),
    Example(
        "One word, two meanings (light)",
        "The light in the hall was dim, but the box was light enough to carry.",
        "compare the two rows of “light”: the second one, a weight, looks at “box”; the first one, a lamp, is "
        "what “dim” looks at.",
        where=(13, 8),
    ),
    Example(
        "A list in order",
        "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday,",
        "each name looks at the name before it and skips the comma between.",
        where=(12, 8),
    ),
    Example(
        "Emoji, Japanese, code",
        "日本語 and 🙂🚀:\ndef add(a, b):\n    return a + b\n",
        "one character can be several tokens, 語⟨1/3⟩; white space is a token too, ␣ and ↵.",
        where=(11, 1),
    ),
)
