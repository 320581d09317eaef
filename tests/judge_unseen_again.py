"""More mistakes that strangers make, written once the judge was finished and before its code was read.

What must be stated was put into the judge's words afterwards where it had stated the planted value in others.

python -m tests.judge_unseen_again            print a row for each mistake: all stages | q, k, v, output | output
python -m tests.judge_unseen_again NAME ...   those of these models alone
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import judge_cases
import judge_unseen
import torch
from judge_cases import Mine
from judge_unseen import Own, Unseen, factored, has_nope, has_norm, has_sinks, rope_factor, say
from torch import Tensor


def backwards(self: Own, n: int, layer: int, name: str) -> Tensor:
    return -torch.outer(self.positions(n, name), self.frequencies(layer))


def cos_for_sin(self: Own, x: Tensor, layer: int, name: str) -> Tensor:
    if not self.rotation(layer):
        return x
    angle = self.angles(x.shape[1], layer, name).repeat(1, 2)
    cos, sin = angle.sin() * self.factor(layer), angle.cos() * self.factor(layer)
    part, rest, half = x[..., : self.r], x[..., self.r :], self.r // 2
    return torch.cat((part * cos + torch.cat((-part[..., half:], part[..., :half]), -1) * sin, rest), -1)


def half_of_them(self: Own, x: Tensor, layer: int, name: str) -> Tensor:
    r, tables = self.r, self.tables
    self.r, self.tables = r // 2, [1 / self.theta ** (torch.arange(0, r // 2, 2).float() / (r // 2)) for _ in tables]
    made = Own.turn(self, x, layer, name)
    self.r, self.tables = r, tables
    return made


def keys_other_base(self: Own, n: int, layer: int, name: str) -> Tensor:
    base = 20000.0 if name == "k" else self.theta
    return torch.outer(self.positions(n, name), 1 / base ** (torch.arange(0, self.r, 2).float() / self.r))


def by_head(self: Own, x: Tensor, layer: int, name: str) -> Tensor:
    return Own.turn(self, x.transpose(0, 1), layer, name).transpose(0, 1)


def exponent_of_all(self: Own, layer: int) -> Tensor:
    return 1 / self.theta ** (torch.arange(0, self.r, 2).float() / self.d)


def factor_twice(self: Own, layer: int) -> float:
    return self.factors[layer] ** 2


def capped_at(value: float) -> Callable[..., Tensor]:
    def scores(self: Own, q: Tensor, k: Tensor, layer: int) -> Tensor:
        s = q @ self.expand(k, "k").transpose(-1, -2) * self.scale(layer)
        return torch.tanh(s / value) * value

    return scores


def other_kind(self: Own, layer: int) -> int | None:
    return None if Mine.window(self, layer) else getattr(self.config, "sliding_window", None)


def two_sided(self: Own, n: int, layer: int) -> Tensor:
    i, j = torch.arange(n)[:, None], torch.arange(n)[None]
    window = self.window(layer)
    return (j <= i) if window is None else (i - j).abs() < window


def one_more_below(self: Own, s: Tensor, layer: int) -> Tensor:
    s = s.masked_fill(~self.mask(s.shape[-1], layer), -math.inf)
    return torch.cat((s, torch.zeros_like(s[..., :1])), -1).softmax(-1)[..., :-1]


def reversed_heads(self: Own, k: Tensor, name: str) -> Tensor:
    return Mine.expand(self, k, name).flip(0)


def dimensions_first(self: Own, c: Tensor) -> Tensor:
    return c.permute(1, 2, 0).reshape(c.shape[1], -1)


def keys_as_values(self: Own, x: Tensor, layer: int) -> list[Tensor]:
    q, k, _ = Own.project(self, x, layer)
    return [q, k, k]


def next_values(self: Own, layer: int, name: str) -> Tensor:
    return Mine.matrix(self, (layer + 1) % self.layers if name == "v" else layer, name)


def bias_twice(self: Own, x: Tensor, layer: int, name: str) -> Tensor:
    bias = self.bias(layer, name)
    return Mine.linear(self, x, layer, name) + (0 if bias is None or name != "q" else bias)


def others_weight(self: Own, layer: int, name: str) -> Tensor | None:
    return Own.weight(self, layer, {"k": "q", "q": "q"}[name])


def normed_twice(self: Own, x: Tensor, layer: int, name: str) -> Tensor:
    return Own.norm(self, Own.norm(self, x, layer, name), layer, name)


def layer_ones_weight(self: Own, layer: int, name: str) -> Tensor | None:
    return Own.weight(self, 1 if layer == 0 else layer, name)


def divided_by_sum(self: Own, x: Tensor, layer: int, name: str) -> Tensor:
    w = self.weight(layer, name)
    return x if w is None else x / (x.pow(2).sum(-1, keepdim=True) + self.eps).sqrt() * factored(self, w)


def rounded_cache(self: Own, x: Tensor, layer: int) -> list[Tensor]:
    q, k, v = Own.project(self, x, layer)
    return [q, k, v.bfloat16().float()]


def minus_sinks(self: Own, layer: int) -> Tensor | None:
    sinks = Own.sinks(self, layer)
    return None if sinks is None else -sinks


def one_layer_late(self: Own, layer: int) -> bool:
    return self.rotated[layer - 1]


def without_minus(self: Own, x: Tensor, layer: int, name: str) -> Tensor:
    return judge_cases.no_minus(self, x, layer, name) if self.rotation(layer) else x


def plain_rope(mine: Own) -> bool:
    return (mine.config.rope_parameters or {}).get("rope_type", "default") == "default" and not has_nope(mine)


def whole(mine: Own) -> bool:
    return plain_rope(mine) and mine.r == mine.d


def one_base(mine: Own) -> bool:
    return plain_rope(mine) and len({id(table) for table in mine.tables}) == 1


def capped(mine: Own) -> bool:
    return mine.softcap is not None


def windowed(mine: Own) -> bool:
    return any(mine.window(layer) for layer in range(mine.layers))


def both_kinds(mine: Own) -> bool:
    return windowed(mine) and not all(mine.window(layer) for layer in range(mine.layers))


def biased(mine: Own) -> bool:
    return mine.bias(0, "q") is not None


def value(*numbers: Callable[[Own], float]) -> Callable[[Own], tuple[str, ...]]:
    return lambda mine: tuple(judge_cases.number(one(mine)) for one in numbers)


def order_reversed(mine: Own) -> tuple[str, ...]:
    return (f"read in the order {' '.join(str(mine.g - 1 - i // (mine.h // mine.g)) for i in range(mine.h))}",)


AGAIN: tuple[Unseen, ...] = (
    Unseen("rotation", "the other way round", {"angles": backwards}, say("other way", "direction", "backwards")),
    Unseen("rotation", "sines for cosines", {"turn": cos_for_sin}, say("sines in the place of cosines"), one_base),
    Unseen("rotation", "half of the dimensions turned", {"turn": half_of_them},
           lambda mine: (f"{mine.r // 2} of {mine.d} dimensions",), lambda mine: whole(mine) and one_base(mine)),
    Unseen("rotation", "turned by the head's number", {"turn": by_head}, say("by the head's number"), plain_rope),
    Unseen("base", "keys alone with base 20000", {"angles": keys_other_base},
           say("base 20000 for keys alone"), one_base),
    Unseen("base", "exponent of all dimensions", {"frequencies": exponent_of_all},
           say("exponent"), lambda mine: mine.r < mine.d and one_base(mine)),
    Unseen("scaling", "attention factor twice", {"factor": factor_twice},
           say("taken twice"), rope_factor),
    Unseen("scale", "times the root, not divided by it", {
        "scale": lambda self, layer: (self.pre_scalar or self.d) ** 0.5},
           value(lambda mine: (mine.pre_scalar or mine.d) ** 0.5)),
    Unseen("scale", "two to the power instead of e", {
        "scale": lambda self, layer: Mine.scale(self, layer) * math.log(2),
    }, value(lambda mine: Mine.scale(mine, 0) * math.log(2))),
    Unseen("soft-cap", "at 5", {"scores": capped_at(5.0)}, say("soft-cap of 5"), capped),
    Unseen("mask", "sliding and full layers exchanged", {"window": other_kind},
           lambda mine: ("window left out", f"window {mine.config.sliding_window}"), both_kinds),
    Unseen("mask", "a window to both sides", {"mask": two_sided}, say("to both sides"), windowed),
    Unseen("softmax", "one added to the sum", {"soften": one_more_below}, say("1 added"),
           lambda mine: not has_sinks(mine)),
    Unseen("head map", "key and value heads from the last", {"expand": reversed_heads},
           order_reversed, judge_cases.grouped),
    Unseen("axes", "joined with dimensions first", {"merge": dimensions_first}, say("joined as [n, d, h]", "joined")),
    Unseen("loading", "keys used as values", {"project": keys_as_values},
           say("W_k in the place of W_v", "keys in the place of values")),
    Unseen("loading", "the next layer's W_v", {"matrix": next_values}, say("layer 1's W_v")),
    Unseen("loading", "bias of queries twice", {"linear": bias_twice}, say("bias of queries added twice"), biased),
    Unseen("norm", "queries' weight for keys", {"weight": others_weight},
           say("weight of queries", "queries' norm weight", "other"), has_norm),
    Unseen("norm", "twice", {"norm": normed_twice}, say("normalised twice"), has_norm),
    Unseen("norm", "layer 1's weight", {"weight": layer_ones_weight}, say("layer 1's norm weight"), has_norm),
    Unseen("norm", "by the sum instead of the mean", {"norm": divided_by_sum}, say("length", "sum"), has_norm),
    Unseen("precision", "values rounded to bfloat16", {"project": rounded_cache}, say("values rounded to bfloat16")),
    Unseen("sinks", "with a minus", {"sinks": minus_sinks}, say("sinks with the other sign"), has_sinks),
    Unseen("NoPE", "counted from another layer", {"rotation": one_layer_late},
           say("no rotation by position", "in a layer that has none"), has_nope),
    Unseen("two", "no minus and no scale", {"turn": without_minus, "scale": lambda self, layer: 1.0},
           say("no minus sign"), whole),
    Unseen("two", "window one too far and no soft-cap", {
        "window": judge_cases.windowed(lambda w: w and w + 1), "scores": judge_cases.no_cap,
    }, lambda mine: (f"window {mine.config.sliding_window + 1}",), lambda mine: capped(mine) and windowed(mine)),
    Unseen("two", "no bias of keys and base 33000", {
        "bias": judge_cases.without_bias("k"), "frequencies": judge_cases.with_base(33000.0),
    }, say("bias of keys dropped"), lambda mine: biased(mine) and one_base(mine)),
)  # fmt: skip

judge_unseen.MODELS |= {"qwen2": "qwen2"}
MODELS = ("qwen2", "gemma2", "llama3", "yarn", "qwen3", "phi3 partial", "smollm3", "gemma3", "gpt_oss", "packaged")


def main(names: list[str]) -> None:
    """Print a row for each mistake and model, and what they add up to."""
    judge_unseen.UNSEEN = AGAIN
    judge_unseen.main(names or list(MODELS))


if __name__ == "__main__":
    main(sys.argv[1:])
