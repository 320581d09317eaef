"""What a run will cost, told before it: a model and a number of tokens go in; bytes, rough seconds and one plain
sentence come out, or an InspectorError with the number, the limit and the next step where it would not fit.

What is kept is counted by the shapes of what each layer kept of a short pass: exactly, but for a mask or bias that is a
rule there and a table of a longer prompt (a model that chooses 2,048 keys has none to choose among 8). What a forward
pass needs besides is estimated from the model's widths, and time is scaled up from a short timed pass: both are rough.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from inspector.capture.probe import Probe
from inspector.capture.records import LayerInfo
from inspector.errors import InspectorError
from inspector.model.memory import memory_budget

FREE = 512  # tokens that are run without asking what they will cost
LONG = 2000  # tokens from which on a run's cost is worth a word before it
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
# What verifying takes for each of a layer's (head, query, key) triples: twice the 41 measured for Llama, as sinks and
# soft-caps make copies of their own. And for each logit: half as much again as the 22 measured.
TABLE_BYTES, LOGIT_BYTES = 80, 32
TIMED = 256  # tokens of the timed pass


@dataclass(frozen=True)
class Cost:
    """tokens: of the prompt, with those that the model is to write. kept_bytes: what the trace will hold. peak_bytes:
    the most that the run needs at once above the loaded model, what is kept included. seconds: of the run, roughly
    (None: not asked for)."""

    tokens: int
    kept_bytes: int
    peak_bytes: int
    seconds: float | None

    def __str__(self) -> str:
        took = "" if self.seconds is None else f", takes roughly {_duration(self.seconds)}"
        return (
            f"{self.tokens:,} token{'' if self.tokens == 1 else 's'}: keeps {_size(self.kept_bytes)}, needs about "
            f"{_size(self.peak_bytes)} while it runs{took}."
        )


class TooLarge(InspectorError):
    """More memory than there may be: what is needed, and the next step. `plainly` says it to those who can set neither
    options nor limits."""

    def __init__(self, needed: str, step: str, plain_step: str) -> None:
        super().__init__(f"{needed} (ATTENTION_INSPECTOR_MEMORY_GB or --memory-gb sets it): {step}.")
        self.plainly = f"{needed}: {plain_step}."


class Measurable(Protocol):
    """What the arithmetic below asks of a model: its sizes, what a short pass has shown, and timed passes."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def layers(self) -> tuple[LayerInfo, ...]: ...
    @property
    def width(self) -> int: ...
    @property
    def inner_width(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def positions(self) -> int | None: ...
    @property
    def parameter_count(self) -> int: ...
    @property
    def fused_attention(self) -> bool: ...
    @property
    def probed(self) -> Probe: ...
    @property
    def seconds_a_unit(self) -> float: ...
    @property
    def seconds_a_token(self) -> float: ...
    def run_unrecorded(self, ids: Sequence[int]) -> None: ...


def run_cost(
    model: Measurable,
    prompt: int,
    *,
    keep: Collection[str] = (),
    generate: int = 0,
    layers: Collection[int] | None = None,
    precision: str | None = None,
    timed: bool = True,
) -> Cost:
    """What `model.trace` of a prompt of so many tokens costs with these options."""
    tokens = prompt + generate
    stored = HALVES[precision].itemsize if precision else model.dtype.itemsize
    held = model.probed.logits
    for number, layer in enumerate(model.probed.layers):
        held += layer.sinks + layer.sinks_token * tokens
        if layers is None or number in layers:
            beside = layer.token + sum(layer.beside.get(what, 0) for what in keep)
            held += (stored * layer.vectors + beside) * tokens + layer.pair * tokens**2
    peak = held + _working(model, tokens)
    if generate:
        peak = max(peak, _writing(model, prompt, tokens))
    return Cost(tokens, held, peak, _seconds(model, prompt, generate) if timed else None)


def verification_bytes(layers: Sequence[LayerInfo], tokens: int, vocabulary: int) -> int:
    """About how many bytes verifying a prompt takes: the largest layer's n x n tables (scores, mask, weights; ours, the
    library's, and in float64) and all logits of three runs."""
    return TABLE_BYTES * max(info.heads for info in layers) * tokens**2 + LOGIT_BYTES * tokens * vocabulary


def refuse_verification(layers: Sequence[LayerInfo], tokens: int, vocabulary: int) -> None:
    """Raises TooLarge where verifying would need more memory than it may use."""
    needed, limit = verification_bytes(layers, tokens, vocabulary), memory_budget()
    if needed > limit:
        fits = tokens
        while fits > 1 and verification_bytes(layers, fits, vocabulary) > limit:
            fits = fits * 9 // 10
        step = f"verify at most about {fits:,} tokens"
        raise TooLarge(
            f"A verification holds every head's whole {tokens:,} × {tokens:,} table of a layer at once, needs about "
            f"{_size(needed)}, and may use {_size(limit)}",
            step,
            step,
        )


def refuse_run(
    model: Measurable,
    prompt: int,
    *,
    keep: Collection[str],
    generate: int,
    layers: Collection[int] | None,
    precision: str | None,
) -> None:
    """Raises TooLarge where a run of more than a few tokens would need more memory than it may use, offering a smaller
    form."""
    if prompt + generate <= FREE:
        return

    def needed(layers: Collection[int] | None, precision: str | None) -> Cost:
        return run_cost(model, prompt, keep=keep, generate=generate, layers=layers, precision=precision, timed=False)

    limit, cost = memory_limit(model.device), needed(layers, precision)
    if limit is None or cost.peak_bytes <= limit:
        return
    smaller = []
    if precision is None and model.dtype.itemsize > 2:
        smaller.append(f'precision="float16" ({_size(needed(layers, "float16").peak_bytes)})')
    if layers is None:
        smaller.append(f"fewer layers, such as layers=[0] ({_size(needed((0,), precision).peak_bytes)})")
    raise TooLarge(
        f"{cost.tokens:,} tokens through {model.name} need about {_size(cost.peak_bytes)} of memory, and this run may "
        f"use {_size(limit)}",
        ", ".join([*smaller, "or a shorter prompt"]),
        "shorten the prompt" + (", or let the model write less" if generate else ""),
    )


def memory_limit(device: torch.device) -> int | None:
    """Bytes a run may use: of the graphics card what is free; else what the environment says, or half of the machine's
    memory. None where it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return memory_budget() if device.type == "cpu" else None


def _working(model: Measurable, tokens: int) -> int:
    """What a forward pass holds at its widest: the stream and its copies, a block's widest vectors, and n x n tables
    where the model's attention makes them."""
    infos = model.layers
    widest = max(info.heads * info.d_head for info in infos)
    numbers = tokens * (6 * model.width + 3 * model.inner_width + 6 * widest)
    masked = any(info.window or info.chunk or info.bias for info in infos)
    if not model.fused_attention:
        numbers += 3 * max(info.heads for info in infos) * tokens**2
    elif masked:
        numbers += tokens**2
    tables = 4 * max(layer.pair for layer in model.probed.layers) * tokens**2  # read_mask's copies of one
    return tables + numbers * model.dtype.itemsize + model.vocabulary * model.dtype.itemsize


def _writing(model: Measurable, prompt: int, tokens: int) -> int:
    """What is held while the model writes: keys and values of all tokens, and all logits of the prompt."""
    cache = sum(info.kv_heads * (info.d_head + info.d_value) for info in model.layers) * tokens * model.dtype.itemsize
    return cache + _working(model, prompt) + model.probed.logits * prompt


def _seconds(model: Measurable, prompt: int, generate: int) -> float:
    """A timed pass, scaled up: products with the parameters grow with n, those of queries and keys with n x n. What the
    model writes takes a pass over the prompt, a short one for each token, and the recorded one over all."""
    seconds = model.seconds_a_unit * _work(model, prompt + generate)
    if generate:
        seconds += model.seconds_a_unit * _work(model, prompt) + model.seconds_a_token * generate
    return seconds


def _work(model: Measurable, tokens: int) -> float:
    """Multiplications of one pass. A causal kernel leaves out half of the pairs, and is about half as fast as a plain
    matrix product: so all are counted."""
    embedded = model.vocabulary * model.width
    parameters = max(model.parameter_count - embedded, 1)
    pairs = sum(info.heads * (info.d_head + info.d_value) for info in model.layers)
    return float(tokens * parameters + tokens**2 * pairs)


def time_a_unit(model: Measurable) -> float:
    """Seconds a multiplication takes in this model on this machine now."""
    count = min(TIMED, model.positions or TIMED)
    return time_a_pass(model, count) / _work(model, count)


def time_a_pass(model: Measurable, count: int) -> float:
    """Seconds that a pass over so many tokens takes: the best of two."""
    ids = [1 + i % max(model.vocabulary - 1, 1) for i in range(count)]
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        model.run_unrecorded(ids)
        best = min(best, time.perf_counter() - start)
    return best


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
