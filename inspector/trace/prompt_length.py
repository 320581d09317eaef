"""Tell that a text has too many tokens without tokenizing it, which takes seconds and gigabytes for megabytes.

That is a proof, never a guess: one token stands for so many characters at most, or each word takes at least one. Where
a tokenizer's parts are not known well enough for either, as where runs become one unknown token, nothing is claimed.
All is read from the tokenizer as it is at that moment.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any

_CHEAP = 16  # characters for each token allowed: a shorter text is tokenized quickly, and only that is exact
_LIBRARY = "transformers.tokenization_utils"  # whose methods put a text into the tokenizer as it stands
_COMPOSED = 4  # characters that Unicode's composed forms make one of, at most
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
# What a text goes through before the model, by what may become of its characters: none is lost, composed ones become
# one, white space is lost. What is in none of these sets may do anything.
_LOSSLESS = {"Lowercase", "NFD", "NFKD", "Prepend", "ByteLevel", "Metaspace", "Digits", "UnicodeScripts"}
_COMPOSING = {"NFC", "NFKC"}
_SPACES_LOST = {"Strip", "WhitespaceSplit", "Whitespace", "BertPreTokenizer"}
_WORDS_KEPT = {"Lowercase", "NFC", "NFD", "NFKC", "NFKD", "BertNormalizer"}
_ASCII_KEPT = {"Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Split", "ByteLevel"}  # nothing in ASCII to compose
_WORD_BY_WORD = {"WhitespaceSplit", "Whitespace", "BertPreTokenizer"}
# Printable ASCII and what follows up to ASCII white space: never more of them than a tokenizer finds words.
_WORD = re.compile(rb"[!-~]\S*")


def surely_longer(text: str, tokenizer: Any, limit: int) -> bool:
    """Return whether a text certainly has more tokens than a limit, without tokenizing it.

    Args:
        text: a prompt that is valid Unicode.
        tokenizer: the library's tokenizer.
        limit: so many tokens would be allowed.

    Returns:
        True where it can be proved; False says nothing.
    """
    if len(text) <= limit * _CHEAP or not _is_plain(tokenizer):
        return False
    backend = tokenizer.backend_tokenizer
    try:
        normalizers, pre_tokenizers = _steps(backend.normalizer), _steps(backend.pre_tokenizer)
    except Exception:  # a step written in Python cannot be described
        return False
    kind = type(backend.model).__name__
    if kind in ("WordLevel", "WordPiece"):
        return _has_more_words(text, backend, normalizers, pre_tokenizers, limit)
    return kind == "BPE" and _has_more_characters(text, backend, normalizers + pre_tokenizers, limit)


def _is_plain(tokenizer: Any) -> bool:
    """Whether this is a tokenizer of the `tokenizers` package that the library hands the text to, unchanged."""
    methods = [getattr(type(tokenizer), name, None) for name in ("__call__", "_encode_plus")]
    return hasattr(tokenizer, "backend_tokenizer") and all(
        str(getattr(method, "__module__", "")).startswith(_LIBRARY) for method in methods
    )


def _steps(part: Any) -> list[dict[str, Any]]:
    """Return the settings of a normalizer's or pre-tokenizer's steps, in order; none where there is no such part."""
    if part is None:
        return []

    def flat(settings: dict[str, Any]) -> list[dict[str, Any]]:
        if settings["type"] != "Sequence":
            return [settings]
        inner = settings.get("normalizers") or settings.get("pretokenizers") or []
        return [step for each in inner for step in flat(each)]

    return flat(json.loads(part.__getstate__()))


def _has_more_words(
    text: str, backend: Any, normalizers: list[dict[str, Any]], pre_tokenizers: list[dict[str, Any]], limit: int
) -> bool:
    """Whether a text has more words than `limit`, for a model that makes a token at least of each word."""
    kept = all(step["type"] in _WORDS_KEPT for step in normalizers)
    split = [step["type"] for step in pre_tokenizers]
    added = [token.content for token in backend.get_added_tokens_decoder().values()]
    if (
        not kept
        or len(split) != 1
        or split[0] not in _WORD_BY_WORD
        or any(len(content.split()) != 1 for content in added)
    ):
        return False
    return len(list(islice(_WORD.finditer(text.encode()), limit + 1))) > limit


def _has_more_characters(text: str, backend: Any, steps: list[dict[str, Any]], limit: int) -> bool:
    """Whether a text has more characters than `limit` tokens can stand for, for a byte-pair model."""
    added = list(backend.get_added_tokens_decoder().values())
    kinds = [_kind_of_step(step) for step in steps]
    if "unknown" in kinds:
        return False
    lost = _lost_bytes(backend, steps)
    if lost is None or (lost and backend.normalizer is not None):
        return False
    contents = [token.content for token in added]
    if backend.normalizer is not None:  # they may be looked for in the normalized text, after having been normalized
        contents += [backend.normalizer.normalize_str(content) for content in contents]
    vocabulary = backend.get_vocab(with_added_tokens=False)
    # A token of a byte-level vocabulary has a letter for each byte.
    size = len if not lost else lambda content: len(content.encode())
    longest = max([1, *map(len, vocabulary), *map(size, contents)])
    if not (text.isascii() and all(step["type"] in _ASCII_KEPT for step in steps)):
        longest *= _COMPOSED ** kinds.count("composing")
    if "spaces lost" in kinds or any(token.lstrip or token.rstrip for token in added):
        text = "".join(text.split())
    length = len(text.encode().translate(None, lost)) if lost else len(text)
    return length > limit * longest


def _kind_of_step(step: dict[str, Any]) -> str:
    """Return what may become of a text's characters in a step."""
    kind = step["type"]
    if kind == "Replace":
        pattern = step["pattern"].get("String")
        return "lossless" if pattern and len(step["content"]) >= len(pattern) else "unknown"
    if kind in ("Split", "Punctuation"):
        return "unknown" if step["behavior"] == "Removed" else "lossless"
    if kind in _LOSSLESS:
        return "lossless"
    return "composing" if kind in _COMPOSING else "spaces lost" if kind in _SPACES_LOST else "unknown"


def _lost_bytes(backend: Any, steps: list[dict[str, Any]]) -> bytes | None:
    """Return the bytes that take no token of their own; None where other characters may take none, either."""
    model = backend.model
    if model.unk_token is not None and not model.fuse_unk and model.token_to_id(model.unk_token) is not None:
        return b""  # whatever is unknown takes a token
    if model.continuing_subword_prefix or model.end_of_word_suffix:
        return None
    if model.byte_fallback and all(model.token_to_id(token) is not None for token in _BYTES):
        return b""
    if not any(step["type"] == "ByteLevel" for step in steps):
        return None
    return bytes(byte for byte, letter in _byte_letters().items() if model.token_to_id(letter) is None)


def _byte_letters() -> dict[int, str]:
    """Return the letter that stands for each byte in byte-level vocabularies, by GPT-2's rule."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + place) for place, byte in enumerate(others)}
