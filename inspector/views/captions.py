"""The words around a figure: title, model, prompt, length, and where its numbers come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.views import provenance

if TYPE_CHECKING:
    from inspector.trace.trace import Trace

_PROMPT = 100  # letters of a prompt that a static figure quotes


class Captions:
    """What stands above and below a picture; `facts` are the pairs that an HTML page lists."""

    def __init__(self, trace: Trace, title: str, *, verification: str = "", note: str = "") -> None:
        self.title = title
        model = provenance.model_name(trace)
        count = f"{trace.n:,} tokens" if trace.n != 1 else "1 token"
        if trace.prompt_length < trace.n:
            count += f", the last {trace.n - trace.prompt_length:,} written by the model"
        prompt = trace.prompt if trace.prompt is not None else "".join(trace.tokens.texts)
        said = str(provenance.source(trace).get("note") or "")
        self.footer = [line for line in (verification, provenance.line(trace), said) if line]
        self.facts = [("Model", model), ("Prompt", prompt), ("Length", count)]
        self.facts += [("Shown", note)] if note else []
        self.lines = [f"{model} · {count}", f"“{_short(prompt)}”"]
        self.lines += [note[0].upper() + note[1:] + "."] if note else []

    @property
    def description(self) -> str:
        """All of it in one line, for those who cannot see the picture."""
        return " · ".join([self.title, *self.lines, *self.footer])


def _short(prompt: str) -> str:
    line = " ".join(prompt.split())
    return line if len(line) <= _PROMPT else line[: _PROMPT - 1] + "…"
