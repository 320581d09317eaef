"""Read somebody's dumped numbers as answers to the judge: each layer's stages, in our shapes.

A dump is a folder or a file of .npy, .npz or safetensors, of any of the stages of any of the layers. Token ids are
compared first: numbers of another prompt or model are refused, and not judged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from inspector.errors import InspectorError
from inspector.judging.dump_arrays import find_arrays, read_ids, read_numbers
from inspector.judging.dump_index import Indexed, index_dump
from inspector.judging.dump_names import IDS, INPUT
from inspector.judging.dump_settings import NAME, settings_of
from inspector.judging.dump_shapes import StageShape, apart, unbatched, without_padding
from inspector.judging.layouts import read_layout
from inspector.model.model import Model
from inspector.trace.trace import Trace
from inspector.verification.compare import STAGES
from inspector.verification.reference import library_stages
from reimpl.rope import join_planes, split_planes
from reimpl.spec import AttentionSpec

_ROTATED = ("query_pre", "key_pre", "query", "key")


class Dumps:
    """A dump beside one model, as the judge asks for it; arrays are read when their layer is.

    Attributes:
        layers: the attention layers that it has, from 0; known once a trace of its prompt is attached.
        said: how its arrays were read, in words; more is known once layers were asked for.
        dtype: what its numbers were computed in, where it says so.
    """

    layers: tuple[int, ...] | None = None

    def __init__(self, path: str | Path, model: Model) -> None:
        """Find the dump's arrays.

        Args:
            path: a folder or one file of .npy, .npz or safetensors; beside them dump.json may say what they are.
            model: the model that it is compared with.

        Raises:
            InspectorError: there is no such dump, or it cannot be read safely.
        """
        self._path = Path(path).expanduser()
        self._arrays = find_arrays(self._path)
        self._settings = settings_of(self._path)
        self._specs = specs_of(model)
        self.dtype = self._settings.dtype
        if self._settings.pairing is not None and not self._specs:
            raise InspectorError(
                f'"pairing" in {NAME} cannot be heeded: {model.name} is not reimplemented, so its own order of '
                "dimensions is not known; leave it out."
            )
        self.said: tuple[str, ...] = ()
        self._last: tuple[int, dict[str, Tensor]] | None = None

    def attach(self, trace: Trace) -> None:
        """Say which layer's and stage each array is.

        Args:
            trace: the model's own run of the prompt, with the attention inputs.

        Raises:
            InspectorError: the dump is of another prompt or model, or none of its arrays is a stage of a layer.
        """
        self._trace = trace
        self._indexed, said = index_dump(
            self._path, self._arrays, settings=self._settings, trace=trace, specs=self._specs
        )
        self.said = tuple(said)
        self.layers = tuple(sorted({each.layer for each in self._indexed}))

    def answer(self, layer: int, x: Tensor) -> Mapping[str, Tensor]:  # noqa: ARG002  (a dump was made before)
        """Return the stages that the dump has of one layer.

        Args:
            layer: the attention layer, from 0.
            x: the layer's attention input [n, m], which nobody runs here.

        Returns:
            Stage -> numbers in our shapes.

        Raises:
            InspectorError: an array has no shape of its stage for this model and prompt, or holds no numbers.
        """
        found: dict[str, Tensor] = {}
        for each in self._indexed:
            if each.layer == layer and each.stages != (INPUT,):
                stage, numbers = self._read(each)
                if stage in found:
                    raise InspectorError(f"Layer {layer}'s {stage} stands twice in the dump: leave one out.")
                found[stage] = numbers
        return {stage: found[stage] for stage in STAGES if stage in found}

    def input(self, layer: int) -> Tensor | None:
        """Return what the layer's attention received in the dump.

        Args:
            layer: the attention layer, from 0.

        Returns:
            [n, m]; None where the dump does not have it.
        """
        stored = [each for each in self._indexed if each.layer == layer and each.stages == (INPUT,)]
        return self._read(stored[0])[1] if stored else None

    def _read(self, each: Indexed) -> tuple[str, Tensor]:
        """Read one array in our shape, or in another that the judge reads."""
        if each.array.elements > max(self._shape(each.layer, stage).most for stage in each.stages):  # not even read
            raise self._misfit(each)
        tensor = read_numbers(each.array, dtype=self._settings.dtype)
        if each.backwards:
            stage, tensor = self._forwards(each, tensor)
        else:
            stage = each.stages[0]
            tensor = self._as_declared(each, tensor) if stage != "weights" else without_padding(tensor, self._trace.n)
        if not self._shape(each.layer, stage).fits(tensor):
            raise self._misfit(each)
        return stage, self._in_models_pairing(each.layer, stage, tensor)

    def _forwards(self, each: Indexed, tensor: Tensor) -> tuple[str, Tensor]:
        """Turn an array of ggml's around, and decide which stage it is where its name stands for two.

        A header with the sizes in ggml's order may stand before numbers that lie as ever, or all was turned; which one
        it is, the numbers say.
        """
        heads, n = self._trace.layers[each.layer].heads, self._trace.n
        reference = self._reference(each.layer)
        turned = (tensor.reshape(tensor.shape[::-1]), tensor.permute(*range(tensor.ndim)[::-1]), tensor)
        read: list[tuple[float, str, Tensor]] = []
        for stage in each.stages:
            for form in turned:
                numbers = without_padding(unbatched(form), n) if stage == "weights" else unbatched(form)
                if self._shape(each.layer, stage).fits(numbers):
                    kind = "output" if stage == INPUT else stage
                    ours, _ = read_layout(kind, numbers, reference[stage], heads)
                    read.append((apart(ours, reference[stage]), stage, ours))
        if not read:
            raise self._misfit(each)
        _, stage, ours = min(read, key=lambda one: one[0])
        if len(each.stages) > 1:
            self._tell(f"{each.array.short_name} was read as {stage}, whose numbers are the nearest")
        if ours.shape != tensor.shape:
            self._tell("Arrays under llama.cpp's names were put into our order of axes")
        return stage, ours

    def _as_declared(self, each: Indexed, tensor: Tensor) -> Tensor:
        """Read a stage of heads in the layout that dump.json says, where it says one."""
        layout, stage = self._settings.layout, each.stages[0]
        if layout is None or stage in ("output", INPUT):
            return tensor
        tensor = unbatched(tensor, 2 if layout == "[n, h*d]" else 3)
        width = self._shape(each.layer, stage).width
        if layout == "[n, h*d]" and tensor.ndim == 2 and tensor.shape[1] % width == 0:
            tensor = tensor.unflatten(1, (-1, width))
        tensor = tensor if tensor.ndim != 3 or layout == "[h, n, d]" else tensor.transpose(0, 1)
        if not self._shape(each.layer, stage).is_ours(tensor):
            raise self._misfit(each)
        return tensor

    def _in_models_pairing(self, layer: int, stage: str, numbers: Tensor) -> Tensor:
        """Put a query's or key's dimensions into the model's order, where the dump says that it has another."""
        theirs = self._settings.pairing
        if theirs is None or stage not in _ROTATED:
            return numbers
        rope = self._specs[layer].rope
        if rope is None or theirs == rope.style:
            return numbers
        reference = self._reference(layer)[stage]
        numbers, _ = read_layout(stage, numbers, reference, self._trace.layers[layer].heads)
        rest = numbers.shape[-1] - rope.dim
        before, turned, after = numbers.split((rest, rope.dim, 0) if rope.last else (0, rope.dim, rest), dim=-1)
        ordered = join_planes(*split_planes(turned, theirs), rope.style)
        self._tell(f"Dimensions of queries and keys were put into the model's order, {rope.style} from {theirs}")
        return torch.cat((before, ordered, after), -1)

    def _tell(self, sentence: str) -> None:
        if sentence not in self.said:
            self.said += (sentence,)

    def _reference(self, layer: int) -> dict[str, Tensor]:
        """Return the model's own stages of a layer, and its input; those of the last layer asked for are kept."""
        if self._last is None or self._last[0] != layer:
            recorded = self._trace.stored[layer]
            stages = vars(library_stages(recorded, recorded.info.kv_heads))
            self._last = layer, {**stages, INPUT: self._trace.input(layer)}
        return self._last[1]

    def _misfit(self, each: Indexed) -> InspectorError:
        shape, found = self._shape(each.layer, each.stages[0]), each.array.shape
        return InspectorError(
            f"Layer {each.layer}'s {each.stages[0]} in {each.array.file} has the shape {list(found)}, and of this "
            f"model and prompt it is {shape.in_words(found, layout=self._settings.layout)}."
        )

    def _shape(self, layer: int, stage: str) -> StageShape:
        """Return the shape that a stage has in this layer."""
        return StageShape(stage, self._trace.stored[layer].info, self._trace.n, int(self._trace.input(0).shape[-1]))


def dumped_ids(path: str | Path) -> tuple[int, ...] | None:
    """Return the token ids of a dump.

    Args:
        path: the folder or file.

    Returns:
        The ids; None where it has none.

    Raises:
        InspectorError: there is no such dump, or it cannot be read safely.
    """
    path = Path(path).expanduser()
    arrays = find_arrays(path)
    return settings_of(path).ids or next((read_ids(each) for each in arrays if each.short_name.lower() in IDS), None)


def specs_of(model: Model) -> list[AttentionSpec]:
    """Return what our layers of a model are like.

    Args:
        model: any.

    Returns:
        A spec for each of its layers; none where its family is not reimplemented.
    """
    with contextlib.suppress(InspectorError):
        return [layer.spec for layer in model.reimplementation]
    return []
