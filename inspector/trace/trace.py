"""Compute any head's scores, weights and context from one prompt's stored queries, keys and values, when asked.

Arrays are head-first: [t, d] or [t, s] for one head, [h, ...] for all of a layer. Nothing n x n is stored. What was not
stored at capture is fetched from the model (trace_model.py).
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inspector.capture.masks import masked_weights
from inspector.errors import InspectorError
from inspector.trace.file import read_trace
from inspector.trace.selection import Rows, Selection, select
from inspector.trace.stored import WHOLE, file_path
from inspector.trace.trace_model import ModelTrace, TraceModel, before_rotation
from inspector.trace.whole_numbers import shown, whole_number
from reimpl.attention import context_vectors, scaled_scores
from reimpl.blockwise import Strip, strips
from reimpl.spec import MaskRule

if TYPE_CHECKING:
    import pandas as pd

ATTENTIONS_BYTES = 4 * 10**9  # of weights of all heads that are handed out at once
STRIP_BYTES = 8 * 2**20  # of float32 weights computed at once: what caches hold, the fastest at 8192 tokens


class Trace(ModelTrace):
    """One prompt through one model. Made by `model.trace(prompt)` or `open_trace(file)`.

    In all methods `layer` counts attention calls from 0, `head` counts query heads from 0 (None: all heads), `queries`
    picks some query rows by a slice or a list of positions, and `keys` some key columns by a slice.
    """

    # -- vectors --------------------------------------------------------------------------------------------------

    def query(self, layer: int, head: int | None = None, *, rope: bool = True) -> Tensor:
        """Return query vectors, after rotation by position or before it.

        Args:
            layer: which attention call, from 0.
            head: which query head, from 0; None: all of them.
            rope: False: before rotation.

        Returns:
            [t, d], or [h, t, d] of all heads.

        Raises:
            InspectorError: the layer or head does not exist or is not stored, or rotation cannot be switched off.
        """
        chosen = self._select(layer, head)
        query = chosen.query() if rope else self._before(chosen)[0][chosen.heads]
        return query if head is None else query[0]

    def key(self, layer: int, head: int | None = None, *, rope: bool = True) -> Tensor:
        """Return the key vectors that a query head meets: those of its group.

        Args:
            layer: which attention call, from 0.
            head: which query head, from 0; None: the keys of all groups.
            rope: False: before rotation.

        Returns:
            [s, d], or [g, s, d] of all groups.

        Raises:
            InspectorError: the layer or head does not exist or is not stored, or rotation cannot be switched off.
        """
        chosen = self._select(layer, head)
        key = chosen.key() if rope else self._before(chosen)[1][chosen.groups]
        return key if head is None else key[0]

    def value(self, layer: int, head: int | None = None) -> Tensor:
        """Return the value vectors that a query head sums: those of its group.

        Args:
            layer: which attention call, from 0.
            head: which query head, from 0; None: the values of all groups.

        Returns:
            [s, d_value], or [g, s, d_value] of all groups.

        Raises:
            InspectorError: the layer or head does not exist or is not stored.
        """
        value = self._select(layer, head).value()
        return value if head is None else value[0]

    # -- scores and weights ---------------------------------------------------------------------------------------

    def scores(
        self, layer: int, head: int | None = None, *, queries: Rows | None = None, keys: slice | None = None
    ) -> Tensor:
        """Return attention scores: the raw dot products query·key, neither scaled nor masked.

        Args:
            layer: which attention call, from 0.
            head: which query head, from 0; None: all of them.
            queries: some query rows; None: all.
            keys: some key columns; None: all.

        Returns:
            [t, s], or [h, t, s] of all heads.

        Raises:
            InspectorError: something of this does not exist or is not stored.
        """
        chosen = self._select(layer, head, queries, keys)
        scores = scaled_scores(chosen.query(), chosen.key(), scale=1.0)
        return scores if head is None else scores[0]

    def scaled_scores(
        self, layer: int, head: int | None = None, *, queries: Rows | None = None, keys: slice | None = None
    ) -> Tensor:
        """Return scaled scores, before the mask; soft-capped, and with a bias added, where the model does that.

        Args:
            layer: which attention call, from 0.
            head: which query head, from 0; None: all of them.
            queries: some query rows; None: all.
            keys: some key columns; None: all.

        Returns:
            [t, s], or [h, t, s] of all heads.

        Raises:
            InspectorError: something of this does not exist or is not stored.
        """
        chosen = self._select(layer, head, queries, keys)
        info = chosen.layer.info
        scores = scaled_scores(chosen.query(), chosen.key(), scale=info.scale, softcap=info.softcap)
        if (bias := chosen.bias()) is not None:
            scores = scores + bias
        return scores if head is None else scores[0]

    def weights(
        self, layer: int, head: int | None = None, *, queries: Rows | None = None, keys: slice | None = None
    ) -> Tensor:
        """Return attention weights: the softmax of the scaled, masked scores.

        Args:
            layer: which attention call, from 0.
            head: which query head, from 0; None: all of them.
            queries: some query rows; None: all.
            keys: some key columns; None: all. What is left out must be keys that these queries may not look at, whose
                weight is 0 (`strips` gives both).

        Returns:
            [t, s], or [h, t, s] of all heads. Rows sum to 1, or to less where the model has attention sinks.

        Raises:
            InspectorError: something of this does not exist or is not stored, a key is left out that has a weight, or
                the model does more than is recorded, so that the weights would not be its own.
        """
        chosen = self._select(layer, head, queries, keys)
        stored = chosen.layer
        if keys is not None:
            chosen.refuse_missing_keys(self.n)
        if stored.unexplained:
            raise InspectorError(
                f"Layer {layer}'s weights cannot be shown: {stored.unexplained}; a picture without that would be wrong."
            )
        weights = masked_weights(
            chosen.query(),
            chosen.key(),
            chosen.mask(),
            scale=stored.info.scale,
            softcap=stored.info.softcap,
            bias=chosen.bias(),
            sinks=chosen.sinks(),
        ).to(chosen.read(stored.value[:, :1]).dtype)  # some models score in float32 and mix in their own dtype
        return weights if head is None else weights[0]

    def allowed(
        self, layer: int, head: int | None = None, *, queries: Rows | None = None, keys: slice | None = None
    ) -> Tensor:
        """Return the mask: true where a query may look at a key.

        Args:
            layer: which attention call, from 0.
            head: which query head, from 0; None: all of them.
            queries: some query rows; None: all.
            keys: some key columns; None: all.

        Returns:
            Bool, [t, s], or [h, t, s] of all heads (one table seen h times where heads share it).

        Raises:
            InspectorError: something of this does not exist or is not stored.
        """
        chosen = self._select(layer, head, queries, keys)
        mask = chosen.mask()
        if head is not None:
            return mask if mask.ndim == 2 else mask[0]
        return mask.expand(chosen.layer.info.heads, *mask.shape[-2:])

    def strips(self, layer: int, head: int | None = None, *, align: int = 1) -> Iterator[Strip]:
        """Cut all query rows into strips, each with the keys that its rows may look at.

        These are what to ask `weights`, `scaled_scores` and `allowed` for where n x n would be too much: as many rows
        at once as STRIP_BYTES of float32 weights allow. See `reimpl.blockwise`.

        Args:
            layer: which attention call, from 0.
            head: which query head, from 0; None: all of them at once, in lower strips.
            align: strips begin at rows that this number divides.

        Returns:
            The strips, from the first row on: `rows` and `keys` of each, two slices.

        Raises:
            InspectorError: the layer or head does not exist or is not stored, or `align` is below 1.
        """
        if (whole_number(align) or 0) < 1:
            raise InspectorError(f"align={shown(align)} divides no rows: give a whole number from 1 on.")
        stored = self._select(layer, head).layer
        rule = stored.mask if isinstance(stored.mask, MaskRule) else None
        return strips(self.n, self.n, rule, height=self._height(layer, head), align=align)

    # -- what attention makes of values ---------------------------------------------------------------------------

    def context(self, layer: int, head: int | None = None, *, queries: Rows | None = None) -> Tensor:
        """Return context vectors: each query token's sum of weighted values, or what an edit made of it.

        Args:
            layer: which attention call, from 0.
            head: which query head, from 0; None: all of them.
            queries: some query rows; None: all.

        Returns:
            [t, d_value], or [h, t, d_value] of all heads.

        Raises:
            InspectorError: as `weights`.
        """
        chosen = self._select(layer, head, queries)
        if (edited := chosen.edited_context()) is not None:
            return edited if head is None else edited[0]
        value, parts = chosen.value(), []
        for rows, keys in self.strips(layer, head) if queries is None else self._some_rows(chosen):
            weights = self.weights(layer, head, queries=rows, keys=keys)
            parts.append(context_vectors(weights if head is None else weights[None], value[:, keys or slice(None)]))
        context = torch.cat(parts, dim=1)
        return context if head is None else context[0]

    def head_output(self, layer: int, head: int | None = None, *, queries: Rows | None = None) -> Tensor:
        """Return a head's own share of the attention output: its context vectors times its slice of W_o.

        The shares of all heads (and W_o's bias, if any) add up to the attention output. W_o is the model's own as it is
        now: the first call runs the prompt once more, to see that it is still the model that made the trace.

        Args:
            layer: which attention call, from 0.
            head: which query head, from 0; None: all of them.
            queries: some query rows; None: all.

        Returns:
            [t, d_model], or [h, t, d_model] of all heads.

        Raises:
            InspectorError: as `weights`, or the layer has no W_o with a slice for each head, or the model was changed
                since it made this trace.
            NoModel: the trace was opened from a file, without its model.
        """
        model = self._model("a head's share of the output")
        context = self.context(layer, head, queries=queries)
        self._refuse_other_weights(layer, "a head's share of the output")
        if head is not None:
            return context @ model.head_parameters(layer, head).W_o.to(context).T
        return context @ model.output_matrices(layer).to(context).transpose(1, 2)  # [h, t, d_model]

    # -- for other libraries --------------------------------------------------------------------------------------

    def attentions(self) -> tuple[Tensor, ...]:
        """Return all weights as transformers hands them out under `output_attentions`, such as for BertViz.

        Returns:
            For each layer [1, h, n, n].

        Raises:
            InspectorError: as `weights`, or all layers together would take more than ATTENTIONS_BYTES.
        """
        self._refuse_pairs(sum(info.heads for info in self.layers) * self.n**2, 4, "The weights of all heads")
        return tuple(self.weights(info.index)[None] for info in self.layers)

    def to_pandas(self, layer: int | None = None, head: int | None = None) -> pd.DataFrame:
        """Return attention weights in tidy form, a row for each (query, key) pair that the mask allows.

        Args:
            layer: which attention call, from 0; None: all of them.
            head: which query head, from 0; None: all of them.

        Returns:
            A frame with the columns model, prompt, layer, head, query, key (positions from 0), query_token, key_token
            and weight (float32).

        Raises:
            InspectorError: as `weights`, or these rows would take more than ATTENTIONS_BYTES.
        """
        import numpy as np
        import pandas as pd

        chosen = [info.index for info in self.layers] if layer is None else [layer]
        cells = {one: range(self._select(one).layer.info.heads) if head is None else [head] for one in chosen}
        self._refuse_pairs(sum(len(heads) for heads in cells.values()) * self.n * (self.n + 1) // 2, 24, "This table")
        parts: dict[str, list[Any]] = {name: [] for name in ("layer", "head", "query", "key", "weight")}
        for one, heads in cells.items():
            for each in heads:
                allowed = self.allowed(one, each).cpu().numpy()
                query, key = np.nonzero(allowed)
                found = (np.full(len(query), one), np.full(len(query), each), query, key)
                weight = self.weights(one, each).detach().float().cpu().numpy()[allowed]
                for name, values in zip(parts, (*(part.astype(np.int32) for part in found), weight), strict=True):
                    parts[name].append(values)
        columns = {name: np.concatenate(values) for name, values in parts.items()}
        labels = np.asarray(self.tokens.labels, dtype=object)
        weight = columns.pop("weight")
        same = {"model": self.model_name, "prompt": self.prompt if self.prompt is not None else ""}
        tokens = {f"{name}_token": pd.Categorical(labels[columns[name]]) for name in ("query", "key")}
        whole = {name: pd.Categorical.from_codes(np.zeros(len(weight), np.int8), [text]) for name, text in same.items()}
        return pd.DataFrame({**whole, **columns, **tokens, "weight": weight})

    def _refuse_pairs(self, pairs: int, bytes_each: int, what: str) -> None:
        """Refuse what would take more than ATTENTIONS_BYTES."""
        if pairs * bytes_each > ATTENTIONS_BYTES:
            raise InspectorError(
                f"{what} of {self.n} tokens would take {pairs * bytes_each / 1e9:.1f} GB, and "
                f"{ATTENTIONS_BYTES / 1e9:g} GB are allowed: ask for one layer or head, weights(layer, head) or "
                "to_pandas(layer, head)."
            )

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.tokens._repr_html_()}"

    # -- inside ---------------------------------------------------------------------------------------------------

    def _select(
        self, layer: int, head: int | None = None, queries: Rows | None = None, keys: slice | None = None
    ) -> Selection:
        dtype = None if self.precision is None or self.dtype is None else WHOLE[self.dtype]
        return select(self.stored, self.n, layer, head, queries, keys, dtype=dtype)

    def _height(self, layer: int, head: int | None) -> int:
        """Return how many query rows of weights STRIP_BYTES hold; 0 where not even one."""
        return STRIP_BYTES // (4 * (self.layers[layer].heads if head is None else 1) * self.n)

    def _some_rows(self, chosen: Selection) -> Iterator[tuple[list[int], None]]:
        """Yield the selected query positions, as many at once as STRIP_BYTES allow, each time with all keys."""
        rows = list(range(*chosen.rows.indices(self.n))) if isinstance(chosen.rows, slice) else chosen.rows
        height = max(1, self._height(chosen.layer.info.index, chosen.head))
        for start in range(0, max(1, len(rows)), height):  # none: refused by `weights`, in a sentence
            yield rows[start : start + height], None

    def _before(self, chosen: Selection) -> tuple[Tensor, Tensor]:
        """Return query and key of a layer before rotation."""
        stored = chosen.layer
        if stored.before is None:
            self._stored(stored.info.index, "input")
        index = stored.info.index
        replaced = any(edit.stage == "vectors" and index in (edit.layers or ()) for edit in self.edits)
        return before_rotation(stored, lambda: self._fetch("input", "what comes before rotation"), replaced=replaced)


def open_trace(path: str | Path, model: TraceModel | None = None) -> Trace:
    """Read a file that `trace.save` wrote.

    Args:
        path: the safetensors file.
        model: the model that the trace was made with, for what needs it: next tokens, shares through W_o, and whatever
            the file does not hold. Weights, scores and context need none.

    Returns:
        The trace; its weights, scores and context are computed as before.

    Raises:
        InspectorError: there is no such file, it is no whole trace file, or `model` is not a loaded model.
    """
    if model is not None and not isinstance(model, TraceModel):
        raise InspectorError(f"model={shown(model)} is not a loaded model: give what inspector.load returns.")
    return Trace(**read_trace(file_path(path)), model=model)
