"""Check edits of attention against a model and a prompt, and count their positions from the first token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from inspector.capture.edits import Edit
from inspector.capture.records import LayerInfo
from inspector.errors import InspectorError
from inspector.model.forward import ForwardPasses
from inspector.text import few
from inspector.trace.whole_numbers import shown


def resolved(
    edits: Iterable[Edit] | Edit, passes: ForwardPasses, layers: Sequence[LayerInfo], *, n: int
) -> tuple[Edit, ...]:
    """Return edits with their layers named and their positions counted from the first token.

    Args:
        edits: one edit or several.
        passes: the model's.
        layers: all layers of the model.
        n: how many tokens the prompt has.

    Returns:
        The edits, ready to be carried out and to be put on paper.

    Raises:
        InspectorError: something is no edit, or cannot be made in this model or for a prompt of this length.
    """
    return tuple(_resolved(edit, passes, layers, n) for edit in listed_edits(edits))


def listed_edits(edits: Iterable[Edit] | Edit) -> tuple[Edit, ...]:
    """Return edits as a tuple.

    Args:
        edits: one edit or several.

    Returns:
        The edits.

    Raises:
        InspectorError: something is no edit.
    """
    listed = [edits] if isinstance(edits, Edit) else edits
    if not isinstance(listed, Iterable) or isinstance(listed, str | bytes | dict):
        raise InspectorError(
            f"edits={shown(edits)} are no edits: give a list of what inspector.lab's functions return."
        )
    found = tuple(listed)
    for edit in found:
        if not isinstance(edit, Edit):
            raise InspectorError(f"Among the edits is {shown(edit)}: give what inspector.lab's functions return.")
    return found


def _resolved(edit: Edit, passes: ForwardPasses, layers: Sequence[LayerInfo], n: int) -> Edit:
    chosen = _layers(edit, passes, layers)
    _refuse_heads(edit, [layers[layer] for layer in chosen])
    edit = replace(
        edit,
        layers=chosen,
        heads=_once(edit.heads),
        queries=_once(_places(edit.queries, n, "Query token")),
        keys=_once(_places(edit.keys, n, "Key token")),
    )
    _refuse_unknown_tokens(edit, passes)
    if edit.kind == "patch":
        return _patch(edit, n)
    if edit.kind == "mean":
        _refuse_means(edit, n)
    if edit.kind == "rope_positions":
        _refuse_positions(edit, passes, n)
    return edit


def _layers(edit: Edit, passes: ForwardPasses, layers: Sequence[LayerInfo]) -> tuple[int, ...]:
    count = len(layers)
    rotates = edit.stage == "rotation"
    if edit.layers is None:
        chosen = [info.index for info in layers if not (rotates and info.rope is False)]
    else:
        chosen = list(dict.fromkeys(layer + count if layer < 0 else layer for layer in edit.layers))
    for layer in chosen:
        if not 0 <= layer < count:
            raise InspectorError(f"Layer {layer} does not exist: {passes.name} has layers 0 to {count - 1}.")
        info = layers[layer]
        if not passes.asks_interface(info):
            raise InspectorError(
                f"Layer {layer} of {passes.name} ({info.name}) attends in its own code, where nothing can be edited "
                "from outside; choose a model that asks the library for its attention function."
            )
        if rotates and info.rope is False:
            raise InspectorError(
                f"Layer {layer} of {passes.name} does not rotate queries by position, so RoPE cannot be edited there; "
                "leave it out."
            )
    if not chosen:
        raise InspectorError(
            f"No layer of {passes.name} rotates queries by position, so RoPE cannot be edited: choose a model with "
            "RoPE, or edit its mask."
        )
    return tuple(sorted(chosen))


def _refuse_heads(edit: Edit, infos: Iterable[LayerInfo]) -> None:
    of_keys = edit.kind == "zero_value" or edit.what in ("key", "value")
    for info in infos:
        wrong = next((head for head in edit.heads or () if not 0 <= head < info.heads), None)
        if wrong is not None:
            raise InspectorError(f"Head {wrong} does not exist: layer {info.index} has heads 0 to {info.heads - 1}.")
        if of_keys and edit.heads is not None:
            groups = {info.kv_head(head) for head in edit.heads}
            sharing = {head for head in range(info.heads) if info.kv_head(head) in groups} - set(edit.heads)
            if sharing:
                raise InspectorError(
                    f"Head {few([str(head) for head in sorted(sharing)])} of layer {info.index} uses the same keys and "
                    "values: name all heads of a group, or edit one head's weights (lab.cut with renormalise=False)."
                )


def _places(positions: tuple[int, ...] | None, n: int, what: str) -> tuple[int, ...] | None:
    if positions is None:
        return None
    for position in positions:
        if not -n <= position < n:
            raise InspectorError(f"{what} {position} does not exist: this prompt has tokens 0 to {n - 1}.")
    return tuple(position % n for position in positions)


def _once(chosen: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return each of some heads or tokens once."""
    return None if chosen is None else tuple(dict.fromkeys(chosen))


