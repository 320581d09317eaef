"""What a run will cost, told before it, and the refusal of a run that would not fit in memory.

What a trace stores is counted by the shapes of what each layer stored of a short pass: exactly, but for a mask or bias
that is a rule there and a table of a longer prompt (a model that chooses 2,048 keys has none to choose among 8). What a
forward pass needs besides is estimated from the model's widths, and time is scaled up from a short timed pass: both are
rough.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch

from inspector.capture.records import LayerInfo
from inspector.errors import InspectorError
from inspector.model.memory import memory_budget
from inspector.model.sizes import ModelSizes

FREE = 512  # tokens that are run without asking what they will cost
LONG = 2000  # tokens from which on a run's cost is worth a word before it
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
# What verifying takes for each of a layer's (head, query, key) triples: twice the 41 measured for Llama, as sinks and
# soft-caps make copies of their own. And for each logit: half as much again as the 22 measured.
TABLE_BYTES, LOGIT_BYTES = 80, 32
TIMED = 256  # tokens of the timed pass


@dataclass(frozen=True)
class Cost:
    """What one run takes; printed, it is one sentence.

    tokens: of the prompt, with those that the model is to write. stored_bytes: what the trace will store. peak_bytes:
    the most that the run needs at once above the loaded model, what is stored included. seconds: of the run, roughly
    (None: not asked for).
    """

    tokens: int
    stored_bytes: int
    peak_bytes: int
    seconds: float | None

    def __str__(self) -> str:
        took = "" if self.seconds is None else f"about {_duration(self.seconds)}, "
        return (
            f"{self.tokens:,} token{'' if self.tokens == 1 else 's'}: {took}about {_size(self.peak_bytes)} of memory "
            f"while it runs, {_size(self.stored_bytes)} stored."
        )


class TooLarge(InspectorError):
    """More memory is needed than may be used; `plainly` says it to those who can set neither options nor limits."""

    def __init__(self, needed: str, step: str, plain_step: str) -> None:
        super().__init__(f"{needed} (ATTENTION_INSPECTOR_MEMORY_GB or --memory-gb sets it): {step}.")
        self.plainly = f"{needed}: {plain_step}."


@dataclass(frozen=True)
class Speed:
    """How fast a model runs on this machine now: seconds for each multiplication, and for a pass over one token."""

    seconds_a_unit: float
    seconds_a_token: float


def run_cost(
    sizes: ModelSizes,
    prompt: int,
    *,
    keep: Collection[str] = (),
    generate: int = 0,
    layers: Collection[int] | None = None,
    precision: str | None = None,
    speed: Speed | None = None,
) -> Cost:
    """Say what `model.trace` of a prompt costs with these options.

    Args:
        sizes: the model's.
        prompt: how many tokens the prompt has.
        keep: what is stored beyond queries, keys and values.
        generate: how many tokens the model is to write.
        layers: the layers whose vectors are stored (None: all).
        precision: the dtype that vectors are rounded to, where it is not the model's own.
        speed: the model's, where the seconds are asked for too.

    Returns:
        Bytes, and seconds where `speed` was given.
    """
    tokens = prompt + generate
    vector_bytes = HALVES[precision].itemsize if precision else sizes.dtype.itemsize
    stored = sizes.probed.outcome
    for number, layer in enumerate(sizes.probed.layers):
        stored += layer.sinks + layer.sinks_token * tokens
        if layers is None or number in layers:
            beside = layer.token + sum(layer.beside.get(what, 0) for what in keep)
            stored += (vector_bytes * layer.vectors + beside) * tokens + layer.pair * tokens**2
    peak = stored + _working(sizes, tokens)
    if generate:
        peak = max(peak, _writing(sizes, prompt, tokens))
    return Cost(tokens, stored, peak, None if speed is None else _seconds(sizes, speed, prompt, generate))


def verification_bytes(layers: Sequence[LayerInfo], tokens: int, vocabulary: int) -> int:
    """Return about how many bytes verifying a prompt of so many tokens takes.

    They are the largest layer's n x n tables (scores, mask, weights; ours, the library's, and in float64) and all
    logits of three runs.
    """
    return TABLE_BYTES * max(info.heads for info in layers) * tokens**2 + LOGIT_BYTES * tokens * vocabulary


def refuse_verification(layers: Sequence[LayerInfo], tokens: int, vocabulary: int) -> None:
    """Raise TooLarge where verifying so many tokens would need more memory than it may use."""
    needed, limit = verification_bytes(layers, tokens, vocabulary), memory_budget()
    if needed > limit:
        fits = tokens
        while fits > 1 and verification_bytes(layers, fits, vocabulary) > limit:
            fits = fits * 9 // 10
        step = f"verify at most about {fits:,} tokens"
        raise TooLarge(
            f"A verification makes every head's whole {tokens:,} × {tokens:,} table of a layer at once, needs about "
            f"{_size(needed)}, and may use {_size(limit)}",
            step,
            step,
        )


def refuse_run(
    sizes: ModelSizes,
    prompt: int,
    *,
    keep: Collection[str],
    generate: int,
    layers: Collection[int] | None,
    precision: str | None,
) -> None:
    """Raise TooLarge where a run of more than a few tokens would need more memory than it may use.

    The sentence names what would fit. The arguments are those of `run_cost`.
    """
    if prompt + generate <= FREE:
        return

    def needed(layers: Collection[int] | None, precision: str | None) -> Cost:
        return run_cost(sizes, prompt, keep=keep, generate=generate, layers=layers, precision=precision)

    limit, cost = memory_limit(sizes.device), needed(layers, precision)
    if limit is None or cost.peak_bytes <= limit:
        return
    smaller = []
    if precision is None and sizes.dtype.itemsize > 2:
        smaller.append(f'precision="float16" ({_size(needed(layers, "float16").peak_bytes)})')
    if layers is None:
        smaller.append(f"fewer layers, such as layers=[0] ({_size(needed((0,), precision).peak_bytes)})")
    raise TooLarge(
        f"{cost.tokens:,} tokens through {sizes.name} need about {_size(cost.peak_bytes)} of memory, and this run may "
        f"use {_size(limit)}",
        ", ".join([*smaller, "or a shorter prompt"]),
        "shorten the prompt" + (", or let the model write less" if generate else ""),
    )


def memory_limit(device: torch.device) -> int | None:
    """Return the bytes that a run may use; None where it cannot be told.

    Of a graphics card what is free; else what the environment says, or half of the machine's memory.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return memory_budget() if device.type == "cpu" else None


