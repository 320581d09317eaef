"""Say on paper what is changed of a model's attention in a run: frozen data with a schema, and nothing of a model.

`editor.py` carries edits out; `inspector.lab` has a function for each kind. Values from elsewhere are named (token ids
that are run again, or a saved trace with its hash), never embedded. On paper no position is negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, get_args

from inspector.errors import InspectorError
from inspector.text import few, refuse_other, spans

Stage = Literal["rotation", "vectors", "mask", "weights", "context"]  # in the order of computation
Vectors = Literal["query", "key", "value", "weights", "context"]  # what a patch can replace
When = Literal["both", "prompt", "new"]


@dataclass(frozen=True)
class Kind:
    """A row of the table of kinds.

    Attributes:
        stage: where in the attention it acts; a patch acts at the stage of its vectors.
        needs: fields that it cannot be without.
        takes: further fields that it may have, beside layers and strength, which all have.
        words: what it does, as part of a sentence.
    """

    stage: Stage
    needs: tuple[str, ...]
    takes: tuple[str, ...]
    words: str


_ROWS = ("heads", "queries", "when")
KINDS: dict[str, Kind] = {
    "zero": Kind("context", (), _ROWS, "head output set to zero"),
    "scale": Kind("context", ("factor",), _ROWS, "head output multiplied"),
    "mean": Kind("context", ("source",), (*_ROWS, "by_position"), "head output replaced by its mean"),
    "patch": Kind("context", ("what", "source"), ("heads", "positions", "source_positions"), "replaced from elsewhere"),
    "cut": Kind("mask", ("keys",), _ROWS, "edges cut before the softmax"),
    "drop": Kind("weights", ("keys",), _ROWS, "weights set to zero after the softmax"),
    "zero_value": Kind("vectors", ("keys",), ("heads",), "value vectors set to zero"),
    "rope_off": Kind("rotation", (), ("planes",), "rotation by position switched off"),
    "rope_base": Kind("rotation", ("base",), (), "RoPE with another base"),
    "rope_positions": Kind("rotation", (), ("positions", "shift"), "tokens rotated as if they stood elsewhere"),
    "mask_off": Kind("mask", (), _ROWS, "mask switched off"),
    "window": Kind("mask", ("window",), _ROWS, "mask narrowed to a window"),
    "temperature": Kind("vectors", ("factor",), _ROWS, "scores multiplied"),
    "scale_off": Kind("vectors", (), _ROWS, "scores not scaled"),
}
PATCH_STAGES: dict[str, Stage] = {
    "query": "vectors",
    "key": "vectors",
    "value": "vectors",
    "weights": "weights",
    "context": "context",
}


MOST_TOKENS = 2**31 - 1  # of a shift or a window: what tensors of positions hold


@dataclass(frozen=True)
class Source:
    """Where values from elsewhere come from: prompts that are run again by the same model, a saved trace, or means.

    Attributes:
        prompts: token ids of each prompt; empty where it is a file.
        trace: a file that `trace.save` wrote; empty where it is none.
        means: a file of mean context vectors that an atlas has written; empty where it is none.
        sha256: the hash of that file's bytes.
    """

    prompts: tuple[tuple[int, ...], ...] = ()
    trace: str = ""
    means: str = ""
    sha256: str = ""

    def to_data(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        if self.trace:
            return {"trace": self.trace, "sha256": self.sha256}
        if self.means:
            return {"means": self.means, "sha256": self.sha256}
        return {"prompts": [list(ids) for ids in self.prompts]}


@dataclass(frozen=True, kw_only=True, repr=False)
class Edit:
    """One change of a model's attention in a run.

    Attributes:
        kind: what is done, one of KINDS.
        layers: the attention layers it is done in, from 0; None: in all.
        heads: the query heads; None: all. Of keys and values, all heads of a group.
        queries: the query tokens whose rows it acts on; None: all.
        keys: the key tokens; each row's own token is spared by "cut", unless `queries` are named.
        when: on the rows of the prompt's tokens, of those written since ("new"), or both.
        strength: 1 does it wholly, 0 not at all; between them is between.
        factor: what head outputs or scores are multiplied by.
        what: which vectors a patch replaces.
        source: where values from elsewhere come from.
        by_position: a mean by the token's position over several prompts, instead of over their tokens from the second.
        positions: of a patch: the tokens replaced (None: all). Of RoPE: where each token of the prompt is to stand.
        source_positions: the tokens of the source that a patch takes instead, as many.
        planes: which planes of RoPE; None: all.
        base: RoPE's base.
        shift: how far all tokens are moved.
        window: how many tokens back a query may look, itself counted.
    """

    kind: str
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    queries: tuple[int, ...] | None = None
    keys: tuple[int, ...] | None = None
    when: When = "both"
    strength: float = 1.0
    factor: float | None = None
    what: Vectors | None = None
    source: Source | None = None
    by_position: bool = False
    positions: tuple[int, ...] | None = None
    source_positions: tuple[int, ...] | None = None
    planes: tuple[int, ...] | None = None
    base: float | None = None
    shift: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        refuse_other(self.kind, KINDS, "kind of edit")
        kind, said = KINDS[self.kind], {one.name for one in fields(self) if getattr(self, one.name) != one.default}
        said -= {"kind", "layers", "strength"}
        if wrong := sorted(said - {*kind.needs, *kind.takes}):
            raise InspectorError(f"An edit of kind {self.kind!r} takes no {few(wrong)}: leave that out.")
        if missing := [name for name in kind.needs if getattr(self, name) is None]:
            raise InspectorError(f"An edit of kind {self.kind!r} needs {few(missing)}: give it.")
        if empty := [name for name in ("layers", "heads") if getattr(self, name) == ()]:
            raise InspectorError(f"An edit of no {few(empty)} changes nothing: name some, or leave it out for all.")
        if self.kind == "rope_positions" and (self.positions is None) == (self.shift is None):
            raise InspectorError(
                "RoPE's positions are edited by a list of positions or by one shift: give one of them."
            )
        self._read_numbers()
        if self.window is not None and self.window < 1:
            raise InspectorError(f"window={self.window} leaves a query nothing to look at: give 1 or more.")
        refuse_other(self.when, get_args(When), "time of an edit")
        if self.what is not None:
            refuse_other(self.what, get_args(Vectors), "kind of vectors to patch")

    def _read_numbers(self) -> None:
        """Take numbers of any library as Python's own; refuse what is none, or not one that can be used."""
        for name in ("strength", "factor", "base"):
            given = getattr(self, name)
            if given is None and name != "strength":
                continue
            value = _number(given)
            if name == "strength" and not 0 <= value <= 1:
                raise InspectorError(f"strength={given!r:.40} is not between 0 (not at all) and 1 (wholly).")
            if not math.isfinite(value) or (name == "base" and value <= 0):
                above = " above 0" * (name == "base")
                raise InspectorError(f"{name}={given!r:.40} cannot be used: give a finite number{above}.")
            object.__setattr__(self, name, value)
        for name in ("shift", "window"):
            given = getattr(self, name)
            if given is None:
                continue
            if isinstance(given, bool) or not isinstance(given, Integral):
                raise InspectorError(f"{name}={given!r:.40} is no whole number of tokens: give one.")
            if abs(int(given)) > MOST_TOKENS:
                raise InspectorError(f"{name}={given!r:.40} is longer than any text: give at most {MOST_TOKENS}.")
            object.__setattr__(self, name, int(given))

    @property
    def stage(self) -> Stage:
        """Where in the attention it acts."""
        return PATCH_STAGES[str(self.what)] if self.kind == "patch" else KINDS[self.kind].stage

    @property
    def explicit(self) -> bool:
        """Whether it acts inside the attention function, which must then be the module's own eager one."""
        return self.stage in ("mask", "weights")

    @property
    def unresolved(self) -> bool:
        """Whether it has negative positions, which count from the end of a prompt that it has not met."""
        places = (
            *(self.layers, self.heads, self.planes),
            *(self.queries, self.keys, self.positions, self.source_positions),
        )
        return any(place < 0 for chosen in places for place in chosen or ())

    def to_data(self) -> dict[str, Any]:
        """Return it ready for JSON: the kind and every field that is not as by default."""
        found: dict[str, Any] = {"kind": self.kind}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name != "kind" and value != one.default:
                found[one.name] = value.to_data() if isinstance(value, Source) else value
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    def __repr__(self) -> str:
        said = [(one.name, getattr(self, one.name)) for one in fields(self)]
        shown = [f"{name}={value!r}" for name, value in said if name == "kind" or value != getattr(Edit, name)]
        return f"Edit({', '.join(shown)})"

    def __str__(self) -> str:
        parts = [KINDS[self.kind].words if self.kind != "patch" else f"{self.what} replaced from elsewhere"]
        for name in ("layers", "heads", "queries", "keys", "positions", "planes"):
            value = getattr(self, name)
            if value is not None:
                one = "query" if name == "queries" else name.removesuffix("s")
                parts.append(f"{name if len(value) != 1 else one} {spans(value)}")
        parts += [
            f"{name} {getattr(self, name):g}"
            for name in ("factor", "base", "shift", "window")
            if getattr(self, name) is not None
        ]
        parts += [f"strength {self.strength:g}"] if self.strength != 1 else []
        parts += [f"on {self.when} tokens"] if self.when != "both" else []
        return ", ".join(parts)


def _number(given: object) -> float:
    """Return a number of any library as a float; NaN where it is none, or too large for one."""
    if isinstance(given, bool) or not isinstance(given, Real):
        return math.nan
    try:
        return float(given)
    except OverflowError:
        return math.nan
