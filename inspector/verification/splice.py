"""The reimplementation put in place of the library's attention, in a copy of the library's model.

The copy is of the library's own class and shares its parameters; the original is untouched. Stage by stage each layer
is judged on the library's input; here our own errors may add up from layer to layer, and the library's key/value cache
sits between our rotation and our scores.
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

from inspector.capture.eval_mode import evaluating, forward_compiled
from inspector.errors import InspectorError
from inspector.model.forward import greedy
from inspector.model.model import Model
from inspector.model.outcome import has_language_model_head
from inspector.verification.compare import distance
from inspector.verification.tolerances import logit_tolerance
from inspector.verification.written_out import with_plain_matrices
from reimpl.attention import Cached, CausalSelfAttention

GENERATED = 40  # tokens compared after the prompt


@dataclass(frozen=True)
class SplicedResult:
    """What the spliced model did, compared with the library's.

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
    for name, attention in ours.items():
        theirs = twin.get_submodule(name)
        place, _, last = name.rpartition(".")
        layer_idx = getattr(theirs, "layer_idx", None)
        number = layer_idx if isinstance(layer_idx, int) else list(ours).index(name)
        following = 1 if others is None else others[name]
        setattr(twin.get_submodule(place), last, SplicedAttention(attention, theirs, number, following))
    return twin.eval()


def _returned(model: Model, names: Collection[str]) -> dict[str, int | None]:
    """Count the Nones after the output that each attention module returns; None where it returns the output alone.

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
        with torch.inference_mode(), evaluating(model.model):
            model.model(torch.tensor([[0, 0]], device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _refuse(ours: Collection[CausalSelfAttention], model: Model) -> None:
    """Raise Unspliceable where ours cannot take the place of this model's attention."""
    if any(layer.spec.mask.given for layer in ours):
        raise Unspliceable("the model chooses keys itself, inside the modules that ours would replace")
    if any(layer.spec.shares is not None for layer in ours):
        raise Unspliceable("layers use each other's keys and values")
    if not has_language_model_head(model.model):
        raise Unspliceable("the model has no language-model head to compare by")


def compare_spliced(
    model: Model, ids: tuple[int, ...], attention: list[CausalSelfAttention], *, generated: int = GENERATED
) -> SplicedResult:
    """Run the prompt and a greedy continuation through the spliced model and through the library's.

    Args:
        model: the model that is verified.
        ids: the prompt's token ids.
        attention: our layers, one for each of the model's.
        generated: how many tokens to compare after the prompt.

    Returns:
        How far logits and tokens are apart.

    Raises:
        Unspliceable: ours cannot take the place of this model's attention.
    """
    _refuse(attention, model)
    model = with_plain_matrices(model)
    names = [info.name for info in model.layers]
    if len(set(names)) < len(names):
        raise Unspliceable("its attention modules run several times in one pass")
    by_name = dict(zip(names, attention, strict=True))
    twin = spliced_model(model.model, by_name, _returned(model, by_name))
    with torch.inference_mode():
        spliced = twin(torch.tensor([ids], device=model.device), use_cache=False).logits[0]
    eager, sdpa = model.logits(ids, eager=True), model.logits(ids)
    difference, noise = distance(spliced, eager), distance(sdpa, eager)
    tolerance = logit_tolerance(eager, noise=noise, layers=len(names))
    room = generated if model.positions is None else max(0, min(generated, model.positions - len(ids)))
    ours = greedy(twin, ids, room)
    theirs = model.passes.continuation(ids, room, eager=True, past_the_end=True)
    equal = _equal_from_start(ours, theirs)
    equal_sdpa = _equal_from_start(ours, model.passes.continuation(ids, room, past_the_end=True))
    apart = _apart(model, [*ids, *ours[:equal]], ours[equal], theirs[equal]) if equal < room else 0.0
    calls = sum(module.calls for module in twin.modules() if isinstance(module, SplicedAttention))
    due = len(names) * (1 + room)
    ok, reason = True, "ours in every layer, library elsewhere; the library's own two forms differ by its noise"
    if calls != due:
        ok, reason = False, f"our attention ran {calls} times where {due} were due"
    elif not difference <= tolerance:  # also where it is no number
        ok, reason = False, "logits differ by more than rounding"
    elif equal < room and apart <= tolerance:
        reason = (
            f"generated token {equal + 1} differs where the library's logits of the two are {apart:.3g} apart, less "
            f"than rounding moves them ({tolerance:.3g})"
        )
    elif equal < room:
        ok, reason = False, f"generated token {equal + 1} differs"
    return SplicedResult(
        ok=ok,
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
    """Return how far apart the library's own logits of two candidates for the next token are."""
    logits = model.logits(ids, eager=True)[-1]
    return float((logits[theirs] - logits[ours]).abs())


def _equal_from_start(a: list[int], b: list[int]) -> int:
    """Count the tokens that are equal, from the first on."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
