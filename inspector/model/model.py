"""The Model that `inspector.load` returns: what people call of it, `trace(prompt)` first of all.

The library's own objects stay untouched at `model.model` and `model.tokenizer`.
"""

from __future__ import annotations

import contextlib
import html
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, overload

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

import reimpl
from inspector.capture import recorded_layers
from inspector.capture.batch import BatchRecorder
from inspector.capture.editor import Editor
from inspector.capture.edits import Edit
from inspector.capture.recorder import Recorder
from inspector.capture.records import Layer, LayerInfo, OnLayer
from inspector.capture.residual_update import ResidualUpdateRecorder
from inspector.capture.storage import Storage
from inspector.errors import InspectorError, NoModel
from inspector.loading.packed_weights import packed_in
from inspector.loading.source import Source
from inspector.model import sizes
from inspector.model.batches import ROWS, Group, batch_rows, equal_lengths, listed_prompts
from inspector.model.chat import Messages, is_chat, templated
from inspector.model.config_reading import read_as_library
from inspector.model.cost import FREE, HALVES, Cost, Speed, measure_speed, memory_limit, refuse_run, run_cost
from inspector.model.edit_checks import listed_edits
from inspector.model.edited_runs import EditedRuns
from inspector.model.forward import ForwardPasses
from inspector.model.matching import pair
from inspector.model.options import (
    chosen_layers,
    dtype_name,
    known_keep,
    one_prompt,
    stored_precision,
    token_count,
)
from inspector.model.outcome import Outcome
from inspector.model.sizes import ModelSizes
from inspector.model.tokenizer_file import tokenizer_remark
from inspector.model.weights_in_memory import find_weights
from inspector.trace.tokens import Tokens, tokenize
from inspector.trace.trace import Trace
from inspector.trace.trace_model import Ending, HeadParameters
from reimpl.low_rank import beyond_low_rank, read_settings


