"""One prompt through one model: captured queries, keys and values in; any head's scores, weights and context out,
computed when looked at. Arrays are head-first: [t, d] or [t, s] for one head, [h, ...] for all of a layer.

Nothing n x n is kept. What was not kept at capture (the attention input, the residual, all logits) is fetched by
one more forward pass of the same prompt the first time it is asked for.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from inspector.capture.masks import masked_weights
from inspector.capture.records import Layer, LayerInfo
from inspector.capture.rerun import run_again
from inspector.errors import InspectorError, NoModel
from inspector.trace.file import read_trace, write_trace
from inspector.trace.tokens import Tokens
from reimpl.attention import context_vectors, scaled_scores
from reimpl.blockwise import Strip, seen_keys, strips
from reimpl.mask import allowed
from reimpl.spec import MaskRule

Rows = slice | list[int]  # some query rows: a stretch of them, or these positions
WHOLE = {"float32": torch.float32, "float64": torch.float64}  # what vectors that are kept rounded are computed with
STRIP_BYTES = 8 * 2**20  # of float32 weights computed at once: what caches hold, the fastest at 8192 tokens


@dataclass(frozen=True)
class HeadParameters:
    """One head's learned matrices, as they multiply: query = x @ W_q.T and so on.

    W_q, W_k, W_v are [d_head, d_model]; W_o is [d_model, d_head]. Keys and values are those of the head's group.
    """

    W_q: Tensor
    W_k: Tensor
    W_v: Tensor
    W_o: Tensor


class TraceModel(Protocol):
    """What a trace asks of the model that made it: to run the prompt again, and a head's matrices."""

    tokenizer: Any

    def again(self, ids: Sequence[int], what: str, layers: Iterable[int]) -> list[Layer]:
        """Run the tokens once more, keeping `what` of these layers."""

    def logits(self, ids: Sequence[int]) -> Tensor:
        """Return the next-token logits after each token, [n, vocabulary]."""

    def head_parameters(self, layer: int, head: int) -> HeadParameters:
        """Return one head's learned matrices."""


