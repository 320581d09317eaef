"""Say what each label of a head means: its score, the text it is measured on, its null, and the rule that gives it.

A head gets a label only where its score is above the label's threshold, above the null's mean by 3 standard deviations
of the null over the seeds, and where both still hold of its attention without the first token. Several labels are
allowed, and none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inspector.analysis.score_definitions import EVERY, Measure

SINK_FROM = 0.3  # a head is a sink head from this mean weight on the first token (Gu et al. 2024, arXiv 2410.10781)
THRESHOLD = SINK_FROM  # of the other shares of attention too, so that no label is easier to get than another
POSITIONAL_FROM = 0.5  # of the variance of a row's scores: most of it
LOCAL_FROM = 0.5  # four tokens are easier to hit than one
DEVIATIONS = 3  # of the null's standard deviation over the seeds, which a score must be above it

Null = Literal["unrelated text", "shuffled keys"]
NULLS = {
    "unrelated text": "the same pairs of places in a text whose second half is unrelated to the first",
    "shuffled keys": "the mean over all ways to shuffle the keys that each query may look at",
}


@dataclass(frozen=True)
class Label:
    """One thing that a head may be called.

    Attributes:
        name: what a head is called.
        measure: the score, of the one table of definitions.
        text: the name of the stimulus that it is measured on.
        null: what the score is compared with.
        threshold: the smallest score of a head with this label.
        beside_first: whether it must hold without the first token, too (the label of that token alone cannot).
        source: the paper that the label comes from.
    """

    name: str
    measure: Measure
    text: str
    null: Null
    threshold: float = THRESHOLD
    beside_first: bool = True
    source: str = ""


REPEATED, ENGLISH_TEXT, LONG_TEXT = "repeated random tokens", "plain English", "longer English"
POSITION = Measure(
    "position",
    "Scores depend on distance alone",
    "share of the variance of scaled scores within rows, the first token aside, that the distance explains, in random "
    "tokens",
)
LABELS = (
    Label("Previous token", EVERY["back 1"], REPEATED, "shuffled keys", source="Elhage et al. 2021"),
    Label("Induction", EVERY["repeated"], REPEATED, "unrelated text", source="Olsson et al. 2022, arXiv 2209.11895"),
    Label("Duplicate token", EVERY["same"], REPEATED, "unrelated text", source="Wang et al. 2022, arXiv 2211.00593"),
    Label("Self", EVERY["itself"], ENGLISH_TEXT, "shuffled keys"),
    Label("Local", EVERY["local"], ENGLISH_TEXT, "shuffled keys", LOCAL_FROM),
    Label("Delimiter", EVERY["delimiter"], ENGLISH_TEXT, "shuffled keys", source="Clark et al. 2019, arXiv 1906.04341"),
    Label("Positional", POSITION, "unrelated random tokens", "shuffled keys", POSITIONAL_FROM),
    Label(
        "First-token sink",
        EVERY["first"],
        ENGLISH_TEXT,
        "shuffled keys",
        SINK_FROM,
        beside_first=False,
        source="Gu et al. 2024, arXiv 2410.10781",
    ),
)
FAR = EVERY["far"]  # no label: how much a head would lose with a cache for streaming, for people to set their own limit
STREAMS_BELOW = 0.05  # of its attention lies where such a cache has nothing


@dataclass(frozen=True)
class Score:
    """One head's score for one label.

    Attributes:
        score: mean over the texts.
        sd: its standard deviation over them.
        null: mean of the null over the texts.
        null_sd: its standard deviation over them.
        beside_first: the score of the head's attention without the first token, shared out among the others.
        beside_first_null: the null of that.
        beside_first_null_sd: its standard deviation.
    """

    score: float
    sd: float
    null: float
    null_sd: float
    beside_first: float
    beside_first_null: float
    beside_first_null_sd: float

    def earns(self, label: Label) -> bool:
        """Whether the head gets the label.

        Args:
            label: the one that this is the score of.

        Returns:
            Whether all of the rule holds.
        """
        held = self.score >= label.threshold and self.score > self.null + DEVIATIONS * self.null_sd
        if not label.beside_first:
            return held
        above = self.beside_first > self.beside_first_null + DEVIATIONS * self.beside_first_null_sd
        return held and above and self.beside_first >= label.threshold
