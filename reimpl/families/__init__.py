"""The table of families: a config.json goes in, the row that reads it comes out. One file a lineage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reimpl.families.custom import CUSTOM
from reimpl.families.deepseek import DEEPSEEK
from reimpl.families.defaults import DEFAULTS
from reimpl.families.family import Family
from reimpl.families.gemma import GEMMA
from reimpl.families.gpt import GPT
from reimpl.families.interleaved import INTERLEAVED
from reimpl.families.llama import LLAMA_LIKE
from reimpl.families.qwen import QWEN
from reimpl.spec import UnsupportedError

FAMILIES: dict[str, Family] = {
    name: replace(family, defaults={**DEFAULTS.get(name, {}), **family.defaults})
    for name, family in sorted({**LLAMA_LIKE, **CUSTOM, **GEMMA, **QWEN, **INTERLEAVED, **GPT, **DEEPSEEK}.items())
}

# Where a multimodal model's config.json keeps its language model's, in the order of looking.
TEXT_CONFIGS = ("text_config", "thinker_config", "llm_config", "language_config", "decoder_config", "backbone_config")

# Multimodal models whose language part is another type, where their files do not say so.
OTHER_NAMES = {"fuyu": "persimmon", "got_ocr2": "qwen2", "mllama": "mllama_text_model", "emu3": "emu3_text_model",
               "moss_transcribe_diarize": "qwen3", "aria": "aria_text", "llava": "llama"}  # fmt: skip


def family_of(config: Mapping[str, Any]) -> tuple[Family, Mapping[str, Any]]:
    """Find the row for a config's model_type, and the config it reads: a multimodal model's language part.

    Args:
        config: config.json as a dict.

    Returns:
        The row, and the part of the config that it reads.

    Raises:
        UnsupportedError: there is no row.
    """
    model_type = config.get("model_type")
    for name in TEXT_CONFIGS:
        part = config.get(name)
        if isinstance(part, Mapping) and "hidden_size" not in config:
            return family_of({"model_type": model_type, **part})
    for name in (str(model_type), f"{model_type}_text", OTHER_NAMES.get(str(model_type), "")):
        if name in FAMILIES:
            return FAMILIES[name], config
    raise UnsupportedError(
        f'model_type "{model_type}" is not reimplemented; {len(FAMILIES)} types are (docs/architectures.md). '
        "Its attention can still be captured and viewed."
    )
