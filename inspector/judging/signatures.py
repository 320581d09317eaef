"""Read off a callable's signature which of its parameters take what: the layer, positions, a cache, packed texts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from inspector.errors import InspectorError

LAYER_NAMES = ("layer", "layer_idx", "layer_id", "layer_index", "layer_number", "index", "idx", "i", "l", "block")
POSITION_NAMES = ("positions", "position_ids", "cache_position", "input_pos", "pos")
START_NAMES = ("start_pos", "start", "offset", "position_offset", "past_length")
PAST_NAMES = ("past", "past_key_value", "past_kv", "kv")
ID_NAMES = ("ids", "input_ids", "tokens", "token_ids", "idx", "inputs_ids")
PADDING_NAMES = ("attention_mask", "padding_mask", "key_padding_mask", "padding")
SEAM_NAMES = ("cu_seqlens", "cu_seq_lens", "cu_seqlen", "cumulative_lengths")  # where packed texts begin, and the end
SEAM_PAIR = {"cu_seqlens_q", "cu_seqlens_k", "cu_seq_lens_q", "cu_seq_lens_k"}  # likewise, of queries and of keys
LENGTH_NAMES = ("seqlens", "seq_lens", "seqlen", "sequence_lengths", "lengths")
TEXT_NAMES = ("segment_ids", "document_ids", "doc_ids", "seq_ids", "sequence_ids", "seq_idx")
LONGEST_NAMES = {"max_seqlen", "max_seq_len", "max_seqlen_q", "max_seqlen_k", "max_length_q", "max_length_k"}
PACKING_NAMES = {*SEAM_NAMES, *SEAM_PAIR, *LENGTH_NAMES, *TEXT_NAMES, *LONGEST_NAMES}


@dataclass(frozen=True)
class Form:
    """How a callable is called: which of its parameters take what, None where it has none of the kind."""

    layer: str | None = None  # the name of the parameter that takes the layer's number
    layer_by_place: bool = False
    positions: str | None = None
    start: str | None = None
    past: str | None = None
    padding: str | None = None
    seams: tuple[str, ...] = ()  # packed texts, by where they begin
    lengths: str | None = None  # by how long they are
    texts: str | None = None  # by each token's text
    longest: tuple[str, ...] = ()  # the longest text's length
    needed: tuple[str, ...] = ()  # those of packed texts that have no default
    batch: bool = False  # takes [b, n, m]
    ids: bool = False  # takes token ids

    @property
    def packs(self) -> bool:
        """Whether it takes several texts in one row, told where each begins."""
        return bool(self.seams or self.lengths or self.texts)


def form_of(function: Callable[..., Any]) -> Form:
    """Read a callable's form off its signature.

    Args:
        function: a function, an object with `__call__`, or an nn.Module.

    Returns:
        The form.

    Raises:
        InspectorError: it asks for something that the judge has not.
    """
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):  # of builtins: taken as f(x, layer)
        return Form(layer_by_place=True)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters) and len(parameters) <= 2:
        return Form(layer_by_place=True, batch=isinstance(function, nn.Module))
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not named:
        raise InspectorError(
            f"{_name(function)} takes no argument: the judge calls it with the attention input x [n, d_model], and the "
            "layer's number where it takes two."
        )
    first, others = named[0], named[1:]

    def taking(names: Sequence[str]) -> str | None:
        return next((p.name for p in others if p.name in names and p.kind is not p.POSITIONAL_ONLY), None)

    layer = taking(LAYER_NAMES)
    found = Form(
        layer=layer,
        positions=taking(POSITION_NAMES),
        start=taking(START_NAMES),
        past=taking(PAST_NAMES),
        padding=taking(PADDING_NAMES),
        seams=tuple(p.name for p in others if p.name in {*SEAM_NAMES, *SEAM_PAIR}),
        lengths=taking(LENGTH_NAMES),
        texts=taking(TEXT_NAMES),
        longest=tuple(p.name for p in others if p.name in LONGEST_NAMES),
        needed=tuple(p.name for p in others if p.name in PACKING_NAMES and p.default is p.empty),
        batch=isinstance(function, nn.Module),
        ids=(first.name in ID_NAMES and not others[:1]) or first.name in ID_NAMES[:4],
    )
    known = {found.layer, found.positions, found.start, found.past, found.padding, found.lengths, found.texts}
    known |= {*found.seams, *found.longest}
    needed = [p.name for p in others if p.default is p.empty and p.name not in known]
    if layer is None and needed and not found.ids:
        found = Form(**{**vars(found), "layer_by_place": True})
        needed = needed[1:]
    if needed:
        raise InspectorError(
            f"{_name(function)} asks for {', '.join(needed)}, which the judge has not: it gives the attention input, "
            "then the layer's number, and by name past, positions, start_pos, attention_mask and cu_seqlens; give "
            "the others a default."
        )
    return found


def _name(function: object) -> str:
    return f"Your attention {getattr(function, '__name__', type(function).__name__)}"
