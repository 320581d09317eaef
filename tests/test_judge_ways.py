"""The judge gives the text whole, token by token, in chunks and padded: what is wrong only with a cache shows."""

from __future__ import annotations

import math
from typing import Any

import pytest
import tiny
import torch
from judge_cases import Mine
from torch import Tensor

import inspector
from inspector.model.model import Model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny.load("qwen2", tmp_path_factory.mktemp("ways"))


class Cached(Mine):
    """Somebody's attention with a cache of its own: called with new tokens only. `wrong` names one mistake."""

    def __init__(self, model: Model, wrong: str = "") -> None:
        super().__init__(model, ("output",))
        self.wrong = wrong
        self.reset()

    def reset(self) -> None:
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self.calls: dict[int, int] = {}

    def at(self, x: Tensor, positions: Tensor, layer: int) -> Tensor:
        angle = positions[:, None] * self.frequencies(layer)[None]
        cos, sin, half = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2), x.shape[-1] // 2
        return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin

    def __call__(self, x: Tensor, layer: int) -> Any:
        q, k, v = self.project(x, layer)
        t, start = x.shape[0], self.keys[layer].shape[1] if layer in self.keys else 0
        positions = torch.arange(start, start + t).float()
        if self.wrong == "restart":
            positions = torch.arange(t).float()
        if self.wrong == "calls":
            positions = torch.arange(t).float() + self.calls.get(layer, 0)
        if self.wrong == "one too high" and start:
            positions = positions + 1
        self.calls[layer] = self.calls.get(layer, 0) + 1
        q, turned = self.at(q, positions, layer), self.at(k, positions, layer)
        old = self.keys.get(layer, turned[:, :0])
        if self.wrong == "rotated again":
            old = self.at(old, torch.arange(start).float(), layer)
        seen, values = torch.cat((old, turned), 1), torch.cat((self.values.get(layer, v[:, :0]), v), 1)
        self.keys[layer] = torch.cat((old, k), 1) if self.wrong == "unrotated" else seen
        self.values[layer] = values
        if self.wrong == "forgets":
            seen, values, self.keys[layer] = turned, v, turned
            self.values[layer] = v
        s = self.scores(q, seen, layer)
        i, j = torch.arange(seen.shape[1] - t, seen.shape[1])[:, None], torch.arange(seen.shape[1])[None]
        if self.wrong == "top left":
            i = torch.arange(t)[:, None]
        if self.wrong == "no mask":
            i = i + start * 100
        w = s.masked_fill(j > i, -math.inf).softmax(-1)
        return self.out(w @ self.expand(values, "v"), layer)


def test_a_right_cache_is_right_in_every_way(model):
    report = inspector.judge(model, Cached(model), tiny.ids(20))
    assert report.verdict == "right", str(report)
    ways = report.ways.set_index("way")
    assert list(ways.run) == [True, True, True, False, False]
    assert ways.loc["token by token", "ok"]
    assert ways.loc["in chunks", "ok"]
    assert ways.loc["left-padded", "why"] == "it takes no attention_mask"
    caches = report.power[report.power.way.isin(["token by token", "in chunks"])]
    assert len(caches) == 17
    assert caches.shown.all()
    assert "no cache was judged" not in report.summary()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("restart", "positions that start at 0 again in each call"),
        ("calls", "positions that count calls instead of tokens"),
        ("one too high", "positions of later calls one too high"),
        ("rotated again", "cached keys rotated again at each step"),
        ("unrotated", "keys written into the cache unrotated"),
        ("forgets", "earlier tokens forgotten"),
        ("top left", "a causal mask aligned to the top left"),
        ("no mask", "no causal mask among the new tokens of a later call"),
    ],
)
def test_a_wrong_cache_is_different_and_says_why(model, wrong, words):
    report = inspector.judge(model, Cached(model, wrong), tiny.ids(20))
    assert (report.verdict, report.ok) == ("different", False)
    assert report.table.ok.all()  # on the whole text it is right
    assert words in report.causes[0]
    assert not report.ways.set_index("way").loc["in chunks" if wrong == "no mask" else "token by token", "ok"]


def test_without_other_ways_a_wrong_cache_is_not_called_right_of_its_cache(model):
    report = inspector.judge(model, Cached(model, "restart"), tiny.ids(20), decode=False)
    assert report.verdict == "right"
    assert "no cache was judged" in report.summary()
    assert report.ways.set_index("way").loc["token by token", "why"] == "decode=False"


def test_a_number_of_tokens_is_decoded_one_by_one(model):
    seen: list[int] = []

    class Counting(Cached):
        def __call__(self, x: Tensor, layer: int) -> Any:
            seen.append(x.shape[0])
            return super().__call__(x, layer)

    assert inspector.judge(model, Counting(model), tiny.ids(20), decode=4).ok
    by_layer = seen[:: len(model.layers)]
    assert by_layer == [20, 16, 1, 1, 1, 1, 10, 5, 5]


