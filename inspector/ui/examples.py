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
        gone: a layer and heads of it without which the packaged model expects something else (a test measures it).
        beside: another prompt to compare it with; empty: none.
    """

    title: str
    prompt: str
    see: str
    where: tuple[int, int]
    gone: tuple[int, tuple[int, ...]] | None = None
    beside: str = ""


EXAMPLES = (
    Example(
        "Houston, we have a problem",
        "Houston, we have a problem",
        "many heads give most of their attention to the first token, the attention sink: a strong left edge. "
        "Others look one token back: a line below the diagonal.",
        where=(16, 0),
        gone=(1, (3, 4, 5)),  # KL 1.8 bits, against 0.04 of three random heads
        beside="Houston, you have a problem",
    ),
    Example(
        "The cat … because it was tired",
        "The cat sat on the mat because it was tired.",
        "the rows of “it” and “tired” look back at “cat”: who is tired?",
        where=(13, 8),
        beside="The dog sat on the mat because it was tired.",
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
