"""Read what this server was told when it was started: which models visitors may choose, and how much they may ask for.

It arrives by environment variables from `launch`, never by an address: a link cannot load a model. Without them a
prompt may be as long as the model has positions, and the prompt's field says how many tokens may be written.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from inspector.errors import InspectorError
from inspector.loading.source import PACKAGED
from inspector.trace.prompt_file import MOST_BYTES
from inspector.trace.tokens import ids_of_text
from inspector.views.canvas_tables import distinct

if TYPE_CHECKING:
    from inspector import Model

MODEL_VARIABLE = "ATTENTION_INSPECTOR_MODEL"
MODELS_VARIABLE = "ATTENTION_INSPECTOR_MODELS"
TOKENS_VARIABLE = "ATTENTION_INSPECTOR_MOST_TOKENS"
WRITTEN_VARIABLE = "ATTENTION_INSPECTOR_MOST_WRITTEN"
JUDGE_VARIABLE = "ATTENTION_INSPECTOR_JUDGE"
ATLAS_VARIABLE = "ATTENTION_INSPECTOR_ATLAS"
HEADS_VARIABLE = "ATTENTION_INSPECTOR_HEADS"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
WRITTEN = 200  # tokens that a model writes, unless told
MOST_CHARACTERS = MOST_BYTES  # of a prompt, whatever the tokenizer; as many as there may be in a file with one


# -- the choice of models --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelChoice:
    """The models that visitors may choose.

    Attributes:
        models: names to choose from, the first one the default.
        any_other: whether any hub id, folder or GGUF file may be typed too.
    """

    models: tuple[str, ...]
    any_other: bool

    def allows(self, name: str) -> bool:
        """Return whether a visitor may ask for this model.

        Args:
            name: a model's name, folder or file, as typed.

        Returns:
            True where it is listed, or where any other may be typed.
        """
        return self.any_other or name in self.models


def model_choice() -> ModelChoice:
    """Return the models that visitors of this server may choose.

    Without a list of models, only a server that listens on loopback alone, under loopback's names alone, lets people
    type any other: whoever can reach it has this machine's files already. Other names mean a proxy in front.
    """
    model = os.environ.get(MODEL_VARIABLE, "").strip()
    listed = _listed(os.environ.get(MODELS_VARIABLE, ""))
    first = [model] if model else []
    if listed:
        return ModelChoice(tuple(dict.fromkeys([*first, *listed])), any_other=False)
    return ModelChoice(tuple(dict.fromkeys([*first, PACKAGED])), any_other=_is_local())


def attentions() -> tuple[str, ...]:
    """Return the names of somebody's own attentions that this server was started with, for the page Verify to judge.

    They are code that runs here: a server that others can reach has none, whatever it was told.
    """
    return tuple(_listed(os.environ.get(JUDGE_VARIABLE, ""))) if _is_local() else ()


def atlas_folders() -> dict[str, Path]:
    """Return the folders of atlases that this server was started with, for the page Atlas, by the names it gives them.

    A name is the folder's own, never its place; what comes again gets a number.
    """
    folders = [Path(place) for place in _listed(os.environ.get(ATLAS_VARIABLE, ""))]
    return dict(zip(distinct([folder.resolve().name for folder in folders]), folders, strict=True))


def heads_files() -> list[Path]:
    """Return the files of the command `heads` that this server was started with, for the cards of the page Atlas."""
    return [Path(place) for place in _listed(os.environ.get(HEADS_VARIABLE, ""))]


def _is_local() -> bool:
    """Return whether this server listens on loopback alone, under loopback's names alone."""
    names = st.get_option("server.allowedHosts")
    return st.get_option("server.address") in LOOPBACK and bool(names) and set(names) <= set(LOOPBACK)


def _listed(text: str) -> list[str]:
    """Read names from JSON, as `launch` writes them, or from a comma-separated list that was set by hand."""
    try:
        names = json.loads(text) if text else []
    except ValueError:
        names = text.split(",")
    return [str(name).strip() for name in names if str(name).strip()]


# -- the limits ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """The most that one visitor may ask for.

    Attributes:
        tokens: the most tokens of one prompt; None: as many as the model has positions.
        written: the most tokens that the model writes after it.
    """

    tokens: int | None = None
    written: int = WRITTEN

    def longest(self, most: int) -> int:
        """Return the most tokens of a text, written ones included, where a page takes `most`.

        Args:
            most: tokens that the page takes on any server.

        Returns:
            The smaller of both.
        """
        return most if self.tokens is None else min(most, self.tokens + self.written)

    def check(self, model: Model, prompt: str, generate: int) -> None:
        """Refuse a request that is beyond these limits.

        Args:
            model: the model whose tokenizer counts the prompt's tokens.
            prompt: the prompt's text.
            generate: how many tokens the model shall write.

        Raises:
            InspectorError: naming the value, the limit and the next step.
        """
        if generate > self.written:
            raise InspectorError(
                f"Letting the model write {generate:,} tokens is more than the {self.written:,} that this server "
                "allows: ask for fewer."
            )
        here = "shorten it, or run the app on your own machine."
        if len(prompt) > MOST_CHARACTERS:
            tokens = "" if self.tokens is None else f" and {self.tokens:,} tokens"
            raise InspectorError(
                f"The prompt has {len(prompt):,} characters, and this server allows {MOST_CHARACTERS:,} characters"
                f"{tokens}: {here}"
            )
        if self.tokens is None:
            return
        ids = ids_of_text(prompt, model.tokenizer, limit=self.tokens)  # the model's own limit is not the one to name
        if ids is None:
            raise InspectorError(
                f"The prompt has {len(prompt):,} characters, which are more than the {self.tokens:,} tokens that this "
                f"server allows: {here}"
            )
        if len(ids) > self.tokens:
            raise InspectorError(f"The prompt has {len(ids):,} tokens, and this server allows {self.tokens:,}: {here}")


def limits() -> Limits:
    """Return the limits of this server."""
    tokens, written = _number(TOKENS_VARIABLE), _number(WRITTEN_VARIABLE)
    return Limits(tokens or None, WRITTEN if written is None else written)


def _number(name: str) -> int | None:
    """Read a whole number from the environment, None where it is not set.

    What is set and is no number raises: a limit that was mistyped must not silently be none.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise InspectorError(f"{name} is '{text}': set it to a whole number such as 512, or leave it out.")
    return int(text)
