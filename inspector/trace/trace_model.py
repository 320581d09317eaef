"""Fetch from a model what a trace of it did not store, by one more forward pass of the same tokens.

That is the attention input, the residual stream, the output and all logits, the first time each is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Unpack, runtime_checkable

import torch
from torch import Tensor

from inspector.capture.edits import Edit
from inspector.capture.records import Layer
from inspector.capture.rerun import run_again, vectors_again
from inspector.errors import InspectorError, NoModel
from inspector.trace.file import TraceContents
from inspector.trace.selection import stored_layer
from inspector.trace.stored import StoredTrace
from inspector.trace.tokens import tokenize
from inspector.trace.whole_numbers import shown, whole_number

# How many units in the last place a layer may add to the logits where the same sums are taken in another order (another
# machine or number of threads, all tokens' logits in one product); `verification.tolerances` allows as many.
ROUNDINGS = 4


@dataclass(frozen=True)
class HeadParameters:
    """One head's learned matrices, as they multiply: query = x @ W_q.T and so on.

    W_q, W_k, W_v are [d_head, d_model]; W_o is [d_model, d_head]. Keys and values are those of the head's group.
    """

    W_q: Tensor
    W_k: Tensor
    W_v: Tensor
    W_o: Tensor


@dataclass(frozen=True)
class Ending:
    """What a pass ended in, by which it is seen whether a model is still the same.

    value: the logits [1, vocabulary] after the last token, or what a model without a language-model head has in their
    place. marks: one number [n] for each token's last hidden state. None: nothing of the kind is known.
    """

    value: Tensor | None
    marks: Tensor | None = None


@runtime_checkable
class TraceModel(Protocol):
    """What a trace asks of the model that made it: to run the prompt again, and a head's matrices."""

    tokenizer: Any

    def again(
        self, ids: Sequence[int], what: str, layers: Iterable[int], *, edits: Sequence[Edit], prompt: int
    ) -> tuple[list[Layer], Ending]:
        """Run the tokens once more under the same edits, storing `what` of these layers; return also the ending."""

    def mark(self, layer: int) -> Hashable:
        """Return what changes with any edit of a layer's attention weights."""

    def logits_again(self, ids: Sequence[int], *, edits: Sequence[Edit], prompt: int) -> tuple[Tensor, Ending]:
        """Return the next-token logits after each token, [n, vocabulary], and what the pass ended in."""

    def head_parameters(self, layer: int, head: int) -> HeadParameters:
        """Return one head's learned matrices."""

    def output_matrices(self, layer: int) -> Tensor:
        """Return W_o by head, [h, d_model, d_value]."""


