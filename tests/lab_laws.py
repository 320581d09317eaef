"""The laws that edits of attention obey, each with how much may be missing and why; `lab_document.py` prints them.

A law runs a model in two ways that must come to the same, and returns by how much they do not: over the largest logit
where it compares logits. Not a test itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tiny import skip_where_this_release_does_otherwise
from torch import Tensor, nn
from transformers import AutoTokenizer

import inspector
from inspector import lab
from inspector.capture.edits import Edit
from inspector.coverage import tiny
from inspector.model.edited_runs import EditedRuns
from inspector.model.model import Model

FAMILIES = (
    "llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "gpt_neox", "phi3", "olmo2", "granite", "cohere", "gpt_oss",
    "mixtral",
)  # fmt: skip
OUTPUTS = ("o_proj", "dense", "out_proj")  # what projections of head outputs are called
EXACT = 0.0
SUMS = (
    3e-5  # float32 sums of the same numbers in another order, through the layers of a model with steep random weights
)


def tiny_model(family: str, folder: Path) -> Model:
    """A tiny random model of one of the library's classes, with a tokenizer."""
    skip_where_this_release_does_otherwise(family)
    tiny.word_tokenizer(folder)
    return inspector.load(tiny.build(tiny.types()[family]), AutoTokenizer.from_pretrained(folder))


@dataclass
class Bench:
    """One model with a prompt, and another of equal length."""

    model: Model
    ids: Sequence[int]
    other: Sequence[int]

    def runs(self, edits: Any, ids: Sequence[int] | None = None) -> EditedRuns:
        return self.model.edited_runs(edits, n=len(self.ids if ids is None else ids))

    def edited(self, edits: Any, ids: Sequence[int] | None = None) -> Tensor:
        """Logits [n, vocabulary] under edits."""
        ids = self.ids if ids is None else ids
        return self.model.passes.logits(ids, editor=self.runs(edits, ids).editor())

    def pair(self, edits: Any) -> tuple[Tensor, Tensor]:
        """Logits of the baseline and under the edits, by the same path."""
        runs = self.runs(edits)
        before = self.model.passes.logits(self.ids, editor=runs.baseline())
        return before, self.model.passes.logits(self.ids, editor=runs.editor())

    @cached_property
    def plain(self) -> Tensor:
        return self.model.logits(self.ids)

    @cached_property
    def window(self) -> int:
        """How many tokens a prompt may have so that no layer's window bites."""
        return min([info.window or info.chunk or len(self.ids) for info in self.trace().layers] + [len(self.ids)])

    @property
    def last(self) -> int:
        return len(self.model.layers) - 1

    def trace(self, ids: Sequence[int] | None = None, edits: Any = ()) -> inspector.Trace:
        return self.model.trace(list(self.ids if ids is None else ids), edits=edits)

    def projection(self, layer: int) -> nn.Module:
        attention = self.model.model.get_submodule(self.model.layers[layer].name)
        return next(child for name, child in attention.named_children() if name in OUTPUTS)


def miss(one: Tensor, other: Tensor) -> float:
    """The largest difference over the largest magnitude."""
    one, other = one.detach().double(), other.detach().double()
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-30))


