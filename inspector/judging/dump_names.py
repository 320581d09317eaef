"""Read the name of a dumped array: which layer's it is, and which stage of attention.

Ours are those of verify's table with the layer before them, "layers.0.query". Others are read too: those of
`stage_names`, those of transformers' modules, and llama.cpp's ("Qcur-0").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from inspector.judging.stage_names import stage_of
from inspector.verification.compare import STAGES

INPUT = "input"  # what the layer's attention received, which may be handed over beside the stages
IDS = ("ids", "input_ids", "token_ids", "tokens")

# Outputs of the projecting modules: stages where no norm follows them.
_MODULES = {"q_proj": "query_pre", "k_proj": "key_pre", "v_proj": "value", "o_proj": "output"}
# llama.cpp's. A name's last dump is the one after rotation; kqv_out stands before W_o or, in older versions, after it.
_GGML: dict[tuple[str, ...], str] = {
    ("query",): "qcur",
    ("key",): "kcur",
    ("value",): "vcur",
    ("weights",): "kq_soft_max kq_soft_max_ext",
    ("context",): "kqv kqv_merged kqv_merged_cont",
    ("context", "output"): "kqv_out",
    ("output",): "kqv_wo attn_out",
    (INPUT,): "attn_norm",
}
_INPUTS = (INPUT, "x", "attn_input", "attention_input", "attn_in")

_BY_GGML = {name: stages for stages, names in _GGML.items() for name in names.split()}
_LAYER = re.compile(r"(?:layers?|blocks?|blk|h|l)?_?([0-9]{1,4})")
_BETWEEN = (
    "model",
    "transformer",
    "decoder",
    "layers",
    "layer",
    "blocks",
    "blk",
    "h",
    "self_attn",
    "attn",
    "attention",
)


@dataclass(frozen=True)
class Place:
    """What an array's name says.

    Attributes:
        layer: the number in it; None where there is none.
        stages: the stage, or those that it may be; empty for scores, which are judged by their weights.
        backwards: dimensions may be written in ggml's order, the fastest first; the layer is then a block's number.
        unnormed: a projecting module's output, before any norm of queries and keys.
    """

    layer: int | None
    stages: tuple[str, ...]
    backwards: bool = False
    unnormed: bool = False


def place_of(name: str) -> Place | None:
    """Read an array's name.

    Args:
        name: such as "layers.0.query", "layer_0/q", "model.layers.0.self_attn.q_proj" or "Qcur-0".

    Returns:
        What it says; None where it is no stage of attention.
    """
    low = name.lower()
    if re.search(r"[./:]-[0-9]", low):
        return None  # a negative number is no layer
    if found := re.fullmatch(r"(?:.*[./])?([a-z_]+)-([0-9]{1,4})", low):
        word, number = found[1], int(found[2])
        if word in _BY_GGML or word == "kq":
            return Place(number, _BY_GGML.get(word, ()), backwards=True)
    words = [word for word in re.split(r"[./\\:\-]+", low) if word]
    numbers = [int(found[1]) for word in words if (found := _LAYER.fullmatch(word))]
    words = [word for word in words if not _LAYER.fullmatch(word)]
    words = [word for word in words[:-1] if word not in _BETWEEN] + words[-1:]
    if len(words) == 1 and not numbers and (found := re.fullmatch(r"([a-z_]*[a-z])_([0-9]{1,4})", words[0])):
        words, numbers = [found[1]], [int(found[2])]
    if len(words) != 1 or len(numbers) > 1:
        return None
    layer, word = numbers[0] if numbers else None, words[0]
    if word in _MODULES:
        return Place(layer, (_MODULES[word],), unnormed=word in ("q_proj", "k_proj"))
    stage = INPUT if word in _INPUTS else stage_of(word)
    if stage is None:
        return None
    return Place(layer, () if stage == "scores" else (stage,))


def names_in_words() -> str:
    """Return the names that a dump's arrays should have, for a sentence."""
    return f"layers.0.{INPUT}, layers.0.{STAGES[0]}, {', '.join(STAGES[1:])} and so on for each layer"
