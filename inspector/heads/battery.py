"""Make the texts that the finder tries heads on: repeated random tokens, the same without a repetition, plain English.

All are made from seeds, so that a model's labels are the same on every machine of one kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from inspector.analysis.score_definitions import Text, delimiters
from inspector.heads.passages import PASSAGES
from inspector.model.model import Model
from inspector.trace.tokens import tokenize

HALF = 50  # random tokens that are then repeated: Olsson et al. 2022 (arXiv 2209.11895) repeat random tokens too
SEQUENCES = 4  # texts of each kind, one a seed
ENGLISH = 96  # tokens of a piece of the passages
LONG, LONG_TEXTS = 224, 2  # tokens of a piece that is longer than what a cache for streaming keeps, and how many
SPECIAL_IDS = 256  # a vocabulary's first ids, which are special tokens and bytes in most tokenizers, are not drawn


@dataclass(frozen=True)
class Stimulus:
    """Texts of one kind and of equal length, one for each seed.

    Attributes:
        name: what it is called in tables.
        ids: their token ids.
        pairs: the texts whose pairs of tokens scores look at: the same, but of a text made to be unrelated those of the
            text that it stands against.
    """

    name: str
    ids: tuple[tuple[int, ...], ...]
    pairs: tuple[Text, ...]


def repeated_tokens(model: Model) -> Stimulus:
    """Return texts of random tokens that stand twice: a first token, some tokens, the same tokens again.

    Args:
        model: the model; its tokenizer's first token is used where it has one.
    """
    ids = [(*start, *half, *half) for start, half, _ in _drawn(model)]
    return Stimulus("repeated random tokens", tuple(ids), tuple(Text(torch.tensor(one)) for one in ids))


def unrelated_tokens(model: Model) -> Stimulus:
    """Return the same texts with another, unrelated second half, to be looked at in the same pairs of places.

    Args:
        model: the model.
    """
    ids = [(*start, *half, *other) for start, half, other in _drawn(model)]
    return Stimulus("unrelated random tokens", tuple(ids), repeated_tokens(model).pairs)


def english(model: Model) -> Stimulus:
    """Return pieces of plain English, each behind the tokenizer's first token where it has one.

    Args:
        model: the model.
    """
    bodies = [_body(model, passage) for passage in PASSAGES]
    step = min(ENGLISH, model.positions or ENGLISH) - len(_start(model))
    return _pieces(model, "plain English", [body[:step] for body in bodies][:SEQUENCES])


def long_english(model: Model) -> Stimulus:
    """Return longer pieces of plain English, which begin at different passages.

    Args:
        model: the model.
    """
    step = min(LONG, model.positions or LONG) - len(_start(model))
    orders = [(*PASSAGES[first:], *PASSAGES[:first]) for first in range(0, len(PASSAGES), 2)][:LONG_TEXTS]
    return _pieces(model, "longer English", [_body(model, "".join(order))[:step] for order in orders])


def text_of(model: Model, ids: Sequence[int]) -> Text:
    """Return what scores need to know of a text, its delimiters included.

    Args:
        model: the model, whose tokenizer says what each token is.
        ids: the text's token ids.
    """
    return Text(torch.tensor(list(ids)), delimiters(model.tokenize(list(ids)).texts))


def _pieces(model: Model, name: str, bodies: Sequence[Sequence[int]]) -> Stimulus:
    """Cut texts to one length, and put the first token before each."""
    length = min(map(len, bodies))
    ids = [(*_start(model), *body[:length]) for body in bodies]
    return Stimulus(name, tuple(ids), tuple(text_of(model, one) for one in ids))


def _body(model: Model, text: str) -> tuple[int, ...]:
    """Return a text's token ids without what the tokenizer puts before it."""
    whole = tokenize(text, model.tokenizer, vocabulary=model.vocabulary, limit=None)  # longer than the model may take
    ids, start = tuple(whole.ids), _start(model)
    return ids[len(start) :] if start and ids[: len(start)] == start else ids


def _start(model: Model) -> tuple[int, ...]:
    """Return the token that begins a text, where the tokenizer has one."""
    first = getattr(model.tokenizer, "bos_token_id", None)
    return () if first is None else (int(first),)


def _drawn(model: Model) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Return for each seed the first token, random tokens, and as many others, no token twice."""
    start, special = _start(model), set(getattr(model.tokenizer, "all_special_ids", ()))
    low = SPECIAL_IDS if model.vocabulary > 4 * (SPECIAL_IDS + 2 * HALF) else 0
    known = torch.tensor([one for one in range(low, model.vocabulary) if one not in special and one not in start])
    room = (model.positions or 1 + 2 * HALF) - len(start)
    half = max(1, min(HALF, len(known) // 2, room // 2))
    found = []
    for seed in range(SEQUENCES):
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))[: 2 * half]
        drawn = tuple(known[order].tolist())
        found.append((start, drawn[:half], drawn[half:]))
    return found