class ModelTrace(StoredTrace):
    """A stored trace with the model that made it (None: opened from a file without one), for what is not stored."""

    def __init__(
        self,
        *,
        model: TraceModel | None = None,
        threads: int | None = None,
        outcome: Tensor | None = None,
        **stored: Unpack[TraceContents],
    ) -> None:
        """Take what is stored, and the model.

        Args:
            model: the one that made the trace.
            threads: how many threads did so, in this process; None: it was made elsewhere.
            outcome: what the pass ended in: the last logits, or what a model without a language-model head has in
                their place; None: nothing of the kind is known.
            stored: as `StoredTrace` takes it.
        """
        super().__init__(**stored)
        self.model, self._threads = model, threads
        self._ending = Ending(self.last_logits if outcome is None else outcome, self.token_marks)
        self._marks: dict[int, Hashable] = {}  # of each layer's weights, when the model was last seen to be the same
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all stored vectors and logits."""
        beside = self._ending.value if self.last_logits is None else None
        return super().nbytes + (0 if beside is None else beside.nbytes)

    # -- the residual stream --------------------------------------------------------------------------------------

    @property
    def embedding(self) -> Tensor:
        """The token embeddings [t, d_model] that the model's first block receives."""
        if (block := self.layers[0].block) > 0:
            raise InspectorError(
                f"The first attention of {self.model_name} stands in block {block}, and what block 0 receives is not "
                f"stored: residual(0) has what block {block} receives."
            )
        return self.residual(0)

    def input(self, layer: int) -> Tensor:
        """Return the attention input: what the layer receives, after the block's norm.

        Args:
            layer: which attention call, from 0.

        Returns:
            [t, d_model].

        Raises:
            InspectorError: the layer does not exist or is not stored, or the model did not show this as it ran.
            NoModel: it is not stored, and the trace was opened from a file without its model.
        """
        return self._stored(layer, "input")

    def residual(self, layer: int) -> Tensor:
        """Return the residual stream before the layer's block: what the block receives, before its norm.

        Args:
            layer: which attention call, from 0.

        Returns:
            [t, d_model].

        Raises:
            InspectorError: the layer does not exist or is not stored, or the model did not show this as it ran.
            NoModel: it is not stored, and the trace was opened from a file without its model.
        """
        return self._stored(layer, "residual")

    def output(self, layer: int) -> Tensor:
        """Return the attention output: what the attention module returned in the library's forward pass.

        Some models normalise it before they add it to the residual stream (Gemma 2 and 3, OLMo 2) or multiply it by a
        factor: `residual_update` has what is added.

        Args:
            layer: which attention call, from 0.

        Returns:
            [t, d_model].

        Raises:
            InspectorError: the layer does not exist or is not stored, or the model did not show this as it ran.
            NoModel: it is not stored, and the trace was opened from a file without its model.
        """
        return self._stored(layer, "output")

    def residual_update(self, layer: int) -> Tensor:
        """Return what the model adds to the residual stream for this layer's attention, seen as it ran.

        In most models that is `output`; in others what a norm or a factor makes of it. Its sum with `residual` is what
        the block goes on with, in every element.

        Args:
            layer: which attention call, from 0.

        Returns:
            [t, d_model].

        Raises:
            InspectorError: the layer does not exist or is not stored, or no sum in its block shows what was added.
            NoModel: it is not stored, and the trace was opened from a file without its model.
        """
        found = self._fetched(layer, "update")
        if found is None:
            raise InspectorError(
                f"What layer {layer} of {self.model_name} adds to the residual stream cannot be told: its block goes "
                f"on with no sum of residual and attention output that was seen; output({layer}) has what its "
                "attention returned."
            )
        return found

    # -- what the model predicts ----------------------------------------------------------------------------------

    @property
    def logits(self) -> Tensor:
        """Next-token logits after each token, [n, vocabulary]."""
        if self._logits is None:
            self._logits = self._all_logits()
        return self._logits

    def next_tokens(self, count: int = 10) -> list[tuple[str, int, float]]:
        """Return the most probable next tokens.

        Args:
            count: how many, at least 1.

        Returns:
            For each its label, its id and its probability, the most probable first.

        Raises:
            InspectorError: the model has no language-model head, `count` is no whole number from 1 on, or logits are no
                numbers.
            NoModel: the trace was opened from a file, without its model.
        """
        return self._most_probable(self._last_logits(count), count)[0]

    def next_tokens_after_each(self, count: int = 5) -> list[list[tuple[str, int, float]]]:
        """Return for every token what the model expected to come after it.

        The prompt is run once more: a trace does not store the n × vocabulary logits, and this stores none either.

        Args:
            count: how many, at least 1.

        Returns:
            For each token the most probable next ones as `next_tokens` gives them, which it gives after the last.

        Raises:
            InspectorError: as `next_tokens` does, or the model is no longer the one that made this trace.
            NoModel: the trace was opened from a file, without its model.
        """
        last = self.next_tokens(count)  # says what is missing before anything is run
        logits = self._logits if self._logits is not None else self._all_logits()
        return [*self._most_probable(logits[:-1], count), last]

    def written_again(self) -> tuple[int, int]:
        """Count the tokens after `prompt_length` that are the most probable ones in a run of the whole text, too.

        The model wrote them one by one, with its cache.

        Returns:
            How many of them are, and how many there are.

        Raises:
            NoModel: the trace was opened from a file, without its model.
        """
        written = list(self.tokens.ids[self.prompt_length :])
        if not written:
            return 0, 0
        known = self._logits  # else n × vocabulary numbers, which are not stored for this
        logits = self._all_logits() if known is None else known
        chosen = logits[self.prompt_length - 1 : self.n - 1].argmax(-1).tolist()
        return sum(a == b for a, b in zip(chosen, written, strict=True)), len(written)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _last_logits(self, count: int) -> Tensor:
        """Return the logits after the last token, [1, vocabulary]; refuse a count that is none, or a lack of them."""
        number = whole_number(count)
        if number is None or number < 1:
            raise InspectorError(f"count={shown(count)} is not a number of tokens: give a whole number from 1 on.")
        if self.last_logits is None:
            raise InspectorError(
                f"{self.model_name} has no language-model head that predicts the next token: trace a causal language "
                "model for that."
            )
        return self.last_logits

    def _most_probable(self, logits: Tensor, count: int) -> list[list[tuple[str, int, float]]]:
        """Return for each row of logits [t, vocabulary] the labels, ids and probabilities of its first `count`."""
        vocabulary = logits.shape[-1]
        tokenizer = self._model("naming the next tokens").tokenizer
        labels: dict[int, str] = {}
        found = []
        for row in logits:  # one at a time: a copy of all would double the largest tensor there is
            top = row.float().softmax(-1).topk(min(int(count), vocabulary))
            if not bool(top.values.isfinite().all()):
                raise InspectorError(
                    f"This prompt's logits in {self.model_name} hold infinite numbers or NaN, so no next token is the "
                    "most probable; load the model in a dtype of a wider range, such as float32."
                )
            ids, shares = top.indices.tolist(), top.values.tolist()
            for token in ids:
                if token not in labels:
                    labels[token] = tokenize([token], tokenizer, vocabulary=vocabulary).labels[0]
            found.append([(labels[token], token, share) for token, share in zip(ids, shares, strict=True)])
        return found

    def _stored(self, layer: int, what: str) -> Tensor:
        """Return a layer's input, output or residual, fetched if need be."""
        found = self._fetched(layer, what)
        if found is None:
            name = stored_layer(self.stored, layer).info.name
            raise InspectorError(f"The {what} of {name} could not be read from the model as it ran.")
        return found

    def _fetched(self, layer: int, what: str) -> Tensor | None:
        """Return what is stored of a layer, fetched if need be; None where the model did not show it."""
        stored = stored_layer(self.stored, layer)
        if getattr(stored, what) is None:
            with self._lock:
                if getattr(stored, what) is None:
                    self._fetch(what, f"the {what} of its layers")
        found: Tensor | None = getattr(stored, what)
        return found

    def _fetch(self, what: str, needed_for: str) -> None:
        fill(self.stored, what, self._again(what, needed_for))

    def _again(self, what: str, needed_for: str) -> list[Layer]:
        """Run the tokens once more through the same model, storing `what` of every layer whose vectors are stored."""
        wanted = [layer.info.index for layer in self.stored if layer.has_vectors]
        layers, ending = self._model(needed_for).again(
            self.tokens.ids, what, wanted, edits=self.edits, prompt=self.prompt_length
        )
        self.refuse_changed(ending, layers)
        return layers

    # -- whether the model is still the same ----------------------------------------------------------------------

    def refuse_changed(self, ending: Ending, layers: Sequence[Layer] = (), *, exact: bool = True) -> None:
        """Refuse what a repeated pass gave if the model is no longer the one that made this trace.

        The pass must end in the trace's own last logits, or in what the model has in their place, and in the same
        hidden state of each token: to the last bit on the CPU and with the number of threads that made them, or else,
        where sums may be taken in another order, to some roundings a layer.

        Args:
            ending: what the pass ended in.
            layers: of the pass; their vectors are compared where nothing is known of what passes end in.
            exact: False: the pass computed the logits in another way, such as those of all tokens at once.

        Raises:
            InspectorError: the model is another, or was edited, hooked or put in another dtype.
        """
        what = "results" if self.last_logits is None else "logits after the last token"
        before, now = self._ending, ending
        pairs = [(what, before.value, now.value)]
        if before.value is None and now.value is None:
            pairs = [
                (f"queries in layer {new.info.index}", layer.query, new.query.to(layer.query.dtype))
                for layer, new in zip(self.stored, layers, strict=bool(layers))
                if layer.has_vectors and new.has_vectors
            ]
        if before.marks is not None and now.marks is not None:
            pairs.append(("hidden states after the last block", before.marks, now.marks))
        for what, old, new_one in pairs:
            if why := self._difference(old, new_one, exact=exact):
                raise InspectorError(
                    f"{self.model_name} is no longer the model that made this trace: run again, its {what} {why}; "
                    "trace the prompt again."
                )

    def _difference(self, before: Tensor | None, now: Tensor | None, *, exact: bool) -> str:
        """Say how two results of the same tokens differ; empty where they do not, but for rounding."""
        if before is None or now is None or before.shape != now.shape:
            return "have another shape"
        if before.dtype != now.dtype:
            return f"are {str(now.dtype).removeprefix('torch.')}, and were {str(before.dtype).removeprefix('torch.')}"
        now = now.to(before.device)
        if torch.equal(before, now):
            return ""
        here = now.device.type == "cpu" and self._threads == torch.get_num_threads()
        room = 0.0
        if not (exact and here):
            room = ROUNDINGS * len(self.stored) * torch.finfo(before.dtype).eps * float(before.abs().max())
        off = float((before.double() - now.double()).abs().max())
        return (
            "" if off <= room else f"differ by {off:.3g}" + (f", more than the {room:.1g} of rounding" if room else "")
        )

    def _refuse_other_weights(self, layer: int, needed_for: str) -> None:
        """Refuse a layer's weights of now where they are not those that the trace was made with.

        One repeated pass shows it; after that, as long as the weights are not edited, nothing is run.
        """
        model = self._model(needed_for)
        with self._lock:
            if self._marks.get(layer) != model.mark(layer):
                self._again("nothing", needed_for)
                self._marks = {info.index: model.mark(info.index) for info in self.layers}

    def _all_logits(self) -> Tensor:
        found, ending = self._model("the logits of all tokens").logits_again(
            self.tokens.ids, edits=self.edits, prompt=self.prompt_length
        )
        self.refuse_changed(ending, exact=False)
        return found

    def _model(self, needed_for: str) -> TraceModel:
        if self.model is None:
            raise NoModel(needed_for)
        return self.model


