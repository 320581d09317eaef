"""Say what was found of one decoder type: a row of the table of coverage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from inspector.coverage.tiny import Entry


@dataclass(frozen=True)
class Row:
    """What was found of one decoder type.

    Attributes:
        model_type: the library's name of the type.
        class_name: the library's class.
        alias_of: the type whose text model this one has; "" for one of its own.
        known: whether the survey knows it.
        otherwise: what it has in place of one softmax over queries and keys, as surveyed; "" where it has just that.
        rope: whether it uses RoPE.
        captured: its attention was recorded, in `layers` attention layers.
        layers: how many.
        reimplemented: verification held at every stage, and every planted mistake was caught.
        differences: stage -> the largest difference of any layer; empty where nothing was compared.
        differing: elements that differ at all, over all stages and layers.
        planted: planted mistakes that apply.
        caught: those noticed.
        missed: names of the others.
        unexplained: why weights computed from the captured queries and keys would not be the library's; "": they are.
        reason: one sentence where it is not captured, not reimplemented or not verified; else "".
        broken: the examination itself broke off: the type crashed, hung or raised what nobody foresaw.
        published: the checkpoint whose config, sizes shrunk, was verified too; "": none.
        seconds: what the examination took.
    """

    model_type: str
    class_name: str
    alias_of: str = ""
    known: bool = True
    otherwise: str = ""
    rope: bool = False
    captured: bool = False
    layers: int = 0
    reimplemented: bool = False
    differences: Mapping[str, float] = field(default_factory=dict)
    differing: int = 0
    planted: int = 0
    caught: int = 0
    missed: tuple[str, ...] = ()
    unexplained: str = ""
    reason: str = ""
    broken: bool = False
    published: str = ""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Return whether it was compared with the library and differed, or missed a planted mistake."""
        return bool(self.differences) and not self.reimplemented

    @property
    def largest(self) -> float | None:
        """Return the largest difference at any stage; None where nothing was compared."""
        return max(self.differences.values()) if self.differences else None

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON (what is not finite as null)."""
        finite = {stage: size if math.isfinite(size) else None for stage, size in self.differences.items()}
        return {**asdict(self), "differences": finite, "failed": self.failed}

    def __str__(self) -> str:
        captured = f"captured {self.layers:>2} layers" if self.captured else "not captured"
        verified = "verified" if self.reimplemented else "FAILED" if self.failed else "not verified"
        text = f"{self.model_type:<26} {captured:<18} {verified:<13}"
        if self.largest is not None:
            text += f" largest difference {self.largest:<8.3g} {self.caught} of {self.planted} mistakes caught"
        if self.alias_of:
            text += f"  (as {self.alias_of})"
        return f"{text}  {self.reason}".rstrip()


def blank_row(entry: Entry) -> Row:
    """Return the row of a type of which nothing was found yet.

    Args:
        entry: the type.

    Returns:
        Its row.
    """
    return Row(entry.name, entry.class_name, known=entry.known, otherwise=entry.otherwise, rope=bool(entry.rope))
