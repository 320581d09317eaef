"""Make or find what the Explore screen shows: one message of a prompt, and exact numbers of the head that is chosen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from inspector.analysis import maps
from inspector.analysis import thumbnails as small_pictures
from inspector.errors import InspectorError
from inspector.text import Progress
from inspector.ui.server import findings, pictures
from inspector.ui.server.traces import from_trace, is_stored, key_of_trace, trace
from inspector.ui.state import Request
from inspector.views.explore_message import prompt_message
from inspector.views.head_answer import answer_question

if TYPE_CHECKING:
    from inspector import Trace
    from inspector.views.head_question import HeadQuestion

EXPECTED = 5  # next tokens that are named
EXPECTED_UP_TO = 256  # tokens of a prompt that is run again to tell what is expected after each of them


def name_of(request: Request, traced: Trace) -> str:
    """Return a short name of a prompt in a model as it is stored: one that changed has another.

    Args:
        request: what was asked for.
        traced: its trace.

    Returns:
        Sixteen hexadecimal digits.
    """
    return hashlib.blake2b(repr(key_of_trace(request, traced)).encode("utf-8", "replace"), digest_size=8).hexdigest()


def is_of(request: Request, said: object) -> bool:
    """Return whether what a browser says is chosen was chosen in this prompt.

    Args:
        request: what was asked for.
        said: what the browser sent; it may be anything.

    Returns:
        False too where the prompt's trace is no longer stored.
    """
    if not isinstance(said, Mapping) or not is_stored(request):
        return False
    return said.get("shown") == name_of(request, trace(request))


def without_first_token(request: Request, progress: Progress | None = None) -> small_pictures.Thumbnails:
    """Return the small pictures of every head without the first token; of a long prompt from a sample.

    Args:
        request: what was asked for.
        progress: told how far it is.

    Returns:
        The pictures.
    """

    def make(traced: Trace, report: Progress) -> small_pictures.Thumbnails:
        return small_pictures.draw_thumbnails(
            traced,
            sample=pictures.SAMPLE if traced.n > maps.EXACT_UP_TO else None,
            without_first=True,
            on_layer=lambda done, total: report("Drawing every head without the first token", done / total),
        )

    return from_trace(request, ("without first",), make, passes=0.5, size=lambda made: made.nbytes, progress=progress)


def following(request: Request, progress: Progress | None = None) -> list[list[tuple[str, int, float]]]:
    """Return what the model expects after each token: of a long prompt, and where no model is at hand, after some.

    Args:
        request: what was asked for.
        progress: told how far it is.

    Returns:
        For the last tokens (all of a short prompt) the most probable next ones; empty where there are none to tell.
    """

    def make(traced: Trace, report: Progress) -> list[list[tuple[str, int, float]]]:
        report("Reading what the model expects next", None)
        try:
            if traced.n <= EXPECTED_UP_TO:
                return traced.next_tokens_after_each(EXPECTED)
            return [traced.next_tokens(EXPECTED)]
        except InspectorError:  # a file without its model, or a model without a language-model head
            return []

    return from_trace(request, ("following",), make, progress=progress)


def message(request: Request, selected: tuple[int, int], progress: Progress | None = None) -> bytes:
    """Return the message of the Explore screen, the same for everybody who looks at this prompt.

    Args:
        request: what was asked for.
        selected: the layer and head to begin with.
        progress: told how far it is.

    Returns:
        What explore.js decodes.
    """
    small, hidden = pictures.thumbnails(request, progress), without_first_token(request, progress)
    scores, expected = pictures.scores_of_heads(request, progress), following(request, progress)

    def make(traced: Trace, report: Progress) -> bytes:
        report("Packing every head", None)
        return prompt_message(
            traced,
            name=name_of(request, traced),
            pictures=small,
            without_first=hidden,
            scores=scores,
            following=expected,
            selected=selected,
            found=findings.sentences(traced),
        )

    what = ("explore", selected, len(small.whole))
    return from_trace(request, what, make, passes=0, size=len, progress=progress)


def answer(request: Request, asked: HeadQuestion, progress: Progress | None = None) -> bytes | None:
    """Return the exact numbers of one head that the Explore screen asked for.

    Args:
        request: what was asked for.
        asked: which head, and what of it.
        progress: told how far it is.

    Returns:
        What explore.js decodes; None where another prompt is meant, there is no such head, or its numbers cannot be
        computed.
    """
    if not is_stored(request):  # nothing is run again for a look at one head
        return None
    traced = trace(request, progress)
    if asked.id != name_of(request, traced):  # asked while the page was changing to this prompt
        return None

    def draw(layer: int, head: int, kind: maps.Kind, without_first: bool) -> maps.Picture:
        return pictures.picture(request, layer, head, kind, without_first=without_first)

    return answer_question(traced, asked, draw=draw)
