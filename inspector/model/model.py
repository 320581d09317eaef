"""The Model that `inspector.load` returns: what people call of it, `trace(prompt)` first of all.

The library's own objects stay untouched at `model.model` and `model.tokenizer`.
"""

from __future__ import annotations

import contextlib
import html
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, overload

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

import reimpl
from inspector.capture import recorded_layers
from inspector.capture.recorder import Recorder
from inspector.capture.records import Layer, LayerInfo, OnLayer
from inspector.capture.residual_update import ResidualUpdateRecorder
from inspector.capture.storage import Storage
from inspector.errors import InspectorError, NoModel
from inspector.loading.packed_weights import packed_in
from inspector.loading.source import Source
from inspector.model import sizes
from inspector.model.chat import Messages, is_chat, templated
from inspector.model.config_reading import read_as_library
from inspector.model.cost import FREE, HALVES, Cost, Speed, measure_speed, refuse_run, run_cost
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
from inspector.model.sizes import ModelSizes
from inspector.model.tokenizer_file import tokenizer_remark
from inspector.model.weights_in_memory import find_weights
from inspector.trace.tokens import Tokens, tokenize
from inspector.trace.trace import Trace
from inspector.trace.trace_model import HeadParameters
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
        places = tuple(f"{info.name}." for info in self.layers)
        forms = find_weights(self.model, self.dtype).packed_or_adapted
        return {name: form for name, form in forms.items() if name.startswith(places)}

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
        if self.weights_from == "memory":
            return layers[layer]
        try:
            return self._built_now(only=layers[layer].place)[0]
        except reimpl.CheckpointError:  # in memory its tensors have names that no file of it has
            return layers[layer]

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

        Returns:
            The trace; for a list of texts, a list of traces.

        Raises:
            InspectorError: the prompt or an option cannot be taken, or the run would not fit in memory (see `cost`).
        """
        if isinstance(prompt, list | tuple) and prompt and isinstance(prompt[0], str):
            if odd := [repr(text)[:40] for text in prompt if not isinstance(text, str)]:
                raise InspectorError(f"Among the texts of this list is {odd[0]}: give texts alone, or token ids alone.")
            texts = [str(text) for text in prompt]
            options: dict[str, Any] = {"keep": keep, "chat": chat, "layers": layers, "precision": precision}
            return [self.trace(text, on_layer=on_layer, generate=generate, **options) for text in texts]
        keep, generate = known_keep(keep), token_count(generate)
        half = stored_precision(precision, dtype=self.dtype, name=self.name)
        tokens = self.tokenize(prompt, chat=chat)  # type: ignore[arg-type]
        length = len(tokens)
        chosen = self._chosen(layers)
        self._refuse_positions(length, generate)
        if length + generate > FREE:
            refuse_run(self.sizes, length, keep=keep, generate=generate, layers=chosen, precision=half)
        if generate:
            written = self.passes.continuation(tokens.ids, generate, on_layer=on_layer)
            tokens = self.tokenize([*tokens.ids, *written])
        storage = Storage(keep=keep, layers=chosen, dtype=None if half is None else HALVES[half])
        recorder = Recorder(storage, on_layer=on_layer, total=len(self.passes.probed.turning))
        found, outcome = self.passes.record(tokens.ids, recorder)
        if not found:
            raise self.passes.nothing_to_record()
        recorded_layers.refuse_unusable(found, len(tokens), self.name)
        return Trace(
            tokens=tokens,
            layers=found,
            last_logits=outcome.logits,
            outcome=outcome.value,
            model=self,
            model_name=self.name,
            prompt=prompt if isinstance(prompt, str) else None,
            prompt_length=length,
            source=self.provenance,
            precision=half,
            dtype=dtype_name(self.dtype),
            threads=torch.get_num_threads(),
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

    def again(self, ids: Sequence[int], what: str, layers: Iterable[int]) -> tuple[list[Layer], Tensor | None]:
        """Run the same tokens once more, for one thing that their trace did not store.

        Args:
            ids: the trace's token ids.
            what: "input", "output", "residual" or "update" (of the residual).
            layers: the numbers of the layers that it is wanted of.

        Returns:
            All layers, with nothing stored but `what`; and what the pass ends in, such as the logits [1, vocabulary]
            after the last token. Where nothing of the kind is known (None), the layers have their vectors: by one or
            the other it can be seen whether the model is still the same.
        """
        kind = ResidualUpdateRecorder if what == "update" else Recorder
        recorder = kind(
            Storage(keep=frozenset({what}), layers=frozenset(layers), vectors=not self.passes.probed.outcome)
        )
        found, outcome = self.passes.record(ids, recorder)
        return found, outcome.value

    def logits(self, ids: Sequence[int], *, eager: bool = False) -> Tensor:
        """Return the next-token logits after each token.

        Args:
            ids: n token ids.
            eager: attend by the model's own eager function instead of the configured one.

        Returns:
            Logits [n, vocabulary].
        """
        return self.passes.logits(ids, eager=eager)

    # -- inside -------------------------------------------------------------------------------------------------

    def _built_now(self, only: str | None = None) -> list[reimpl.CausalSelfAttention]:
        """Build our layers (or the one at this place) of the library's parameters as they are now, without a copy."""
        read = read_as_library(self.model, None)
        return reimpl.build_layers(
            read.config,
            find_weights(self.model, self.dtype).tensors,
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
