"""Find the attention that a module computes in its own code, without asking the library for a function.

A module's forward pass is watched for query·key products that become weights by a softmax and meet values.

Every torch function the module calls passes through a TorchFunctionMode, in this thread alone and only while a
listener is active. A product of two stacks of matrices may be scores: it is followed by reference through whatever is
done to it (scaled, masked, cast, reshaped) to a softmax, and from there to the product with the values. What was added
on the way is found by comparing the softmax's input with scale · query·key. Nothing here knows a family by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inspector.capture.code_names import names_in_class
from inspector.capture.masks import FORBIDS, Mask, as_additive, bias_of, find_rule, read_mask
from reimpl.attention import scaled_scores

PRODUCTS = {"matmul", "__matmul__", "bmm", "baddbmm"}
TIMES = {"mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply"}
OVER = {"div", "div_", "__truediv__", "__itruediv__", "true_divide"}
READY_MADE = "scaled_dot_product_attention"


def computes_attention(module: nn.Module) -> bool:
    """Tell whether a module's own code computes a softmax or torch's ready-made attention.

    The library's common code is not looked at. Whether it is attention is seen when it runs.

    Args:
        module: any module.

    Returns:
        Whether it is worth watching.
    """
    own = [kind for kind in type(module).__mro__ if not kind.__module__.startswith("torch.")]
    names = {name for kind in own for name in names_in_class(kind)}
    return bool(names & {"softmax", "Softmax", READY_MADE}) and "ALL_ATTENTION_FUNCTIONS" not in names


@dataclass
class Attended:
    """One attention that was seen, batch dimension taken off."""

    query: Tensor  # [h, t, d]
    key: Tensor  # [g, s, d]
    value: Tensor  # [g, s, d_value]
    scale: float
    mask: Mask
    bias: Tensor | None  # [h, t or 1, s], added to scaled scores
    context: Tensor  # [h, t, d_value]
    weights: Tensor | None  # [h, t, s]; None from torch's ready-made attention, unless it was asked to show them


@dataclass
class _Scores:
    """query·key, and what number it was multiplied by since."""

    query: Tensor
    key: Tensor
    scale: float


@dataclass
class _Weights:
    """What a softmax made of them."""

    scores: _Scores
    softmax_of: Tensor  # [h, t, s]


class Watch(TorchFunctionMode):
    """Call `found` (if there is one) with each attention computed in this context.

    With `shown`, torch's ready-made attention is replaced by its own plain form, which has the weights at hand.
    """

    def __init__(self, found: Callable[[Attended], None] | None, *, shown: bool = False) -> None:
        super().__init__()
        self._found, self._shown = found, shown
        # By identity; the tensor is stored too, so that no other takes its place. Only the end of each chain is here.
        self._followed: dict[int, tuple[Tensor, _Scores | _Weights]] = {}

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name == READY_MADE:
            return self._ready_made(function, *args, **kwargs)
        result = function(*args, **kwargs)
        if self._found is not None and isinstance(result, Tensor) and result.is_floating_point():
            self._follow(name, args, kwargs, result)
        return result

    def _follow(self, name: str, args: Sequence[Any], kwargs: dict[str, Any], result: Tensor) -> None:
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        known = next((x for x in tensors if id(x) in self._followed), None)
        if name in PRODUCTS:
            if known is None:
                self._product(name, args, kwargs, result)
            elif tensors[0] is known:
                _, was = self._followed.pop(id(known))
                if isinstance(was, _Weights) and len(tensors) == 2:
                    self._attended(was, weights=known, value=tensors[1], context=result)
            return
        if known is None or result.numel() != known.numel():
            return
        _, was = self._followed.pop(id(known))
        if isinstance(was, _Scores):
            if "softmax" in name:
                scores = _stack(known)
                if scores is None:
                    return
                was = _Weights(was, scores)
            elif name in TIMES | OVER and (by := _number(args, kwargs, known)) is not None:
                was = _Scores(was.query, was.key, was.scale * by if name in TIMES else was.scale / by)
        self._followed[id(result)] = (result, was)

    def _product(self, name: str, args: Sequence[Any], kwargs: dict[str, Any], result: Tensor) -> None:
        """Follow a product that may be query·key, in case a softmax takes it."""
        if name == "baddbmm":  # added, one stack, the other: beta · added + alpha · product
            pair = [*args[1:3], *(kwargs[k] for k in ("batch1", "batch2") if k in kwargs)]
        else:
            pair = [*args, *kwargs.values()][:2]
        if len(pair) != 2 or not all(isinstance(x, Tensor) for x in pair):
            return
        query, transposed = _stack(pair[0]), _stack(pair[1])
        if query is not None and transposed is not None:
            scores = _Scores(query, transposed.transpose(-1, -2), float(kwargs.get("alpha", 1.0)))
            self._followed[id(result)] = (result, scores)

    def _attended(self, seen: _Weights, *, weights: Tensor, value: Tensor, context: Tensor) -> None:
        stacks = _stack(weights), _stack(value), _stack(context)
        if self._found is None or stacks[0] is None or stacks[1] is None or stacks[2] is None:
            return
        query, key, scale = seen.scores.query, seen.scores.key, seen.scores.scale
        if (*query.shape[:2], key.shape[1]) != tuple(seen.softmax_of.shape):
            return  # the scores were reshaped into something else than a table for each head
        mask, bias = _added(query, key, scale, seen.softmax_of)
        self._found(Attended(query, key, stacks[1], scale, mask, bias, stacks[2], stacks[0]))

    def _ready_made(
        self,
        function: Callable[..., Tensor],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        options: dict[str, Any] = {"scale": scale, "enable_gqa": enable_gqa}
        context: Tensor
        weights: Tensor | None = None
        if self._shown:
            plain = torch.ops.aten._scaled_dot_product_attention_math
            added = None if attn_mask is None else as_additive(attn_mask, query)  # it takes a boolean mask for 0 and 1
            context, weights = plain(query, key, value, added, dropout_p, is_causal, None, **options)
        else:
            context = function(query, key, value, attn_mask, dropout_p, is_causal, **options)
        stacks = _stack(query), _stack(key), _stack(value), _stack(context)
        if self._found is None or stacks[0] is None or stacks[1] is None or stacks[2] is None or stacks[3] is None:
            return context
        mask, bias = read_mask(nn.Module(), query, key, attn_mask, {"is_causal": is_causal})
        by = query.shape[-1] ** -0.5 if scale is None else scale
        shown = None if weights is None else weights[0]
        self._found(Attended(stacks[0], stacks[1], stacks[2], by, mask, bias, stacks[3], shown))
        return context


def _stack(x: Tensor) -> Tensor | None:
    """Return one matrix for each head, [h, t, d], of [1, h, t, d] or of that itself; None of anything else."""
    if x.ndim == 4 and x.shape[0] == 1:
        return x[0]
    return x if x.ndim == 3 else None


def _number(args: Sequence[Any], kwargs: dict[str, Any], known: Tensor) -> float | None:
    """Return the number that `known` is multiplied or divided by; None where it is a tensor of many."""
    others = [x for x in (*args, *kwargs.values()) if x is not known]
    if len(others) == 1 and (not isinstance(others[0], Tensor) or others[0].numel() == 1):
        return float(others[0])
    return None


def _added(query: Tensor, key: Tensor, scale: float, scores: Tensor) -> tuple[Mask, Tensor | None]:
    """Return what stands between scale · query·key and a softmax's input [h, t, s]: a mask, and a bias or None.

    Head by head, so that never more than one table more is in memory.
    """
    tables: list[Tensor] = []
    biases: list[Tensor | None] = []
    group = query.shape[0] // key.shape[0]
    for head in range(query.shape[0]):
        shared = head // group
        plain = scaled_scores(query[head : head + 1].float(), key[shared : shared + 1].float(), scale=scale)
        seen = scores[head : head + 1].float()
        rest = seen - plain
        mask = rest > FORBIDS
        # Rounding of the product, and of what follows in the module's dtype: what is added on purpose is larger, at
        # least where scores are small.
        exact = 32 * torch.finfo(torch.float32).eps * (1 + float(plain.abs().max()))
        noise = exact + 4 * max(torch.finfo(x.dtype).eps for x in (query, scores)) * (plain.abs() + seen.abs())
        biases.append(bias_of(rest, mask, noise=noise))
        tables.append(tables[0] if tables and torch.equal(mask[0], tables[0]) else mask[0])
    alike = all(table is tables[0] for table in tables)
    rule = find_rule(tables[0][None] if alike else torch.stack(tables))
    if all(bias is None for bias in biases):
        return rule, None
    zero = torch.zeros_like(scores[:1, -1:])
    rows = [zero if bias is None else bias for bias in biases]
    height = max(row.shape[1] for row in rows)
    return rule, torch.cat([row.expand(1, height, -1) for row in rows])