def test_a_function_with_past_goes_on(model):
    mine = Mine(model)

    def attention(x: Tensor, layer: int, past: Any = None, restart: bool = False) -> dict[str, Any]:
        q, k, v = mine.project(x, layer)
        start = 0 if past is None else past[0].shape[1]
        places = torch.arange(start, start + len(x)).float() * (0 if restart else 1)
        turn = Cached(model).at
        q, k = turn(q, places, layer), turn(k, places, layer)
        if past is not None:
            k, v = torch.cat((past[0], k), 1), torch.cat((past[1], v), 1)
        s = mine.scores(q, k, layer)
        w = s.masked_fill(torch.arange(k.shape[1])[None] > torch.arange(start, k.shape[1])[:, None], -math.inf).softmax(
            -1
        )
        return {"out": mine.out(w @ mine.expand(v, "v"), layer), "past": (k, v)}

    report = inspector.judge(model, attention, tiny.ids(12))
    assert report.ok
    assert report.ways.set_index("way").loc["token by token", "ok"]

    def broken(x: Tensor, layer: int, past: Any = None) -> dict[str, Any]:
        if past is not None:
            raise IndexError("list index out of range")
        return attention(x, layer, past)

    report = inspector.judge(model, broken, tiny.ids(12))
    assert report.verdict == "different"
    why = report.ways.set_index("way").loc["token by token", "why"]
    assert why.startswith("Your attention raised IndexError at layer 0, given x [1, 64] of float32")


def test_the_librarys_own_modules_pass_in_every_way(model):
    report = inspector.judge(model, [layer.self_attn for layer in model.model.model.layers], tiny.ids(12))
    assert report.verdict == "right", str(report)
    assert list(report.ways.ok)[:3] == [True, True, True]


@pytest.mark.parametrize("seen", [False, True])
def test_left_padding_must_not_be_seen(model, seen):
    mine = Mine(model)

    def attention(x: Tensor, layer: int, attention_mask: Tensor | None = None) -> Tensor:
        q, k, v = mine.project(x, layer)
        q, k = mine.turn(q, layer, "q"), mine.turn(k, layer, "k")
        s = mine.scores(q, k, layer).masked_fill(~mine.mask(len(x), layer), -math.inf)
        if attention_mask is not None and not seen:
            s = s.masked_fill(attention_mask[None, None] == 0, -1e30)
        return mine.out(s.softmax(-1) @ mine.expand(v, "v"), layer)

    report = inspector.judge(model, attention, tiny.ids(12))
    assert report.ok is not seen
    assert report.ways.set_index("way").loc["left-padded", "ok"] == (not seen)


# -- packed texts -----------------------------------------------------------------------------------------------------


def packing(model: Model, wrong: str = "", *, named: str = "cu_seqlens") -> Any:
    """Somebody's attention for several texts in one row; `wrong` names one mistake."""
    mine = Mine(model)

    def attend(x: Tensor, layer: int, borders: Tensor | None) -> Tensor:
        t = len(x)
        borders = torch.tensor([0, t]) if borders is None else borders.clone()
        if wrong == "one late":
            borders[1:-1] += 1
        if wrong == "one text":
            borders = torch.tensor([0, t])
        if wrong == "first border":
            borders = borders[[0, 1, -1]]
        text = torch.bucketize(torch.arange(t), borders[1:], right=True)
        restart = torch.arange(t) - borders[text]
        q, k, v = mine.project(x, layer)
        at = {"q": restart, "k": torch.arange(t) if wrong == "keys on" else restart}

        class Placed(Mine):
            def positions(self, n: int, name: str) -> Tensor:
                return at[name].float()

        placed = Placed(model)
        q, k = placed.turn(q, layer, "q"), placed.turn(k, layer, "k")
        i = restart if wrong == "positions" else torch.arange(t)
        may = i[None, :] <= i[:, None]
        if wrong == "not causal":
            may = torch.ones_like(may)
        if wrong != "positions":
            may = may & (text[:, None] == text[None, :])
        w = mine.scores(q, k, layer).masked_fill(~may, -math.inf).softmax(-1)
        return mine.out(w @ mine.expand(v, "v"), layer)

    def by_borders(x: Tensor, layer: int, cu_seqlens: Any = None, max_seqlen: int = 0) -> Tensor:
        return attend(x, layer, cu_seqlens)

    def by_texts(x: Tensor, layer: int, segment_ids: Tensor) -> Tensor:
        counts = segment_ids.bincount()
        return attend(x, layer, torch.cat((counts.new_zeros(1), counts.cumsum(0))))

    def by_lengths(x: Tensor, layer: int, seq_lens: Tensor) -> Tensor:
        return attend(x, layer, torch.cat((seq_lens.new_zeros(1), seq_lens.cumsum(0))))

    return {"cu_seqlens": by_borders, "segment_ids": by_texts, "seq_lens": by_lengths}[named]


@pytest.mark.parametrize("named", ["cu_seqlens", "segment_ids", "seq_lens"])
def test_packed_texts_are_right_however_their_borders_are_told(model, named):
    report = inspector.judge(model, packing(model, named=named), tiny.ids(15))
    assert report.verdict == "right", str(report)
    assert report.ways.set_index("way").loc["packed", "ok"]
    packed = report.power[report.power.way == "packed"]
    assert len(packed) == 8
    assert packed.shown.all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("one text", "all texts taken for one"),
        ("positions", "a mask by positions alone"),
        ("first border", "a border after the first text only"),
        ("one late", "borders between texts one token late"),
        ("keys on", "query positions that restart in each text while keys' go on"),
    ],
)
def test_wrongly_packed_texts_are_different_and_say_why(model, wrong, words):
    report = inspector.judge(model, packing(model, wrong), tiny.ids(15))
    assert report.verdict == "different"
    assert report.table.ok.all()  # one text alone is right
    assert not report.ways.set_index("way").loc["packed", "ok"]
    assert words in report.causes[0], report.causes
    assert "differs packed" in report.summary()