def fill(stored: Sequence[Layer], what: str, layers: Sequence[Layer]) -> None:
    """Store `what` of every layer whose vectors are stored.

    Args:
        stored: the layers of the trace, which are filled in.
        what: "input", "output", "residual" or "update".
        layers: those of a repeated pass.
    """
    for layer, new in zip(stored, layers, strict=True):
        if what == "input":
            layer.call = new.call  # before the input: whoever sees the input finds the call
        setattr(layer, what, getattr(new, what))


def before_rotation(layer: Layer, fetch_call: Callable[[], None], *, replaced: bool = False) -> tuple[Tensor, Tensor]:
    """Return a layer's query [h, t, d] and key [g, s, d] before rotation, and store them.

    Args:
        layer: the stored layer.
        fetch_call: runs the prompt once more for the layer's call, where the trace was opened from a file.
        replaced: an edit has changed them after rotation.

    Returns:
        Query and key, in the model's dtype.

    Raises:
        InspectorError: the layer's module cannot be run again, or has been changed since, or they were replaced.
    """
    if layer.before is None:
        if replaced:
            raise InspectorError(
                f"Queries or keys of {layer.info.name} were edited after rotation, so they have no form before it; "
                "trace the prompt without that edit."
            )
        if layer.call is None:
            fetch_call()
        if layer.call is None:
            raise InspectorError(
                f"{layer.info.name} cannot be run again, so its vectors before rotation are not shown."
            )
        again = run_again(layer.call, rotate=False)
        turned = vectors_again(layer.call).query.to(layer.query.dtype)
        room = 32 * torch.finfo(turned.dtype).eps * float(layer.query.abs().max())
        if not float((turned.float() - layer.query.float()).abs().max()) <= room:
            raise InspectorError(
                f"{layer.info.name} is no longer the attention that made this trace: run again on the same input, it "
                "makes other queries; trace the prompt again."
            )
        layer.before = (again.query, again.key)
    return layer.before
