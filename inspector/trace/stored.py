"""Hold what a trace stores of one prompt: its tokens, its layers' vectors, and where they come from."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inspector.capture.edits import Edit
from inspector.capture.edits_on_paper import edits_to_data
from inspector.capture.records import Layer, LayerInfo
from inspector.errors import InspectorError
from inspector.text import few
from inspector.trace.file import write_trace
from inspector.trace.tokens import Tokens, readable
from inspector.trace.whole_numbers import shown

# What vectors that are stored rounded are computed with, by the name of the model's dtype.
WHOLE = {"float32": torch.float32, "float64": torch.float64}


class StoredTrace:
    """What is stored of one prompt's run through a model; `Trace` computes from it.

    Args:
        tokens: the n tokens.
        layers: what is stored of each attention layer, in calling order.
        last_logits: [1, vocabulary], those after the last token; None where the model has no language-model head.
        model_name: what the model is called.
        prompt: the prompt's text, where it was a text.
        prompt_length: how many tokens the prompt had, before the model went on; None: all.
        source: model type, revision, dtype, device, versions of the libraries.
        precision: the dtype that queries, keys and values are rounded to; None: they are as the model made them.
        dtype: the one in which the model made them; None: it is not known.
        edits: what was changed of the attention as the model ran, with positions counted from the first token.
        token_marks: one number [n] for each token's last hidden state; None: none were made.

    Raises:
        InspectorError: the vectors are rounded and `dtype` does not say what they were before.
    """

    def __init__(
        self,
        *,
        tokens: Tokens,
        layers: list[Layer],
        last_logits: Tensor | None,
        model_name: str = "",
        prompt: str | None = None,
        prompt_length: int | None = None,
        source: dict[str, Any] | None = None,
        precision: str | None = None,
        dtype: str | None = None,
        edits: tuple[Edit, ...] = (),
        token_marks: Tensor | None = None,
    ) -> None:
        if precision is not None and dtype not in WHOLE:
            raise InspectorError(
                f"This trace's vectors are rounded to {precision} and it says {dtype!r} of what they were before: "
                f"dtype must be {' or '.join(WHOLE)}."
            )
        self.tokens, self.stored, self.last_logits = tokens, layers, last_logits
        self.model_name, self.prompt, self.source = model_name, prompt, source or {}
        self.prompt_length = len(tokens) if prompt_length is None else prompt_length
        self.precision, self.dtype, self.edits = precision, dtype, edits
        self.token_marks = token_marks
        self._logits: Tensor | None = None  # of all tokens, [n, vocabulary], once they were asked for

    @property
    def n(self) -> int:
        """How many tokens there are."""
        return len(self.tokens)

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """The facts of all attention layers of the model, also of those of which nothing is stored."""
        return tuple(layer.info for layer in self.stored)

    @property
    def stored_layers(self) -> tuple[LayerInfo, ...]:
        """The facts of the layers whose vectors are stored: all, unless some were chosen."""
        return tuple(layer.info for layer in self.stored if layer.has_vectors)

    @property
    def exact(self) -> bool:
        """Whether every layer's queries, keys and values are here, to the last bit."""
        return self.precision is None and len(self.stored_layers) == len(self.stored)

    @property
    def lost(self) -> str:
        """The prompt's characters that no token stands for, each once; empty for nearly every prompt.

        The tokenizer knows no token for them and left them out, or put an unknown token or a normalised character in
        their place.
        """
        known = set("".join(self.tokens.texts))
        return "".join(character for character in dict.fromkeys(self.prompt or "") if character not in known)

    def lost_in_words(self) -> str:
        """Say which characters of the prompt were lost.

        Returns:
            One sentence; empty where none was.
        """
        if not self.lost:
            return ""
        named = few([f"{readable(character)} (U+{ord(character):04X})" for character in self.lost])
        return f"No token holds {named}: the tokenizer left this out or put something else in its place."

    def edits_in_words(self) -> str:
        """Say what was changed of the attention as the model ran.

        Returns:
            One sentence; empty where nothing was.
        """
        return f"Made under edits: {'; '.join(map(str, self.edits))}." if self.edits else ""

    @property
    def nbytes(self) -> int:
        """Bytes of all stored tensors."""
        tensors = [tensor for layer in self.stored for _, tensor in layer.tensors()]
        tensors += [tensor for layer in self.stored for tensor in layer.before or ()]
        tensors += [tensor for tensor in (self.last_logits, self._logits) if tensor is not None]
        return sum(tensor.nbytes for tensor in tensors)

    def facts(self) -> dict[str, Any]:
        """Return what a file needs beside the tensors, where they come from included.

        Returns:
            Strings, numbers, lists and dictionaries, ready for JSON.
        """
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
            **({"edits": edits_to_data(self.edits)} if self.edits else {}),
        }

    def save(self, path: str | Path) -> Path:
        """Write queries, keys, values and whatever else is stored to one safetensors file.

        Args:
            path: the file; its folder must exist.

        Returns:
            The path.

        Raises:
            InspectorError: the file could not be written.
        """
        path = file_path(path)
        ends = {"last_logits": self.last_logits, "token_marks": self.token_marks}
        write_trace(path, facts=self.facts(), layers=self.stored, ends=ends)
        return path

    def __repr__(self) -> str:
        name = " ".join(self.model_name.split())[:100] or "a model"
        heads = f", {self.stored[0].info.heads} heads" if self.stored else ""
        rounded = f" in {self.precision}" if self.precision else ""
        edited = f", under {len(self.edits)} edit{'' if len(self.edits) == 1 else 's'}" if self.edits else ""
        part = len(self.stored_layers)
        some = "" if part == len(self.stored) else f", vectors of {part} of them"
        return (
            f"Trace of {self.n} token{'' if self.n == 1 else 's'} through {name}: {len(self.stored)} layers{heads}, "
            f"{self.nbytes / 2**20:.1f} MB stored{rounded}{some}{edited}"
        )


def file_path(path: str | Path) -> Path:
    """Return a file's name as a path.

    Args:
        path: a string or a path.

    Returns:
        The path.

    Raises:
        InspectorError: it is neither.
    """
    if not isinstance(path, str | os.PathLike):
        raise InspectorError(f'path={shown(path)} is not a file\'s name: give one, such as "trace.safetensors".')
    return Path(path)
