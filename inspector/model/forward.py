"""Forward passes of the library's model: one recorded pass, generation, logits, the residual stream.

Everything that runs the model stands here, once, with what all runs share: no gradients, one run at a time where runs
would disturb each other, and the library's errors as one sentence.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import threading
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from inspector.capture import probe, recorded_layers
from inspector.capture.attention_interface import install_seam, recording
from inspector.capture.batch import BatchRecorder
from inspector.capture.eager import EagerListener
from inspector.capture.editor import Editor
from inspector.capture.eval_mode import evaluating
from inspector.capture.hooks import asks_interface, install_hooks
from inspector.capture.listener import Listener
from inspector.capture.probe import Probe
from inspector.capture.recorder import Recorder
from inspector.capture.records import Layer, LayerInfo, OnLayer
from inspector.capture.residual_stream import ResidualStream, ResidualStreamRecorder
from inspector.capture.storage import Storage
from inspector.errors import InspectorError, NotRun
from inspector.loading.weight_checks import plain_parts
from inspector.model import sizes
from inspector.model.library_cache import cache_argument, returned_cache
from inspector.model.outcome import Outcome, has_language_model_head, next_token_logits, no_head
from inspector.text import few, first_sentence

KEEP = frozenset({"input", "output", "residual"})  # what a trace can store beyond queries, keys and values
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the bytes of a number
PLAIN_ATTENTION = ("sdpa", "eager")  # implementations that are at hand everywhere
# What a forward method takes where the model reads more than token ids; some config has a part of its own for it.
_MORE_INPUTS = ("pixel_values", "input_features", "input_values", "audio_values", "images", "bbox")
_MORE_PARTS = ("vision_config", "audio_config", "codec_config", "depth_decoder_config")


class ForwardPasses:
    """The passes of one library model; `Model.passes` has them."""

    def __init__(self, model: PreTrainedModel, *, name: str, vocabulary: int) -> None:
        """Install the hooks on the library's model.

        Args:
            model: the library's own model.
            name: what sentences call it.
            vocabulary: how many token ids it knows.

        Raises:
            InspectorError: the model has no attention layer that can be recorded.
        """
        self.model, self.name, self.vocabulary = model, name, vocabulary
        self._attention = install_hooks(model)
        install_seam()
        if not self._attention:
            raise self.nothing_to_record()
        self._probed: tuple[torch.dtype, Probe] | None = None
        self._names = {id(module): name for name, module in self._attention.items()}
        # RoPE rules that adapt to the length change buffers while the model runs: one prompt at a time there.
        self._dynamic = [m for m in model.modules() if "dynamic" in sizes.rope_types(m)]
        adaptive = self._dynamic or any("longrope" in sizes.rope_types(m) for m in model.modules())
        self._lock: contextlib.AbstractContextManager[Any] = threading.RLock() if adaptive else contextlib.nullcontext()

    @property
    def device(self) -> torch.device:
        """The device that token ids go to."""
        with contextlib.suppress(AttributeError, NotImplementedError):
            found: torch.device = self.model.get_input_embeddings().weight.device  # of a model on several devices
            return found
        return torch.device(self.model.device)

    @property
    def positions(self) -> int | None:
        """How many positions the model has; None where its config sets no limit."""
        return sizes.positions(self.model)

    @property
    def fused_attention(self) -> bool:
        """Whether attention runs in a kernel that makes no n x n tables.

        It does where the library's attention function is asked for, and is not its eager one.
        """
        asking = all(asks_interface(module) for module in self._attention.values())
        return asking and sizes.setting(self.model.config, "_attn_implementation") not in (None, "eager")

    @property
    def probed(self) -> Probe:
        """What one pass over a few tokens shows of each attention layer, run once for each dtype of the model."""
        if self._probed is None or self._probed[0] != self.model.dtype:
            self._probed = self.model.dtype, self._probe()
        return self._probed[1]

    def _probe(self) -> Probe:
        if empty := without_numbers(self.model):
            raise InspectorError(
                f"{self.name} has no numbers in {len(empty)} of its weights ({few(empty)}), which are on the meta "
                "device: load it with its weights, from_pretrained outside of torch.device('meta')."
            )
        ids = [1 + i % (self.vocabulary - 1) for i in range(min(probe.TOKENS, self.positions or probe.TOKENS))]
        recorder = Recorder(Storage(keep=KEEP))
        try:
            outcome = self.run(ids, recorder)
        except NotRun as error:
            why = error.__cause__ or error
            raise InspectorError(self._why_not(why)) from why
        return Probe.of(recorder, outcome.value)

    def places(self, layers: Sequence[LayerInfo]) -> dict[int, list[int]]:
        """Return the layers that each attention module computes, by its id().

        Args:
            layers: all layers of the model.
        """
        found: dict[int, list[int]] = {}
        for info in layers:
            if info.name in self._attention:
                found.setdefault(id(self._attention[info.name]), []).append(info.index)
        return found

    def modules_of(self, layers: Sequence[LayerInfo]) -> list[tuple[list[int], nn.Module]]:
        """Return each attention module with the layers that it computes.

        Args:
            layers: all layers of the model.
        """
        places = self.places(layers)
        return [(places[id(module)], module) for module in self._attention.values() if id(module) in places]

    def asks_interface(self, layer: LayerInfo) -> bool:
        """Whether a layer asks the library for its attention function, instead of attending in its own code."""
        return layer.name in self._attention and asks_interface(self._attention[layer.name])

    def record(self, ids: Sequence[int], recorder: Recorder) -> tuple[list[Layer], Outcome]:
        """Run one forward pass under `recorder`.

        Args:
            ids: the prompt's n token ids.
            recorder: what is to be stored.

        Returns:
            A layer for each attention call, and what the pass ends in.
        """
        outcome = self.run(ids, recorder)
        return recorded_layers.make_layers(recorder.calls, self._names, self.probed.turning), outcome

    def run(self, ids: Sequence[int], recorder: Listener) -> Outcome:
        """Run one forward pass and return what it ends in.

        Args:
            ids: the prompt's n token ids.
            recorder: what watches the pass.

        Returns:
            The logits after the last token, or what the model has in their place.
        """
        return self._with_marks([Outcome.of(self.model, self._last(ids, recorder))], recorder)[0]

    def logits_at(self, ids: Sequence[int], listener: Listener, positions: Sequence[int]) -> Tensor:
        """Run one forward pass under a listener and return the logits after some tokens.

        Args:
            ids: the prompt's n token ids.
            listener: what watches the pass.
            positions: p tokens' positions.

        Returns:
            Logits [p, vocabulary].

        Raises:
            InspectorError: the model has no language-model head.
        """
        logits = next_token_logits(self.model, self._last(ids, listener, positions=positions))
        if logits is None:
            raise no_head(self.name)
        return logits[0] if logits.shape[1] == len(positions) else logits[0, list(positions)]

    def record_batch(
        self, batch: Sequence[Sequence[int]], recorder: BatchRecorder
    ) -> list[tuple[list[Layer], Outcome]]:
        """Run one forward pass over several texts of equal length.

        Args:
            batch: b lists of n token ids.
            recorder: what is to be stored of each.

        Returns:
            For each text a layer for each attention call, and what its pass ends in.
        """
        outcomes = self.run_batch(batch, recorder)
        turning = self.probed.turning
        layers = [recorded_layers.make_layers(row.calls, self._names, turning) for row in recorder.rows]
        return list(zip(layers, outcomes, strict=True))

    def run_batch(self, batch: Sequence[Sequence[int]], listener: Listener) -> list[Outcome]:
        """Run one forward pass over several texts of equal length and return what each ends in.

        Args:
            batch: b lists of n token ids.
            listener: what watches the pass.

        Returns:
            The outcome of each text.
        """
        result = self._last(batch[0], listener, rows=batch)
        return self._with_marks(Outcome.of_rows(self.model, result, len(batch)), listener)

    @staticmethod
    def _with_marks(outcomes: list[Outcome], listener: Listener) -> list[Outcome]:
        """Add to each row's outcome the marks of its tokens."""
        marks = listener.marks
        if marks is None or len(marks) != len(outcomes):
            return outcomes
        return [replace(outcome, marks=row) for outcome, row in zip(outcomes, marks, strict=True)]

    def rows(self, ids: Sequence[int], listener: Listener, *, cache: Any = None, count: int = 1) -> Tensor:
        """Run one forward pass of equal rows, which a listener tells apart or adds to.

        Args:
            ids: the prompt's n token ids, of each row.
            listener: what edits rows or adds others.
            cache: the library's key/value cache, with the tokens before these of every row; None: there are none.
            count: how many rows it begins with.

        Returns:
            The logits after the last token of every row, [rows, vocabulary].

        Raises:
            InspectorError: the model has no language-model head.
        """
        return self._rows(self._last(ids, listener, rows=[ids] * count, cache=cache))

    def row_with_gradients(self, ids: Sequence[int], listener: Listener) -> Tensor:
        """Run one forward pass through which gradients can be taken afterwards.

        Args:
            ids: the prompt's n token ids.
            listener: what makes tensors that a gradient can be taken by.

        Returns:
            The logits after the last token, [1, vocabulary].

        Raises:
            InspectorError: the model has no language-model head.
        """
        return self._rows(self._last(ids, listener, gradients=True))

    def _rows(self, result: Any) -> Tensor:
        logits = next_token_logits(self.model, result)
        if logits is None:
            raise no_head(self.name)
        return logits[:, -1]

    def _last(
        self,
        ids: Sequence[int],
        recorder: Listener,
        *,
        gradients: bool = False,
        positions: Sequence[int] | None = None,
        rows: Sequence[Sequence[int]] | None = None,
        cache: Any = None,
    ) -> Any:
        """Run one forward pass that computes logits after the last token alone, where the model can do with that.

        With `positions` it computes those after the tokens there.
        """
        places = [len(ids) - 1] if positions is None else list(positions)
        arguments: dict[str, Any] = {"use_cache": False} if cache is None else cache_argument(self.model, cache)
        shortens = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        if shortens and has_language_model_head(self.model):  # another head may take the argument and fail
            # 8192 tokens' logits would be 1.6 GB for a vocabulary of 49152. As an index, not as the number 1: given a
            # number, some models leave out the last layers' other queries too.
            arguments["logits_to_keep"] = torch.tensor(places, device=self.device)
        return self._pass(ids, recorder, gradients=gradients, rows=rows, **arguments)

    def _pass(
        self,
        ids: Sequence[int],
        recorder: Listener,
        *,
        gradients: bool = False,
        rows: Sequence[Sequence[int]] | None = None,
        **arguments: Any,
    ) -> Any:
        """Run one forward pass, of these ids or of several rows, and return what the library's model returns."""
        batch = [ids] if rows is None else rows
        grad = torch.enable_grad() if gradients else torch.inference_mode()
        with self._turn(), grad, recording(recorder), self._in_words(recorder, len(ids)):
            return self.model(torch.tensor([list(row) for row in batch], device=self.device), **arguments)

    def run_unrecorded(self, ids: Sequence[int]) -> None:
        """Run one forward pass over these token ids and store nothing of it."""
        self.run(ids, Listener())

    def logits(self, ids: Sequence[int], *, eager: bool = False, editor: Editor | None = None) -> Tensor:
        """Return the next-token logits after each token, as `all_logits` does, without the marks."""
        return self.all_logits(ids, eager=eager, editor=editor)[0]

    def all_logits(
        self, ids: Sequence[int], *, eager: bool = False, editor: Editor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the next-token logits after each token, and the tokens' marks.

        Args:
            ids: the prompt's n token ids.
            eager: attend by the model's own eager function instead of the configured one.
            editor: what is changed as it runs.

        Returns:
            Logits [n, vocabulary]; one number [n] for each token's last hidden state, None where none was seen.

        Raises:
            InspectorError: the model has no language-model head.
        """
        listener = EagerListener() if eager else Listener()
        listener.editor = editor
        found = self._pass(ids, listener, use_cache=False)
        logits = next_token_logits(self.model, found)
        if logits is None:
            raise no_head(self.name)
        return logits[0], None if listener.marks is None else listener.marks[0]

    def continuation(
        self,
        ids: Sequence[int],
        count: int,
        *,
        eager: bool = False,
        past_the_end: bool = False,
        on_layer: OnLayer | None = None,
        editor: Editor | None = None,
    ) -> list[int]:
        """Let the model go on, greedily and with its key/value cache, until it ends its text.

        Args:
            ids: the prompt's token ids.
            count: how many tokens to generate at most.
            eager: attend by the model's own eager function.
            past_the_end: go on after an end-of-sequence token too.
            on_layer: called as on_layer(done, total) after each layer; what it raises ends the run.
            editor: what is changed as it runs, at the prompt and at each step.

        Returns:
            The new token ids: `count` of them, or fewer, up to and with the first end-of-sequence token.

        Raises:
            InspectorError: the model has no language-model head.
        """
        if not has_language_model_head(self.model):
            raise no_head(self.name)
        ends = frozenset() if past_the_end else sizes.end_tokens(self.model)
        recorder = (EagerListener if eager else Listener)(on_layer=on_layer)
        recorder.editor = editor
        with self._turn(), recording(recorder), self._in_words(recorder, len(ids)):
            return greedy(self.model, ids, count, ends=ends)

    def cache(self, ids: Sequence[int]) -> Any:
        """Return the library's own key/value cache after a pass over these ids; None where it hands none back."""
        with self._turn(), torch.inference_mode():
            found = self.model(torch.tensor([list(ids)], device=self.device), use_cache=True)
        return next(iter(returned_cache(found).values()), None)

    def residual_stream(self, ids: Sequence[int], layer: LayerInfo, position: int) -> ResidualStream:
        """Record the residual stream before and after one layer's attention, for one token.

        Args:
            ids: the prompt's token ids.
            layer: the attention layer.
            position: the token's position, from 0.

        Returns:
            The vectors [d_model] of that token.
        """
        recorder = ResidualStreamRecorder(self._attention[layer.name], layer, position)
        outcome = self.run(ids, recorder)
        recorder.found.outcome, recorder.found.marks = outcome.value, outcome.marks
        return recorder.found

    def residuals(self, ids: Sequence[int], *, first: int = 0, positions: Sequence[int] | None = None) -> list[Tensor]:
        """Record what each attention layer's block receives, with the tokens at positions of our choice.

        Args:
            ids: the prompt's n token ids.
            first: the first token's position; the others follow one by one.
            positions: each token's own position instead, gaps allowed.

        Returns:
            For each layer the residual stream [n, d_model].

        Raises:
            InspectorError: the model takes no positions or has not enough of them, or `positions` are not n numbers
                that grow from 0 on.
        """
        places = list(range(first, first + len(ids))) if positions is None else list(positions)
        if len(places) != len(ids) or places[:1] < [0] or any(b <= a for a, b in itertools.pairwise(places)):
            raise InspectorError(
                f"{len(places)} positions from {few([str(place) for place in places])} do not place {len(ids)} tokens: "
                "give each token one number from 0 on, each larger than the one before."
            )
        if "position_ids" not in inspect.signature(self.model.forward).parameters:
            raise InspectorError(f"{self.name} takes no positions from outside, so its tokens cannot be moved along.")
        if self.positions is not None and places[-1] >= self.positions:
            raise InspectorError(
                f"Position {places[-1]} does not exist: {self.name} has positions 0 to {self.positions - 1}; "
                "take a shorter prompt."
            )
        recorder = Recorder(Storage(keep=frozenset({"residual"})))
        with self._turn(), torch.inference_mode(), recording(recorder):
            self.model(**self._placed(ids, places), use_cache=False)
        found = [call.residual for call in recorder.calls if call.residual is not None]
        if len(found) != len(recorder.calls):
            raise InspectorError(f"What the layers of {self.name} receive could not be read from it as it ran.")
        return found

    def mark(self, name: str) -> Hashable:
        """Return what changes with any edit of an attention module's weights: sums of their bits by row and column."""
        found: list[Hashable] = []
        for parameter in self._attention[name].parameters():
            for part in plain_parts(parameter.detach()):
                bits = part.view(_BITS[part.element_size()])
                sums = [bits.sum(dim) for dim in range(bits.ndim)] if bits.ndim else [bits]
                found.append((str(part.dtype), *(tuple(one.flatten().tolist()) for one in sums)))
        return tuple(found)

    def _placed(self, ids: Sequence[int], places: Sequence[int]) -> dict[str, Tensor]:
        """Return the arguments of a pass over one prompt whose tokens stand at these positions.

        Always with an attention mask of ones: without one the library takes a gap among the positions for the border
        between two prompts packed into one row, and keeps each from the other (its find_packed_sequence_indices).
        """
        one_row = torch.tensor([list(ids)], device=self.device)
        positions = torch.tensor([list(places)], device=self.device)
        return {"input_ids": one_row, "position_ids": positions, "attention_mask": torch.ones_like(one_row)}

    def nothing_to_record(self) -> InspectorError:
        """Return the error of a model without attention that can be recorded."""
        return InspectorError(
            f"{self.name} ({self.model.config.model_type}) has no attention layer that can be recorded; "
            "choose a decoder with softmax attention, such as smollm2-135m-instruct."
        )

    def _why_not(self, error: BaseException) -> str:
        """Say why the first short pass failed: a setting that is known to be the matter, or what the library says."""
        what, why = f"{self.name} ({type(self.model).__name__})", first_sentence(error)
        if sizes.setting(self.model.config, "return_dict") is False:
            return (
                f"{what} cannot run with return_dict=False in its config ({why}): set model.config.return_dict = True, "
                "or take it out of config.json."
            )
        attention = sizes.setting(self.model.config, "_attn_implementation")
        if attention not in (None, *PLAIN_ATTENTION):
            return (
                f"{what} cannot run here with the attention implementation {attention!r} ({why}): call "
                f"model.set_attn_implementation('sdpa'), or 'eager', before you load it here."
            )
        return (
            f"{what} cannot run on token ids alone ({why}); "
            "choose a model that needs no images, no sound and one id for each token, or another dtype."
            if needs_more_than_ids(self.model, error)
            else f"{what} could not run a first short prompt ({why}); load it in another dtype, or choose another."
        )

    @contextlib.contextmanager
    def _in_words(self, recorder: Listener, tokens: int) -> Iterator[None]:
        """Turn what the library's own code raises into one sentence.

        What `on_layer` raises stays what it is, and so does memory that ran out.
        """
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, ImportError, AssertionError) as error:
            if recorder.stopped:
                raise
            raise NotRun(
                f"{self.name} ({type(self.model).__name__}) could not run a prompt of {tokens} tokens "
                f"({first_sentence(error)}); try a shorter one, or load the model in another dtype."
            ) from error

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Run in eval mode, and let nobody else's prompt run meanwhile, where runs could disturb each other.

        Nor may an earlier run leave a trace: the library keeps the frequencies of the longest prompt so far (dynamic
        RoPE) and would use them for a shorter one.
        """
        with self._lock:
            for module in self._dynamic:
                sizes.forget_length(module)
            with evaluating(self.model):
                yield


def without_numbers(model: PreTrainedModel) -> list[str]:
    """Return the names of the weights that are on the meta device, those aside that accelerate brings when they run."""
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if not hasattr(module, "_hf_hook")
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.is_meta
    ]


def needs_more_than_ids(model: PreTrainedModel, error: BaseException) -> bool:
    """Return whether a model that failed reads other inputs beside token ids, or was told that one is missing."""
    takes = inspect.signature(model.forward).parameters
    parts = any(getattr(model.config, part, None) is not None for part in _MORE_PARTS)
    missing = isinstance(error, TypeError) and any(word in str(error) for word in ("missing", "NoneType"))
    return parts or missing or any(name in takes for name in _MORE_INPUTS)


def greedy(model: PreTrainedModel, ids: Sequence[int], count: int, *, ends: Collection[int] = ()) -> list[int]:
    """Generate the most probable next tokens, one after the other, with the model's key/value cache where it has one.

    Args:
        model: the library's model.
        ids: the prompt's token ids.
        count: how many tokens to generate at most.
        ends: the ids that end a text; the first of them is the last token generated.

    Returns:
        The new token ids.

    Raises:
        InspectorError: the model has no language-model head.
    """
    new: list[int] = []
    step = whole = torch.tensor([list(ids)], device=model.device)
    cache: dict[str, Any] = {}
    with torch.inference_mode():
        for _ in range(count):
            result = model(step, **cache, use_cache=True)
            cache = returned_cache(result)
            logits = next_token_logits(model, result)
            if logits is None:
                raise no_head(type(model).__name__)
            chosen = logits[:, -1:].argmax(-1)
            new.append(int(chosen))
            if new[-1] in ends:
                break
            whole = torch.cat((whole, chosen), dim=-1)
            step = chosen if cache else whole
    return new
