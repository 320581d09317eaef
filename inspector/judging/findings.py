"""The rows of a judgement, as data: stages, gradients, ways of giving the text, and which mistakes would have shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal[
    "right", "right to bfloat16", "right to float16", "right, in another layout", "different", "not shown"
]
Step = Literal[
    "input", "project", "norm", "rotate", "score", "mask", "softmax", "weighted sum", "concatenate", "output projection"
]
TOKENS, CHUNKS, PADDED, PACKED = "token by token", "in chunks", "left-padded", "packed"  # ways beside the whole text
GRADIENTS = "gradients"  # the way of comparing that shows mistakes of a backward pass
NOT_ASKED = "your attention was given whole texts only"  # why no mistake of a cache shows
# Of the known mistakes: where fewer would have shown, being equal says little. Limits of half precision hide more.
LEAST_SHOWN, LEAST_SHOWN_IN_HALF = 0.25, 0.5


@dataclass(frozen=True)
class StepCheck:
    """One stage of one layer, compared with the model's, and with what the step makes of your numbers before it.

    max_abs: the largest difference from the model's numbers. worst: the element that is furthest over its own limit,
    which is `tolerance`; each number has its own, so that a larger difference elsewhere may be within its limit.
    own_abs, own_tolerance, own_ok: against the right step on your own numbers; None where that cannot be computed.
    """

    layer: int
    stage: str
    step: str
    max_abs: float
    tolerance: float
    differing: int
    elements: int
    worst: str
    reason: str
    ok: bool
    own_abs: float | None = None
    own_tolerance: float | None = None
    own_ok: bool | None = None


@dataclass(frozen=True)
class GradientCheck:
    """One gradient of the loss in one layer, compared with ours in float64.

    by: what it is the gradient by: "input", a stage, or a matrix ("W_q", "the bias of W_k"). max_abs: the largest
    difference; infinite where no gradient comes. tolerance: how far rounding may move the number that is furthest
    over its own limit, which is `worst`.
    """

    layer: int
    by: str
    max_abs: float
    tolerance: float
    elements: int
    worst: str
    reason: str
    ok: bool


@dataclass(frozen=True)
class Way:
    """One way of giving your attention the text: whole, token by token, in chunks, left-padded, packed with others."""

    way: str
    run: bool
    ok: bool | None
    compared: int
    layer: int | None
    stage: str
    token: int | None
    max_abs: float | None
    tolerance: float | None
    why: str


@dataclass(frozen=True)
class Power:
    """One known mistake: whether it would have shown with this prompt at the stages that you handed over."""

    mistake: str
    meaning: str
    applies: bool
    shown: bool
    layer: int | None
    stage: str
    way: str
    why_not: str