class Model:
    """A causal language model ready to be looked into. Make one with `inspector.load`."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, source: Source) -> None:
        """Take the library's model and tokenizer; `source` says where they come from."""
        self.model, self.tokenizer, self.source = model, tokenizer, source
        self.passes = ForwardPasses(model, name=self.name, vocabulary=self.vocabulary)
        self._from_files: tuple[object, list[reimpl.CausalSelfAttention]] | None = None

    @property
    def name(self) -> str:
        """What the model is called: a packaged name, a hub id, a path."""
        return self.source.name

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the model runs in."""
        found: torch.dtype = self.model.dtype
        return found

    @property
    def device(self) -> torch.device:
        """The device that token ids go to."""
        return self.passes.device

    @property
    def positions(self) -> int | None:
        """How many positions the model has; None where its config sets no limit."""
        return sizes.positions(self.model)

    @property
    def vocabulary(self) -> int:
        """How many token ids the model knows."""
        known = sizes.vocabulary(self.model)
        return len(self.tokenizer) if known is None else known

    @property
    def provenance(self) -> dict[str, Any]:
        """Where this model's numbers come from, for files and reports."""
        return {
            "kind": self.source.kind,
            "model_type": sizes.text_config(self.model).model_type,
            "revision": self.source.revision,
            "note": self.source.note,
            "dtype": dtype_name(self.dtype),
            "device": str(self.device),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    @cached_property
    def layers(self) -> tuple[LayerInfo, ...]:
        """The attention layers in calling order, found by running two tokens."""
        return self.trace([0, 0]).layers

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of this model's numbers should know: another tokenizer than the file's, keys not read."""
        folder = self.source.tokenizer_folder
        of_tokenizer = "" if folder is None else tokenizer_remark(self.tokenizer, folder)
        return tuple(remark for remark in (of_tokenizer, self.source.remark) if remark)

    @property
    def config_remarks(self) -> tuple[str, ...]:
        """What the folder's config.json says and the library's class does not heed; empty without files."""
        try:
            return read_as_library(self.model, self.source.folder).remarks
        except reimpl.CheckpointError:  # not reimplemented, or refused where it is read for a comparison
            return ()

    @property
    def weights_from(self) -> Literal["files", "memory"]:
        """Where the reimplementation takes its weights from.

        They are what the model holds, not its files, where it was given as an object, or holds no plain matrices in
        its attention: adapters, packed weights.
        """
        folder, adapter = self.source.folder, self.source.adapter
        odd = folder is None or self.packed_or_adapted or packed_in(folder)
        return "memory" if odd or (adapter is not None and self._beyond_low_rank) else "files"

    @cached_property
    def _beyond_low_rank(self) -> str:
        """What the adapter that was loaded with the model asks for beyond base + scale·B·A."""
        return "" if self.source.adapter is None else beyond_low_rank(read_settings(self.source.adapter))

    @property
    def packed_or_adapted(self) -> dict[str, str]:
        """The modules of attention that hold no plain matrix, with what they hold in words."""
        names = [info.name for info in self.layers]
        forms = find_weights(self.model, self.dtype, within=names).packed_or_adapted
        return {name: form for name, form in forms.items() if name.startswith(tuple(f"{each}." for each in names))}

    @property
    def weights_remark(self) -> str:
        """A sentence on where the reimplementation's weights come from; empty where they are those of files alone."""
        if self.weights_from == "files":
            where = self.source.adapter
            return f"Weights from files: the base's, with scale·B·A of the adapter in {where} added." if where else ""
        held = ", ".join(f"{count} as {form}" for form, count in Counter(self.packed_or_adapted.values()).items())
        packed = "" if self.source.folder is None else packed_in(self.source.folder)
        if held:
            why = f": attention's matrices are taken as the model holds them, {held}"
        else:
            why = f": the files hold them packed ({packed}), and the library has unpacked them" if packed else ""
            why = f": the adapter has {self._beyond_low_rank}, and PEFT has merged it" if self._beyond_low_rank else why
        return f"Weights from memory, not from files{why}."

    @property
    def sizes(self) -> ModelSizes:
        """The sizes that the cost of a run follows from."""
        return ModelSizes(
            name=self.name,
            dtype=self.dtype,
            device=self.device,
            layers=self.layers,
            probed=self.passes.probed,
            width=sizes.width(self.model),
            inner_width=sizes.inner_width(self.model),
            vocabulary=self.vocabulary,
            positions=self.positions,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            fused_attention=self.passes.fused_attention,
        )

    @property
    def reimplementation(self) -> list[reimpl.CausalSelfAttention]:
        """Our own attention layers, one for each of `layers`, in this model's dtype and device.

        They are read from the checkpoint's files, once for each dtype and device, or, where `weights_from` is
        "memory", from what the model holds now. Raises InspectorError where the family is not reimplemented.
        """
        folder = self.source.folder
        if folder is None or self.weights_from == "memory":
            with _in_words():
                return pair(self._built_now(), self.layers, self.name)
        place = (self.dtype, self.device, self.model.config.to_json_string())
        if self._from_files is None or self._from_files[0] != place:
            with _in_words():
                known = self.model.state_dict().keys()  # what the library has no place for, it ignores: so may we
                read = read_as_library(self.model, self.source.folder)
                ours = reimpl.load_layers(
                    folder,
                    adapter=self.source.adapter,
                    dtype=self.dtype,
                    device=self.device,
                    known=known,
                    config=read.config,
                    by_class=read.by_class,
                )
                self._from_files = place, pair(ours, self.layers, self.name)
        return self._from_files[1]

    def attention_now(self, layer: int) -> reimpl.CausalSelfAttention:
        """Return our own attention of one layer with the weights that the library's model has now, whatever its files.

        Args:
            layer: the attention layer, from 0.

        Returns:
            Our layer.

        Raises:
            InspectorError: there is no such layer, or the model's family is not reimplemented.
        """
        layers = self.reimplementation
        if not isinstance(layer, int) or not 0 <= layer < len(layers):
            raise InspectorError(f"Layer {layer} does not exist: this model has layers 0 to {len(layers) - 1}.")
        if self._from_files is None or layers is not self._from_files[1]:
            return layers[layer]  # they are those of memory
        place = layers[layer].place
        blocks = {
            self.layers[one].name.rpartition(".")[0] for one in (0, layer)
        }  # the first says what names begin with
        with contextlib.suppress(reimpl.CheckpointError):  # some of its tensors stand elsewhere
            return self._built_now(only=place, within=blocks)[0]
        try:
            return self._built_now(only=place)[0]
        except reimpl.CheckpointError:  # in memory its tensors have names that no file of it has
            return layers[layer]

    def attention_layers_now(self) -> list[reimpl.CausalSelfAttention]:
        """Return our own attention of every layer with the weights that the library's model has now.

        One look at all parameters costs less than `attention_now` of each layer.

        Returns:
            Our layers, in the order of `layers`.

        Raises:
            InspectorError: the model's family is not reimplemented.
        """
        with contextlib.suppress(reimpl.CheckpointError):  # its tensors stand elsewhere than files have them
            return pair(self._built_now(), self.layers, self.name)
        return self.reimplementation

    def head_parameters(self, layer: int, head: int) -> HeadParameters:
        """Return one head's slices of W_q, W_k, W_v and W_o, as the library's model has them now.

        Args:
            layer: the attention layer, from 0.
            head: the query head, from 0; keys and values are those of its group.

        Returns:
            The four matrices, as they multiply.

        Raises:
            InspectorError: there is no such layer or head, or the model's family is not reimplemented.
        """
        attention = self.attention_now(layer)
        if not isinstance(head, int) or not 0 <= head < attention.spec.heads:
            raise InspectorError(
                f"Head {head} does not exist: layer {layer} has heads 0 to {attention.spec.heads - 1}."
            )
        try:
            return HeadParameters(*attention.head_matrices(head))
        except reimpl.UnsupportedError as error:
            raise InspectorError(str(error)) from error

    def output_matrices(self, layer: int) -> Tensor:
        """Return the slices of W_o that a layer's heads own, as the library's model has them now.

        Args:
            layer: the attention layer, from 0.

        Returns:
            [h, d_model, d_value].

        Raises:
            InspectorError: there is no such layer, or the model's family is not reimplemented.
        """
        attention = self.attention_now(layer)
        weight: Tensor = attention.o_proj.weight.detach()  # [d_model, h*d_value]
        by_head: Tensor = weight.unflatten(1, (attention.spec.heads, -1)).transpose(0, 1)
        return by_head

    @overload
    def trace(self, prompt: str | Sequence[int] | Tensor | Messages, **options: Any) -> Trace: ...
    @overload
    def trace(self, prompt: list[str], **options: Any) -> list[Trace]: ...
    def trace(  # type: ignore[misc]  # the options are spelt out below, once
        self,
        prompt: str | Sequence[int] | Tensor | Messages | list[str],
        *,
        keep: Iterable[str] = (),
        on_layer: OnLayer | None = None,
        chat: bool = False,
        generate: int = 0,
        layers: Iterable[int] | None = None,
        precision: str | torch.dtype | None = None,
        edits: Iterable[Edit] | Edit = (),
    ) -> Trace | list[Trace]:
        """Run one unpadded prompt once and record it.

        Args:
            prompt: a text, or token ids (a list, or an integer tensor [n] or [1, n]); a list of texts gives a list. A
                list of chat messages, {"role": ..., "content": ...} each, goes through the chat template.
            keep: what to store beyond queries, keys and values: any of "input", "output", "residual". What is not
                stored is fetched by one more pass when it is asked for.
            on_layer: called as on_layer(done, total) after each layer; what it raises ends the run. While the model
                generates, done is 0.
            chat: put the text through the tokenizer's chat template first.
            generate: let the model go on by so many tokens, greedily, and record the whole; `trace.prompt_length`
                marks where they begin. They are fewer where the model ends its text (an end-of-sequence token of its
                generation_config, which is then the last).
            layers: store queries, keys and values of these layers only (None: of all).
            precision: store them rounded to "float16" or "bfloat16": half the memory of float32. The model runs in
                its own dtype; what is drawn is then computed from rounded vectors, and `trace.precision` says so.
            edits: what is changed of the attention, made by `inspector.lab`'s functions. The trace then says so, and
                what it fetches later is fetched under the same edits.

        Returns:
            The trace; for a list of texts, a list of traces.

        Raises:
            InspectorError: the prompt or an option cannot be taken, or the run would not fit in memory (see `cost`), or
                an edit cannot be made in this model.
        """
        if isinstance(prompt, list | tuple) and prompt and isinstance(prompt[0], str):
            if odd := [repr(text)[:40] for text in prompt if not isinstance(text, str)]:
                raise InspectorError(f"Among the texts of this list is {odd[0]}: give texts alone, or token ids alone.")
            texts = [str(text) for text in prompt]
            options: dict[str, Any] = {"keep": keep, "chat": chat, "layers": layers, "precision": precision}
            options |= {"edits": listed_edits(edits)}
            return [self.trace(text, on_layer=on_layer, generate=generate, **options) for text in texts]
        keep, generate = known_keep(keep), token_count(generate)
        half = stored_precision(precision, dtype=self.dtype, name=self.name)
        tokens = self.tokenize(prompt, chat=chat)  # type: ignore[arg-type]
        length = len(tokens)
        chosen = self._chosen(layers)
        self._refuse_positions(length, generate)
        if length + generate > FREE:
            refuse_run(self.sizes, length, keep=keep, generate=generate, layers=chosen, precision=half)
        changes = listed_edits(edits)
        runs = self.edited_runs(changes, n=length) if changes else None
        if generate:
            editor = None if runs is None else runs.editor()
            if runs is not None and any(edit.kind == "mask_off" and edit.when != "new" for edit in runs.edits):
                raise InspectorError(
                    "Without its mask a token would see those that are written later, which do not exist yet: leave "
                    "generate out, or the mask on."
                )
            written = self.passes.continuation(tokens.ids, generate, on_layer=on_layer, editor=editor)
            tokens = self.tokenize([*tokens.ids, *written])
        storage = Storage(keep=keep, layers=chosen, dtype=None if half is None else HALVES[half])
        recorder = Recorder(storage, on_layer=on_layer, total=len(self.passes.probed.turning))
        recorder.editor = None if runs is None else runs.editor()
        found, outcome = self.passes.record(tokens.ids, recorder)
        return self._made(
            tokens, found, outcome, prompt, half, length, edits=() if runs is None else runs.edits, alone=True
        )

    def traces(
        self,
        prompts: Iterable[str | Sequence[int] | Tensor],
        *,
        batch: int = ROWS,
        layers: Iterable[int] | None = None,
        precision: str | torch.dtype | None = None,
    ) -> Iterator[Trace]:
        """Run many prompts, those of equal length as one batch, and yield their traces one after the other.

        Nothing is padded. A few batches' worth of prompts is read ahead to find some of equal length, and no more
        traces than these are in memory. A batch may change a trace's last bits, since its matrix products add up in
        another order: docs/batches.md says when.

        Args:
            prompts: texts, or lists of token ids; a generator is read as it is needed.
            batch: how many prompts one pass takes at most; 1: each runs alone, as `trace` runs it.
            layers: store queries, keys and values of these layers only (None: of all).
            precision: store them rounded, as in `trace`.

        Yields:
            A trace for each prompt, in their order.

        Raises:
            InspectorError: a prompt or an option cannot be taken; what came before it has been yielded.
        """
        most, chosen = batch_rows(batch), self._chosen(layers)
        half = stored_precision(precision, dtype=self.dtype, name=self.name)
        if not all(self.passes.asks_interface(layer) for layer in self.layers):
            most = 1  # attention in a module's own code is recognised in single prompts
        tokenized = ((prompt, self.tokenize(prompt)) for prompt in listed_prompts(prompts))
        waiting: dict[int, Trace] = {}
        turn = 0
        for groups in equal_lengths(tokenized, lambda one: len(one[1]), most):
            for group in groups:
                for (number, _), trace in zip(group, self._batch_of(group, chosen, half), strict=True):
                    waiting[number] = trace
                while turn in waiting:
                    yield waiting.pop(turn)
                    turn += 1

    def _batch_of(
        self, group: Group[tuple[Any, Tokens]], chosen: frozenset[int] | None, half: str | None
    ) -> Iterator[Trace]:
        """Run prompts of equal length, in as many batches as memory needs."""
        n = len(group[0][1][1])
        refuse_run(self.sizes, n, keep=(), generate=0, layers=chosen, precision=half)
        peak, limit = run_cost(self.sizes, n, layers=chosen, precision=half).peak_bytes, memory_limit(self.device)
        rows = len(group) if limit is None else max(1, min(len(group), limit // peak))
        storage = Storage(layers=chosen, dtype=None if half is None else HALVES[half])
        for start in range(0, len(group), rows):
            part = [one for _, one in group[start : start + rows]]
            if len(part) == 1:
                yield self.trace(part[0][0], layers=chosen, precision=half)
                continue
            recorder = BatchRecorder(len(part), storage)
            for (prompt, tokens), made in zip(
                part, self.passes.record_batch([tokens.ids for _, tokens in part], recorder), strict=True
            ):
                yield self._made(tokens, *made, prompt, half, n, edits=(), alone=False)

    def _made(
        self,
        tokens: Tokens,
        layers: list[Layer],
        outcome: Outcome,
        prompt: Any,
        half: str | None,
        length: int,
        *,
        edits: tuple[Edit, ...],
        alone: bool,
    ) -> Trace:
        """Make the trace of a pass; one that ran in a batch is another run's to rounding only."""
        if not layers:
            raise self.passes.nothing_to_record()
        recorded_layers.refuse_unusable(layers, len(tokens), self.name)
        return Trace(
            tokens=tokens,
            layers=layers,
            last_logits=outcome.logits,
            outcome=outcome.value,
            token_marks=outcome.marks,
            model=self,
            model_name=self.name,
            prompt=prompt if isinstance(prompt, str) else None,
            prompt_length=length,
            source=self.provenance,
            precision=half,
            dtype=dtype_name(self.dtype),
            threads=torch.get_num_threads() if alone else None,
            edits=edits,
        )

    def cost(
        self,
        prompt: str | Sequence[int] | Tensor | Messages | Tokens,
        *,
        keep: Iterable[str] = (),
        chat: bool = False,
        generate: int = 0,
        layers: Iterable[int] | None = None,
        precision: str | torch.dtype | None = None,
    ) -> Cost:
        """Say what `trace` of this prompt with these options would store, need and take.

        Args:
            prompt: a text, token ids, chat messages, or tokens.
            keep: as in `trace`.
            chat: as in `trace`.
            generate: as in `trace`.
            layers: as in `trace`.
            precision: as in `trace`.

        Returns:
            Bytes and seconds; printed, they are one sentence. The time comes from short passes, run once.
        """
        length = len(prompt if isinstance(prompt, Tokens) else self.tokenize(prompt, chat=chat))
        return run_cost(
            self.sizes,
            length,
            keep=known_keep(keep),
            generate=token_count(generate),
            layers=self._chosen(layers),
            precision=stored_precision(precision, dtype=self.dtype, name=self.name),
            speed=self._speed,
        )

    def tokenize(self, prompt: str | Sequence[int] | Tensor | Messages, *, chat: bool = False) -> Tokens:
        """Return the prompt's tokens, checked against the model's vocabulary and number of positions.

        Args:
            prompt: a text, or token ids (a list, or an integer tensor [n] or [1, n]), or a list of chat messages.
            chat: put the text through the tokenizer's chat template first; messages always are.

        Returns:
            The tokens, with a label for each.

        Raises:
            InspectorError: the prompt is empty, too long, of another type, or has ids that the model does not know;
                the tokenizer refuses the text or makes no token of it; with `chat` or messages, it has no chat
                template, or its template refuses them.
        """
        if chat and not isinstance(prompt, str) and not is_chat(prompt):
            raise InspectorError(
                "chat=True puts a text or a list of messages through the chat template, and token ids are already past "
                "it: leave chat out."
            )
        ids: Any = one_prompt(prompt)
        if is_chat(prompt) or (chat and isinstance(prompt, str)):
            ids = templated(prompt, self.tokenizer, self.name)
        return tokenize(ids, self.tokenizer, vocabulary=self.vocabulary, limit=self.positions)

    def mark(self, layer: int) -> Hashable:
        """Return what changes with any edit of a layer's attention weights.

        Args:
            layer: the attention layer, from 0.

        Returns:
            Sums of the weights' bits by row and by column.
        """
        return self.passes.mark(self.layers[layer].name)

    def again(
        self,
        ids: Sequence[int],
        what: str,
        layers: Iterable[int],
        *,
        edits: Sequence[Edit] = (),
        prompt: int | None = None,
    ) -> tuple[list[Layer], Ending]:
        """Run the same tokens once more, for one thing that their trace did not store.

        Args:
            ids: the trace's token ids.
            what: "input", "output", "residual" or "update" (of the residual).
            layers: the numbers of the layers that it is wanted of.
            edits: what was changed as the trace was made.
            prompt: how many of the tokens were its prompt; None: all.

        Returns:
            All layers, with nothing stored but `what`; and what the pass ends in. Where nothing of the kind is known,
            the layers have their vectors: by one or the other it can be seen whether the model is still the same.
        """
        kind = ResidualUpdateRecorder if what == "update" else Recorder
        recorder = kind(
            Storage(keep=frozenset({what}), layers=frozenset(layers), vectors=not self.passes.probed.outcome)
        )
        n = len(ids) if prompt is None else prompt
        recorder.editor = self.edited_runs(edits, n=n).editor() if edits else None
        found, outcome = self.passes.record(ids, recorder)
        return found, Ending(outcome.value, outcome.marks)

    def logits(
        self, ids: Sequence[int], *, eager: bool = False, edits: Sequence[Edit] = (), prompt: int | None = None
    ) -> Tensor:
        """Return the next-token logits after each token.

        Args:
            ids: n token ids.
            eager: attend by the model's own eager function instead of the configured one.
            edits: what is changed of the attention, made by `inspector.lab`'s functions.
            prompt: how many of the tokens are the prompt; None: all.

        Returns:
            Logits [n, vocabulary].
        """
        return self.passes.logits(ids, eager=eager, editor=self._editor(edits, len(ids) if prompt is None else prompt))

    def logits_again(
        self, ids: Sequence[int], *, edits: Sequence[Edit] = (), prompt: int | None = None
    ) -> tuple[Tensor, Ending]:
        """Return the next-token logits after each token of a trace, and what the pass ended in.

        Args:
            ids: the trace's n token ids.
            edits: what was changed as the trace was made.
            prompt: how many of the tokens were its prompt; None: all.

        Returns:
            Logits [n, vocabulary]; by the ending it can be seen whether the model is still the same.
        """
        editor = self._editor(edits, len(ids) if prompt is None else prompt)
        found, marks = self.passes.all_logits(ids, editor=editor)
        return found, Ending(found[-1:], marks)

    def _editor(self, edits: Sequence[Edit], n: int) -> Editor | None:
        return self.edited_runs(edits, n=n).editor() if edits else None

    def edited_runs(self, edits: Iterable[Edit] | Edit, *, n: int) -> EditedRuns:
        """Let edits meet this model and a prompt.

        Args:
            edits: what is changed of the attention, made by `inspector.lab`'s functions.
            n: how many tokens the prompt has.

        Returns:
            What makes an Editor for each run, of the edits, their baseline and their control.

        Raises:
            InspectorError: an edit cannot be made in this model, or for a prompt of this length.
        """
        return EditedRuns(self.passes, self.layers, edits, n=n)

    # -- inside -------------------------------------------------------------------------------------------------

    def _built_now(
        self, only: str | None = None, within: Collection[str] | None = None
    ) -> list[reimpl.CausalSelfAttention]:
        """Build our layers (or the one at this place) of the library's parameters as they are now, without a copy.

        With `within`, only the parameters of these modules are looked at.
        """
        read = read_as_library(self.model, None)
        return reimpl.build_layers(
            read.config,
            find_weights(self.model, self.dtype, within=within).tensors,
            dtype=self.dtype,
            device=self.device,
            only=only,
            by_class=read.by_class,
        )

    @cached_property
    def _speed(self) -> Speed:
        return measure_speed(self.passes.run_unrecorded, self.sizes)

    def _chosen(self, layers: Iterable[int] | None) -> frozenset[int] | None:
        return None if layers is None else chosen_layers(layers, count=len(self.passes.probed.turning), name=self.name)

    def _refuse_positions(self, length: int, generate: int) -> None:
        if self.positions is not None and length + generate > self.positions:
            raise InspectorError(
                f"The prompt's {length} tokens and {generate} written ones are more than the {self.positions} that "
                f"this model has positions for; let it write at most {self.positions - length}."
            )

    def __repr__(self) -> str:
        config = sizes.text_config(self.model)
        return f"Model {self.name} ({config.model_type}, {dtype_name(self.dtype)}, {self.device}): {self.source.note}"

    def _repr_html_(self) -> str:
        facts = {
            "model": self.name,
            "type": sizes.text_config(self.model).model_type,
            "dtype": dtype_name(self.dtype),
            "device": self.device,
            "d_model": sizes.width(self.model),
            "vocabulary": self.vocabulary,
            "positions": "no limit" if self.positions is None else self.positions,
            "weights": self.source.note,
        }
        rows = "".join(f"<tr><th>{name}</th><td>{html.escape(str(value))}</td></tr>" for name, value in facts.items())
        return f"<table>{rows}</table>"


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """Turn what the reimplementation refuses into an error of ours."""
    try:
        yield
    except reimpl.CheckpointError as error:
        raise InspectorError(str(error)) from error


def refuse_no_model(model: Any, asked: str) -> None:
    """Refuse what is no loaded model.

    Args:
        model: what a function was given as one.
        asked: the function's name.

    Raises:
        InspectorError: it is another thing.
    """
    if not isinstance(model, Model):
        raise InspectorError(
            f"{asked} needs a loaded model and was given {type(model).__name__}: pass what inspector.load returns."
        )


def model_of(trace: Trace, needed_for: str) -> Model:
    """Return the model that made a trace.

    Args:
        trace: any trace.
        needed_for: what cannot be had without the model; stands in the error's sentence.

    Raises:
        NoModel: the trace was opened from a file, without its model.
    """
    found = model_or_none(trace)
    if found is None:
        raise NoModel(needed_for)
    return found


def model_or_none(trace: Trace) -> Model | None:
    """Return the model that made a trace; None where it was opened from a file without one."""
    return trace.model if isinstance(trace.model, Model) else None
