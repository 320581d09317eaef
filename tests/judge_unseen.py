"""Mistakes that strangers make, written from the names of their kinds alone: how many does the judge name?

python -m tests.judge_unseen            print a row for each mistake: all stages | q, k, v, output | output
python -m tests.judge_unseen NAME ...   those of these models alone

The small attention here is somebody's: it reads a model's raw weights, and the library's own rotation table, and none
of reimpl's code.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import judge_cases
import tiny
import torch
from judge_cases import ALL, HANDED, Mine
from torch import Tensor

import inspector
from inspector.model.model import Model

TOKENS = 26
PROMPT = "Houston, we have a problem. The cat sat on the mat because it was tired; the dog sat too."


class Own(Mine):
    """(x [n, m], layer) -> stages of llama, qwen3, gemma3, gpt_oss, smollm3, phi3: norms, sinks, scaling, NoPE."""

    def __init__(self, model: Any, stages: tuple[str, ...] = ALL) -> None:
        super().__init__(model, stages)
        self.eps = getattr(self.config, "rms_norm_eps", 1e-6)
        rotary = next(m for name, m in model.model.named_modules() if name.endswith("rotary_emb"))
        kinds = getattr(self.config, "layer_types", None) or ["full_attention"] * self.layers
        self.kinds = kinds
        whole = getattr(rotary, "inv_freq", None)
        self.tables = [getattr(rotary, f"{kind}_inv_freq", whole) for kind in kinds]
        self.factors = [getattr(rotary, f"{kind}_attention_scaling", getattr(rotary, "attention_scaling", 1.0))
                        for kind in kinds]  # fmt: skip
        self.r = 2 * len(self.tables[0])
        nope = getattr(self.config, "no_rope_layers", None)
        self.rotated = [bool(one) for one in nope] if nope else [True] * self.layers
        self.plus_one = self.config.model_type.startswith("gemma")
        if self.config.model_type.startswith("gemma3"):
            self.softcap = None  # its config has the number, its attention does not read it

    def frequencies(self, layer: int) -> Tensor:
        return self.tables[layer].float()

    def factor(self, layer: int) -> float:
        return self.factors[layer]

    def weight(self, layer: int, name: str) -> Tensor | None:
        return self.weights_of.get(f"model.layers.{layer}.self_attn.{name}_norm.weight")

    def norm(self, x: Tensor, layer: int, name: str) -> Tensor:
        w = self.weight(layer, name)
        if w is None:
            return x
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
        return x * (1 + w if self.plus_one else w)

    def project(self, x: Tensor, layer: int) -> list[Tensor]:
        q, k, v = super().project(x, layer)
        return [self.norm(q, layer, "q"), self.norm(k, layer, "k"), v]

    def rotation(self, layer: int) -> bool:
        return self.rotated[layer]

    def turn(self, x: Tensor, layer: int, name: str) -> Tensor:
        if not self.rotation(layer):
            return x
        angle = self.angles(x.shape[1], layer, name).repeat(1, 2)
        cos, sin = angle.cos() * self.factor(layer), angle.sin() * self.factor(layer)
        part, rest = x[..., : self.r], x[..., self.r :]
        half = self.r // 2
        return torch.cat((part * cos + torch.cat((-part[..., half:], part[..., :half]), -1) * sin, rest), -1)

    def sinks(self, layer: int) -> Tensor | None:
        return self.weights_of.get(f"model.layers.{layer}.self_attn.sinks")

    def soften(self, s: Tensor, layer: int) -> Tensor:
        s = s.masked_fill(~self.mask(s.shape[-1], layer), -math.inf)
        sinks = self.sinks(layer)
        if sinks is None:
            return s.softmax(-1)
        return torch.cat((s, sinks[:, None, None].expand(-1, s.shape[1], 1)), -1).softmax(-1)[..., :-1]


@dataclass(frozen=True)
class Unseen:
    """A mistake: what is overridden, one of the words that a cause may state it by, and which models can make it."""

    kind: str
    name: str
    override: dict[str, Callable[..., Any]]
    words: Callable[[Own], tuple[str, ...]]  # any of them
    can: Callable[[Own], bool] = lambda mine: True
    hidden_at: tuple[str, ...] = ()

    def of(self, model: Any, stages: tuple[str, ...]) -> Own:
        return type("Wrong", (Own,), self.override)(model, stages)


def say(*words: str) -> Callable[[Own], tuple[str, ...]]:
    return lambda mine: words


def normed(change: Callable[[Own, Tensor, Tensor, str], Tensor], only: str = "qk") -> Callable[..., Tensor]:
    def norm(self: Own, x: Tensor, layer: int, name: str) -> Tensor:
        w = self.weight(layer, name)
        return Own.norm(self, x, layer, name) if w is None or name not in only else change(self, x, w, name)

    return norm


def factored(self: Own, w: Tensor) -> Tensor:
    return 1 + w if self.plus_one else w


def rms(x: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def late(self: Own, x: Tensor, layer: int, name: str) -> Tensor:
    return Own.norm(self, Own.turn(self, x, layer, name), layer, name)


def unnormed(self: Own, x: Tensor, layer: int) -> list[Tensor]:
    return Mine.project(self, x, layer)


def dropped(self: Own, s: Tensor, layer: int) -> Tensor:
    return torch.nn.functional.dropout(Own.soften(self, s, layer), 0.1)


def before_capping(self: Own, q: Tensor, k: Tensor, layer: int) -> Tensor:
    s = q @ self.expand(k, "k").transpose(-1, -2) * self.scale(layer)
    s = s.masked_fill(~self.mask(s.shape[-1], layer), -math.inf)
    return torch.tanh(s / self.softcap) * self.softcap  # type: ignore[operator]


def one_more_key(self: Own, n: int, layer: int) -> Tensor:
    i, j = torch.arange(n)[:, None], torch.arange(n)[None]
    window = self.window(layer)
    return (j <= i + 1) if window is None else (j <= i + 1) & (i - j < window)


def wider(self: Own, n: int, layer: int) -> Tensor:
    i, j = torch.arange(n)[:, None], torch.arange(n)[None]
    window = self.window(layer)
    return (j <= i) if window is None else (j <= i) & (i - j <= window)


def pairs(self: Own, x: Tensor, layer: int, name: str) -> Tensor:
    if not self.rotation(layer):
        return x
    z = torch.view_as_complex(x[..., : self.r].float().unflatten(-1, (-1, 2)).contiguous())
    angle = self.angles(x.shape[1], layer, name)
    turned = torch.view_as_real(z * torch.polar(torch.full_like(angle, self.factor(layer)), angle)).flatten(-2)
    return torch.cat((turned, x[..., self.r :]), -1)


def last_half(self: Own, x: Tensor, layer: int, name: str) -> Tensor:
    moved = torch.cat((x[..., -self.r :], x[..., : -self.r]), -1)
    turned = Own.turn(self, moved, layer, name)
    return torch.cat((turned[..., self.r :], turned[..., : self.r]), -1)


def values_turned(self: Own, x: Tensor, layer: int) -> list[Tensor]:
    q, k, v = Own.project(self, x, layer)
    return [q, k, self.turn(v, layer, "k")]


def interleaved_queries(self: Own, y: Tensor, heads: int, name: str) -> Tensor:
    right = Mine.split(self, y, heads, name)
    if name != "q":
        return right
    return right.unflatten(0, (-1, self.g)).transpose(0, 1).flatten(0, 1)  # read as (member, group)


def unscaled_frequencies(self: Own, layer: int) -> Tensor:
    return 1 / self.theta ** (torch.arange(0, self.r, 2).float() / self.r)


def linear(self: Own, layer: int) -> Tensor:
    return unscaled_frequencies(self, layer) / self.config.rope_parameters["factor"]


def llama3_factor(value: float) -> Callable[..., Tensor]:
    def frequencies(self: Own, layer: int) -> Tensor:
        p = self.config.rope_parameters
        low, high, old = p["low_freq_factor"], p["high_freq_factor"], p["original_max_position_embeddings"]
        f = unscaled_frequencies(self, layer)
        wave = 2 * math.pi / f
        smooth = ((old / wave - low) / (high - low)).clamp(0, 1)
        return (1 - smooth) * f / value + smooth * f

    return frequencies


def over_all(self: Own, x: Tensor, layer: int, name: str) -> Tensor:
    w = self.weight(layer, name)
    if w is None:
        return x
    size = torch.rsqrt(x.pow(2).mean((0, 2), keepdim=True) + self.eps)
    return x * size * factored(self, w)


def values_normed(self: Own, x: Tensor, layer: int) -> list[Tensor]:
    q, k, v = Own.project(self, x, layer)
    return [q, k, rms(v, self.eps)]


def other_base(self: Own, layer: int) -> Tensor:
    other = next(i for i, kind in enumerate(self.kinds) if kind != self.kinds[layer])
    return self.tables[other].float()


def global_everywhere(self: Own, layer: int) -> Tensor:
    return self.tables[self.kinds.index("full_attention")].float()


def sinks_on_first_key(self: Own, s: Tensor, layer: int) -> Tensor:
    s = s.masked_fill(~self.mask(s.shape[-1], layer), -math.inf).clone()
    s[..., 0] += self.sinks(layer)[:, None]  # type: ignore[index]
    return s.softmax(-1)


def sinks_scaled(self: Own, s: Tensor, layer: int) -> Tensor:
    s = s.masked_fill(~self.mask(s.shape[-1], layer), -math.inf)
    column = (self.sinks(layer) * self.scale(layer))[:, None, None].expand(-1, s.shape[1], 1)  # type: ignore[operator]
    return torch.cat((s, column), -1).softmax(-1)[..., :-1]


def sinks_by_group(self: Own, s: Tensor, layer: int) -> Tensor:
    sinks = self.sinks(layer)
    assert sinks is not None
    s = s.masked_fill(~self.mask(s.shape[-1], layer), -math.inf)
    turned = sinks.view(self.g, -1).T.flatten()[:, None, None].expand(-1, s.shape[1], 1)
    return torch.cat((s, turned), -1).softmax(-1)[..., :-1]


def has_norm(mine: Own) -> bool:
    return mine.weight(0, "q") is not None


def rule(name: str) -> Callable[[Own], bool]:
    return lambda mine: (mine.config.rope_parameters or {}).get("rope_type") == name


def has_sinks(mine: Own) -> bool:
    return mine.sinks(0) is not None


def has_nope(mine: Own) -> bool:
    return not all(mine.rotated)


def two_bases(mine: Own) -> bool:
    return mine.tables[0] is not mine.tables[-1] and not torch.equal(mine.tables[0], mine.tables[-1])


def rope_factor(mine: Own) -> bool:
    return mine.factors[0] != 1


UNSEEN: tuple[Unseen, ...] = (
    Unseen("head map", "keys alone repeated in turn", {
        "expand": lambda self, k, name: k.repeat(self.h // self.g, 1, 1) if name == "k" else Mine.expand(self, k, name),
    }, say("key heads tiled"), judge_cases.grouped),
    Unseen("head map", "query heads read as (member, group)", {"split": interleaved_queries},
           say("(member, group)"), judge_cases.grouped),
    Unseen("rotation", "values rotated", {"project": values_turned}, say("values rotated")),
    Unseen("rotation", "query positions one ahead", {
        "positions": lambda self, n, name: torch.arange(n).float() + (name == "q"),
    }, say("query positions off by +1", "key positions off by -1")),
    Unseen("rotation", "neighbours paired by complex numbers", {"turn": pairs}, say("2i + 1")),
    Unseen("rotation", "the other half of the dimensions turned", {"turn": last_half}, say("last dimensions"),
           lambda mine: mine.r < mine.d),
    Unseen("scale", "1/sqrt(hidden / heads)", {"scale": lambda self, layer: (self.m / self.h) ** -0.5},
           say("1/sqrt(d_model/heads)", "1/sqrt(heads)"), lambda mine: mine.m // mine.h != (mine.pre_scalar or mine.d)),
    Unseen("scale", "by root two off", {"scale": lambda self, layer: (2 * (self.pre_scalar or self.d)) ** -0.5},
           lambda mine: (f"the scale {judge_cases.number((2 * (mine.pre_scalar or mine.d)) ** -0.5)}",)),
    Unseen("mask", "one key too many", {"mask": one_more_key}, say("see the next token")),
    Unseen("mask", "window closed on the left", {"mask": wider},
           lambda mine: (f"window {mine.window(0) + 1}",), judge_cases.has_window),  # type: ignore[operator]
    Unseen("softmax", "down the columns", {
        "soften": lambda self, s, layer: s.masked_fill(~self.mask(s.shape[-1], layer), -1e30).softmax(-2),
    }, say("over queries"), lambda mine: not has_sinks(mine)),
    Unseen("softmax", "dropout left on", {"soften": dropped}, say("dropout")),
    Unseen("softmax", "soft-cap after the mask", {
        "scores": before_capping, "soften": lambda self, s, layer: s.softmax(-1),
    }, lambda mine: (f"masked scores set to -{judge_cases.number(mine.softcap)}", "soft-cap after the mask"),
           lambda mine: mine.softcap is not None),
    Unseen("bias", "no bias of values", {"bias": judge_cases.without_bias("v")}, say("bias of values dropped"),
           lambda mine: mine.bias(0, "v") is not None),
    Unseen("bias", "no bias of the output", {"bias": judge_cases.without_bias("o")}, say("bias of W_o dropped"),
           lambda mine: mine.bias(0, "o") is not None),
    Unseen("norm", "after RoPE", {"project": unnormed, "turn": late}, say("after RoPE"), has_norm),
    Unseen("norm", "w for 1 + w, or the reverse", {
        "norm": normed(lambda self, x, w, name: rms(x, self.eps) * (w if self.plus_one else 1 + w)),
    }, say("the norm's factor"), has_norm),
    Unseen("norm", "eps 1e-3", {
        "norm": normed(lambda self, x, w, name: rms(x, 1e-3) * factored(self, w)),
    }, say("eps 0.001"), has_norm),
    Unseen("norm", "length one instead of root mean square one", {
        "norm": normed(lambda self, x, w, name: torch.nn.functional.normalize(x, dim=-1) * factored(self, w)),
    }, say("length"), has_norm),
    Unseen("norm", "keys not normalised", {"norm": normed(lambda self, x, w, name: x, "k")},
           say("keys not normalised"), has_norm),
    Unseen("norm", "LayerNorm", {
        "norm": normed(lambda self, x, w, name: rms(x - x.mean(-1, keepdim=True), self.eps) * factored(self, w)),
    }, say("LayerNorm"), has_norm),
    Unseen("norm", "over all heads", {"norm": over_all}, say("over all heads"), has_norm),
    Unseen("norm", "weight left out", {"norm": normed(lambda self, x, w, name: rms(x, self.eps))},
           say("norm's weight left out"), has_norm),
    Unseen("norm", "keys' weight left out", {"norm": normed(lambda self, x, w, name: rms(x, self.eps), "k")},
           say("weight of keys left out", "keys' norm weight left out"), has_norm),
    Unseen("norm", "values normalised too", {"project": values_normed}, say("values normalised"), has_norm),
    Unseen("scaling", "scaling left out", {"frequencies": unscaled_frequencies},
           say("left out", "frequencies unscaled"),
           lambda mine: (mine.config.rope_parameters or {}).get("rope_type") in ("llama3", "yarn", "linear")),
    Unseen("scaling", "linear for llama3", {"frequencies": linear}, say("(linear)"), rule("llama3")),
    Unseen("scaling", "llama3's factor 32", {"frequencies": llama3_factor(32.0)}, say("factor 32"), rule("llama3")),
    Unseen("scaling", "llama3's factor 6", {"frequencies": llama3_factor(6.0)}, say("factor 6"), rule("llama3")),
    Unseen("scaling", "attention factor forgotten", {"factor": lambda self, layer: 1.0},
           say("attention factor"), rope_factor),
    Unseen("scaling", "attention factor on queries alone", {
        "turn": lambda self, x, layer, name: (
            Own.turn(self, x, layer, name) / (self.factor(layer) if name == "k" else 1)
        ),
    }, say("keys"), rope_factor),
    Unseen("base", "local layers with the global base", {"frequencies": global_everywhere},
           say("RoPE of layer", "base"), two_bases),
    Unseen("sinks", "left out", {"sinks": lambda self, layer: None}, say("sinks left out"), has_sinks),
    Unseen("sinks", "added to the first key", {"soften": sinks_on_first_key}, say("first key"), has_sinks),
    Unseen("sinks", "scaled like scores", {"soften": sinks_scaled}, say("sinks scaled", "sinks times"), has_sinks),
    Unseen("sinks", "in another order of heads", {"soften": sinks_by_group}, say("sinks in the order"), has_sinks),
    Unseen("NoPE", "every layer rotated", {"rotation": lambda self, layer: True}, say("in a layer that has none"),
           has_nope),
    Unseen("NoPE", "rotated and unrotated exchanged", {"rotation": lambda self, layer: not self.rotated[layer]},
           say("no rotation by position", "in a layer that has none"), has_nope),
)  # fmt: skip

MODELS = {
    "llama": "grouped",
    "llama3": "llama3",
    "yarn": "yarn",
    "qwen3": "qwen3",
    "qwen3 biases": "qwen3 biases",
    "gemma2": "gemma2",
    "phi3 partial": "phi3 partial",
    "smollm3": "smollm3",
    "gemma3": "",
    "gpt_oss": "",
    "packaged": "",
}


def load(name: str) -> Model:
    """A tiny random model of one of the library's classes, or the packaged one."""
    if name == "packaged":
        return inspector.load()
    folder = Path(tempfile.mkdtemp())
    if MODELS[name]:
        return tiny.load(MODELS[name], folder)
    from lab_laws import tiny_model

    return tiny_model({"gemma3": "gemma3_text"}.get(name, name), folder)


