"""Small attentions as people write them, from a model's raw weights, right ones and with one reported mistake each.

None of reimpl's code is used: these are somebody's. `CASES` has each mistake with what a cause must state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ALL = ("query_pre", "key_pre", "query", "key", "value", "weights", "context", "output")
HANDED = {"all stages": ALL, "q, k, v, output": ("query", "key", "value", "output"), "output": ("output",)}


class Mine:
    """(x [n, m], layer) -> stages, of llama, qwen2, gemma2 or a partial rotary phi3; a case overrides one step."""

    def __init__(self, model: Any, stages: tuple[str, ...] = ALL) -> None:
        config = model.model.config
        self.config, self.stages = config, stages
        self.weights_of = {name: tensor.detach() for name, tensor in model.model.state_dict().items()}
        self.h, self.g, self.m = config.num_attention_heads, config.num_key_value_heads, config.hidden_size
        self.d = getattr(config, "head_dim", None) or self.m // self.h
        rope = config.rope_parameters or {}
        self.theta = rope.get("rope_theta", 10000.0)
        self.r = int(self.d * rope.get("partial_rotary_factor", 1.0))
        self.pre_scalar = getattr(config, "query_pre_attn_scalar", None)
        self.softcap = getattr(config, "attn_logit_softcapping", None)
        self.layers = config.num_hidden_layers

    def window(self, layer: int) -> int | None:
        kinds = getattr(self.config, "layer_types", None)
        window = getattr(self.config, "sliding_window", None)
        if kinds is None:
            return None
        return window if kinds[layer] == "sliding_attention" else None

    def matrix(self, layer: int, name: str) -> Tensor:
        place = f"model.layers.{layer}.self_attn."
        fused = self.weights_of.get(f"{place}qkv_proj.weight")
        if fused is None or name == "o":
            return self.weights_of[f"{place}{name}_proj.weight"]
        return torch.split(fused, [self.h * self.d, self.g * self.d, self.g * self.d])["qkv".index(name)]

    def bias(self, layer: int, name: str) -> Tensor | None:
        return self.weights_of.get(f"model.layers.{layer}.self_attn.{name}_proj.bias")

    def linear(self, x: Tensor, layer: int, name: str) -> Tensor:
        y, bias = x @ self.matrix(layer, name).T, self.bias(layer, name)
        return y if bias is None else y + bias

    def split(self, y: Tensor, heads: int, name: str) -> Tensor:
        return y.view(y.shape[0], heads, -1).transpose(0, 1)

    def project(self, x: Tensor, layer: int) -> list[Tensor]:
        return [
            self.split(self.linear(x, layer, name), heads, name)
            for name, heads in (("q", self.h), ("k", self.g), ("v", self.g))
        ]

    def frequencies(self, layer: int) -> Tensor:
        return 1.0 / self.theta ** (torch.arange(0, self.r, 2).float() / self.r)

    def positions(self, n: int, name: str) -> Tensor:
        return torch.arange(n).float()

    def angles(self, n: int, layer: int, name: str) -> Tensor:
        return torch.outer(self.positions(n, name), self.frequencies(layer))

    def turn(self, x: Tensor, layer: int, name: str) -> Tensor:
        angle = self.angles(x.shape[1], layer, name)
        cos, sin = torch.cat((angle, angle), -1).cos(), torch.cat((angle, angle), -1).sin()
        part, rest = x[..., : self.r], x[..., self.r :]
        half = self.r // 2
        turned = part * cos + torch.cat((-part[..., half:], part[..., :half]), -1) * sin
        return torch.cat((turned, rest), -1)

    def expand(self, k: Tensor, name: str) -> Tensor:
        return k.repeat_interleave(self.h // k.shape[0], 0)

    def scale(self, layer: int) -> float:
        return (self.pre_scalar or self.d) ** -0.5

    def scores(self, q: Tensor, k: Tensor, layer: int) -> Tensor:
        s = q @ self.expand(k, "k").transpose(-1, -2) * self.scale(layer)
        return s if self.softcap is None else torch.tanh(s / self.softcap) * self.softcap

    def mask(self, n: int, layer: int) -> Tensor:
        i, j = torch.arange(n)[:, None], torch.arange(n)[None, :]
        window = self.window(layer)
        return (j <= i) if window is None else (j <= i) & (i - j < window)

    def soften(self, s: Tensor, layer: int) -> Tensor:
        return s.masked_fill(~self.mask(s.shape[-1], layer), -math.inf).softmax(-1)

    def merge(self, c: Tensor) -> Tensor:
        return c.transpose(0, 1).reshape(c.shape[1], -1)

    def out(self, c: Tensor, layer: int) -> Tensor:
        return self.linear(self.merge(c), layer, "o")

    def __call__(self, x: Tensor, layer: int) -> dict[str, Tensor]:
        q0, k0, v = self.project(x, layer)
        q, k = self.turn(q0, layer, "q"), self.turn(k0, layer, "k")
        w = self.soften(self.scores(q, k, layer), layer)
        c = w @ self.expand(v, "v")
        made = {
            "query_pre": q0,
            "key_pre": k0,
            "query": q,
            "key": k,
            "value": v,
            "weights": w,
            "context": c,
            "output": self.out(c, layer),
        }
        return {stage: made[stage] for stage in self.stages}


@dataclass(frozen=True)
class Case:
    """A mistake: its kind, how it is made (what is overridden), what a cause must say, and which models can have it."""

    kind: str
    name: str
    override: dict[str, Callable[..., Any]]
    says: Callable[[Mine], tuple[str, ...]]
    can: Callable[[Mine], bool] = lambda mine: True
    hidden_at: tuple[str, ...] = ()  # handed over so, it changes no number

    def of(self, model: Any, stages: tuple[str, ...]) -> Mine:
        return type("Wrong", (Mine,), self.override)(model, stages)


def says(*words: str) -> Callable[[Mine], tuple[str, ...]]:
    return lambda mine: words


def pairs(self: Mine, x: Tensor, layer: int, name: str) -> Tensor:
    angle = self.angles(x.shape[1], layer, name)
    part, rest = x[..., : self.r], x[..., self.r :]
    a, b = part[..., 0::2], part[..., 1::2]
    turned = torch.stack((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1).flatten(-2)
    return torch.cat((turned, rest), -1)


def interleaved_angles(self: Mine, x: Tensor, layer: int, name: str) -> Tensor:
    angle = self.angles(x.shape[1], layer, name).repeat_interleave(2, -1)
    part, rest = x[..., : self.r], x[..., self.r :]
    half = self.r // 2
    turned = part * angle.cos() + torch.cat((-part[..., half:], part[..., :half]), -1) * angle.sin()
    return torch.cat((turned, rest), -1)


def no_minus(self: Mine, x: Tensor, layer: int, name: str) -> Tensor:
    angle = self.angles(x.shape[1], layer, name).repeat(1, 2)
    part, rest = x[..., : self.r], x[..., self.r :]
    half = self.r // 2
    turned = part * angle.cos() + torch.cat((part[..., half:], part[..., :half]), -1) * angle.sin()
    return torch.cat((turned, rest), -1)


def half_precision(self: Mine, x: Tensor, layer: int, name: str) -> Tensor:
    angle = (
        torch.outer(self.positions(x.shape[1], name).bfloat16(), self.frequencies(layer).bfloat16())
        .float()
        .repeat(1, 2)
    )
    part, rest = x[..., : self.r], x[..., self.r :]
    half = self.r // 2
    turned = part * angle.cos() + torch.cat((-part[..., half:], part[..., :half]), -1) * angle.sin()
    return torch.cat((turned, rest), -1)


def only(name_turned: str) -> Callable[..., Tensor]:
    return lambda self, x, layer, name: Mine.turn(self, x, layer, name) if name == name_turned else x


def with_base(theta: float) -> Callable[..., Tensor]:
    return lambda self, layer: 1.0 / theta ** (torch.arange(0, self.r, 2).float() / self.r)


def rows_moved(self: Mine, matrix: Tensor, heads: int, how: str) -> Tensor:
    parts = matrix.view(heads, -1, matrix.shape[-1])
    half = parts.shape[1] // 2
    view = parts.view(heads, 2, half, -1) if how == "interleaved" else parts.view(heads, half, 2, -1)
    return view.transpose(1, 2).reshape(matrix.shape)


def meta(names: dict[str, Callable[[Mine], int]], how: str) -> Callable[..., Tensor]:
    def matrix(self: Mine, layer: int, name: str) -> Tensor:
        right = Mine.matrix(self, layer, name)
        return rows_moved(self, right, names[name](self), how) if name in names else right

    return matrix


def other_layer(which: str) -> Callable[..., Tensor]:
    return lambda self, layer, name: Mine.matrix(self, 1 if layer == 0 and name == which else layer, name)


def exchanged(a: str, b: str) -> Callable[..., Tensor]:
    return lambda self, x, layer, name: Mine.linear(self, x, layer, {a: b, b: a}.get(name, name))


def without_bias(names: str) -> Callable[..., Tensor | None]:
    return lambda self, layer, name: None if name in names else Mine.bias(self, layer, name)


def fill(value: float) -> Callable[..., Tensor]:
    return lambda self, s, layer: s.masked_fill(~self.mask(s.shape[-1], layer), value).softmax(-1)


def scaled(by: Callable[[Mine], float]) -> Callable[..., float]:
    return lambda self, layer: by(self)


def windowed(change: Callable[[int | None], int | None]) -> Callable[..., int | None]:
    return lambda self, layer: change(Mine.window(self, layer))


def fresh_scale(self: Mine) -> float:
    return (self.pre_scalar or self.d) ** -0.5


def no_cap(self: Mine, q: Tensor, k: Tensor, layer: int) -> Tensor:
    return q @ self.expand(k, "k").transpose(-1, -2) * self.scale(layer)


def cap_first(self: Mine, q: Tensor, k: Tensor, layer: int) -> Tensor:
    s = q @ self.expand(k, "k").transpose(-1, -2)
    return torch.tanh(s / self.softcap) * self.softcap * self.scale(layer)  # type: ignore[operator]


def tiled(self: Mine, k: Tensor, name: str) -> Tensor:
    return k.repeat(self.h // k.shape[0], 1, 1)


def has_window(mine: Mine) -> bool:
    return mine.window(0) is not None


def grouped(mine: Mine) -> bool:
    return mine.g not in (1, mine.h)


def number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else f"{value:.6g}"


def plain(theta: float) -> Callable[[Mine], bool]:
    return lambda mine: mine.theta != theta


def tri(k: int) -> Callable[..., Tensor]:
    return lambda self, n, layer: Mine.mask(self, n, layer) | torch.eye(n).roll(k, 1).triu(1).bool()


def hides(self: Mine, n: int, layer: int) -> Tensor:
    return Mine.mask(self, n, layer) & ~torch.eye(n).bool()


ORDER = "Meta's order"
CASES: tuple[Case, ...] = (
    Case("pairing", "pairs", {"turn": pairs}, says("2i + 1")),
    Case("pairing", "angles in pairs, halves turned", {"turn": interleaved_angles}, says("angles laid out in pairs")),
    Case(
        "pairing",
        "Meta's order of W_q and W_k",
        {"matrix": meta({"q": lambda s: s.h, "k": lambda s: s.g}, "interleaved")},
        says("interleaved (Meta's order)"),
        lambda mine: mine.r == mine.d,
    ),
    Case(
        "pairing",
        "k permuted with the number of query heads",
        {"matrix": meta({"k": lambda s: s.h}, "parted")},
        lambda mine: (f"W_k parted (from Meta's order) as if it had {mine.h} heads",),
        lambda mine: grouped(mine) and (mine.g * mine.d) % (2 * mine.h) == 0,
    ),
    Case("pairing", "no minus", {"turn": no_minus}, says("no minus sign")),
    Case("positions", "keys not rotated", {"turn": only("q")}, says("queries rotated, keys not")),
    Case("positions", "queries not rotated", {"turn": only("k")}, says("keys rotated, queries not")),
    Case("positions", "no rotation", {"turn": lambda self, x, layer, name: x}, says("no rotation")),
    Case(
        "positions",
        "positions from 1",
        {"positions": lambda self, n, name: torch.arange(n).float() + 1},
        says("positions counted from 1"),
        hidden_at=("output",),
    ),
    Case(
        "positions",
        "keys one too high",
        {"positions": lambda self, n, name: torch.arange(n).float() + (name == "k")},
        says("key positions off by +1"),
    ),
    Case(
        "positions",
        "positions halved",
        {"positions": lambda self, n, name: torch.arange(n).float() / 2},
        says("positions times 0.5"),
    ),
    Case("base", "base 10000", {"frequencies": with_base(1e4)}, says("base 10000 "), plain(1e4)),
    Case("base", "base 500000", {"frequencies": with_base(5e5)}, says("base 500000 ")),
    Case("base", "base 1000000", {"frequencies": with_base(1e6)}, says("base 1000000 ")),
    Case("base", "base 33000", {"frequencies": with_base(33000.0)}, says("base 33000 ")),
    Case(
        "scaling",
        "exponent (2k - 1)/d",
        {"frequencies": lambda self, layer: self.theta ** (-(torch.arange(0, self.r, 2).float() - 1) / self.r)},
        says("(2i - 1)/d"),
    ),
    Case(
        "scaling",
        "exponent k/d",
        {"frequencies": lambda self, layer: self.theta ** (-torch.arange(self.r // 2).float() / self.r)},
        says("i/d instead of 2i/d"),
    ),
    Case(
        "scaling",
        "all dimensions turned",
        {"turn": lambda self, x, layer, name: _all_turned(self, x, layer, name)},
        lambda mine: (f"{mine.d} of {mine.d} dimensions",),
        lambda mine: mine.r < mine.d,
    ),
    Case(
        "scaling",
        "angles divided by 8",
        {"frequencies": lambda self, layer: Mine.frequencies(self, layer) / 8},
        says("0.125"),
    ),
    Case("mask", "no mask", {"mask": lambda self, n, layer: torch.ones(n, n).bool()}, says("no causal mask")),
    Case("mask", "next token visible", {"mask": tri(1)}, says("see the next token")),
    Case("mask", "hides itself", {"mask": hides}, says("hides each token from itself")),
    Case("mask", "upside down", {"mask": lambda self, n, layer: torch.ones(n, n).triu().bool()}, says("upside down")),
    Case(
        "mask",
        "after the softmax",
        {"soften": lambda self, s, layer: s.softmax(-1) * self.mask(s.shape[-1], layer)},
        says("after the softmax"),
    ),
    Case("mask", "masked with 0", {"soften": fill(0.0)}, says("masked scores set to 0")),
    Case("mask", "masked with 1e-9", {"soften": fill(1e-9)}, says("tiny number")),
    Case("mask", "masked with -3", {"soften": fill(-3.0)}, says("masked scores set to -3 ")),
    Case(
        "mask",
        "window + 1",
        {"window": windowed(lambda w: w and w + 1)},
        lambda mine: (f"window {mine.window(0) + 1}",),  # type: ignore[operator]
        has_window,
    ),
    Case(
        "mask",
        "window - 1",
        {"window": windowed(lambda w: w and w - 1)},
        lambda mine: (f"window {mine.window(0) - 1}",),  # type: ignore[operator]
        has_window,
    ),
    Case("mask", "window left out", {"window": windowed(lambda w: None)}, says("sliding window left out"), has_window),
    Case(
        "mask",
        "window 6 everywhere",
        {"window": windowed(lambda w: 6)},
        says("window 6"),
        lambda mine: mine.window(0) != 6,
    ),
    Case("head map", "tiled", {"expand": tiled}, says("tiled"), grouped),
    Case(
        "head map",
        "first head for all",
        {"expand": lambda self, k, name: k[:1].expand(self.h, -1, -1)},
        says("first one for all"),
        grouped,
    ),
    Case(
        "head map",
        "values alone tiled",
        {"expand": lambda self, k, name: tiled(self, k, name) if name == "v" else Mine.expand(self, k, name)},
        says("value heads tiled"),
        grouped,
    ),
    Case("scale", "no scale", {"scale": scaled(lambda s: 1.0)}, says("not scaled")),
    Case("scale", "d_model", {"scale": scaled(lambda s: s.m**-0.5)}, says("1/sqrt(d_model)"), lambda mine: mine.h > 1),
    Case(
        "scale",
        "twice",
        {"scale": scaled(lambda s: fresh_scale(s) ** 2)},
        lambda mine: (number(fresh_scale(mine) ** 2),),
    ),
    Case("scale", "1/d", {"scale": scaled(lambda s: 1 / s.d)}, lambda mine: (number(1 / mine.d),)),
    Case(
        "scale",
        "query_pre_attn_scalar ignored",
        {"scale": scaled(lambda s: s.d**-0.5)},
        says("1/sqrt(d_head)"),
        lambda mine: mine.pre_scalar is not None,
    ),
    Case(
        "scale",
        "hidden/heads",
        {"scale": scaled(lambda s: (s.m / s.h) ** -0.5)},
        lambda mine: (number((mine.m / mine.h) ** -0.5),),
        lambda mine: mine.pre_scalar is not None,
    ),
    Case("scale", "0.37", {"scale": scaled(lambda s: 0.37)}, says("scale 0.37")),
    Case(
        "softmax",
        "over queries",
        {"soften": lambda self, s, layer: s.masked_fill(~self.mask(s.shape[-1], layer), -math.inf).softmax(-2)},
        says("over queries"),
    ),
    Case(
        "softmax",
        "over heads",
        {
            "soften": lambda self, s, layer: (
                s.masked_fill(~self.mask(s.shape[-1], layer), -math.inf).softmax(0).nan_to_num(0.0)
            )
        },
        says("over heads"),
    ),
    Case("options", "soft-cap left out", {"scores": no_cap}, says("left out"), lambda mine: mine.softcap is not None),
    Case(
        "options",
        "soft-cap before the scale",
        {"scores": cap_first},
        says("before the scale"),
        lambda mine: mine.softcap is not None,
    ),
    Case(
        "loading",
        "all biases",
        {"bias": without_bias("qkv")},
        says("biases of queries, keys and values dropped"),
        lambda mine: mine.bias(0, "q") is not None,
    ),
    Case(
        "loading",
        "k bias",
        {"bias": without_bias("k")},
        says("bias of keys dropped"),
        lambda mine: mine.bias(0, "k") is not None,
    ),
    Case(
        "loading",
        "v bias",
        {"bias": without_bias("v")},
        says("bias of values dropped"),
        lambda mine: mine.bias(0, "v") is not None,
    ),
    Case(
        "loading",
        "W_q not transposed",
        {
            "matrix": lambda self, layer, name: (
                Mine.matrix(self, layer, name).T if name == "q" else Mine.matrix(self, layer, name)
            )
        },
        says("W_q not transposed"),
        lambda mine: mine.h * mine.d == mine.m,
    ),
    Case("loading", "W_k and W_v exchanged", {"linear": exchanged("k", "v")}, says("W_k and W_v exchanged")),
    Case("loading", "layer 1's W_k", {"matrix": other_layer("k")}, says("layer 1's W_k")),
    Case("loading", "layer 1's W_o", {"matrix": other_layer("o")}, says("layer 1's W_o")),
    Case("loading", "layer 1's W_q", {"matrix": other_layer("q")}, says("layer 1's W_q")),
    Case(
        "axes",
        "heads cut without exchanging axes",
        {"split": lambda self, y, heads, name: y.reshape(heads, y.shape[0], -1)},
        says("cut into heads without exchanging"),
    ),
    Case(
        "axes",
        "heads joined without exchanging axes",
        {"merge": lambda self, c: c.reshape(c.shape[1], -1)},
        says("joined without exchanging"),
    ),
    Case(
        "axes",
        "W_o left out",
        {"out": lambda self, c, layer: self.merge(c)},
        says("W_o left out"),
        lambda mine: mine.h * mine.d == mine.m,
    ),
    Case(
        "axes",
        "W_o not transposed",
        {"out": lambda self, c, layer: self.merge(c) @ self.matrix(layer, "o")},
        says("W_o not transposed"),
        lambda mine: mine.h * mine.d == mine.m,
    ),
    Case(
        "norm",
        "input normalised again",
        {
            "project": lambda self, x, layer: Mine.project(
                self, x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6), layer
            )
        },
        says("normalised once more"),
    ),
    Case("precision", "angles in bfloat16", {"turn": half_precision}, says("angles of RoPE rounded to bfloat16")),
    Case(
        "precision",
        "softmax in bfloat16",
        {"soften": lambda self, s, layer: Mine.soften(self, s, layer).bfloat16().float()},
        says("weights rounded to bfloat16"),
    ),
    Case(
        "two",
        "pairs and base 10000",
        {"turn": pairs, "frequencies": with_base(1e4)},
        says("2i + 1", "base 10000 "),
        plain(1e4),
    ),
    Case(
        "two", "pairs and base 500000", {"turn": pairs, "frequencies": with_base(5e5)}, says("2i + 1", "base 500000 ")
    ),
    Case(
        "two",
        "base and heads not exchanged",
        {"frequencies": with_base(5e5), "merge": lambda self, c: c.reshape(c.shape[1], -1)},
        says("base 500000 ", "joined without exchanging"),
    ),
    Case(
        "two",
        "tiled and unscaled",
        {"expand": tiled, "scale": scaled(lambda s: 1.0)},
        says("tiled", "not scaled"),
        grouped,
    ),
    Case(
        "two",
        "soft-cap and scale",
        {"scores": no_cap, "scale": scaled(lambda s: s.d**-0.5)},
        says("left out", "1/sqrt(d_head)"),
        lambda mine: mine.softcap is not None,
    ),
    Case(
        "two",
        "no mask and base 500000",
        {"mask": lambda self, n, layer: torch.ones(n, n).bool(), "frequencies": with_base(5e5)},
        says("no causal mask", "base 500000 "),
    ),
)


def _all_turned(self: Mine, x: Tensor, layer: int, name: str) -> Tensor:
    r, self.r = self.r, self.d
    made = Mine.turn(self, x, layer, name)
    self.r = r
    return made
