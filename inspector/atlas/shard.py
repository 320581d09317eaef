"""Run the rows of one shard in batches of equal length, and add up what every head does."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from inspector.analysis.score_definitions import delimiters
from inspector.atlas.checking import Checker
from inspector.atlas.corpus import Rows
from inspector.atlas.examples import keep_largest, keep_sampled, row_hash
from inspector.atlas.part import KEPT, Part
from inspector.atlas.row_statistics import RowFacts, RowSums, mask_of, row_sums
from inspector.capture.attention_inputs import AttentionInputs
from inspector.capture.batch import BatchRecorder
from inspector.capture.masks import masked_weights
from inspector.capture.records import Call
from inspector.capture.storage import Storage
from inspector.errors import InspectorError
from inspector.model.model import Model
from inspector.text import Progress, no_progress
from inspector.trace.tokens import tokenize

EVERY_TOKEN = 16  # of a batch's tokens, the residual's median is taken over every so many


@dataclass(frozen=True)
class ShardOptions:
    """What a shard's numbers follow from, beside its rows.

    Attributes:
        batch: rows of a pass, at most.
        seed: of the hashes that choose rows.
        followed: the token ids whose mass is summed one by one; the others are summed as one.
        checked: how many rows are computed again from the library's eager attention.
    """

    batch: int
    seed: int
    followed: frozenset[int]
    checked: int = 1


def run_shard(model: Model, rows: Rows, options: ShardOptions, *, progress: Progress = no_progress) -> Part:
    """Compute a shard's part.

    Args:
        model: the model.
        rows: the shard's rows.
        options: what else its numbers follow from.
        progress: called as progress(message, fraction) after each batch; what it raises ends the shard.

    Returns:
        The part; `.facts["verification"]` says how it was checked.

    Raises:
        InspectorError: a layer's weights cannot be computed from queries and keys.
    """
    adding = Adding(model, rows, options)
    lengths: dict[int, list[int]] = {}
    for number, ids in enumerate(rows.ids):
        lengths.setdefault(len(ids), []).append(number)
    groups = [
        numbers[start : start + options.batch]
        for _, numbers in sorted(lengths.items())
        for start in range(0, len(numbers), options.batch)
    ]
    done = 0
    for group in groups:
        adding.run(group)
        done += len(group)
        progress(f"{done} of {len(rows.ids)} rows", done / len(rows.ids))
    return adding.part()


class Adding:
    """Add up the batches of a shard."""

    def __init__(self, model: Model, rows: Rows, options: ShardOptions) -> None:
        """Prepare a shard.

        Args:
            model: the model.
            rows: the shard's rows.
            options: what else its numbers follow from.
        """
        self.model, self.rows, self.options = model, rows, options
        self.layers = model.layers
        starts = np.cumsum([0, *(info.heads for info in self.layers)])
        widths = np.cumsum([0, *(info.heads * info.d_value for info in self.layers)])
        self.heads = [slice(a, b) for a, b in itertools.pairwise(starts.tolist())]
        self.widths = [slice(a, b) for a, b in itertools.pairwise(widths.tolist())]
        self.found = Part.empty(int(starts[-1]), len(self.layers), int(widths[-1]))
        ids = {token for row in rows.ids for token in row}
        followed = sorted(ids & options.followed)
        self.found.ids = np.array([*([-1] if ids - options.followed else []), *followed], dtype=np.int64)
        self.column = {token: place for place, token in enumerate(self.found.ids.tolist())}
        n = len(self.found.ids)
        self.key_mass = torch.zeros(int(starts[-1]), n, dtype=torch.float64)
        self.query_mass = torch.zeros(int(starts[-1]), n, dtype=torch.float64)
        self.occurrences = torch.zeros(2, n, dtype=torch.int64)
        of_ids = sorted(ids)
        marks = delimiters(tokenize(of_ids, model.tokenizer, vocabulary=model.vocabulary, limit=None).texts)
        self.delimiter = dict(zip(of_ids, marks.tolist(), strict=True))
        self.modules = {id(module): index for index, module in _modules(model).items()}
        self.masks: dict = {}  # type: ignore[type-arg]
        numbers = range(rows.first, rows.first + len(rows.ids))
        hashes = sorted((row_hash(options.seed, "sample", number), number) for number in numbers)[:KEPT]
        self.sampled = {number: -float(mark) for mark, number in hashes}
        by_check = sorted(  # of the longest: in a row of three tokens little can go wrong
            (-len(ids), row_hash(options.seed, "check", number), number)
            for ids, number in zip(rows.ids, numbers, strict=True)
        )
        self.checker = Checker({number for *_, number in by_check[: options.checked]})

    def run(self, group: Sequence[int]) -> None:
        """Run one batch.

        Args:
            group: numbers of rows within the shard, all of one length.
        """
        batch = [self.rows.ids[number] for number in group]
        facts = [RowFacts.of(ids, torch.tensor([self.delimiter[token] for token in ids])) for ids in batch]
        numbers = [self.rows.first + number for number in group]
        listener = _Statistics(self, numbers, batch, facts)
        self.model.passes.run_batch(batch, listener)
        counts = torch.stack([one.counts for one in facts])
        self.found.counts += counts.sum(0).numpy()
        self.found.windows += (counts > 0).sum(0).numpy()
        n = len(batch[0])
        self.found.seen += np.array([(n - 1) * len(batch), 1, len(batch), n * len(batch)])
        for ids in batch:
            places = self.places(ids)[1:]
            for one in self.occurrences:
                one.index_add_(0, places, torch.ones(len(places), dtype=torch.int64))

    def places(self, ids: Sequence[int]) -> Tensor:
        """Return each token's column among those that are followed."""
        return torch.tensor([self.column.get(token, 0) for token in ids])

    def part(self) -> Part:
        """Return what was found, with how it was checked."""
        self.found.key_mass, self.found.query_mass = self.key_mass.numpy(), self.query_mass.numpy()
        self.found.occurrences = self.occurrences.numpy()
        self.found.facts["verification"] = self.checker.to_dict()
        return self.found


