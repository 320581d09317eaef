"""Mistakes that attributions make, planted one at a time: each must be caught by a sum. Not a test itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch

import inspector
from inspector import lab
from inspector.analysis import logit_terms, residual_terms, score_terms
from inspector.analysis.frozen_steps import frozen
from inspector.analysis.logit_terms import LogitSum
from inspector.analysis.residual_terms import AttentionPart
from inspector.lab import logit_shares

SAYS_A_SUM = ("add up to", "the sum misses them")


@dataclass(frozen=True)
class Mistake:
    """One mistake: in which family it is planted, what is asked, and how."""

    name: str
    meaning: str
    family: str
    asked: str  # "logit" or "score"
    plant: Callable[[inspector.Trace], AbstractContextManager[Any]]


MISTAKES: list[Mistake] = []


def mistake(meaning: str, family: str, asked: str = "logit") -> Callable[[Any], Any]:
    def add(plant: Callable[[inspector.Trace], Any]) -> Any:
        MISTAKES.append(Mistake(plant.__name__.replace("_", " "), meaning, family, asked, contextmanager(plant)))
        return plant

    return add


def ask(trace: inspector.Trace, asked: str) -> Any:
    """What is asked of a trace, with and without a mistake."""
    return lab.attribution(trace, 7) if asked == "logit" else lab.score_parts(trace, 2, 3, 4, heads=True)


def caught(one: Mistake, trace: inspector.Trace) -> str:
    """The sentence of the sum that a mistake is caught by; empty where it is not, or by anything else."""
    with one.plant(trace):
        try:
            ask(trace, one.asked)
        except inspector.InspectorError as error:
            return str(error) if any(words in str(error) for words in SAYS_A_SUM) else ""
    return ""


def _steps(module: Any, change: Callable[[Any], Any], only: str = "") -> Any:
    """Change what a file finds of norms, of all or of those called so."""
    right = module.frozen
    return mock.patch.object(module, "frozen", lambda s: change(right(s)) if only in s.name else right(s))


def _layers(change: Callable[[AttentionPart], AttentionPart]) -> Any:
    right = residual_terms._attention
    return mock.patch.object(residual_terms, "_attention", lambda *args: change(right(*args)))


@mistake("the norm after attention is forgotten", "gemma2")
def post_norm_forgotten(_: Any) -> Iterator[None]:
    with _layers(lambda part: replace(part, steps=())):
        yield


@mistake("the MLP's output is read before its norm", "gemma2")
def mlp_before_its_norm(_: Any) -> Iterator[None]:
    right = logit_shares.residual_sum

    def wrong(*args: Any, **options: Any) -> Any:
        found = right(*args, **options)
        early = [tuple(o.steps[-1].received for o in part.block.others) for part in found.attention]
        return replace(found, others=tuple(early))

    with mock.patch.object(logit_shares, "residual_sum", wrong):
        yield


@mistake("a block without attention is forgotten", "lfm2, blocks without attention")
def block_without_attention_forgotten(_: Any) -> Iterator[None]:
    with mock.patch.object(residual_terms, "_other_parts", return_value=()):
        yield


@mistake("the final norm's weight is forgotten", "llama")
def final_weight_forgotten(_: Any) -> Iterator[None]:
    with _steps(logit_terms, lambda step: replace(step, weight=torch.ones_like(step.weight))):
        yield


@mistake("a norm's weight is taken for the factor, where that is 1 + weight", "gemma")
def one_plus_forgotten(_: Any) -> Iterator[None]:
    with _steps(logit_terms, lambda step: replace(step, weight=step.weight - 1)):
        yield


@mistake("the final norm's centring is forgotten", "gpt_neox")
def centring_forgotten(_: Any) -> Iterator[None]:
    with _steps(logit_terms, lambda step: replace(step, centred=False)):
        yield


@mistake("the final norm has the scale of the token before", "llama")
def scale_of_another_token(trace: inspector.Trace) -> Iterator[None]:
    other = residual_terms.recorded(trace, [trace.n - 2]).recorder
    scale = frozen(other.outside[0]).scale
    with _steps(logit_terms, lambda step: replace(step, scale=scale)):
        yield


@mistake("the factor on what blocks add is forgotten", "granite")
def residual_multiplier_forgotten(_: Any) -> Iterator[None]:
    with _layers(lambda part: replace(part, factor=1.0)):
        yield


@mistake("the factor on embeddings is forgotten", "granite")
def embedding_multiplier_forgotten(trace: inspector.Trace) -> Iterator[None]:
    rows = trace.model.model.get_input_embeddings().weight[trace.tokens.ids[-1]].detach()
    right = logit_shares.residual_sum

    def wrong(*args: Any, **options: Any) -> Any:
        return replace(right(*args, **options), embedding=rows[None])

    with mock.patch.object(logit_shares, "residual_sum", wrong):
        yield


@mistake("the factor on logits is forgotten", "cohere")
def logit_factor_forgotten(_: Any) -> Iterator[None]:
    right = logit_shares.logit_sum
    with mock.patch.object(logit_shares, "logit_sum", lambda *args: replace(right(*args), factor=1.0)):
        yield


@mistake("shares are added up to the logit after its soft-cap", "gemma2")
def soft_cap_ignored(_: Any) -> Iterator[None]:
    right = logit_shares.logit_sum

    def wrong(*args: Any) -> Any:
        found = right(*args)
        return replace(found, before_cap=found.logits)

    with mock.patch.object(logit_shares, "logit_sum", wrong):
        yield


@mistake("the bias of W_o is lost", "llama, bias of W_o")
def output_bias_lost(_: Any) -> Iterator[None]:
    with mock.patch.object(AttentionPart, "bias", return_value=None):
        yield


@mistake("the biases of the final norm and of the output embeddings are lost", "phi")
def final_biases_lost(_: Any) -> Iterator[None]:
    right = LogitSum.direction
    with mock.patch.object(LogitSum, "direction", lambda *args: (right(*args)[0], [])):
        yield


@mistake("the output embeddings' row is the next token's", "llama")
def wrong_row(_: Any) -> Iterator[None]:
    right = LogitSum._row
    with mock.patch.object(LogitSum, "_row", lambda self, table, y, foil: right(self, table, y + 1, foil)):
        yield


@mistake("values that query heads share are counted once for each of them", "llama")
def shared_values_counted_twice(_: Any) -> Iterator[None]:
    right = logit_shares.head_contexts

    def wrong(trace: inspector.Trace, part: AttentionPart, rows: Any) -> Any:
        info = trace.layers[part.layer]
        return right(trace, part, rows) * (info.heads // info.kv_heads)

    with mock.patch.object(logit_shares, "head_contexts", wrong):
        yield


@mistake("query head h is taken to read group h % G instead of h // (H / G)", "llama")
def groups_by_remainder(_: Any) -> Iterator[None]:
    def wrong(trace: inspector.Trace, part: AttentionPart, rows: Any) -> Any:
        weights, value = trace.weights(part.layer, queries=rows).double(), trace.value(part.layer).double()
        return weights @ value.repeat(len(weights) // len(value), 1, 1)

    with mock.patch.object(logit_shares, "head_contexts", wrong):
        yield


@mistake("one part of a key is not rotated", "llama", "score")
def one_part_not_rotated(_: Any) -> Iterator[None]:
    right = score_terms._turned

    def wrong(made: Any, planes: Any, rows: Any) -> Any:
        turned = right(made, planes, rows)
        turned[0] = made[0]
        return turned

    with mock.patch.object(score_terms, "_turned", wrong):
        yield


@mistake("parts of keys are rotated at the position of the token after theirs", "llama", "score")
def rotated_elsewhere(_: Any) -> Iterator[None]:
    right = score_terms._turned
    with mock.patch.object(score_terms, "_turned", lambda x, planes, rows: right(x, planes, [row + 1 for row in rows])):
        yield


@mistake("the norm of queries and keys is forgotten", "qwen3", "score")
def query_norm_forgotten(_: Any) -> Iterator[None]:
    def plain(step: Any) -> Any:
        return replace(step, weight=torch.ones_like(step.weight), scale=torch.ones_like(step.scale))

    with _steps(score_terms, plain, "the query norm"):
        yield


@mistake("the biases of W_q and W_k are lost", "qwen2", "score")
def projection_biases_lost(_: Any) -> Iterator[None]:
    with mock.patch.object(score_terms._Vectors, "_bias", return_value=0):
        yield


@mistake("the attention input's norm has each token's scale at the token after it", "gemma", "score")
def input_scales_moved(_: Any) -> Iterator[None]:
    with _steps(score_terms, lambda step: replace(step, scale=step.scale.roll(1)), "input_layernorm"):
        yield


@mistake("shares of a row are centred by the mean over the query's parts", "llama", "score")
def centred_by_the_wrong_axis(_: Any) -> Iterator[None]:
    def wrong(self: Any, key: int, centred: bool) -> Any:
        chosen = self.keys[:, self.positions.index(key)]
        return chosen - chosen.mean(0) if centred else chosen

    with mock.patch.object(score_terms.ScoreSum, "_vectors", wrong):
        yield
