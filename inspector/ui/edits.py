"""Read and write a visitor's edits: text that stands in the tab, in links and in the session, and is believed nowhere.

It is the paper of `inspector.capture.edits`. It may come over the network, so it is bounded, and an edit that names a
file is refused: a link must not have a server read its files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from inspector.capture.edits import Edit
from inspector.capture.edits_on_paper import edits_from_data, edits_to_data
from inspector.errors import InspectorError

MOST_EDITS = 24
MOST_PAPER = 20_000  # characters of edits on paper
MOST_SOURCE_TOKENS = 4096  # of all prompts that edits take values from: each is one more pass

NONE = '{"schema":1,"edits":[]}'  # a list that was emptied; an empty text is a list that was never begun


def read_edits(paper: str) -> tuple[Edit, ...]:
    """Read edits that a visitor has, or that a link brings.

    Args:
        paper: what `write_edits` wrote; it may be anything.

    Returns:
        The edits.

    Raises:
        InspectorError: it is no such text, too much, of another schema, or names a file.
    """
    if not paper:
        return ()
    if len(paper) > MOST_PAPER:
        raise InspectorError(
            f"These edits take {len(paper):,} characters, and {MOST_PAPER:,} are read here: give fewer, or run them in "
            "Python (inspector.lab.experiment)."
        )
    try:
        data = json.loads(paper)
    except (ValueError, RecursionError):
        raise InspectorError("These edits are no JSON: make them on the page Change.") from None
    try:
        edits = edits_from_data(data)
    except (TypeError, OverflowError):
        raise InspectorError(
            "These edits are not as docs/lab.md describes them: make them on the page Change."
        ) from None
    if len(edits) > MOST_EDITS:
        raise InspectorError(f"These are {len(edits)} edits, and {MOST_EDITS} are made at once here: give fewer.")
    for edit in edits:
        if edit.source is not None and (edit.source.trace or edit.source.means):
            raise InspectorError(
                "One of these edits takes its values from a file, and this app opens no file that a link or a page "
                "names: name prompts by their token ids instead, or run it in Python (inspector.lab.experiment)."
            )
    taken = sum(len(ids) for edit in edits if edit.source is not None for ids in edit.source.prompts)
    if taken > MOST_SOURCE_TOKENS:
        raise InspectorError(
            f"These edits take values from prompts of {taken:,} tokens, and {MOST_SOURCE_TOKENS:,} are run for them "
            "here: take shorter ones."
        )
    return edits


def write_edits(edits: Iterable[Edit]) -> str:
    """Write edits as the short text that `read_edits` reads.

    Args:
        edits: any, without negative positions.

    Returns:
        JSON.
    """
    return json.dumps(edits_to_data(edits), separators=(",", ":"))
