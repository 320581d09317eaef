"""List the pages of Learn: the Walkthrough, then each laboratory as a question. Cards and titles come from here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """One page of Learn.

    Attributes:
        file: the page's file below inspector/ui/screens.
        title: what it asks; stands on its card, as its heading and in the browser's tab.
        teaser: one line of what one does there.
        icon: a Material icon's name.
    """

    file: str
    title: str
    teaser: str
    icon: str

    @property
    def name(self) -> str:
        """The file's name without folder and ending: the page's address."""
        return self.file.rpartition("/")[2].removesuffix(".py")


HOME = Page("learn.py", "Learn", "Attention, one question at a time.", "school")
WALKTHROUGH = Page(
    "walkthrough.py",
    "Walkthrough",
    "Follow one token through one head in 16 steps, from its text to the next layer.",
    "route",
)
LABORATORIES = (
    Page(
        "labs/softmax.py",
        "Why divide by the square root?",
        "Slide the scale and watch one row of attention sharpen or flatten.",
        "square_foot",
    ),
    Page(
        "labs/position.py",
        "How does RoPE encode distance?",
        "Turn a query and a key like hands of a clock; only their distance counts.",
        "rotate_right",
    ),
    Page(
        "labs/mask_and_heads.py",
        "What does the mask prevent?",
        "Switch the mask off and see where this head would look.",
        "visibility_off",
    ),
    Page(
        "labs/context.py",
        "What does a long context cost?",
        "Weights grow with n², the cache with n, parameters not at all.",
        "memory",
    ),
    Page(
        "labs/two_contexts.py",
        "Does context change a word?",
        "One word in two sentences: how far its vectors drift apart, layer by layer.",
        "compare_arrows",
    ),
    Page(
        "labs/it_and_cat.py",
        "What does “it” look at?",
        "Rank every head by how much “it” looks at “cat”.",
        "my_location",
    ),
    Page(
        "labs/four_ways.py",
        "Are all implementations equal?",
        "Loops, matrices, a batch and blocks: one vector, computed four times.",
        "balance",
    ),
    Page(
        "labs/cross_attention.py",
        "What is cross-attention?",
        "Let the tokens of your text look at the tokens of another.",
        "swap_calls",
    ),
    Page(
        "labs/dropout.py",
        "What does dropout do?",
        "Drop weights at random, and see what the mean over many draws is.",
        "grain",
    ),
    Page(
        "labs/head_shares.py",
        "What does each head contribute?",
        "Take the attention output apart into one share for each head.",
        "call_split",
    ),
)
# Station of the Walkthrough -> the laboratory in which one tries it.
TRY = {
    "tokens": "two_contexts",
    "input": "two_contexts",
    "matrices": "cross_attention",
    "vectors": "it_and_cat",
    "rope": "position",
    "pair": "it_and_cat",
    "scores": "it_and_cat",
    "scaling": "softmax",
    "mask": "mask_and_heads",
    "softmax": "softmax",
    "values": "dropout",
    "context": "four_ways",
    "heads": "head_shares",
    "output": "head_shares",
    "residual": "two_contexts",
    "next": "context",
}
PAGES = (HOME, WALKTHROUGH, *LABORATORIES)
BY_NAME = {page.name: page for page in PAGES}
