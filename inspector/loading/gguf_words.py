"""Whether the tokenizer that the library builds of a GGUF file cuts text as the file says.

A byte-level vocabulary's merges were learned on text that was cut in one of many ways; the file names the way
(`tokenizer.ggml.pre`). The library knows some of these names and takes GPT-2's way for all others.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

PRE, MODEL = "tokenizer.ggml.pre", "tokenizer.ggml.model"
AS_GPT2 = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe"}  # llama.cpp cuts these as GPT-2 does
EACH_DIGIT = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}  # then as GPT-2
DIGITS = "1234567890 + 12.5 = 20%, from 1 to 10, x2 ４２"


def words_remark(pre: str, tokenizer: Any) -> str:
    """Say that a file's way of cutting text is not the one that the library's tokenizer has.

    Args:
        pre: the way's name in the file; empty where it names none.
        tokenizer: the library's tokenizer of it.

    Returns:
        A sentence; empty where the way is the library's, or gives the same ids.
    """
    if not pre or pre in AS_GPT2 or pre in known_to_library():
        return ""
    if pre in EACH_DIGIT and not _digits_differ(tokenizer.backend_tokenizer):
        return ""
    return (
        f"The file says that its text is cut into words as {PRE} = {pre}, which the library does not know: it cuts as "
        "GPT-2 does, so a prompt's tokens may not be those that the model was trained on."
    )


def known_to_library() -> Collection[str]:
    """Return the ways of cutting text that the installed library knows by name."""
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError:  # older releases know none
        return ()
    found: Collection[str] = GGUF_PRE_TOKENIZER_SPLITS.keys()
    return found


def _digits_differ(built: Any) -> bool:
    """Return whether digits that are cut one by one become other ids."""
    from tokenizers import pre_tokenizers

    due = copy.deepcopy(built)
    due.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), built.pre_tokenizer])
    found: bool = due.encode(DIGITS).ids != built.encode(DIGITS).ids
    return found
