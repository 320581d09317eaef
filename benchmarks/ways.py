"""Make ways to run a prompt through the packaged model, and prove that their numbers are the same.

Each way is a function from token ids to its result.

    plain         the library's forward pass with SDPA, recording nothing: what every other way is divided by
    capture       `model.trace(ids)`: the same pass, with each layer's queries, keys and values stored by reference
    weights       the same, then every head's n x n weights computed once, one after the other, none stored
    eager         what one would do with the library alone: a second model object with attn_implementation="eager"
                  and output_attentions=True, which keeps every head's weights
    lens_weights  TransformerLens's run_with_cache, told to keep every head's attention pattern and nothing else
    lens_vectors  the same, told to keep queries and keys after RoPE, and values: what a capture stores

All ask for the last token's logits alone (all of them would be 0.4 GB at 2048 tokens) and use no key/value cache.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Literal, get_args

from benchmarks.bounds import Size
from inspector.text import refuse_other

Run = Callable[[list[int]], Any]
Way = Literal["plain", "capture", "weights", "eager", "lens_weights", "lens_vectors"]

TITLES: dict[Way, str] = {
    "plain": "plain forward pass (SDPA)",
    "capture": "ours: capture",
    "weights": "ours: capture, then every head's weights once",
    "eager": "library, eager with output_attentions",
    "lens_weights": "TransformerLens, weights kept",
    "lens_vectors": "TransformerLens, q, k, v kept",
}
WAYS: tuple[Way, ...] = get_args(Way)
HOOKS: dict[Way, tuple[str, ...]] = {
    "lens_weights": ("hook_pattern",),
    "lens_vectors": ("hook_rot_q", "hook_rot_k", "hook_v"),
}
MISSING = "not installed: pip install '.[bench]'"

# SDPA and eager attention add up in different orders: weights of later layers then differ by up to 4e-6, vectors of
# size 10 and logits of size 20 by as much relative to that. A wrong head, layer or mask differs by 0.01 and more.
WEIGHTS_APART, VECTORS_APART, LOGITS_APART = 2e-5, 5e-4, 5e-4
TEXT = (
    "Houston, we have a problem. The cat sat on the mat because it was tired; the dog sat on the cat because it was "
    "not. We'll always have Paris, and Paris will always have the light: a lamp is light, a feather is light. "
)


def ids_of(model: Any, n: int) -> list[int]:
    """Return the first n tokens of a text said over and over.

    Args:
        model: an inspector.Model.
        n: tokens.

    Returns:
        Token ids.
    """
    ids: list[int] = model.tokenizer(TEXT * (n // 40 + 1)).input_ids
    assert len(ids) >= n
    return ids[:n]


def missing(way: Way) -> str:
    """Say why a way cannot be gone here; empty: it can.

    Args:
        way: the way.

    Returns:
        The reason.
    """
    return MISSING if way in HOOKS and importlib.util.find_spec("transformer_lens") is None else ""


def needs(way: Way, size: Size, n: int) -> int:
    """Return the bytes that a way needs at the least, beyond the model.

    Args:
        way: the way.
        size: the model's sizes.
        n: tokens.

    Returns:
        Bytes.
    """
    if way in ("eager", "lens_weights"):
        return size.all_weights(n)
    if way == "lens_vectors":  # scores, masked scores, weights of one layer at a time
        return size.vectors(n) + 3 * size.one_layer(n)
    if way == "weights":  # scores, softmax, weights of one head at a time
        return size.vectors(n) + 3 * size.one_layer(n) // size.heads
    return size.vectors(n) if way == "capture" else 0


def make(way: Way, model: Any) -> Run:
    """Make one way through a model.

    Args:
        way: the way.
        model: an inspector.Model.

    Returns:
        A function from token ids to its result.

    Raises:
        InspectorError: there is no such way.
    """
    import torch

    refuse_other(way, WAYS, "way through the model")
    if way == "capture":
        return lambda ids: model.trace(ids)
    if way == "weights":
        return lambda ids: _every_weight(model.trace(ids))
    library = {"plain": lambda: model.model, "eager": lambda: _eager(model)}.get(way)
    if library is not None:
        forward, wanted = library(), {"output_attentions": True} if way == "eager" else {}

        def run(ids: list[int]) -> Any:
            with torch.inference_mode():
                return forward(torch.tensor([ids]), use_cache=False, logits_to_keep=1, **wanted)

        return run
    bridge, hooks = _lens(model), HOOKS[way]

    def run_lens(ids: list[int]) -> Any:
        with torch.inference_mode():
            kept = lambda name: name.endswith(hooks)  # noqa: E731
            return bridge.run_with_cache(torch.tensor([ids]), names_filter=kept, logits_to_keep=1)

    return run_lens


def assert_equal(trace: Any, way: Way, result: Any) -> None:
    """Assert that a way's result has the trace's numbers: all of a first, a middle and the last layer.

    Args:
        trace: the prompt's trace.
        way: the way.
        result: what it returned.
    """
    import torch

    if way in ("capture", "weights"):
        assert torch.equal(result.last_logits, trace.last_logits), f"{way}: two runs gave different logits"
        return
    logits = last_logits(way, result)
    if way == "plain":  # the same operations on the same numbers
        assert torch.equal(logits, trace.last_logits), "plain: recording changed the logits"
        return
    _close(f"{way}: logits", logits, trace.last_logits, LOGITS_APART)
    count = len(trace.layers)
    for layer in sorted({0, count // 2, count - 1}):
        if way == "lens_vectors":
            kept = trace.stored[layer]
            for hook, vectors in zip(HOOKS[way], (kept.query, kept.key, kept.value), strict=True):
                found = result[1][f"blocks.{layer}.attn.{hook}"][0]
                found = found.transpose(0, 1) if found.shape[0] == trace.n else found  # [n, h, d] or [h, n, d]
                _close(f"{way}: layer {layer}, {hook}", found, vectors, VECTORS_APART)
            continue
        every = result.attentions[layer][0] if way == "eager" else result[1]["pattern", layer][0]
        for head in range(trace.layers[layer].heads):
            name = f"{way}: layer {layer}, head {head}, weights"
            _close(name, every[head], trace.weights(layer, head), WEIGHTS_APART)


def last_logits(way: Way, result: Any) -> Any:
    """Return the last token's logits.

    Args:
        way: the way.
        result: what it returned.

    Returns:
        [1, vocabulary].
    """
    if way in ("capture", "weights"):
        return result.last_logits
    return (result.logits if way in ("plain", "eager") else result[0])[0, -1:]


def _close(name: str, found: Any, expected: Any, tolerance: float) -> None:
    assert found.shape == expected.shape, f"{name} have shape {list(found.shape)}, not {list(expected.shape)}"
    apart = float((found - expected).abs().max())
    assert apart <= tolerance, f"{name} differ by {apart:.2g}, more than {tolerance:.2g}"


def stored_bytes(way: Way, result: Any) -> int:
    """Count the bytes of tensors that a result stores.

    Args:
        way: the way.
        result: what it returned.

    Returns:
        Bytes.
    """
    if way in ("capture", "weights"):
        return int(result.nbytes)
    if way == "eager":
        return sum(weights.nbytes for weights in result.attentions)
    return sum(tensor.nbytes for tensor in result[1].values()) if way in HOOKS else 0


def _every_weight(trace: Any) -> Any:
    for layer, info in enumerate(trace.layers):
        for head in range(info.heads):
            trace.weights(layer, head)
    return trace


def _eager(model: Any) -> Any:
    from transformers import AutoModelForCausalLM

    from inspector.loading.quiet_library import quiet

    with quiet():
        eager = AutoModelForCausalLM.from_pretrained(
            model.source.folder, dtype=model.dtype, attn_implementation="eager", local_files_only=True
        )
    return eager.eval().requires_grad_(False)


def _lens(model: Any) -> Any:
    """TransformerLens's model of the same files, with its default attention (eager, so that it can be looked into)."""
    from transformer_lens.model_bridge import TransformerBridge

    from inspector.loading.quiet_library import quiet

    with quiet():
        return TransformerBridge.boot_transformers(
            str(model.source.folder), tokenizer=model.tokenizer, dtype=model.dtype, device="cpu"
        )
