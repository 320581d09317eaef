"""A prompt and a tokenizer go in; Tokens come out: ids for the model, and for each a label that a person can read.

Byte-level tokenizers cut a character such as 日 into pieces that are not text by themselves. Such pieces are
shown as that character with a piece number (日⟨1/3⟩), never as replacement characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inspector.errors import InspectorError

_VISIBLE = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽"})
_PIECES_AT_MOST = 8  # a character has at most 4 bytes in UTF-8; some tokenizers add a marker piece
_CONTEXT = 4  # tokens decoded in front of a piece, so that a leading space is not stripped as a text's first


@dataclass(frozen=True)
class Tokens:
    """The n tokens of one prompt. `labels` make white space visible; `texts` are the raw pieces (a character that
    spans several tokens stands with its first, the others are empty), so that "".join(texts) is the decoded text."""

    ids: tuple[int, ...]
    labels: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def words(self) -> tuple[tuple[int, ...], ...]:
        """Token positions by word: a word begins where white space does or ends, and punctuation stands by itself."""
        groups: list[list[int]] = []
        before = " "
        for position, text in enumerate(self.texts):
            piece = text == "" and position > 0  # the rest of a character
            joins = bool(groups) and (piece or (_in_word(before[-1:]) and _in_word(text[:1])))
            if joins:
                groups[-1].append(position)
            else:
                groups.append([position])
            before = text or before
        return tuple(tuple(group) for group in groups)

    def word_labels(self) -> tuple[str, ...]:
        """What each word is called: its tokens' texts together, white space made visible."""
        return tuple("".join(self.texts[i] for i in group).translate(_VISIBLE) or "∅" for group in self.words)


def _in_word(character: str) -> bool:
    return character.isalnum() or character in "'’_"


def tokenize(prompt: str | Sequence[int], tokenizer: Any, *, vocabulary: int, limit: int | None = None) -> Tokens:
    """Token ids of `prompt` (text, or ids already) as this tokenizer makes them, its own special tokens included.

    Raises InspectorError for an empty prompt, text that is not valid Unicode, ids outside the vocabulary, or more
    tokens than `limit`, the positions the model has.
    """
    if isinstance(prompt, str):
        ids = _ids_of_text(prompt, tokenizer)
    else:
        ids = [int(token) for token in prompt]
    if not ids:
        raise InspectorError('The prompt is empty: give at least one token, for example "Houston, we have a problem".')
    wrong = next((token for token in ids if not 0 <= token < vocabulary), None)
    if wrong is not None:
        raise InspectorError(f"Token id {wrong} is outside the model's vocabulary of {vocabulary}; use ids from 0 on.")
    if limit is not None and len(ids) > limit:
        raise InspectorError(
            f"The prompt has {len(ids)} tokens and this model has positions for {limit}; "
            f"shorten it by {len(ids) - limit}."
        )
    texts, labels = _pieces(ids, tokenizer)
    return Tokens(ids=tuple(ids), labels=tuple(labels), texts=tuple(texts))


def _ids_of_text(prompt: str, tokenizer: Any) -> list[int]:
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InspectorError(
            f"Character {error.start + 1} of the prompt is U+{ord(prompt[error.start]):04X}, half of a surrogate pair "
            "and not text by itself; remove it."
        ) from None
    if not prompt:
        return []
    # Asked for plainly, the tokenizer warns beyond its model's length; that limit is judged above, in words.
    return list(tokenizer(prompt, verbose=False)["input_ids"])


def _pieces(ids: Sequence[int], tokenizer: Any) -> tuple[list[str], list[str]]:
    texts: list[str] = []
    labels: list[str] = []
    start = 0
    while start < len(ids):
        text, count = _whole_characters(ids, start, tokenizer)
        shown = text.translate(_VISIBLE) or "∅"
        if count == 1:
            labels.append(shown)
        else:
            labels.extend(f"{shown}⟨{piece}/{count}⟩" for piece in range(1, count + 1))
        texts.extend([text, *[""] * (count - 1)])
        start += count
    return texts, labels


def _whole_characters(ids: Sequence[int], start: int, tokenizer: Any) -> tuple[str, int]:
    """The text of the fewest tokens from `start` on that make whole characters, and how many those are."""
    before = list(ids[max(0, start - _CONTEXT) : start])
    prefix = _decode(before, tokenizer)
    for count in range(1, min(_PIECES_AT_MOST, len(ids) - start) + 1):
        text = _decode(before + list(ids[start : start + count]), tokenizer)[len(prefix) :]
        if "\ufffd" not in text:
            return text, count
    return _decode([ids[start]], tokenizer), 1  # the text itself holds U+FFFD, or bytes that are not text


def _decode(ids: list[int], tokenizer: Any) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) if ids else ""
    return text
