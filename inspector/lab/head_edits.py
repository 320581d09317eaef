"""Make edits of head outputs, and patches of whatever a head computes: a function for each kind.

Layers, heads and tokens are numbers from 0, ranges or lists of them; None means all. Negative token positions count
from the end of the prompt that an edit meets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inspector.capture.edits import Edit, Source, Vectors, When
from inspector.errors import InspectorError
from inspector.lab.edit_arguments import Numbers, Values, is_number, means_of, numbers, source_of


def zero(layers: Numbers = None, heads: Numbers = None, *, queries: Numbers = None, when: When = "both") -> Edit:
    """Set head outputs to zero, before they meet W_o. A bias of the output projection stays.

    Args:
        layers: the layers.
        heads: the query heads.
        queries: the query tokens.
        when: on the rows of the prompt's tokens, of those written since ("new"), or both.

    Returns:
        The edit.
    """
    return Edit(kind="zero", layers=numbers(layers), heads=numbers(heads), queries=numbers(queries), when=when)


def scale(
    factor: float, layers: Numbers = None, heads: Numbers = None, *, queries: Numbers = None, when: When = "both"
) -> Edit:
    """Multiply head outputs.

    Args:
        factor: by what; 0 is `zero`, 1 changes nothing.
        layers: the layers.
        heads: the query heads.
        queries: the query tokens.
        when: as in `zero`.

    Returns:
        The edit.
    """
    return Edit(
        kind="scale",
        factor=factor,
        layers=numbers(layers),
        heads=numbers(heads),
        queries=numbers(queries),
        when=when,
    )


def mean(
    prompts: Values | Sequence[Values],
    layers: Numbers = None,
    heads: Numbers = None,
    *,
    by_position: bool = False,
    queries: Numbers = None,
    when: When = "both",
) -> Edit:
    """Replace head outputs by their mean over prompts.

    Args:
        prompts: traces or token ids of one or more prompts, which are run again; or an atlas's folder or its
            means.safetensors, whose means are over a whole corpus.
        layers: the layers.
        heads: the query heads.
        by_position: the mean at each position over the prompts; else one over all tokens but each prompt's first.
        queries: the query tokens.
        when: as in `zero`.

    Returns:
        The edit.

    Raises:
        InspectorError: there is no prompt, or what is given is none.
    """
    source = means_of(prompts) if isinstance(prompts, str | Path) else None
    if source is None:
        listed = (
            prompts if isinstance(prompts, list | tuple) and not all(is_number(item) for item in prompts) else [prompts]
        )
        sources = [source_of(one) for one in listed]  # type: ignore[arg-type]
        if named := next((one.trace for one in sources if one.trace), ""):
            raise InspectorError(
                f"A mean is of prompts that are run again, and {named!r:.60} is a saved trace: give its token ids."
            )
        source = Source(prompts=tuple(ids for one in sources for ids in one.prompts))
    return Edit(
        kind="mean",
        source=source,
        layers=numbers(layers),
        heads=numbers(heads),
        by_position=by_position,
        queries=numbers(queries),
        when=when,
    )


def patch(
    source: Values | None,
    layers: Numbers = None,
    heads: Numbers = None,
    *,
    what: Vectors = "context",
    positions: Numbers = None,
    source_positions: Numbers = None,
) -> Edit:
    """Replace vectors by those of another prompt, or of a saved trace.

    Args:
        source: a trace, a prompt's token ids (both are run again by the same model), or the file of a saved trace;
            None: the second prompt of each pair that an experiment is given.
        layers: the layers.
        heads: the query heads; of keys and values, all of a group.
        what: "context" (head outputs before W_o), "query", "key" (both after rotation), "value" or "weights".
        positions: the tokens whose vectors are replaced; None: all, of prompts of equal length.
        source_positions: the source's tokens that take their places; None: the same.

    Returns:
        The edit.

    Raises:
        InspectorError: the source is none.
    """
    return Edit(
        kind="patch",
        what=what,
        source=source_of(source),
        layers=numbers(layers),
        heads=numbers(heads),
        positions=numbers(positions),
        source_positions=numbers(source_positions),
    )


def resample(source: Values | None, layers: Numbers = None, heads: Numbers = None) -> Edit:
    """Replace whole head outputs by those of another prompt of equal length: `patch` of all their tokens.

    Args:
        source: as in `patch`.
        layers: the layers.
        heads: the query heads.

    Returns:
        The edit.
    """
    return patch(source, layers, heads)


def freeze(source: Values | None, layers: Numbers = None, heads: Numbers = None) -> Edit:
    """Hold attention weights as they are in another run of as many tokens: `patch` of weights.

    Args:
        source: as in `patch`; the prompt's own trace holds the pattern while other edits change what is attended to.
        layers: the layers.
        heads: the query heads.

    Returns:
        The edit.
    """
    return patch(source, layers, heads, what="weights")
