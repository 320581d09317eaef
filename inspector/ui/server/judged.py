"""Judge a visitor's own attention: numbers that were uploaded, or code that the server was given when it was started.

Nothing here takes a path or a module's name from a page, a link or the protocol: a name must be one of those that the
server was given, and an upload's name is only ever that of a file in an empty temporary folder.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import inspector
from inspector.errors import InspectorError
from inspector.judging.callables import named_attention
from inspector.judging.dump_arrays import KINDS
from inspector.judging.dump_settings import NAME
from inspector.judging.gallery import Exhibit, Shown, possible, show_mistakes, with_mistake
from inspector.model import cost
from inspector.text import Progress
from inspector.ui.server.settings import attentions
from inspector.ui.server.traces import from_trace, model, reserve_memory, reserve_pass, trace
from inspector.ui.state import Request
from reimpl.frequencies import rope_frequencies

if TYPE_CHECKING:
    from inspector import Trace
    from inspector.judging.report import Judgement
    from reimpl.attention import CausalSelfAttention

MOST_MB = 200  # of all uploaded files together: they lie in the server's memory
MOST_FILES = 400
_FILE_NAME = re.compile(r"[\w][\w.\- ]{0,99}")


@dataclass(frozen=True)
class Uploaded:
    """One uploaded file: what the browser called it, and its bytes."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Angles:
    """By how much each plane of a query turns from token to token, in radians: yours as measured, and the model's."""

    layer: int
    yours: tuple[float, ...]
    model: tuple[float, ...]


def judge_named(request: Request, name: str, progress: Progress) -> Judgement:
    """Judge code of this machine that the server was given by `app --judge`.

    Args:
        request: the prompt on screen.
        name: one of the names that the server was given.
        progress: told how far it is.

    Returns:
        The judgement.

    Raises:
        InspectorError: the server was not given this name, or the code cannot be run.
    """
    if name not in attentions():
        raise InspectorError(
            "This server was not started with that attention: start it with app --judge file.py:function."
        )
    return _judged(request, named_attention(name), progress)


def judge_uploaded(request: Request, files: Sequence[Uploaded], progress: Progress) -> Judgement:
    """Judge uploaded dumps.

    Args:
        request: the prompt on screen.
        files: .npy, .npz and safetensors files, and a dump.json if there is one.
        progress: told how far it is.

    Returns:
        The judgement.

    Raises:
        InspectorError: there are too many files or too large ones, or they are no dump of this prompt and model.
    """
    size = sum(len(file.content) for file in files)
    if len(files) > MOST_FILES or size > MOST_MB * 2**20:
        raise InspectorError(
            f"{len(files):,} files of {size / 2**20:,.0f} MB are more than the {MOST_FILES:,} files and {MOST_MB} MB "
            "that can be uploaded: upload fewer layers, or use attention-inspector judge."
        )
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for file in files:
            _put(folder, file)
        try:
            return _judged(request, folder, progress)
        except InspectorError as error:
            raise InspectorError(str(error).replace(f"{folder}/", "").replace(str(folder), "The upload")) from None


def exhibits(request: Request) -> tuple[Exhibit, ...]:
    """Return the common mistakes that the model on screen can have; none where its family is not reimplemented.

    Args:
        request: the prompt on screen.
    """
    return possible(_ours(request))


def shown_mistakes(request: Request, progress: Progress | None = None) -> dict[str, Shown]:
    """Return what each common mistake does on the first tokens of the prompt on screen: its name -> what it does.

    Args:
        request: the prompt on screen.
        progress: told how far it is.
    """

    def make(traced: Trace, report: Progress) -> dict[str, Shown]:
        with reserve_pass(traced, report):
            report("Making the commonest mistakes on purpose", None)
            return show_mistakes(model(request), traced.tokens.ids)

    return from_trace(request, ("common mistakes",), make, passes=5, progress=progress)


def judge_exhibit(request: Request, name: str, progress: Progress) -> Judgement:
    """Judge attention with a common mistake in it, all stages handed over.

    Args:
        request: the prompt on screen.
        name: which of `exhibits`.
        progress: told how far it is.

    Returns:
        The judgement.
    """
    found = _named_exhibit(request, name)
    return _judged(request, with_mistake(trace(request, progress), _ours(request), found), progress)


def _ours(request: Request) -> Sequence[CausalSelfAttention]:
    try:
        return model(request).reimplementation
    except InspectorError:  # its family is not reimplemented
        return ()


def _named_exhibit(request: Request, name: str) -> Exhibit:
    """Find a mistake by its name, which may come from a page: no other is made."""
    found = next((one for one in exhibits(request) if one.name == name), None)
    if found is None:
        raise InspectorError("This model has no such mistake to show: choose one of the list.")
    return found


def _put(folder: Path, file: Uploaded) -> None:
    """Write an uploaded file into an empty folder under its own name, which can be no path."""
    fits = _FILE_NAME.fullmatch(file.name) and (file.name == NAME or Path(file.name).suffix in KINDS)
    if not fits or (folder / file.name).exists():
        why = "stands twice" if fits else f"is neither {NAME} nor a plain name that ends in {', '.join(KINDS)}"
        raise InspectorError(f"An uploaded file {why}: {file.name!r:.60}; name it anew and upload it again.")
    try:
        (folder / file.name).write_bytes(file.content)
    except OSError as error:
        raise InspectorError(
            f"The upload could not be put in this server's temporary folder ({error.strerror or error}): free space "
            "there, then upload it again."
        ) from None


def _judged(request: Request, mine: Any, progress: Progress) -> Judgement:
    """Judge with the memory reserved that a verification of this prompt takes."""
    loaded, traced = model(request, progress), trace(request, progress)
    with reserve_memory(cost.verification_bytes(traced.layers, traced.n, loaded.vocabulary), progress):
        progress("Comparing your attention with the model's", None)
        return inspector.judge(loaded, mine, traced)


def angles(request: Request, report: Judgement) -> Angles | None:
    """Return the measured angles of one layer beside the model's.

    Args:
        request: the prompt that was judged.
        report: what came of it.

    Returns:
        The angles; None where queries before and after RoPE were not both compared, or the model does not turn them.
    """
    yours, layer = report.measured.get("angle per plane"), report.measured.get("layer")
    if not isinstance(yours, list) or not isinstance(layer, int):
        return None
    rope = model(request).reimplementation[layer].spec.rope
    if rope is None:
        return None
    right, _ = rope_frequencies(rope, length=report.n)
    return Angles(layer, tuple(map(float, yours)), tuple(map(float, right.double())))
