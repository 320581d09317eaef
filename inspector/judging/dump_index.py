"""Say of each array in a dump which layer's and which stage it is, and compare the token ids before anything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inspector.errors import InspectorError
from inspector.judging.dump_arrays import Array, read_ids
from inspector.judging.dump_names import IDS, INPUT, Place, names_in_words, place_of
from inspector.judging.dump_settings import NAME, DumpSettings
from inspector.text import few
from inspector.trace.trace import Trace
from reimpl.spec import AttentionSpec

_IDS_SHOWN = 8


@dataclass(frozen=True)
class Indexed:
    """One array of a dump with its place.

    Attributes:
        array: the array, not yet read.
        layer: the attention layer, by the model's count.
        stages: the stage, or those that it may be.
        backwards: its dimensions may be written in ggml's order.
    """

    array: Array
    layer: int
    stages: tuple[str, ...]
    backwards: bool


def index_dump(
    path: Path, arrays: Sequence[Array], *, settings: DumpSettings, trace: Trace, specs: Sequence[AttentionSpec]
) -> tuple[list[Indexed], list[str]]:
    """Find each array's layer and stage.

    Args:
        path: the dump, for sentences.
        arrays: all of it.
        settings: what it says of itself.
        trace: the model's own run of the prompt.
        specs: of our layers; empty where the family is not reimplemented.

    Returns:
        The arrays that are stages or inputs, and sentences on those that are neither.

    Raises:
        InspectorError: the token ids are others, an array belongs to no layer of the model, a stage stands twice, or
            there is none.
    """
    ids = [array for array in arrays if array.short_name.lower() in IDS]
    _refuse_other_prompt(path, [*([settings.ids] if settings.ids else []), *map(read_ids, ids)], trace)
    found: dict[tuple[int, tuple[str, ...]], Indexed] = {}
    said: list[str] = []
    strange: list[str] = []
    for array in arrays:
        place = _place(array)
        if array in ids:
            continue
        if place is None:
            strange.append(array.name)
        elif not place.stages:
            said.append("scores are not compared by themselves: the weights made from them are")
        else:
            layer = _layer_of(array, place, settings, trace)
            if place.unnormed and specs and _normed(specs[layer], place.stages[0]):
                said.append(f"{array.short_name} is what a module gives before its norm: that is no stage here")
                continue
            if (layer, place.stages) in found:
                first = found[layer, place.stages].array
                raise InspectorError(
                    f"Layer {layer}'s {place.stages[0]} stands twice in the dump, as {first.name} in {first.file.name} "
                    f"and as {array.name} in {array.file.name}: leave one out."
                )
            found[layer, place.stages] = Indexed(array, layer, place.stages, place.backwards)
    if not any(stages != (INPUT,) for _, stages in found):
        names = few([array.name for array in arrays])
        raise InspectorError(f"{path} has no stage of attention in it, only {names}: call them {names_in_words()}.")
    if strange:
        said.append(f"not compared, since no stage of attention is called so: {few(strange)}")
    return list(found.values()), list(dict.fromkeys(said))


def _place(array: Array) -> Place | None:
    """Read an array's name; where it says no layer, its file's may."""
    place = place_of(array.name)
    if place is None or place.layer is not None or not array.inside:
        return place
    return place_of(f"{array.inside}.{array.name}") or place


def _refuse_other_prompt(path: Path, lists: Sequence[tuple[int, ...]], trace: Trace) -> None:
    """Refuse a dump whose token ids are not the prompt's."""
    ours = trace.tokens.ids
    for theirs in lists:
        if theirs == ours:
            continue
        if theirs[1:] == ours or theirs == ours[1:]:
            more, one = ("more", theirs[0]) if len(theirs) > len(ours) else ("less", ours[0])
            why = f"it has one token {more} in front ({one}), as of another beginning of a sequence"
        elif len(theirs) != len(ours):
            why = f"it is of {len(theirs):,} tokens, and this prompt of {len(ours):,}"
        else:
            at = next(place for place, (a, b) in enumerate(zip(theirs, ours, strict=True)) if a != b)
            why = f"it has token id {theirs[at]} at position {at}, and this prompt {ours[at]}"
        shown = ", ".join(map(str, ours[:_IDS_SHOWN])) + ", ..." * (len(ours) > _IDS_SHOWN)
        raise InspectorError(
            f"{path} is a dump of another prompt or model: {why}; run your code on the ids {shown}, or give the dump's "
            "own prompt."
        )


def _layer_of(array: Array, place: Place, settings: DumpSettings, trace: Trace) -> int:
    """Return the attention layer that an array belongs to, by the model's count."""
    number, known = place.layer, len(trace.stored)
    if number is None:
        named = settings.layers or ((0,) if known == 1 else ())
        if len(named) != 1:
            raise InspectorError(
                f"{array.name or array.file.name} in {array.file} names no layer: call it layers.0.query, or write "
                f'"layers": [0] into {NAME}.'
            )
        number = named[0]
    elif place.backwards:  # llama.cpp counts blocks
        number = {layer.info.block: layer.info.index for layer in trace.stored}.get(number, known)
    if number >= known:
        raise InspectorError(
            f"{array.name} in {array.file} is of layer {place.layer}, and this model's layers of attention are 0 to "
            f"{known - 1}: the dump is of another model, or counts from 1."
        )
    if settings.layers is not None and number not in settings.layers:
        raise InspectorError(f"{array.name} in {array.file} is of layer {number}, which {NAME} does not list.")
    return number


def _normed(spec: AttentionSpec, stage: str) -> bool:
    """Return whether a norm stands between the projecting module and this stage."""
    return (spec.query_norm if stage == "query_pre" else spec.key_norm) is not None