def _working(sizes: ModelSizes, tokens: int) -> int:
    """Return the bytes of a forward pass at its widest.

    They are the residual stream and its copies, a block's widest vectors, and n x n tables where the model's attention
    makes them.
    """
    infos = sizes.layers
    widest = max(info.heads * info.d_head for info in infos)
    numbers = tokens * (6 * sizes.width + 3 * sizes.inner_width + 6 * widest)
    masked = any(info.window or info.chunk or info.bias for info in infos)
    if not sizes.fused_attention:
        numbers += 3 * max(info.heads for info in infos) * tokens**2
    elif masked:
        numbers += tokens**2
    tables = 4 * max(layer.pair for layer in sizes.probed.layers) * tokens**2  # read_mask's copies of one
    return tables + numbers * sizes.dtype.itemsize + sizes.vocabulary * sizes.dtype.itemsize


def _writing(sizes: ModelSizes, prompt: int, tokens: int) -> int:
    """Return the bytes in use while the model writes: keys and values of all tokens, and all logits of the prompt."""
    cache = sum(info.kv_heads * (info.d_head + info.d_value) for info in sizes.layers) * tokens * sizes.dtype.itemsize
    return cache + _working(sizes, prompt) + sizes.probed.outcome * prompt


def _seconds(sizes: ModelSizes, speed: Speed, prompt: int, generate: int) -> float:
    """Scale a timed pass up to the seconds of a run.

    Products with the parameters grow with n, those of queries and keys with n x n. What the model writes takes a pass
    over the prompt, a short one for each token, and the recorded one over all.
    """
    seconds = speed.seconds_a_unit * _work(sizes, prompt + generate)
    if generate:
        seconds += speed.seconds_a_unit * _work(sizes, prompt) + speed.seconds_a_token * generate
    return seconds


def _work(sizes: ModelSizes, tokens: int) -> float:
    """Count the multiplications of one pass.

    A causal kernel leaves out half of the pairs, and is about half as fast as a plain matrix product: so all are
    counted.
    """
    embedded = sizes.vocabulary * sizes.width
    parameters = max(sizes.parameters - embedded, 1)
    pairs = sum(info.heads * (info.d_head + info.d_value) for info in sizes.layers)
    return float(tokens * parameters + tokens**2 * pairs)


def measure_speed(run: Callable[[Sequence[int]], None], sizes: ModelSizes) -> Speed:
    """Time two short passes of a model.

    Args:
        run: runs token ids through the model.
        sizes: the model's.

    Returns:
        Its speed on this machine now.
    """
    count = min(TIMED, sizes.positions or TIMED)
    return Speed(_time_a_pass(run, sizes, count) / _work(sizes, count), _time_a_pass(run, sizes, 1))


def _time_a_pass(run: Callable[[Sequence[int]], None], sizes: ModelSizes, count: int) -> float:
    """Return the seconds that a pass over so many tokens takes: the best of two."""
    ids = [1 + i % max(sizes.vocabulary - 1, 1) for i in range(count)]
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        run(ids)
        best = min(best, time.perf_counter() - start)
    return best


def _size(count: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    """Return a duration as people read it."""
    if seconds < 1:
        return "a second"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
