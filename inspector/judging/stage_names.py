"""What others call the stages of attention, read as our names; docs/names.md has them side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from inspector.errors import InspectorError
from inspector.verification.compare import STAGES

# Our stage -> other names of it, in small letters without anything but letters and digits.
ALIASES: dict[str, tuple[str, ...]] = {
    "query_pre": (
        "querypre",
        "qpre",
        "qraw",
        "q0",
        "qproj",
        "queryprerope",
        "qprerope",
        "unrotatedquery",
        "qbefore",
        "querybefore",
        "hookq",
        "queriespre",
        "querypreposition",
    ),
    "key_pre": (
        "keypre",
        "kpre",
        "kraw",
        "k0",
        "kproj",
        "keyprerope",
        "kprerope",
        "unrotatedkey",
        "kbefore",
        "keybefore",
        "hookk",
        "keyspre",
    ),
    "query": (
        "query",
        "q",
        "queries",
        "qrot",
        "qrope",
        "qrotated",
        "queryrot",
        "rotatedquery",
        "querystates",
        "xq",
        "qpost",
        "querypost",
        "hookrotq",
        "qembed",
        "qs",
    ),
    "key": (
        "key",
        "k",
        "keys",
        "krot",
        "krope",
        "krotated",
        "keyrot",
        "rotatedkey",
        "keystates",
        "xk",
        "kpost",
        "keypost",
        "hookrotk",
        "kembed",
        "ks",
    ),
    "value": ("value", "v", "values", "vproj", "valuestates", "xv", "hookv", "vs", "vpre"),
    "weights": (
        "weights",
        "attn",
        "attnweights",
        "attentionweights",
        "attention",
        "attentions",
        "probs",
        "attnprobs",
        "attentionprobs",
        "pattern",
        "hookpattern",
        "softmax",
        "p",
        "w",
        "a",
        "kqsoftmax",
    ),
    "context": ("context", "ctx", "z", "hookz", "contextvectors", "heads", "headoutputs", "kqv", "attncontext"),
    "output": (
        "output",
        "out",
        "o",
        "attnoutput",
        "attentionoutput",
        "attnout",
        "y",
        "result",
        "hiddenstates",
        "kqvout",
        "hookattnout",
        "outputs",
    ),
    "scores": ("scores", "attnscores", "attentionscores", "hookattnscores", "qk", "kq", "score", "logitsattn"),
}
READ_AS = {alias: stage for stage, aliases in ALIASES.items() for alias in aliases}
OF_A_CACHE = frozenset({"past", "cache", "kvcache", "pastkeyvalues", "present", "state"})


def stage_of(name: str) -> str | None:
    """Return our name of a stage ("scores" too); None for a name that is not known.

    Args:
        name: what somebody calls it, such as "attn_weights".
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return READ_AS.get(plain)


def by_our_names(answer: Mapping[Any, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Read a mapping under our names.

    Args:
        answer: somebody's stages by their own names; what belongs to a cache is left out.
        where: what answered, for the sentence, such as "your attention".

    Returns:
        The stages by our names, and a sentence for each name that was not ours.

    Raises:
        InspectorError: no name is known, or two names mean the same stage.
    """
    found: dict[str, Any] = {}
    said, unknown = [], []
    named: dict[str, str] = {}
    for name, tensor in answer.items():
        plain = re.sub(r"[^a-z0-9]", "", str(name).lower())
        if plain in OF_A_CACHE or tensor is None:
            continue
        stage = stage_of(str(name))
        if stage is None:
            unknown.append(str(name))
            continue
        if stage in found:
            raise InspectorError(
                f"{where[0].upper()}{where[1:]} returned both {named[stage]!r} and {name!r}, which both mean {stage}: "
                f"name one of them otherwise; the stages are called {', '.join(STAGES)}."
            )
        found[stage], named[stage] = tensor, str(name)
        if str(name) != stage:
            said.append(f"{name!r} was read as {stage}")
    if not found:
        what = f"returned {', '.join(map(repr, unknown))}" if unknown else "returned no stage"
        raise InspectorError(
            f"{where[0].upper()}{where[1:]} {what}: return at least one of {', '.join(STAGES)}, by these names, or "
            "the output alone."
        )
    if unknown:
        said.append(f"{', '.join(map(repr, unknown))} is no stage that is known and was not compared")
    return found, said