class Trace:
    """See the module's first lines. Made by `model.trace(prompt)` or `open_trace(file)`."""

    def __init__(
        self,
        *,
        tokens: Tokens,
        layers: list[Layer],
        last_logits: Tensor | None,
        model: TraceModel | None = None,
        model_name: str = "",
        prompt: str | None = None,
        prompt_length: int | None = None,
        source: dict[str, Any] | None = None,
        precision: str | None = None,
        dtype: str | None = None,
    ) -> None:
        if precision is not None and dtype not in WHOLE:
            raise InspectorError(
                f"This trace's vectors are rounded to {precision} and it says {dtype!r} of what they were before: "
                f"dtype must be {' or '.join(WHOLE)}."
            )
        self.precision = precision  # q, k, v are kept rounded to this dtype; None: as the model made them
        self.dtype = dtype  # the one in which the model made them; None: it is not known
        self.tokens, self.prompt, self.model, self.model_name = tokens, prompt, model, model_name
        self.prompt_length = len(tokens) if prompt_length is None else prompt_length
        self.last_logits = last_logits  # [1, vocabulary], what follows the last token; None: the model has no such head
        self.stored = layers
        self.source = source or {}  # model type, revision, dtype, device, library versions
        self._logits: Tensor | None = None
        self._lock = threading.Lock()

    @property
    def n(self) -> int:
        """How many tokens."""
        return len(self.tokens)

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """All attention layers of the model, also those of which nothing was kept."""
        return tuple(layer.info for layer in self.stored)

    @property
    def stored_layers(self) -> tuple[LayerInfo, ...]:
        """The layers whose vectors were kept: all, unless some were chosen."""
        return tuple(layer.info for layer in self.stored if layer.has_vectors)

    @property
    def exact(self) -> bool:
        """Whether every layer's queries, keys and values are here, to the last bit."""
        return self.precision is None and len(self.stored_layers) == len(self.stored)

    @property
    def lost(self) -> str:
        """The prompt's characters that no token holds, each once: this tokenizer knows no token for them and left them
        out, or put an unknown token or a normalised character in their place. Empty for nearly every prompt."""
        held = set("".join(self.tokens.texts))
        return "".join(character for character in dict.fromkeys(self.prompt or "") if character not in held)

    def lost_in_words(self) -> str:
        """`lost` as one sentence; empty where nothing was."""
        from inspector.text import few
        from inspector.trace.tokens import readable

        if not self.lost:
            return ""
        named = few([f"{readable(character)} (U+{ord(character):04X})" for character in self.lost])
        return f"No token holds {named}: the tokenizer left this out or put something else in its place."

    # -- vectors ------------------------------------------------------------------------------------------------

    def query(self, layer: int, head: int, *, rope: bool = True) -> Tensor:
        """Query vectors of one head [t, d], after rotation by position, or before it (rope=False)."""
        kept, head = self._head(layer, head)
        return self._read(kept.query[head]) if rope else self._before(kept)[0][head]

    def key(self, layer: int, head: int, *, rope: bool = True) -> Tensor:
        """Key vectors [s, d] that this query head meets: its group's key head."""
        kept, head = self._head(layer, head)
        group = kept.info.kv_head(head)
        return self._read(kept.key[group]) if rope else self._before(kept)[1][group]

    def value(self, layer: int, head: int | None = None) -> Tensor:
        """Value vectors [s, d_value] that this query head mixes: its group's; of all groups [g, s, d_value]."""
        if head is None:
            return self._read(self._layer(layer).value)
        kept, head = self._head(layer, head)
        return self._read(kept.value[kept.info.kv_head(head)])

    # -- what attention makes of them ---------------------------------------------------------------------------

    def strips(self, layer: int, head: int | None = None, *, align: int = 1) -> Iterator[Strip]:
        """All query rows, as many at once as STRIP_BYTES allow, each strip with the keys that its rows may look at:
        what to ask `weights`, `scaled_scores` and `allowed` for when n x n would be too much. See `reimpl.blockwise`.
        """
        kept = self._layer(layer)
        rule = kept.mask if isinstance(kept.mask, MaskRule) else None
        heads = kept.info.heads if head is None else 1
        return strips(self.n, self.n, rule, height=STRIP_BYTES // (4 * heads * self.n), align=align)

    def scores(self, layer: int, head: int | None = None, queries: Rows | None = None) -> Tensor:
        """Attention scores [t, s]: the raw dot products query·key, neither scaled nor masked."""
        _, query, key, _, _ = self._heads(layer, head, queries)
        scores = scaled_scores(query, key, scale=1.0)
        return scores if head is None else scores[0]

    def scaled_scores(
        self, layer: int, head: int | None = None, queries: Rows | None = None, keys: slice | None = None
    ) -> Tensor:
        """Scaled scores [t, s] (soft-capped, and with a bias added, where the model does), before the mask. Unlike
        weights, any number. `queries` picks some query rows, `keys` some key columns."""
        kept, query, key, rows, columns = self._heads(layer, head, queries, keys)
        scores = scaled_scores(query, key, scale=kept.info.scale, softcap=kept.info.softcap)
        if kept.bias is not None:
            scores = scores + _part(kept.bias, head, rows)[..., columns]
        return scores if head is None else scores[0]

    def weights(
        self, layer: int, head: int | None = None, queries: Rows | None = None, keys: slice | None = None
    ) -> Tensor:
        """Attention weights [t, s] of one head, or [h, t, s]: the softmax of the scaled, masked scores.

        Rows sum to 1, or to less where the model has attention sinks. `queries` picks some query rows. `keys` leaves
        key columns out, which must be such as these queries may not look at (`strips` gives both): their weight is 0.
        """
        kept, query, key, rows, columns = self._heads(layer, head, queries, keys)
        if keys is not None:
            self._refuse_missing(kept, rows, columns)
        if kept.unexplained:
            raise InspectorError(
                f"Layer {layer}'s weights cannot be shown: {kept.unexplained}; a picture without that would be wrong."
            )
        weights = masked_weights(
            query,
            key,
            self._allowed(kept, rows, head, columns),
            scale=kept.info.scale,
            softcap=kept.info.softcap,
            bias=None if kept.bias is None else _part(kept.bias, head, rows)[..., columns],
            sinks=None if kept.sinks is None else _sinks_part(kept.sinks, head, rows),
        ).to(self._read(kept.value[:, :1]).dtype)  # some models score in float32 and mix in their own dtype
        return weights if head is None else weights[0]

    def allowed(
        self, layer: int, queries: Rows | None = None, head: int | None = None, keys: slice | None = None
    ) -> Tensor:
        """True where a query may look at a key: bool [t, s], in this head; without one, in any."""
        kept = self._layer(layer) if head is None else self._head(layer, head)[0]
        may = self._allowed(kept, slice(None) if queries is None else queries, head, keys or slice(None))
        return may if may.ndim == 2 else may.any(0)

    def context(self, layer: int, head: int | None = None) -> Tensor:
        """Context vectors [t, d_value]: each query token's sum of weighted values. Of all heads: [h, t, d_value]."""
        kept = self._layer(layer)
        value = self._read(kept.value) if head is None else self.value(layer, head)[None]
        parts = []
        for rows, keys in self.strips(layer, head):
            weights = self.weights(layer, head, rows, keys)
            parts.append(context_vectors(weights if head is None else weights[None], value[:, keys]))
        context = torch.cat(parts, dim=1)
        return context if head is None else context[0]

    def head_output(self, layer: int, head: int) -> Tensor:
        """This head's own share of the attention output [t, d_model]: its context vectors times its slice of W_o.

        The shares of all heads (and W_o's bias, if any) add up to the attention output.
        """
        context = self.context(layer, head)
        w_o = self._model("a head's share of the output").head_parameters(layer, head).W_o  # [m, d]
        return context @ w_o.to(context).T

    # -- around the attention -----------------------------------------------------------------------------------

    @property
    def embedding(self) -> Tensor:
        """The token embeddings [t, d_model] that the model's first block receives."""
        if (block := self.layers[0].block) > 0:
            raise InspectorError(
                f"The first attention of {self.model_name} stands in block {block}, and what block 0 "
                f"receives is not kept: residual(0) has what block {block} receives."
            )
        return self.residual(0)

    def input(self, layer: int) -> Tensor:
        """The attention input [t, d_model]: what the layer receives, after the block's norm."""
        return self._kept(layer, "input")

    def residual(self, layer: int) -> Tensor:
        """What the layer's block receives [t, d_model], before its norm: attention's output is added to this."""
        return self._kept(layer, "residual")

    def output(self, layer: int) -> Tensor:
        """The attention output [t, d_model], as the library computed it in the forward pass."""
        return self._kept(layer, "output")

    @property
    def logits(self) -> Tensor:
        """Next-token logits after each token, [n, vocabulary]."""
        if self._logits is None:
            self._logits = self._model("the logits of all tokens").logits(self.tokens.ids)
        return self._logits

    def written_again(self) -> tuple[int, int]:
        """Of the tokens behind `prompt_length`, which the model wrote one by one with its cache: how many are its most
        probable ones in this run of the whole text too, and how many there are."""
        written = list(self.tokens.ids[self.prompt_length :])
        if not written:
            return 0, 0
        known = self._logits  # else n × vocabulary numbers, which are not kept for this
        logits = self._model("the logits of all tokens").logits(self.tokens.ids) if known is None else known
        chosen = logits[self.prompt_length - 1 : self.n - 1].argmax(-1).tolist()
        return sum(a == b for a, b in zip(chosen, written, strict=True)), len(written)

    def next_tokens(self, count: int = 10) -> list[tuple[str, int, float]]:
        """The most probable next tokens: (label, id, probability)."""
        from inspector.trace.tokens import tokenize

        if self.last_logits is None:
            raise InspectorError(f"{self.model_name} predicts no next token; load it with its language-model head.")
        probabilities = self.last_logits[-1].float().softmax(-1)
        top = probabilities.topk(min(count, probabilities.numel()))
        tokenizer = self._model("naming the next tokens").tokenizer
        found = []
        for token, probability in zip(top.indices.tolist(), top.values.tolist(), strict=True):
            label = tokenize([token], tokenizer, vocabulary=probabilities.numel()).labels[0]
            found.append((label, token, probability))
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors kept."""
        tensors = [self.last_logits, self._logits]
        for kept in self.stored:
            tensors += [kept.query, kept.key, kept.value, kept.input, kept.output, kept.residual, *(kept.before or ())]
            tensors += [kept.mask if isinstance(kept.mask, Tensor) else None, kept.bias, kept.sinks]
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def save(self, path: str | Path) -> Path:
        """Write queries, keys, values and whatever else is kept to one safetensors file."""
        path = Path(path)
        write_trace(path, facts=self.facts(), layers=self.stored, last_logits=self.last_logits)
        return path

    def __repr__(self) -> str:
        return (
            f"Trace of {self.n} tokens through {self.model_name or 'a model'}: {len(self.stored)} layers, "
            f"{self.stored[0].info.heads} heads, {self.nbytes / 2**20:.1f} MB kept"
            + (f" in {self.precision}" if self.precision else "")
            + (
                ""
                if len(self.stored_layers) == len(self.stored)
                else f", vectors of {len(self.stored_layers)} layers alone"
            )
        )

    def _repr_html_(self) -> str:
        tokens = "".join(f"<td>{html.escape(label)}</td>" for label in self.tokens.labels[:40])
        more = f"<td>... {self.n - 40} more</td>" if self.n > 40 else ""
        return f"<p>{html.escape(repr(self))}</p><table><tr>{tokens}{more}</tr></table>"

    # -- inside -------------------------------------------------------------------------------------------------

    def _read(self, kept: Tensor) -> Tensor:
        """What was kept, as numbers to compute with: in the model's dtype, also where it was rounded."""
        return kept if self.precision is None or self.dtype is None else kept.to(WHOLE[self.dtype])

    def _layer(self, layer: int) -> Layer:
        if not 0 <= layer < len(self.stored):
            raise InspectorError(f"Layer {layer} does not exist: this model has layers 0 to {len(self.stored) - 1}.")
        kept = self.stored[layer]
        if not kept.has_vectors:
            held = ", ".join(str(info.index) for info in self.stored_layers)
            raise InspectorError(
                f"Layer {layer} was not kept: this trace has layer {held}; trace again with layers=[{layer}]."
            )
        return kept

    def _head(self, layer: int, head: int) -> tuple[Layer, int]:
        kept = self._layer(layer)
        if not 0 <= head < kept.info.heads:
            raise InspectorError(f"Head {head} does not exist: layer {layer} has heads 0 to {kept.info.heads - 1}.")
        return kept, head

    def _heads(
        self, layer: int, head: int | None, queries: Rows | None, keys: slice | None = None
    ) -> tuple[Layer, Tensor, Tensor, Rows, slice]:
        """The layer, its query [h, t, d] and key [g, s, d] (one of each for one head), the query rows, the keys."""
        rows, columns = slice(None) if queries is None else queries, keys or slice(None)
        if head is None:
            kept = self._layer(layer)
            return kept, self._read(kept.query[:, rows]), self._read(kept.key[:, columns]), rows, columns
        kept, head = self._head(layer, head)
        group = kept.info.kv_head(head)
        query, key = kept.query[head : head + 1, rows], kept.key[group : group + 1, columns]
        return kept, self._read(query), self._read(key), rows, columns

    def _allowed(self, kept: Layer, rows: Rows, head: int | None, columns: slice) -> Tensor:
        """Where these query rows may look: [t, s], or where heads differ [h, t, s] ([1, t, s] for one head)."""
        if not isinstance(kept.mask, MaskRule):
            table = kept.mask[rows] if kept.mask.ndim == 2 else _part(kept.mask, head, rows)
            return table[..., columns]
        positions = torch.arange(kept.key.shape[1], device=kept.key.device)
        return allowed(kept.mask, positions[rows], positions[columns])

    def _refuse_missing(self, kept: Layer, rows: Rows, columns: slice) -> None:
        """Raises InspectorError unless `columns` hold every key that these rows may look at: a softmax over fewer would
        give other weights."""
        start, stop, _ = rows.indices(self.n) if isinstance(rows, slice) else (min(rows), max(rows) + 1, 1)
        seen = seen_keys(kept.mask if isinstance(kept.mask, MaskRule) else None, slice(start, stop), self.n)
        first, end, step = columns.indices(self.n)
        if first > seen.start or end < seen.stop or step != 1:
            raise InspectorError(
                f"Weights over keys {first} to {end - 1} alone would not be the model's: query tokens {start} to "
                f"{stop - 1} may look at keys {seen.start} to {seen.stop - 1}; ask for those."
            )

    def _before(self, kept: Layer) -> tuple[Tensor, Tensor]:
        if kept.before is None:
            self._kept(kept.info.index, "input")
            if kept.call is None:
                if self.model is None:
                    raise NoModel("what comes before rotation")
                self._fetch("input")  # opened from a file with its inputs, and with its model
            if kept.call is None:
                name = kept.info.name
                raise InspectorError(f"{name} cannot be run again, so its vectors before rotation are not shown.")
            again = run_again(kept.call, rotate=False)
            kept.before = (again.query, again.key)
        return kept.before

    def _kept(self, layer: int, what: str) -> Tensor:
        kept = self._layer(layer)
        if getattr(kept, what) is None:
            with self._lock:
                if getattr(kept, what) is None:
                    self._fetch(what)
        found: Tensor | None = getattr(kept, what)
        if found is None:
            raise InspectorError(f"The {what} of {kept.info.name} could not be read from the model as it ran.")
        return found

    def _fetch(self, what: str) -> None:
        """One more forward pass of the same tokens, keeping `what` of every layer."""
        again = self._model(f"the {what} of its layers").again(
            self.tokens.ids, what, [info.index for info in self.stored_layers]
        )
        for mine, new in zip(self.stored, again, strict=True):
            if what == "input":
                mine.call = new.call  # before the input: whoever sees the input finds the call
            setattr(mine, what, getattr(new, what))

    def _model(self, needed_for: str) -> TraceModel:
        if self.model is None:
            raise NoModel(needed_for)
        return self.model

    def facts(self) -> dict[str, Any]:
        """What a file needs beside the tensors, where they come from included."""
        return {
            "source": self.source,
            "model": self.model_name,
            "prompt": self.prompt,
            "prompt_length": self.prompt_length,
            "precision": self.precision,
            "dtype": self.dtype,
            "tokens": asdict(self.tokens),
            "layers": [asdict(layer.info) for layer in self.stored],
            "unexplained": [layer.unexplained for layer in self.stored],
        }


def open_trace(path: str | Path, model: TraceModel | None = None) -> Trace:
    """Read a file that `trace.save` wrote.

    Args:
        path: the safetensors file.
        model: the model that the trace was made with, for what needs it: next tokens, shares through W_o, and whatever
            the file does not hold. Weights, scores and context need none.

    Returns:
        The trace; its weights, scores and context are computed as before.

    Raises:
        InspectorError: there is no such file, or it is no whole trace file.
    """
    return Trace(**read_trace(Path(path)), model=model)


def _part(table: Tensor, head: int | None, rows: Rows) -> Tensor:
    """One head's share (all heads' for None) of a table [h or 1, t or 1, s], and these query rows of it."""
    if head is not None and table.shape[0] > 1:
        table = table[head : head + 1]
    return table[:, rows] if table.shape[1] > 1 else table


def _sinks_part(sinks: Tensor, head: int | None, rows: Rows) -> Tensor:
    """The same of sinks [h] or [h, t]."""
    sinks = sinks if head is None else sinks[head : head + 1]
    return sinks if sinks.ndim == 1 else sinks[:, rows]
