"""The reimplementation put in place of the library's attention, in a copy of the library's model.

The copy is of the library's own class and shares its parameters; the original is untouched. Stage by stage each layer
is judged on the library's input; here our own errors may add up from layer to layer, and the library's key/value cache
sits between our rotation and our scores.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from inspector.capture.eval_mode import evaluating, forward_compiled
from inspector.errors import InspectorError
from inspector.model.model import Model
from inspector.model.outcome import has_language_model_head
from reimpl.attention import Cached, CausalSelfAttention


class Unspliceable(InspectorError):
    """Ours cannot take the place of this model's attention, for the reason it says."""


class SplicedAttention(nn.Module):
    """Stands where the library's attention module stood: same arguments, same kind of result, our computation."""

    def __init__(self, ours: CausalSelfAttention, theirs: nn.Module, layer_idx: int, others: int | None) -> None:
        """Take the place of `theirs`; `others`: how many Nones follow the output in its tuple (None: no tuple)."""
        super().__init__()
        self.ours = ours
        self.others = others
        self.layer_idx = layer_idx
        self.calls = 0
        # The decoder block may read attributes of its attention; parameters are not stored twice.
        self._theirs = {k: v for k, v in vars(theirs).items() if not k.startswith("_") and k not in ("training",)}
        self._signature = inspect.signature(inspect.unwrap(type(theirs).forward))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            theirs = self.__dict__.get("_theirs", {})
            if name in theirs:
                return theirs[name]
            raise

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Attend to the library's arguments, its key/value cache included, and return what its module returns."""
        bound = self._signature.bind(self, *args, **kwargs).arguments
        x: Tensor = bound["hidden_states"]
        everything = [*bound.values(), *bound.get("kwargs", {}).values()]
        cache = next((item for item in everything if isinstance(item, Cache)), None)
        self.calls += 1
        seen = int(cache.get_seq_length(self.layer_idx)) if cache is not None else 0
        t = x.shape[-2]
        positions = torch.arange(seen, seen + t, device=x.device)
        told = bound.get("position_ids", bound.get("kwargs", {}).get("position_ids"))
        # What the library counts is what it turns by, though with some caches it counts otherwise than we would.
        turned_by = told.reshape(-1, t)[0] if isinstance(told, Tensor) else positions

        def through_cache(key: Tensor, value: Tensor) -> Cached:
            if cache is not None:
                key, value = cache.update(key, value, self.layer_idx)
            # A sliding cache hands back only its last keys: count their positions from the end.
            return Cached(key, value, positions, torch.arange(seen + t - key.shape[-2], seen + t, device=x.device))

        output = self.ours(x, turned_by, cache=through_cache)
        return output if self.others is None else (output, *[None] * self.others)


def spliced_model(
    model: PreTrainedModel, ours: Mapping[str, CausalSelfAttention], others: Mapping[str, int | None] | None = None
) -> PreTrainedModel:
    """Copy a model's structure, sharing every parameter, with ours in place of some attention modules.

    Args:
        model: the library's model.
        ours: our layers by the names of the modules that they replace.
        others: how many Nones follow the output in the tuple that each module returns (one, unless told).

    Returns:
        The copy, in eval mode.
    """
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    twin = copy.deepcopy(model, shared)
    for part in filter(forward_compiled, twin.modules()):  # a copied function would still run the original's layers
        del part.forward
    _unwrap_compiled(twin)
    for name, attention in ours.items():
        theirs = twin.get_submodule(name)
        place, _, last = name.rpartition(".")
        layer_idx = getattr(theirs, "layer_idx", None)
        number = layer_idx if isinstance(layer_idx, int) else list(ours).index(name)
        following = 1 if others is None else others[name]
        setattr(twin.get_submodule(place), last, SplicedAttention(attention, theirs, number, following))
    return twin.eval()


def _unwrap_compiled(model: torch.nn.Module) -> None:
    """Put the modules themselves in the place of torch.compile's wrappers, which cannot be copied."""
    for module in [*model.modules()]:
        for name, part in module._modules.items():
            if part is not None and "_orig_mod" in part._modules:
                module._modules[name] = part._modules["_orig_mod"]


def returned_beside(model: Model, names: Collection[str]) -> dict[str, int | None]:
    """Count the Nones after the output that each attention module returns.

    Args:
        model: the model that is verified.
        names: the attention modules' names.

    Returns:
        For each name the count; None where the module returns its output alone.

    Raises:
        Unspliceable: one returns more than its output, and others go on with what only the library's computes.
    """
    found: dict[str, int | None] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, result: Any) -> None:
            found[name] = len(result) - 1 if isinstance(result, tuple) else None
            if isinstance(result, tuple) and any(item is not None for item in result[2:]):
                raise Unspliceable("its attention modules hand more than their output to the layers after them")

        return hook

    handles = [model.model.get_submodule(name).register_forward_hook(note(name)) for name in names]
    try:
        with torch.inference_mode(), evaluating(model.model):
            model.model(torch.tensor([[0, 0]], device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def refuse_unspliceable(ours: Collection[CausalSelfAttention], model: Model) -> None:
    """Refuse a model in which ours cannot take the place of its attention.

    Args:
        ours: our layers.
        model: the model that is verified.

    Raises:
        Unspliceable: for the reason it says.
    """
    if any(layer.spec.mask.given for layer in ours):
        raise Unspliceable("the model chooses keys itself, inside the modules that ours would replace")
    if any(layer.spec.shares is not None for layer in ours):
        raise Unspliceable("layers use each other's keys and values")
    if not has_language_model_head(model.model):
        raise Unspliceable("the model has no language-model head that predicts the next token, to compare by")