@contextmanager
def hooked(*hooks: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Law:
    """One law: the kind of edit it is about, what holds, how much may be missing, and the function that measures it."""

    name: str
    edit: str
    says: str
    tolerance: float
    measure: Callable[[Bench], float]


LAWS: list[Law] = []


def law(
    edit: str, says: str, tolerance: float = EXACT
) -> Callable[[Callable[[Bench], float]], Callable[[Bench], float]]:
    def add(measure: Callable[[Bench], float]) -> Callable[[Bench], float]:
        LAWS.append(Law(measure.__name__, edit, says, tolerance, measure))
        return measure

    return add


# -- head outputs -----------------------------------------------------------------------------------------------------


@law("zero", "a head set to zero is that head's slice of the output projection's input set to zero by a hook")
def zero_is_a_hook_before_the_output_projection(b: Bench) -> float:
    worst = 0.0
    for layer in (0, b.last):
        info, head = b.model.layers[layer], 1
        part = slice(head * info.d_value, (head + 1) * info.d_value)

        def without(_: Any, args: Any, part: slice = part) -> Any:
            changed = args[0].clone()
            changed[..., part] = 0
            return (changed, *args[1:])

        with hooked(b.projection(layer).register_forward_pre_hook(without)):
            expected = b.model.logits(b.ids)
        worst = max(worst, miss(b.edited(lab.zero(layer, head)), expected))
    return worst


@law("zero", "all heads of all layers at zero are a model whose output projections are given zeros")
def all_heads_at_zero_are_no_attention(b: Bench) -> float:
    nothing = [
        b.projection(layer).register_forward_pre_hook(lambda _, args: (torch.zeros_like(args[0]), *args[1:]))
        for layer in range(b.last + 1)
    ]
    with hooked(*nothing):
        expected = b.model.logits(b.ids)
    return miss(b.edited(lab.zero()), expected)


@law("scale", "a factor of 0 is the head at zero, and of 1 changes nothing")
def scale_has_two_ends(b: Bench) -> float:
    ends = (miss(b.edited(lab.scale(0.0, 1, 2)), b.edited(lab.zero(1, 2))), miss(b.edited(lab.scale(1.0)), b.plain))
    return max(ends)


@law("mean", "the mean by position over copies of the prompt changes nothing")
def mean_of_copies_is_the_head_itself(b: Bench) -> float:
    return miss(b.edited(lab.mean([b.ids, b.ids, b.ids], 1, by_position=True)), b.plain)


@law("mean", "each row is the mean of the prompt's own rows from the second on", SUMS)
def mean_is_over_tokens(b: Bench) -> float:
    layer, own = 1, b.trace()
    found = b.trace(edits=lab.mean(b.ids, layer)).context(layer)
    expected = own.context(layer)[:, 1:].double().mean(1, keepdim=True).expand_as(found)
    return miss(found, expected)


@law("patch context", "head outputs of the prompt itself change nothing")
def patch_of_itself_is_nothing(b: Bench) -> float:
    return miss(b.edited(lab.resample(b.ids)), b.plain)


@law("patch context", "put in at a position, they leave the rows before it alone (experts sum in another order)", SUMS)
def a_late_patch_leaves_early_rows_alone(b: Bench) -> float:
    late = b.edited(lab.patch(b.other, 1, positions=-2, source_positions=-2))
    return miss(late[: len(b.ids) - 2], b.plain[: len(b.ids) - 2])


@law("patch context", "head outputs of another prompt, put in at a position, are that prompt's at that one", SUMS)
def patch_puts_the_source_there(b: Bench) -> float:
    layer, source = 0, b.trace(b.other)
    found = b.trace(edits=lab.patch(b.other, layer, positions=[2], source_positions=[4])).context(layer)
    return miss(found[:, 2], source.context(layer)[:, 4])


@law("patch context", "all head outputs of another prompt with its token embeddings are that prompt's run")
def patch_of_everything_is_the_other_prompt(b: Bench) -> float:
    embeddings = b.model.model.get_input_embeddings()
    given: list[Tensor] = []
    with hooked(embeddings.register_forward_hook(lambda *call: given.append(call[-1].clone()))):
        expected = b.model.logits(b.other)
    runs = b.runs(lab.resample(b.other))
    editor = runs.editor()  # before the hook: its source is run as it is
    with hooked(embeddings.register_forward_hook(lambda *_: given[0])):
        found = b.model.passes.logits(b.ids, editor=editor)
    return miss(found, expected)


@law("patch query, key, value", "queries, keys and values of another prompt everywhere are its head outputs everywhere")
def patch_of_vectors_is_patch_of_context(b: Bench) -> float:
    vectors = [lab.patch(b.other, what=what) for what in ("query", "key", "value")]
    return miss(b.edited(vectors), b.edited(lab.resample(b.other)))


@law("patch weights", "weights and values of another prompt everywhere are its head outputs everywhere", SUMS)
def patch_of_weights_and_values_is_patch_of_context(b: Bench) -> float:
    both = [lab.freeze(b.other), lab.patch(b.other, what="value")]
    return miss(b.edited(both), b.edited(lab.resample(b.other)))


# -- patterns ---------------------------------------------------------------------------------------------------------


@law("patch weights", "under its own frozen weights, whatever happens to queries changes nothing")
def frozen_weights_need_no_queries(b: Bench) -> float:
    before, frozen = b.pair(lab.freeze(b.ids))
    return max(miss(frozen, before), miss(b.edited([lab.temperature(3.0), lab.freeze(b.ids)]), before))


@law(
    "cut",
    "a key cut for all later tokens everywhere is the text without that token, others keeping their positions",
    SUMS,
)
def cut_everywhere_is_the_token_deleted(b: Bench) -> float:
    ids = list(b.ids[: b.window])
    key = 2
    places = [place for place in range(len(ids)) if place != key]
    rest = [ids[place] for place in places]
    deleted = b.edited(lab.rope(positions=places), rest)
    return miss(b.edited(lab.cut(key=key), ids)[places], deleted)


@law("cut", "weights left are the old ones over what is left of their row, cut ones are 0", SUMS)
def cut_weights_are_shared_out(b: Bench) -> float:
    layer, key = 0, 1  # the first layer: what it receives is the same in both runs
    own, found = b.trace(), b.trace(edits=lab.cut(key=key, layers=layer))
    was, now = own.weights(layer).double(), found.weights(layer).double()
    expected = was / (1 - was[..., key : key + 1])
    expected[..., key] = 0
    expected[:, key] = was[:, key]  # the token keeps itself
    expected[:, :key] = was[:, :key]
    return miss(now, expected)


@law("cut", "cut by half, an edge's weight w is w/2 over what is then left of its row, 1 - w/2", SUMS)
def cut_by_half(b: Bench) -> float:
    layer, key = 0, 1
    half = Edit(kind="cut", layers=(layer,), keys=(key,), strength=0.5)
    was = b.trace().weights(layer).double()[:, key + 1 :, key]
    found = b.trace(edits=half).weights(layer).double()[:, key + 1 :, key]
    return miss(found, was / 2 / (1 - was / 2))


@law("cut", "cutting the only key that a token has is refused")
def an_empty_row_is_refused(b: Bench) -> float:
    try:
        found = b.edited(lab.cut(query=0, key=0, layers=0))
    except inspector.InspectorError as error:
        return 0.0 if "Nothing is left for token 0" in str(error) else 1.0
    return 1.0 if bool(found.isfinite().all()) else float("inf")


@law("drop, zero_value", "a token's value at zero is its weight at zero after the softmax, for all queries", SUMS)
def zero_value_is_a_dropped_weight(b: Bench) -> float:
    everyone = range(len(b.ids))
    dropped = lab.cut(query=everyone, key=2, renormalise=False)
    return miss(b.edited(lab.zero_value(2)), b.edited(dropped))


@law("zero_value", "all values of one group at zero are its heads at zero")
def values_of_a_group_are_its_heads(b: Bench) -> float:
    info = b.model.layers[1]
    group = [head for head in range(info.heads) if info.kv_head(head) == info.kv_heads - 1]
    return miss(b.edited(lab.zero_value(range(len(b.ids)), 1, group)), b.edited(lab.zero(1, group)))


@law("window", "a window of one leaves each token itself: its head output is its value, but for a sink's share", SUMS)
def a_window_of_one_is_oneself(b: Bench) -> float:
    layer = 1
    found = b.trace(edits=lab.mask(layer, window=1))
    weights, info = found.weights(layer), found.layers[layer]
    value = found.value(layer).repeat_interleave(info.heads // info.kv_heads, 0)
    share = torch.diagonal(weights, dim1=1, dim2=2)
    alone = miss(weights.sum(-1), share) + (0.0 if info.sinks else miss(share, torch.ones_like(share)))
    return max(alone, miss(found.context(layer), value * share[..., None]))


@law("window", "a window as long as the prompt changes nothing")
def a_long_window_is_none(b: Bench) -> float:
    before, after = b.pair(lab.mask(window=len(b.ids)))
    return miss(after, before)


@law("mask_off", "for the last query, which sees all, it changes nothing where no window bites")
def the_last_query_has_no_mask(b: Bench) -> float:
    ids = b.ids[: b.window]
    runs = b.runs(lab.mask(off=True, queries=len(ids) - 1), ids)
    before = b.model.passes.logits(ids, editor=runs.baseline())
    return miss(b.model.passes.logits(ids, editor=runs.editor()), before)


@law("mask_off", "without the mask every key may be looked at, in each row as many as there are tokens")
def without_a_mask_all_is_seen(b: Bench) -> float:
    seen = b.trace(edits=lab.mask(0, off=True)).allowed(0)
    return float((~seen).sum())


# -- scores -----------------------------------------------------------------------------------------------------------


@law("temperature", "a factor of 1 changes nothing; scores not scaled are a factor of 1 over the scale")
def temperature_has_its_points(b: Bench) -> float:
    scale = b.model.layers[0].scale
    unscaled = lab.temperature(1 / scale, 0)
    return max(miss(b.edited(lab.temperature(1.0)), b.plain), miss(b.edited(lab.scale_off(0)), b.edited(unscaled)))


@law("temperature", "at a factor of 0 a query looks at all its keys alike", SUMS)
def at_zero_all_keys_are_alike(b: Bench) -> float:
    found = b.trace(edits=lab.temperature(0.0, 1))
    weights, allowed = found.weights(1).double(), found.allowed(1)
    share = weights.sum(-1, keepdim=True)  # less than 1 beside a sink
    return miss(weights, allowed * share / allowed.sum(-1, keepdim=True))


# -- rotation ---------------------------------------------------------------------------------------------------------


@law("rope_off", "in the first layer equal tokens then have equal keys wherever they stand")
def without_rope_equal_tokens_are_equal(b: Bench) -> float:
    ids = [*b.ids[:4], b.ids[1], *b.ids[5:]]  # the second token stands in the fifth place, too
    key = b.trace(ids, edits=lab.rope(0, off=True)).key(0)
    plain = b.trace(ids).key(0)
    return max(miss(key[:, 1], key[:, 4]), 0.0 if miss(plain[:, 1], plain[:, 4]) > 1e-3 else 1.0)


@law("rope_off", "all planes off are RoPE off; vectors then are those before rotation", SUMS)
def all_planes_off_are_rope_off(b: Bench) -> float:
    off = b.trace(edits=lab.rope(0, off=True))
    count = next(buffer.shape[-1] for name, buffer in b.model.model.named_buffers() if name.endswith("inv_freq"))
    planes = b.edited(lab.rope(0, off=True, planes=range(count)))
    found, plain = off.query(0), b.trace().query(0, rope=False)  # the latter without a factor that YaRN puts on both
    unrotated = miss(found / found.norm(dim=-1, keepdim=True), plain / plain.norm(dim=-1, keepdim=True))
    return max(miss(planes, b.edited(lab.rope(0, off=True))), unrotated)


@law("rope_base", "the base as it is changes nothing")
def the_same_base_is_none(b: Bench) -> float:
    rules = b.model.model.config.rope_parameters
    layers: dict[float, list[int]] = {}
    for info in b.model.layers:
        kind = (getattr(b.model.model.config, "layer_types", None) or [""] * (b.last + 1))[info.block]
        layers.setdefault(float(rules.get(kind, rules)["rope_theta"]), []).append(info.index)
    return miss(b.edited([lab.rope(where, base=base) for base, where in layers.items()]), b.plain)


@law("rope_positions", "all tokens moved along together attend as before, to the rounding of angles", SUMS)
def rope_is_relative(b: Bench) -> float:
    return miss(b.edited(lab.rope(shift=20)), b.plain)


@law("rope_positions", "positions as they are change nothing")
def own_positions_are_none(b: Bench) -> float:
    return miss(b.edited(lab.rope(positions=range(len(b.ids)))), b.plain)


# -- all edits --------------------------------------------------------------------------------------------------------

EVERY: dict[str, Callable[[Bench], Edit]] = {
    "zero": lambda b: lab.zero(1, 0),
    "scale": lambda b: lab.scale(3.0, 1, 0),
    "mean": lambda b: lab.mean(b.other, 1, 0),
    "patch context": lambda b: lab.patch(b.other, 1, 0),
    "patch query": lambda b: lab.patch(b.other, 1, what="query"),
    "patch key": lambda b: lab.patch(b.other, 1, what="key"),
    "patch value": lambda b: lab.patch(b.other, 1, what="value"),
    "patch weights": lambda b: lab.freeze(b.other, 1, 0),
    "cut": lambda b: lab.cut(key=2, layers=1),
    "drop": lambda b: lab.cut(key=2, layers=1, renormalise=False),
    "zero_value": lambda b: lab.zero_value(2, 1),
    "rope_off": lambda b: lab.rope(off=True),
    "rope_base": lambda b: lab.rope(base=50.0),
    "rope_positions": lambda b: lab.rope(positions=[2 * i for i in range(len(b.ids))]),
    "mask_off": lambda b: lab.mask(1, off=True),
    "window": lambda b: lab.mask(1, window=2),
    "temperature": lambda b: lab.temperature(3.0, 1),
    "scale_off": lambda b: lab.scale_off(1),
}


@law("every edit", "its control (strength 0, or patched from itself) changes no logit; wholly made, it changes some")
def controls_change_nothing(b: Bench) -> float:
    worst = 0.0
    for make in EVERY.values():
        runs = b.runs(make(b))
        baseline = runs.baseline()
        before = b.model.passes.logits(b.ids, editor=baseline)
        after = b.model.passes.logits(b.ids, editor=runs.editor())
        control = b.model.passes.logits(b.ids, editor=runs.control(baseline))
        worst = max(worst, float((control != before).sum()), 0.0 if bool((after != before).any()) else 1.0)
    return worst


@law("every edit", "an explicit pass without edits is the model's own, to rounding", SUMS)
def the_explicit_path_is_the_models(b: Bench) -> float:
    runs = b.runs(lab.cut(key=2))
    return miss(b.model.passes.logits(b.ids, editor=runs.baseline()), b.plain)


@law("every edit", "token by token with the cache, the model writes what it writes when it reads all again each time")
def edits_hold_during_generation(b: Bench) -> float:
    edits = [lab.zero(1, 0), lab.cut(key=1), lab.rope(0, off=True), lab.zero_value(2, b.last)]
    ids = list(b.ids)
    runs = b.runs(edits)
    written = b.model.passes.continuation(ids, 4, past_the_end=True, editor=runs.editor())
    slowly = list(ids)
    for _ in written:
        slowly.append(int(b.model.passes.logits(slowly, editor=runs.editor())[-1].argmax()))
    return float(sum(a != c for a, c in zip(written, slowly[len(ids) :], strict=True)))


@law("every edit", "what one thread edits, another thread's run does not see")
def threads_are_apart(b: Bench) -> float:
    found: list[Tensor] = []
    plain = b.plain

    def other() -> None:
        found.append(b.model.logits(b.ids))

    editor = b.runs(lab.zero()).editor()
    between = b.projection(1).register_forward_pre_hook(lambda *_: _once(found, other))
    with hooked(between):
        b.model.passes.logits(b.ids, editor=editor)
    return miss(found[0], plain)


def _once(found: list[Tensor], run: Callable[[], None]) -> None:
    """Run something in another thread in the middle of this pass, the first time."""
    if not found and threading.current_thread() is threading.main_thread():
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
