"""The reimplementation put in place of the library's attention: a library model and our layers go in, a model of the
library's own class whose every attention is ours comes out. Its parameters are shared, the original is untouched.

Stage by stage each layer is judged on the library's input; here our own errors may add up from layer to layer, and
the library's key/value cache sits between our rotation and our scores.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from inspector.errors import InspectorError
from inspector.model.model import Model, greedy
from inspector.verification.compare import distance
from reimpl.attention import Cached, CausalSelfAttention

GENERATED = 40  # tokens compared after the prompt


@dataclass(frozen=True)
class SplicedResult:
    """What the spliced model did, against the library's.

    logits_max_abs, logits_differing: against the library's pass through its own eager attention.
    sdpa_max_abs: the same library's SDPA pass against its eager pass, its own rounding noise, for scale.
    tokens: greedy continuation by the spliced model; tokens_equal: how many, from the first, equal the library's
    through its eager attention; tokens_equal_sdpa: through its SDPA attention, for scale (in half precision two forms
    of one attention may choose differently where two tokens are nearly as probable).
    calls: how often our attention ran, so that a splice that never ran cannot pass.
    """

    ok: bool
    logits_max_abs: float
    logits_differing: int
    logits_elements: int
    logits_tolerance: float
    sdpa_max_abs: float
    tokens: tuple[int, ...]
    tokens_equal: int
    tokens_equal_sdpa: int
    tokens_compared: int
    calls: int
    text: str
    reason: str


class Unspliceable(InspectorError):
    """Ours cannot take the place of this model's attention: says why."""


class SplicedAttention(nn.Module):
    """Stands where the library's attention module stood: same arguments, same kind of result, our computation."""

    def __init__(self, ours: CausalSelfAttention, theirs: nn.Module, layer_idx: int, others: int | None) -> None:
        super().__init__()
        self.ours = ours
        self.others = others  # how many Nones follow the output in the tuple it returns; None: no tuple
        self.layer_idx = layer_idx
        self.calls = 0
        # The decoder block may read attributes of its attention; parameters are not kept twice.
        self._theirs = {k: v for k, v in vars(theirs).items() if not k.startswith("_") and k not in ("training",)}
        self._signature = inspect.signature(inspect.unwrap(type(theirs).forward))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            kept = self.__dict__.get("_theirs", {})
            if name in kept:
                return kept[name]
            raise

    def forward(self, *args: Any, **kwargs: Any) -> Any:
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


def splice(
    model: PreTrainedModel, ours: Mapping[str, CausalSelfAttention], others: Mapping[str, int | None] | None = None
) -> PreTrainedModel:
    """A copy of `model`'s structure, sharing every parameter, with `ours` in place of the modules so named.

    others: what follows the output in the tuple that each module returns (one None, unless told).
    """
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    twin = copy.deepcopy(model, shared)
    for name, attention in ours.items():
        theirs = twin.get_submodule(name)
        place, _, last = name.rpartition(".")
        layer_idx = getattr(theirs, "layer_idx", None)
        number = layer_idx if isinstance(layer_idx, int) else list(ours).index(name)
        following = 1 if others is None else others[name]
        setattr(twin.get_submodule(place), last, SplicedAttention(attention, theirs, number, following))
    return twin


def _returned(model: Model, names: Collection[str]) -> dict[str, int | None]:
    """How many Nones follow the output that each attention module returns; None where it returns the output alone.

    Raises Unspliceable where it returns more than its output: others go on with what only the library's computes.
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
        with torch.inference_mode():
            model.model(torch.tensor([[0, 0]], device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _refuse(ours: Collection[CausalSelfAttention], model: Model) -> None:
    if any(layer.spec.mask.given for layer in ours):
        raise Unspliceable("the model chooses keys itself, inside the modules that ours would replace")
    if any(layer.spec.shares is not None for layer in ours):
        raise Unspliceable("layers use each other's keys and values")
    head = getattr(model.model, "lm_head", None) or model.model.get_output_embeddings()
    if head is None:
        raise Unspliceable("the model has no language-model head to compare by")


def compare_spliced(
    model: Model, ids: tuple[int, ...], attention: list[CausalSelfAttention], *, generated: int = GENERATED
) -> SplicedResult:
    """Run the prompt and a greedy continuation through the spliced model and through the library's."""
    _refuse(attention, model)
    names = [info.name for info in model.layers]
    if len(set(names)) < len(names):
        raise Unspliceable("its attention modules run several times in one pass")
    by_name = dict(zip(names, attention, strict=True))
    twin = splice(model.model, by_name, _returned(model, by_name))
    with torch.inference_mode():
        spliced = twin(torch.tensor([ids], device=model.device), use_cache=False).logits[0]
    eager, sdpa = model.logits(ids, eager=True), model.logits(ids)
    difference, noise = distance(spliced, eager), distance(sdpa, eager)
    # Errors add up over the layers. The yardstick is what the library's own two forms of the same attention differ
    # by; where it has but one, a few roundings of the largest logit for each layer.
    unit = torch.finfo(spliced.dtype).eps
    tolerance = max(2 * noise, 4 * unit * float(eager.abs().max()) * len(names))
    room = generated if model.positions is None else max(0, min(generated, model.positions - len(ids)))
    ours = greedy(twin, ids, room)
    theirs = model.continuation(ids, room, eager=True)
    equal = _equal_from_start(ours, theirs)
    equal_sdpa = _equal_from_start(ours, model.continuation(ids, room))
    apart = _apart(model, [*ids, *ours[:equal]], ours[equal], theirs[equal]) if equal < room else 0.0
    tied = apart <= tolerance
    calls = sum(module.calls for module in twin.modules() if isinstance(module, SplicedAttention))
    ran = calls == len(names) * (1 + room)
    logits_ok = difference <= tolerance
    reason = "ours in every layer, library elsewhere; the library's own two forms differ by its noise"
    if not ran:
        reason = f"our attention ran {calls} times where {len(names) * (1 + room)} were due"
    elif not logits_ok:
        reason = "logits differ by more than rounding"
    elif equal < room and not tied:
        reason = f"generated token {equal + 1} differs"
    elif equal < room:
        reason = (
            f"generated token {equal + 1} differs where the library's logits of the two are {apart:.3g} apart, less "
            f"than rounding moves them ({tolerance:.3g})"
        )
    return SplicedResult(
        ok=ran and logits_ok and (equal == room or tied),
        logits_max_abs=difference,
        logits_differing=int((spliced != eager).sum()),
        logits_elements=spliced.numel(),
        logits_tolerance=tolerance,
        sdpa_max_abs=noise,
        tokens=tuple(ours),
        tokens_equal=equal,
        tokens_equal_sdpa=equal_sdpa,
        tokens_compared=room,
        calls=calls,
        text=model.tokenizer.decode(ours),
        reason=reason,
    )


def _apart(model: Model, ids: list[int], ours: int, theirs: int) -> float:
    """How far apart the library's own logits of two candidates for the next token are."""
    logits = model.logits(ids, eager=True)[-1]
    return float((logits[theirs] - logits[ours]).abs())


def _equal_from_start(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