def outcome(case: Unseen, model: Model, stages: tuple[str, ...], prompt: Any) -> tuple[str, str]:
    """What came of one mistake: "named", "found" (different, no cause), "wrong" or "missed", and what was said."""
    report = inspector.judge(model, case.of(model, stages), prompt, decode=False)
    said = " | ".join(report.causes)
    if report.ok or report.verdict == "not shown":
        return "missed", report.summary()
    if any(words in said for words in case.words(Own(model))):
        return "named", said
    return ("wrong" if said else "found"), said


def main(names: list[str]) -> None:
    """Print a row for each mistake and model, and what they add up to."""
    totals: dict[str, list[str]] = {handed: [] for handed in HANDED}
    for name in names or MODELS:
        model = load(name)
        right = inspector.judge(model, Own(model), tiny.ids(TOKENS) if name != "packaged" else PROMPT, decode=False)
        print(name, "right code:", right.verdict, flush=True)
        for case in UNSEEN:
            if not case.can(Own(model)):
                continue
            cells = []
            for handed, stages in HANDED.items():
                came, said = outcome(case, model, stages, tiny.ids(TOKENS) if name != "packaged" else PROMPT)
                totals[handed].append(came)
                cells.append(came)
                if came in ("wrong", "missed"):
                    print(f"      {came} at {handed}: {said[:400]}")
            print(f"  {case.kind}: {case.name}: {', '.join(cells)}", flush=True)
    for handed, all_of in totals.items():
        counts = {each: all_of.count(each) for each in ("named", "found", "missed", "wrong")}
        print(f"{handed}: {counts['named']} of {len(all_of)} named, {counts}")


if __name__ == "__main__":
    main(sys.argv[1:])