class _Statistics(BatchRecorder):
    """Add up one batch, layer by layer; nothing of it is stored."""

    def __init__(
        self, adding: Adding, numbers: Sequence[int], batch: Sequence[tuple[int, ...]], facts: Sequence[RowFacts]
    ) -> None:
        super().__init__(len(batch), Storage(vectors=False))
        self.adding, self.numbers, self.batch, self.facts = adding, numbers, batch, facts
        self.places = [adding.places(ids) for ids in batch]

    def end(self, call: Call, inputs: AttentionInputs, result: object) -> None:
        """Use the layer; of the batch's rows only the first is held against the function's own result.

        All come from one call of one function. The shard's checked rows are computed again besides.
        """
        first, now = self.rows[0], self._calls
        layer = first.done - 1
        self.layer_done(now, inputs, result[0])  # type: ignore[index]
        first.end(call, inputs, (result[0][:1], None))  # type: ignore[index]
        if call.unexplained:
            raise InspectorError(
                f"Layer {layer}'s weights cannot be computed ({call.unexplained}), so there is no atlas of this model."
            )
        for one in now[1:]:
            first.storage.reduce(one, layer)

    def layer_done(self, calls: Sequence[Call], inputs: AttentionInputs, context: Tensor) -> None:
        """Add what the layer's heads do in each row."""
        layer, found = self.rows[0].done - 1, self.adding.found
        heads = self.adding.heads[layer]
        n = calls[0].query.shape[1]
        for place, (call, facts, number) in enumerate(zip(calls, self.facts, self.numbers, strict=True)):
            weights = self._weights(call, n)
            self._keep_examples(weights, layer, number)
            checked = number in self.adding.checker.rows
            kept = weights.clone() if checked else weights
            one = row_sums(weights, facts)
            if checked:
                self.adding.checker.check(inputs, place, call, kept, one, facts)
            self._add(one, heads, place, facts)
        values = context[:, 1:].sum(1).double().sum(0)  # [h, d_value], of all rows
        found.contexts[self.adding.widths[layer]] += values.reshape(-1).cpu().numpy()

    def _weights(self, call: Call, n: int) -> Tensor:
        at = call
        mask = mask_of(at.mask, n, self.adding.masks).to(at.query.device)
        weights = masked_weights(
            at.query, at.key, mask, scale=at.scale, softcap=at.softcap, bias=at.bias, sinks=at.sinks
        )
        return weights.to(at.value.dtype).float().cpu()

    def _keep_examples(self, weights: Tensor, layer: int, number: int) -> None:
        """Keep this row where a head's largest weight is among its largest so far, or its hash among the smallest."""
        adding, heads = self.adding, self.adding.heads[layer]
        keep_largest(adding.found.top, weights, heads, number)
        if (score := adding.sampled.get(number)) is not None:
            keep_sampled(
                adding.found.sample, weights, heads, number, score=score, seed=adding.options.seed, layer=layer
            )

    def _add(self, one: RowSums, heads: slice, place: int, facts: RowFacts) -> None:
        adding, found = self.adding, self.adding.found
        sums = one.sums.numpy()
        found.sums[heads] += sums
        means = sums / facts.counts.clamp(min=1).numpy()
        found.row_means[heads] += means
        found.squares[heads] += means**2
        found.distances[heads] += one.distances.numpy()
        found.entropies[heads] += one.entropies.numpy()
        adding.key_mass[heads].index_add_(1, self.places[place], one.received)
        adding.query_mass[heads].index_add_(1, self.places[place], one.given)

    def enter_block(self, attention: nn.Module | None, hidden_states: Tensor) -> None:
        """Note the residual stream's largest magnitude before a layer, and the median beside it."""
        super().enter_block(attention, hidden_states)
        layer = self.adding.modules.get(id(attention))
        if layer is None or hidden_states.ndim != 3:
            return
        sizes, found = hidden_states.abs(), self.adding.found
        largest, at = sizes.flatten().max(0)
        _, n, width = sizes.shape
        if float(largest) > found.massive[layer, 0]:
            row, position, dim = int(at) // (n * width), int(at) // width % n, int(at) % width
            found.massive[layer] = [float(largest), dim, self.numbers[row], position]
        found.medians[layer] += float(sizes[:, ::EVERY_TOKEN].float().median())


def _modules(model: Model) -> Mapping[int, nn.Module]:
    """Return each layer's attention module; of one that attends several times, that of its first call."""
    found: dict[int, nn.Module] = {}
    for layers, module in model.passes.modules_of(model.layers):
        found[layers[0]] = module
    return found