def _refuse_unknown_tokens(edit: Edit, passes: ForwardPasses) -> None:
    ids = (one for prompt in (edit.source.prompts if edit.source else ()) for one in prompt)
    wrong = next((one for one in ids if not 0 <= one < passes.vocabulary), None)
    if wrong is not None:
        raise InspectorError(
            f"{shown(wrong)} is no token of {passes.name}, and an edit takes values from a prompt with it: its tokens "
            f"are 0 to {passes.vocabulary - 1}."
        )


def _patch(edit: Edit, n: int) -> Edit:
    lengths = [len(ids) for ids in edit.source.prompts] if edit.source else []
    if not lengths and not (edit.source and edit.source.trace):
        raise InspectorError("A patch without a source is for pairs of prompts: give lab.patch a trace or token ids.")
    if len(lengths) > 1:
        raise InspectorError(f"A patch takes its values from one prompt, and {len(lengths)} are given: give one.")
    count = lengths[0] if lengths else n
    positions = _places(edit.positions, n, "Token")
    origins = _places(edit.source_positions, count, "Token of the source")
    if positions is not None and len(set(positions)) < len(positions):
        twice = next(one for one in positions if positions.count(one) > 1)
        raise InspectorError(f"Token {twice} is to be replaced twice by one patch: name each position once.")
    if (positions is None or edit.what == "weights") and count != n:
        raise InspectorError(
            f"The source has {count} tokens and the prompt {n}: give prompts of equal length"
            + ("." if edit.what == "weights" else ", or name positions and source_positions.")
        )
    if origins is not None and len(origins) != len(positions or ()):
        raise InspectorError(f"{len(positions or ())} positions are to take the place of {len(origins)}: give as many.")
    if origins is None and positions is not None and max(positions) >= count:
        raise InspectorError(
            f"Token {max(positions)} does not exist in the source, which has {count}: name source_positions."
        )
    return replace(edit, positions=positions, source_positions=origins)


def _refuse_means(edit: Edit, n: int) -> None:
    if edit.source and edit.source.means:
        if edit.by_position:
            raise InspectorError(
                "An atlas has one mean for each head, and none by position: leave by_position out, or give prompts."
            )
        return
    lengths = [len(ids) for ids in edit.source.prompts] if edit.source else []
    if not lengths:
        raise InspectorError("A mean is taken over prompts that are run again: give prompts, not a saved trace.")
    if edit.by_position and min(lengths) < n:
        raise InspectorError(
            f"A mean by position needs prompts of at least this prompt's {n} tokens, and one has {min(lengths)}: give "
            "longer ones, or take the mean over all tokens."
        )
    if not edit.by_position and max(lengths) < 2:
        raise InspectorError(
            "A mean over tokens leaves the first out, and these prompts have one token each: give longer."
        )


def _refuse_positions(edit: Edit, passes: ForwardPasses, n: int) -> None:
    places: list[Any] = list(edit.positions or ())
    if edit.positions is not None and len(places) != n:
        raise InspectorError(f"{len(places)} positions are given for {n} tokens: give each token of the prompt one.")
    last = max(places) if places else n - 1 + int(edit.shift or 0)
    first = min(places) if places else int(edit.shift or 0)
    if first < 0 or (passes.positions is not None and last >= passes.positions):
        limit = "no limit" if passes.positions is None else f"0 to {passes.positions - 1}"
        raise InspectorError(
            f"Tokens would stand at {first} to {last}, and {passes.name} has positions {limit}: move less."
        )
