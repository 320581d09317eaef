"""Make a prompt's tokens: ids for the model, and for each a label that a person can read.

Byte-level tokenizers cut a character such as 日 into pieces that are not text by themselves. Such pieces are
shown as that character with a piece number (日⟨1/3⟩), never as replacement characters. A character that draws
nothing, or turns the text around it, is shown as its code (⟨U+200D⟩); an accent alone stands on a circle (◌́).
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inspector.errors import InspectorError
from inspector.text import first_sentence
from inspector.trace.prompt_length import surely_longer
from inspector.trace.whole_numbers import shown, whole_number

_VISIBLE = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽"}
_PIECES_AT_MOST = 8  # a character has at most 4 bytes in UTF-8; some tokenizers add a marker piece
_CONTEXT = 4  # tokens decoded in front of a piece, so that a leading space is not stripped as a text's first
_IN_HTML = 40  # tokens shown in a notebook,
_LONGEST = 24  # and characters of a label there
_UNSEEN = ("Cc", "Cf", "Zl", "Zp", "Zs")  # Unicode's kinds of characters that draw nothing
_UNSEEN_TOO = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0xE0000, 0xE1000)}
_UNSEEN_ALONE = {*range(0x180B, 0x1810), *range(0xFE00, 0xFE10)}  # they choose the form of the character before them


@dataclass(frozen=True, repr=False)
class Tokens:
    """The n tokens of one prompt.

    ids:    their numbers in the model's vocabulary.
    labels: what a person reads, white space made visible.
    texts:  the raw pieces, so that "".join(texts) is the decoded text. A character that spans several tokens stands
            with its first; the others are empty.
    """

    ids: tuple[int, ...]
    labels: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def words(self) -> tuple[tuple[int, ...], ...]:
        """Token positions by word: a word begins where white space begins or ends, and punctuation stands alone."""
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
        """Return a label for each of `words`: its tokens' texts together, white space made visible.

        Returns:
            As many labels as there are words.
        """
        return tuple(readable("".join(self.texts[i] for i in group)) for group in self.words)

    def __repr__(self) -> str:
        some = " · ".join(_shortened(label) for label in self.labels[:8])
        more = " ..." if len(self) > 8 else ""
        return f"{len(self)} token{'' if len(self) == 1 else 's'}: {some}{more}"

    def _repr_html_(self) -> str:
        labels = "".join(f"<td>{html.escape(_shortened(label))}</td>" for label in self.labels[:_IN_HTML])
        ids = "".join(f"<td>{token}</td>" for token in self.ids[:_IN_HTML])
        more = len(self) - _IN_HTML
        last = f"<td>... {more} more</td>" if more > 0 else ""
        return f"<table><tr>{labels}{last}</tr><tr>{ids}</tr></table>"


def readable(text: str) -> str:
    """Return a text so that every character of it can be seen, and none changes how others are shown.

    Args:
        text: any text.

    Returns:
        The readable form; "∅" for no text.
    """
    shown = "".join(_VISIBLE.get(character) or _seen(character) for character in text) or "∅"
    if ord(shown[0]) in _UNSEEN_ALONE:
        return f"⟨U+{ord(shown[0]):04X}⟩{shown[1:]}"
    return f"◌{shown}" if unicodedata.category(shown[0]) in ("Mn", "Me") else shown


def _seen(character: str) -> str:
    unseen = unicodedata.category(character) in _UNSEEN or ord(character) in _UNSEEN_TOO
    return f"⟨U+{ord(character):04X}⟩" if unseen else character


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"


def _in_word(character: str) -> bool:
    return character.isalnum() or character in "'’_"


def tokenize(prompt: str | Sequence[int], tokenizer: Any, *, vocabulary: int, limit: int | None = None) -> Tokens:
    """Make a prompt's tokens as a tokenizer does, its own special tokens included.

    Args:
        prompt: a text, or token ids already.
        tokenizer: the library's tokenizer.
        vocabulary: how many token ids the model knows.
        limit: how many positions the model has; None: there is no limit.

    Returns:
        The tokens.

    Raises:
        InspectorError: the tokenizer refuses the prompt or makes no token of it, or the prompt is empty, not valid
            Unicode, neither a text nor one list of whole numbers, has ids outside the vocabulary, or more tokens than
            `limit`.
    """
    ids = ids_of_text(prompt, tokenizer, limit=limit) if isinstance(prompt, str) else _ids_passed(prompt)
    if ids is None:
        raise InspectorError(
            f"The prompt has {len(prompt):,} characters, which are more than the {limit} tokens that this model has "
            "positions for: shorten it."
        )
    if not ids and isinstance(prompt, str) and prompt:
        raise InspectorError(
            f"The tokenizer makes no token of this prompt ({shown(prompt)}), whose characters it does not know or "
            "leaves out: write something else, or give token ids."
        )
    if not ids:
        raise InspectorError('The prompt is empty: give at least one token, for example "Houston, we have a problem".')
    wrong = next((token for token in ids if not 0 <= token < vocabulary), None)
    if wrong is not None and isinstance(prompt, str):
        raise InspectorError(
            f"The tokenizer makes token id {wrong} of this prompt, which is outside the model's vocabulary of "
            f"{vocabulary}; load the model with its own tokenizer."
        )
    if wrong is not None:
        raise InspectorError(f"Token id {wrong} is outside the model's vocabulary of {vocabulary}; use ids from 0 on.")
    if limit is not None and len(ids) > limit:
        raise InspectorError(
            f"The prompt has {len(ids)} tokens and this model has positions for {limit}; "
            f"shorten it by {len(ids) - limit}."
        )
    texts, labels = _pieces(ids, tokenizer)
    return Tokens(ids=tuple(ids), labels=tuple(labels), texts=tuple(texts))


def ids_of_text(prompt: str, tokenizer: Any, *, limit: int | None = None) -> list[int] | None:
    """Return the token ids of a text.

    Args:
        prompt: the text.
        tokenizer: the library's tokenizer.
        limit: how many tokens are allowed; None: any number.

    Returns:
        The ids, however many; None where the text is so long that it surely has more than `limit`: it is not tokenized.

    Raises:
        InspectorError: the text is not valid Unicode.
    """
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InspectorError(
            f"Character {error.start + 1} of the prompt is U+{ord(prompt[error.start]):04X}, half of a surrogate pair "
            "and not text by itself; remove it."
        ) from None
    if not prompt:
        return []
    if limit is not None and surely_longer(prompt, tokenizer, limit):
        return None
    # Asked for plainly, the tokenizer warns beyond its model's length; that limit is judged above, in words.
    return _asked(tokenizer, prompt, verbose=False)


def _asked(tokenizer: Any, text: str, **options: Any) -> list[int]:
    """Return the ids that a tokenizer makes of a text; whatever it raises becomes one sentence."""
    try:
        return [int(token) for token in tokenizer(text, **options)["input_ids"]]
    except Exception as error:  # the tokenizers library raises plain Exception, and a model's own code what it likes
        raise InspectorError(
            f"The tokenizer ({type(tokenizer).__name__}) cannot take this prompt ({first_sentence(error)}): write "
            "something else, give token ids, or load the model with its own tokenizer."
        ) from error


def _ids_passed(prompt: Any) -> list[int]:
    """Return the ids of one prompt. A batch is refused, however it comes: its padding would be attended to."""
    try:
        if isinstance(prompt, bytes) or hasattr(prompt, "keys") or getattr(prompt, "ndim", 1) != 1:
            raise TypeError
        ids = [whole_number(token) for token in prompt]
        if None in ids:  # 1.7, or a mask, which would read as the ids 1 and 0
            raise TypeError
        return [token for token in ids if token is not None]
    except TypeError:
        raise InspectorError(
            f"A prompt is one text, or one flat list of token ids without padding, and this is {_named(prompt)}: for "
            "several prompts give a list of texts, and each is run by itself."
        ) from None


def _named(prompt: Any) -> str:
    """Say what was passed, in a few words that hold none of its contents beyond a few characters."""
    if hasattr(prompt, "shape"):
        return f"a {type(prompt).__name__} of shape {list(prompt.shape)}"
    return f"a {type(prompt).__name__} ({shown(prompt)})"


def _pieces(ids: Sequence[int], tokenizer: Any) -> tuple[list[str], list[str]]:
    texts: list[str] = []
    labels: list[str] = []
    starts: list[int] = []  # where whole characters begin
    literal: list[int] | None = None
    start = 0
    while start < len(ids):
        # Never from the middle of a character on: some decoders then take all bytes up to here for broken.
        context = next((s for s in starts[-_CONTEXT:] if start - s <= _CONTEXT), starts[-1] if starts else start)
        text, count = _whole_characters(ids, context, start, tokenizer)
        if "\ufffd" in text:  # bytes that are no text, or text that holds this very character
            literal = _ids_of_replacement(tokenizer) if literal is None else literal
            if literal and list(ids[start : start + len(literal)]) == literal:
                text, count = "\ufffd", len(literal)
        starts.append(start)
        shown = readable(text)
        if count == 1:
            labels.append(shown)
        else:
            labels.extend(f"{shown}⟨{piece}/{count}⟩" for piece in range(1, count + 1))
        texts.extend([text, *[""] * (count - 1)])
        start += count
    return texts, labels


def _ids_of_replacement(tokenizer: Any) -> list[int]:
    """Return the ids that U+FFFD has within a text, which reads as bytes that are no text."""
    try:
        alone, after = (_asked(tokenizer, text, add_special_tokens=False) for text in ("a", "a\ufffd"))
    except InspectorError:  # it has a token for neither
        return []
    return after[len(alone) :] if after[: len(alone)] == alone else []


def _whole_characters(ids: Sequence[int], context: int, start: int, tokenizer: Any) -> tuple[str, int]:
    """Return the text of the fewest tokens from `start` on that make whole characters, and how many those are.

    They are decoded after the tokens from `context` on.
    """
    before = list(ids[context:start])
    prefix = _decode(before, tokenizer)
    for count in range(1, min(_PIECES_AT_MOST, len(ids) - start) + 1):
        text = _decode(before + list(ids[start : start + count]), tokenizer)[len(prefix) :]
        if "\ufffd" not in text:
            return text, count
    # Bytes that are no text are among them. A token may hold the end of a character and the first of those, as where
    # the tokenizer left out what it has no token for: then the fewest tokens whose text and that of what follows are
    # the text of both.
    ahead = list(ids[start : start + _PIECES_AT_MOST])
    whole = _decode(before + ahead, tokenizer)[len(prefix) :]
    for count in range(1, len(ahead) + (start + len(ahead) == len(ids))):
        text, rest = (_decode(before + part, tokenizer)[len(prefix) :] for part in (ahead[:count], ahead[count:]))
        if text + rest == whole or (not before and f"{text} {rest}" == whole):  # a text's first space may be dropped
            return text, count
    return _decode([ids[start]], tokenizer), 1


def _decode(ids: list[int], tokenizer: Any) -> str:
    if not ids:
        return ""
    try:
        text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    except Exception as error:  # as in `_asked`
        raise InspectorError(
            f"The tokenizer ({type(tokenizer).__name__}) has no text for the token ids {ids[:8]} "
            f"({first_sentence(error)}): load the model with its own tokenizer."
        ) from error
    return text
