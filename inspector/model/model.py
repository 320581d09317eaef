"""A name, a folder, a file or an already loaded model goes in; a Model comes out, whose `trace(prompt)` records
one prompt. The library's own objects stay untouched at `model.model` and `model.tokenizer`.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

import reimpl
from inspector.capture import probe, recorded_layers
from inspector.capture.attention_interface import install_seam, recording
from inspector.capture.hooks import asks_interface, install_hooks
from inspector.capture.probe import Probe
from inspector.capture.recorder import Recorder
from inspector.capture.records import Layer, LayerInfo, OnLayer
from inspector.capture.residual_stream import ResidualStream, ResidualStreamRecorder
from inspector.errors import InspectorError, NoModel, NotRun
from inspector.loading.library_model import load_library_model
from inspector.loading.resolve import find_model
from inspector.loading.source import PACKAGED, Source
from inspector.loading.weight_checks import refuse_broken_numbers
from inspector.model import sizes
from inspector.model.cost import HALVES, Cost, refuse_run, run_cost, time_a_pass, time_a_unit
from inspector.model.matching import pair
from inspector.text import Progress, first_sentence
from inspector.trace.tokens import Tokens, tokenize
from inspector.trace.trace import HeadParameters, Trace

KEEP = frozenset({"input", "output", "residual"})


class Model:
    """A causal language model ready to be looked into. Make one with `inspector.load`."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, source: Source) -> None:
        self.model, self.tokenizer, self.source = model, tokenizer, source
        self._attention = install_hooks(model)
        install_seam()
        if not self._attention:
            raise self._nothing_to_record()
        self._names = {id(module): name for name, module in self._attention.items()}
        # RoPE rules that adapt to the length change buffers while the model runs: one prompt at a time there.
        self._growing = [m for m in model.modules() if "dynamic" in sizes.rope_types(m)]
        adaptive = self._growing or any("longrope" in sizes.rope_types(m) for m in model.modules())
        self._lock: contextlib.AbstractContextManager[Any] = threading.RLock() if adaptive else contextlib.nullcontext()

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        try:
            return self.model.get_input_embeddings().weight.device  # where ids go, of a model on several devices
        except (AttributeError, NotImplementedError):
            return self.model.device

    @cached_property
    def layers(self) -> tuple[LayerInfo, ...]:
        """The attention layers in calling order, found by running two tokens."""
        return self.trace([0, 0]).layers

    @cached_property
    def reimplementation(self) -> list[reimpl.CausalSelfAttention]:
        """Our own attention layers, one for each of `layers`, read from the checkpoint's files (or, for a model given
        as an object, from its state dict), in this model's dtype and device. Raises InspectorError where the family
        is not reimplemented."""
        try:
            if self.source.folder is not None:
                ours = reimpl.load_layers(self.source.folder, dtype=self.dtype, device=self.device)
            else:
                config = {**self.model.config.to_dict(), "model_type": self.model.config.model_type}
                ours = reimpl.build_layers(config, self.model.state_dict(), dtype=self.dtype, device=self.device)
            return pair(ours, self.layers, self.name)
        except reimpl.CheckpointError as error:
            raise InspectorError(str(error)) from error

    def head_parameters(self, layer: int, head: int) -> HeadParameters:
        """This head's slices of W_q, W_k, W_v and W_o."""
        layers = self.reimplementation
        if not 0 <= layer < len(layers):
            raise InspectorError(f"Layer {layer} does not exist: this model has layers 0 to {len(layers) - 1}.")
        attention = layers[layer]
        if not 0 <= head < attention.spec.heads:
            raise InspectorError(
                f"Head {head} does not exist: layer {layer} has heads 0 to {attention.spec.heads - 1}."
            )
        try:
            return HeadParameters(*attention.head_matrices(head))
        except reimpl.UnsupportedError as error:
            raise InspectorError(str(error)) from error

    @overload
    def trace(self, prompt: str | list[int], **options: Any) -> Trace: ...
    @overload
    def trace(self, prompt: list[str], **options: Any) -> list[Trace]: ...
    def trace(  # type: ignore[misc]  # the options are spelt out below, once
        self,
        prompt: str | list[int] | list[str],
        *,
        keep: Iterable[str] = (),
        on_layer: OnLayer | None = None,
        chat: bool = False,
        generate: int = 0,
        layers: Iterable[int] | None = None,
        precision: str | None = None,
    ) -> Trace | list[Trace]:
        """Run one unpadded prompt (text or token ids) once and record it; a list of texts gives a list.

        keep:     what to keep beyond queries, keys and values: "input", "output", "residual" (or fetch it later).
        on_layer: called as on_layer(done, total) after each layer; what it raises ends the run. While the model
                  writes (`generate`), done is 0.
        chat:     put the text through the tokenizer's chat template first.
        generate: let the model write this many more tokens, greedily, and record the whole;
                  `trace.prompt_length` marks where they begin.
        layers:   keep queries, keys and values of these layers only (None: of all).
        precision: keep them rounded to "float16" or "bfloat16": half the memory of float32. The model runs in its own
                  dtype; what is drawn is then computed from rounded vectors, and `trace.precision` says so.

        Raises InspectorError, with what it would need, where the run would not fit in memory (see `cost`).
        """
        if isinstance(prompt, list | tuple) and prompt and isinstance(prompt[0], str):
            if odd := [repr(text)[:40] for text in prompt if not isinstance(text, str)]:
                raise InspectorError(f"Among the texts of this list is {odd[0]}: give texts alone, or token ids alone.")
            texts = [str(text) for text in prompt]
            options: dict[str, Any] = {"keep": keep, "chat": chat, "layers": layers, "precision": precision}
            return [self.trace(text, on_layer=on_layer, generate=generate, **options) for text in texts]
        kept = _known(keep)
        precision = self._half(precision)
        tokens = self.tokenize(prompt, chat=chat)  # type: ignore[arg-type]
        length = len(tokens)
        chosen = None if layers is None else self._chosen(layers)
        if self.positions is not None and length + generate > self.positions:
            raise InspectorError(
                f"The prompt's {length} tokens and {generate} written ones are more than the {self.positions} that "
                f"this model has positions for; let it write at most {self.positions - length}."
            )
        refuse_run(self, length, keep=kept, generate=generate, layers=chosen, precision=precision)
        if generate:
            tokens = self.tokenize([*tokens.ids, *self.continuation(tokens.ids, generate, on_layer=on_layer)])
        half = None if precision is None else HALVES[precision]
        recorder = Recorder(keep=kept, layers=chosen, half=half, on_layer=on_layer, total=len(self.probed.turning))
        last = self._run(tokens.ids, recorder)
        found = self._layers_of(recorder)
        if not found:
            raise self._nothing_to_record()
        recorded_layers.refuse_unusable(found, len(tokens), self.name)
        return Trace(
            tokens=tokens,
            layers=found,
            last_logits=last,
            model=self,
            model_name=self.name,
            prompt=prompt if isinstance(prompt, str) else None,
            prompt_length=length,
            source=self.provenance,
            precision=precision,
            dtype=str(self.dtype).removeprefix("torch."),
        )

    def cost(
        self,
        prompt: str | list[int] | Tokens,
        *,
        keep: Iterable[str] = (),
        chat: bool = False,
        generate: int = 0,
        layers: Iterable[int] | None = None,
        precision: str | None = None,
    ) -> Cost:
        """What `trace` of this prompt with these options would keep, need and take; printed, it is one sentence. The
        time comes from short passes of the model, run for it once."""
        length = len(prompt if isinstance(prompt, Tokens) else self.tokenize(prompt, chat=chat))
        chosen, half = None if layers is None else self._chosen(layers), self._half(precision)
        return run_cost(self, length, keep=_known(keep), generate=generate, layers=chosen, precision=half)

    def again(self, ids: Sequence[int], what: str, layers: Iterable[int]) -> list[Layer]:
        """The same tokens once more, for `what` ("input", "output", "residual") of some layers and nothing else."""
        recorder = Recorder(keep=frozenset({what}), layers=frozenset(layers), vectors=False)
        self._run(ids, recorder)
        return self._layers_of(recorder)

    def _layers_of(self, recorder: Recorder) -> list[Layer]:
        return recorded_layers.layers(recorder.calls, self._names, self.probed.turning)

    def _chosen(self, layers: Iterable[int]) -> frozenset[int]:
        chosen, count = frozenset(layers), len(self.probed.turning)
        wrong = sorted(number for number in chosen if not 0 <= number < count)
        if wrong or not chosen:
            named = f"layers={sorted(chosen)}"
            raise InspectorError(f"{named} cannot be kept: {self.name} has layers 0 to {count - 1}; name at least one.")
        return chosen

    def _half(self, precision: str | None) -> str | None:
        """The dtype in which vectors are kept, where it is not the model's own."""
        if precision is None or precision == str(self.dtype).removeprefix("torch."):
            return None
        if precision not in HALVES:
            raise InspectorError(
                f'precision="{precision}" is not known; choose {" or ".join(HALVES)}, or leave it out for the '
                "model's own."
            )
        if self.dtype.itemsize <= 2:
            raise InspectorError(
                f"{self.name} runs in {str(self.dtype).removeprefix('torch.')}, which is half precision already: "
                "leave precision out."
            )
        return precision

    def tokenize(self, prompt: str | Sequence[int], *, chat: bool = False) -> Tokens:
        """The prompt's tokens, checked against the model's vocabulary and number of positions."""
        if chat:
            if not isinstance(prompt, str):
                raise InspectorError("chat=True puts a text through the chat template; token ids are already past it.")
            if not getattr(self.tokenizer, "chat_template", None):
                raise InspectorError(f"The tokenizer of {self.name} has no chat template; use chat=False.")
            turns = [{"role": "user", "content": prompt}]
            prompt = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True)["input_ids"]
        return tokenize(prompt, self.tokenizer, vocabulary=self.vocabulary, limit=self.positions)

    @property
    def vocabulary(self) -> int:
        """How many token ids the model knows."""
        known = sizes.vocabulary(self.model)
        return len(self.tokenizer) if known is None else known

    @property
    def width(self) -> int:
        """d_model: numbers in a token's vector between blocks."""
        return sizes.width(self.model)

    @property
    def inner_width(self) -> int:
        """The widest vectors inside a block's feed-forward part; four times the width where the config does not say."""
        return sizes.inner_width(self.model)

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def fused_attention(self) -> bool:
        """Whether attention runs in a kernel that makes no n x n tables: where the library's function is asked for, and
        is not its eager one."""
        asking = all(asks_interface(module) for module in self._attention.values())
        return asking and sizes.setting(self.model.config, "_attn_implementation") not in (None, "eager")

    @cached_property
    def seconds_a_unit(self) -> float:
        """How long a multiplication takes, timed once (see inspector.model.cost)."""
        return time_a_unit(self)

    @cached_property
    def seconds_a_token(self) -> float:
        """How long a pass over one token takes, timed once."""
        return time_a_pass(self, 1)

    @property
    def positions(self) -> int | None:
        """How many positions the model has; None where its config sets no limit."""
        return sizes.positions(self.model)

    @cached_property
    def probed(self) -> Probe:
        """What is learned of each attention layer by running a few tokens once."""
        ids = [1 + i % (self.vocabulary - 1) for i in range(min(probe.TOKENS, self.positions or probe.TOKENS))]
        recorder = Recorder(keep=KEEP)
        try:
            last = self._run(ids, recorder)
        except NotRun as error:
            why = error.__cause__ or error
            raise InspectorError(
                f"{self.name} ({type(self.model).__name__}) cannot run on token ids alone ({first_sentence(why)}); "
                "choose a model that needs no images, no sound and one id for each token, or another dtype."
            ) from why
        return Probe.of(recorder, last)

    def _nothing_to_record(self) -> InspectorError:
        return InspectorError(
            f"{self.name} ({self.model.config.model_type}) has no attention layer that can be recorded; "
            "choose a decoder with softmax attention, such as smollm2-135m-instruct."
        )

    @property
    def provenance(self) -> dict[str, Any]:
        """Where this model's numbers come from, for files and reports."""
        return {
            "kind": self.source.kind,
            "model_type": sizes.text_config(self.model).model_type,
            "revision": self.source.revision,
            "note": self.source.note,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def residual_stream(self, ids: Sequence[int], layer: LayerInfo, position: int) -> ResidualStream:
        """What stands around one layer's attention for the token at `position`, by one more forward pass."""
        recorder = ResidualStreamRecorder(self._attention[layer.name], layer, position)
        self._run(ids, recorder)
        return recorder.found

    def logits(self, ids: Sequence[int], *, eager: bool = False) -> Tensor:
        """Next-token logits after each token [n, vocabulary]; with `eager` through the model's own eager function."""
        logits = self._run(ids, Recorder(record=False, eager=eager), every=True)
        if logits is None:
            raise InspectorError(f"{self.name} predicts no next token; load it with its language-model head.")
        return logits

    def continuation(
        self, ids: Sequence[int], count: int, *, eager: bool = False, on_layer: OnLayer | None = None
    ) -> list[int]:
        """The `count` tokens the model writes next, greedily, with its key/value cache."""
        recorder = Recorder(record=False, eager=eager, on_layer=on_layer)
        with self._turn(), recording(recorder), self._in_words(recorder, len(ids)):
            return greedy(self.model, ids, count)

    def cache(self, ids: Sequence[int]) -> Any:
        """The library's own key/value cache after one forward pass over these tokens; None where it hands none back."""
        with self._turn(), torch.inference_mode():
            found = self.model(torch.tensor([list(ids)], device=self.device), use_cache=True)
        return getattr(found, "past_key_values", None)

    def residuals(self, ids: Sequence[int], *, first: int = 0) -> list[Tensor]:
        """What each attention layer's block receives [n, d_model], with the tokens at positions first, first + 1, ...

        Raises InspectorError where the model takes no positions, or has not enough of them.
        """
        if "position_ids" not in inspect.signature(self.model.forward).parameters:
            raise InspectorError(f"{self.name} takes no positions from outside, so its tokens cannot be moved along.")
        if self.positions is not None and first + len(ids) > self.positions:
            raise InspectorError(
                f"Position {first + len(ids) - 1} does not exist: {self.name} has positions 0 to {self.positions - 1}; "
                "take a shorter prompt."
            )
        recorder = Recorder(keep=frozenset({"residual"}))
        places = torch.arange(first, first + len(ids), device=self.device)[None]
        with self._turn(), torch.inference_mode(), recording(recorder):
            self.model(torch.tensor([list(ids)], device=self.device), position_ids=places, use_cache=False)
        found = [call.residual for call in recorder.calls if call.residual is not None]
        if len(found) != len(recorder.calls):
            raise InspectorError(f"What the layers of {self.name} receive could not be read from it as it ran.")
        return found

    def run_unrecorded(self, ids: Sequence[int]) -> None:
        """Run one forward pass and keep nothing of it."""
        self._run(ids, Recorder(record=False))

    def _run(self, ids: Sequence[int], recorder: Recorder, *, every: bool = False) -> Tensor | None:
        """One forward pass under `recorder`: logits [1, vocabulary] after the last token, or [n, vocabulary] of `every`
        token; None where the model has no language-model head."""
        arguments: dict[str, Any] = {"use_cache": False}
        if not every and "logits_to_keep" in inspect.signature(self.model.forward).parameters:
            # 8192 tokens' logits would be 1.6 GB for a vocabulary of 49152. As an index, not as the number 1: given a
            # number, some models leave out the last layers' other queries too.
            arguments["logits_to_keep"] = torch.tensor([len(ids) - 1], device=self.device)
        with self._turn(), torch.inference_mode(), recording(recorder), self._in_words(recorder, len(ids)):
            found = self.model(torch.tensor([ids], device=self.device), **arguments)
        logits: Tensor | None = getattr(found, "logits", None)
        if logits is None:
            return None
        return logits[0] if every else logits[0, -1:]

    @contextlib.contextmanager
    def _in_words(self, recorder: Recorder, tokens: int) -> Iterator[None]:
        """What the library's own code raises here becomes one sentence; what `on_layer` raises stays what it is, and
        so does memory that ran out."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:
            if recorder.stopped:
                raise
            raise NotRun(
                f"{self.name} ({type(self.model).__name__}) could not run a prompt of {tokens} tokens "
                f"({first_sentence(error)}); try a shorter one, or load the model in another dtype."
            ) from error

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Nobody else's prompt runs meanwhile, where runs could disturb each other, and none before leaves a trace: the
        library keeps the frequencies of the longest prompt so far (dynamic RoPE) and would use them for a shorter one.
        """
        with self._lock:
            for module in self._growing:
                sizes.forget_length(module)
            yield

    def __repr__(self) -> str:
        config = sizes.text_config(self.model)
        return f"Model {self.name} ({config.model_type}, {self.dtype}, {self.device}): {self.source.note}"


def _known(keep: Iterable[str]) -> frozenset[str]:
    """What to keep; raises InspectorError where something else is named."""
    kept = frozenset(keep)
    if unknown := kept - KEEP:
        raise InspectorError(f"keep={sorted(unknown)} is not known; choose from {', '.join(sorted(KEEP))}.")
    return kept


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


def greedy(model: PreTrainedModel, ids: Sequence[int], count: int) -> list[int]:
    """The `count` most probable next tokens, one after the other, with the model's key/value cache on; without it
    where the model hands none back."""
    new: list[int] = []
    step = whole = torch.tensor([list(ids)], device=model.device)
    cache = None
    with torch.inference_mode():
        for _ in range(count):
            result = model(step, past_key_values=cache, use_cache=True)
            cache = getattr(result, "past_key_values", None)
            if getattr(result, "logits", None) is None:
                raise InspectorError(f"{type(model).__name__} predicts no next token; load it with its head.")
            chosen = result.logits[:, -1:].argmax(-1)
            new.append(int(chosen))
            whole = torch.cat((whole, chosen), dim=-1)
            step = whole if cache is None else chosen
    return new


def load(
    name: str | Path | PreTrainedModel = PACKAGED,
    tokenizer: Any = None,
    *,
    dtype: str | torch.dtype = "float32",
    device: str = "cpu",
    device_map: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Model:
    """Load a causal language model: the packaged default, a hub id (owner/name), a folder, a .gguf file, or a
    PreTrainedModel that is loaded already (with its tokenizer).

    Raises InspectorError, one sentence, for everything a user can mend.
    """
    if isinstance(name, PreTrainedModel):
        if tokenizer is None:
            raise InspectorError("A model given as an object needs its tokenizer too: load(model, tokenizer).")
        title = str(getattr(name.config, "_name_or_path", "") or type(name).__name__)
        refuse_broken_numbers(title, name)
        source = Source(
            kind="memory", name=title, folder=None, revision=None, note="A model object handed over in memory."
        )
        return Model(name.eval(), tokenizer, source)
    source = find_model(
        str(name), revision=revision, token=token, trust_remote_code=trust_remote_code, progress=progress
    )
    library_model, library_tokenizer = load_library_model(
        source, dtype=dtype, device=device, device_map=device_map, trust_remote_code=trust_remote_code
    )
    return Model(library_model, tokenizer or library_tokenizer, source)
