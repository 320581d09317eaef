"""Say what changed between two sets of logits: next tokens, a logit against a foil, KL in bits, rank and loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from inspector.errors import InspectorError
from inspector.model.model import Model
from inspector.trace.whole_numbers import shown, whole_number

SHOWN = 10  # next tokens of either run


@dataclass(frozen=True)
class NextToken:
    """One possible next token before and after: probability, rank (1: the most probable) and change of its logit."""

    label: str
    id: int
    before: float
    after: float
    rank_before: int
    rank_after: int
    logit_change: float


@dataclass(frozen=True)
class Readout:
    """Which next token is looked at, and against what: another token's logit, or (None) the mean of all logits."""

    token: int
    against: int | None

    def value(self, logits: Tensor) -> Tensor:
        """Return what is read, in the unit of logits.

        Args:
            logits: [..., vocabulary].

        Returns:
            [...], in the dtype of the logits.
        """
        foil = logits.mean(-1) if self.against is None else logits[..., self.against]
        return logits[..., self.token] - foil


@dataclass(frozen=True)
class Effect:
    """What an edit did to one prompt.

    Attributes:
        readout_before, readout_after: the token's logit against its foil.
        kl_bits: KL divergence of the next token's distribution after from that before, in bits.
        rank_before, rank_after: of the token; 1 is the most probable.
        losses_before, losses_after: for each token but the first the negative log-probability that it had, in nats;
            None for a prompt whose logits of all tokens were not computed.
        next_tokens: the most probable of both runs.
    """

    readout_before: float
    readout_after: float
    kl_bits: float
    rank_before: int
    rank_after: int
    losses_before: tuple[float, ...] | None
    losses_after: tuple[float, ...] | None
    next_tokens: tuple[NextToken, ...]

    @property
    def readout_change(self) -> float:
        """By how much the token's logit against its foil changed."""
        return self.readout_after - self.readout_before

    @property
    def loss_before(self) -> float | None:
        """The mean loss before, in nats a token; None where it is not known."""
        return _mean(self.losses_before)

    @property
    def loss_after(self) -> float | None:
        """The mean loss after, in nats a token; None where it is not known."""
        return _mean(self.losses_after)


def effect_of(before: Tensor, after: Tensor, readout: Readout, *, ids: Sequence[int], model: Model) -> Effect:
    """Compare the logits of two runs of one prompt.

    Args:
        before: [n or 1, vocabulary], of the baseline; with one row, of the last token alone.
        after: as `before`, of the edited run.
        readout: the token that is looked at.
        ids: the prompt's n token ids.
        model: for the labels of next tokens.

    Returns:
        The effect.
    """
    p, q = (one[-1].double().log_softmax(-1) for one in (before, after))
    whole = len(before) == len(ids)
    return Effect(
        readout_before=float(readout.value(before[-1].double())),
        readout_after=float(readout.value(after[-1].double())),
        kl_bits=float(bits_between(p, q)),
        rank_before=token_rank(before[-1], readout.token),
        rank_after=token_rank(after[-1], readout.token),
        losses_before=_losses(before, ids) if whole else None,
        losses_after=_losses(after, ids) if whole else None,
        next_tokens=_next_tokens(before[-1], after[-1], p, q, model),
    )


def bits_between(p: Tensor, q: Tensor) -> Tensor:
    """Return the KL divergence of the next token's distribution after from that before, in bits.

    Args:
        p: log-probabilities before, [vocabulary], in float64.
        q: log-probabilities after, [..., vocabulary], likewise.

    Returns:
        [...], 0 or more.
    """
    return (p.exp() * (p - q)).sum(-1).clamp_min(0) / math.log(2)


def readout_of(token: str | int | None, against: str | int | None, logits: Tensor, model: Model) -> Readout:
    """Return which token is looked at.

    Args:
        token: a text that is one token, or an id; None: the most probable next token of the baseline.
        against: the foil, likewise; None: the mean of all logits.
        logits: [vocabulary], the baseline's after the last token.
        model: the model, for its tokenizer.

    Returns:
        The readout.

    Raises:
        InspectorError: a text is not one token, or an id does not exist.
    """
    chosen = int(logits.argmax()) if token is None else token_id(token, model)
    return Readout(chosen, None if against is None else token_id(against, model))


def token_id(token: str | int, model: Model) -> int:
    """Return the id of one token.

    Args:
        token: a text that is one token, mostly with its leading space, or an id.
        model: the model, for its tokenizer.

    Returns:
        The id.

    Raises:
        InspectorError: the text is not one token, or the id does not exist.
    """
    if isinstance(token, str):
        ids = model.tokenizer(token, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise InspectorError(
                f"{shown(token)} is {len(ids)} tokens in {model.name}, and one next token is looked at: give a text "
                "that is one token (most words begin with a space), or a token id."
            )
        return int(ids[0])
    number = whole_number(token)
    if number is None or not 0 <= number < model.vocabulary:
        raise InspectorError(
            f"{shown(token)} is no token of {model.name}: give a text or an id below {model.vocabulary}."
        )
    return number


def token_rank(logits: Tensor, token: int) -> int:
    """Return a token's rank: 1 is the most probable.

    Args:
        logits: [vocabulary].
        token: its id.

    Returns:
        1 and how many are more probable.
    """
    return 1 + int((logits > logits[token]).sum())


def _losses(logits: Tensor, ids: Sequence[int]) -> tuple[float, ...]:
    rows = zip(logits[:-1], ids[1:], strict=True)  # one at a time: no copy of all
    return tuple(float(row.float().logsumexp(-1) - row[token].float()) for row, token in rows)


def _mean(values: Sequence[float] | None) -> float | None:
    return sum(values) / len(values) if values else None


def _next_tokens(before: Tensor, after: Tensor, p: Tensor, q: Tensor, model: Model) -> tuple[NextToken, ...]:
    count = min(SHOWN, len(before))
    ids = dict.fromkeys([*before.topk(count).indices.tolist(), *after.topk(count).indices.tolist()])
    return tuple(
        NextToken(
            label=model.tokenize([token]).labels[0],
            id=token,
            before=float(p[token].exp()),
            after=float(q[token].exp()),
            rank_before=token_rank(before, token),
            rank_after=token_rank(after, token),
            logit_change=float(after[token].double() - before[token].double()),
        )
        for token in ids
    )
