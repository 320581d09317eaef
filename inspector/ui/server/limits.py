"""What the server was told when it was started goes in; how much one visitor may ask for comes out.

It arrives by environment variables from `launch`, as the offer of models does. Without them a prompt may be as long as
the model has positions, and the sidebar's field says how many tokens may be written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inspector.errors import InspectorError

if TYPE_CHECKING:
    from inspector import Model

TOKENS_VARIABLE = "ATTENTION_INSPECTOR_MOST_TOKENS"
WRITTEN_VARIABLE = "ATTENTION_INSPECTOR_MOST_WRITTEN"
WRITTEN = 200  # tokens that a model writes, unless told


@dataclass(frozen=True)
class Limits:
    """tokens: the most of one prompt, None: as many as the model has positions. written: the most the model writes."""

    tokens: int | None = None
    written: int = WRITTEN

    def check(self, model: Model, prompt: str, generate: int) -> None:
        """Raises InspectorError, naming value, limit and next step, where a request is beyond these limits."""
        if generate > self.written:
            raise InspectorError(
                f"Letting the model write {generate:,} tokens is more than the {self.written:,} that this server "
                "allows: ask for fewer."
            )
        if self.tokens is None:
            return
        length = len(model.tokenize(prompt))
        if length > self.tokens:
            raise InspectorError(
                f"The prompt has {length:,} tokens, and this server allows {self.tokens:,}: shorten it, or run the "
                "app on your own machine."
            )


def limits() -> Limits:
    """The limits of this server."""
    tokens, written = _number(TOKENS_VARIABLE), _number(WRITTEN_VARIABLE)
    return Limits(tokens or None, WRITTEN if written is None else written)


def _number(name: str) -> int | None:
    """A whole number from the environment; None where it is not set. What is set and is no number raises: a limit that
    was mistyped must not silently be none."""
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise InspectorError(f"{name} is '{text}': set it to a whole number such as 512, or leave it out.")
    return int(text)
