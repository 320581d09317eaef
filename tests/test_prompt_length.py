"""A prompt that is far too long is refused before it is tokenized, and one that just fits never is."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tiny
from test_any_prompt import KINDS, tiny_bytes, tokenizers  # noqa: F401 - fixtures
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from inspector.errors import InspectorError
from inspector.model.model import Model
from inspector.trace.prompt_length import surely_longer
from inspector.trace.tokens import ids_of_text, tokenize
from inspector.ui.server import settings

LIMIT = 64
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The lengths of all texts that the library is asked to tokenize."""
    lengths: list[int] = []
    encode = PreTrainedTokenizerFast._encode_plus

    @functools.wraps(encode)
    def counted(self: Any, text: Any, *rest: Any, **options: Any) -> Any:
        lengths.append(len(text))
        return encode(self, text, *rest, **options)

    monkeypatch.setattr(PreTrainedTokenizerFast, "_encode_plus", counted)
    return lengths


def bpe(words: list[str], *, added: list[AddedToken] | None = None, **settings: Any) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer with these words, each made of its letters from left to right, and all bytes."""
    letters = sorted({letter for word in words for letter in word})
    starts = [word[:size] for word in words for size in range(2, len(word) + 1)]
    vocabulary = {token: place for place, token in enumerate(dict.fromkeys(["<unk>", *BYTES, *letters, *starts]))}
    merges = list(dict.fromkeys((start[:-1], start[-1]) for start in starts))
    made = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    for name, part in settings.items():
        setattr(made, name, part)
    found = PreTrainedTokenizerFast(tokenizer_object=made)
    found.add_tokens(added or [])
    return found


def longest_of(tokenizer: Any) -> str:
    """The text of the longest token that is a token of its own."""
    texts = sorted((tokenizer.decode([token]) for token in tokenizer.get_vocab().values()), key=len, reverse=True)
    return next(text for text in texts if len(tokenizer(text * 4)["input_ids"]) <= 4)


@pytest.mark.packaged
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("packaged", "Houston, we have a problem. "),
        ("packaged", "日本語"),
        ("byte_level", "x"),
        ("byte_fallback", "the cat "),
        ("byte_fallback", "\x1d"),
        ("words", "w1 "),
        ("words", "unknown\t"),
        ("word_piece", "it was tired\n"),
    ],
)
def test_twenty_megabytes_are_refused_untokenized(tokenizers, asked, kind, text):  # noqa: F811
    if kind == "packaged":
        tiny.skip_where_unknown_characters_are_swallowed(tokenizers[kind])
    prompt = text * (20_000_000 // len(text.encode()))
    with pytest.raises(InspectorError, match=rf"has {len(prompt):,} characters, .* the 1024 tokens .*: shorten it\.$"):
        tokenize(prompt, tokenizers[kind], vocabulary=10**6, limit=1024)
    assert asked == []


@pytest.mark.packaged
@pytest.mark.parametrize("kind", [*KINDS, "packaged"])
def test_a_prompt_of_the_longest_tokens_just_fits(tokenizers, kind):  # noqa: F811
    tokenizer = tokenizers[kind]
    prompt = longest_of(tokenizer) * LIMIT
    length = len(tokenizer(prompt)["input_ids"])
    assert ids_of_text(prompt, tokenizer, limit=length) is not None
    assert not surely_longer(prompt, tokenizer, length)


LETTERS = "".join(map(chr, range(0x41, 0x41 + 40)))
GREEK = "".join(filter(lambda letter: len(unicodedata.normalize("NFD", letter)) == 4, map(chr, range(0x1F80, 0x1FB0))))
DECOMPOSED = unicodedata.normalize("NFD", GREEK)  # each of these letters as four characters


@pytest.mark.parametrize(
    ("tokenizer", "prompt", "length"),
    [
        pytest.param(lambda: bpe([LETTERS]), LETTERS * LIMIT, LIMIT, id="a long token"),
        pytest.param(lambda: bpe(["ab"], added=[AddedToken("a" * 90)]), "a" * 90 * LIMIT, LIMIT, id="a long added one"),
        pytest.param(
            lambda: bpe(["ab"], added=[AddedToken("<s>", lstrip=True)]),
            (" " * 500 + "<s>") * 8,
            8,
            id="one takes spaces",
        ),
        pytest.param(lambda: bpe([GREEK], normalizer=normalizers.NFC()), DECOMPOSED * LIMIT, LIMIT, id="composed"),
        pytest.param(
            lambda: bpe(["ab"], added=[AddedToken("ﷺ", normalized=True)], normalizer=normalizers.NFKC()),
            unicodedata.normalize("NFKC", "ﷺ") * LIMIT,
            LIMIT,
            id="an added one that grows",
        ),
        pytest.param(
            lambda: bpe(["ab"], normalizer=normalizers.Replace("xxxxxxxxxx", "")),
            "xxxxxxxxxx" * 999 + "ab",
            1,
            id="cut",
        ),
        pytest.param(
            lambda: bpe(["ab"], pre_tokenizer=pre_tokenizers.WhitespaceSplit()), " " * 9999 + "ab", 1, id="spaces lost"
        ),
        pytest.param(
            lambda: bpe(["ab"], pre_tokenizer=pre_tokenizers.Split("x", "removed")), "x" * 9999 + "ab", 1, id="removed"
        ),
    ],
)
def test_nothing_that_fits_is_refused(tokenizer: Callable[[], Any], prompt: str, length: int) -> None:
    made = tokenizer()
    assert len(made(prompt)["input_ids"]) == length, "the example is not what its name says"
    assert len(prompt) > 16 * length
    assert not surely_longer(prompt, made, length)


def test_unicode_composes_no_more_than_four_characters():
    everything = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    assert max(len(unicodedata.normalize("NFD", character)) for character in everything) == 4


@pytest.mark.packaged
def test_what_the_packaged_tokenizer_leaves_out_does_not_count(smollm):
    tiny.skip_where_unknown_characters_are_swallowed(smollm.tokenizer)
    prompt = "\x1d" * 500_000 + "a"  # it has no token for this byte
    assert len(smollm.tokenize(prompt)) == 1


def test_words_of_any_length_and_spaces_are_one_token_at_most(tokenizers):  # noqa: F811
    for prompt in ("x" * 9999, "w1" + " " * 9999, "\u3000 " * 9999 + "w1"):
        assert len(tokenizers["words"](prompt)["input_ids"]) == 1
        assert not surely_longer(prompt, tokenizers["words"], 1)
        assert len(tokenizers["word_piece"](prompt)["input_ids"]) <= 2
        assert not surely_longer(prompt, tokenizers["word_piece"], 2)


def test_a_token_added_later_counts(asked):
    made = bpe(["ab"])
    prompt = "a" * 300 * LIMIT
    assert ids_of_text(prompt, made, limit=LIMIT) is None
    assert asked == []
    made.add_tokens(["a" * 300])
    assert len(ids_of_text(prompt, made, limit=LIMIT)) == LIMIT


def test_the_models_positions_refuse_untokenized(tiny_bytes: Model, asked):  # noqa: F811
    for ask in (tiny_bytes.tokenize, tiny_bytes.trace, tiny_bytes.cost):
        with pytest.raises(
            InspectorError, match=r"500,000 characters, which are more than the 2048 tokens that this model"
        ):
            ask("x" * 500_000)
    assert asked == []


@pytest.mark.packaged
@pytest.mark.parametrize(
    ("length", "sentence"),
    [
        (
            20_000_000,
            r"20,000,000 characters, and this server allows 4,194,304 characters and 1,024 tokens: shorten it",
        ),
        (2_000_000, r"2,000,000 characters, which are more than the 1,024 tokens that this server allows: shorten it"),
    ],
)
def test_the_servers_own_limit_is_named(smollm, asked, length, sentence):
    tiny.skip_where_unknown_characters_are_swallowed(smollm.tokenizer)
    with pytest.raises(InspectorError, match=sentence):
        settings.Limits(1024).check(smollm, "x " * (length // 2), 0)
    assert asked == []


@pytest.mark.packaged
def test_beyond_the_models_positions_too_the_servers_limit_is_named(smollm):
    with pytest.raises(
        InspectorError, match=r"The prompt has [0-9,]+ tokens, and this server allows 1,024: shorten it"
    ):
        settings.Limits(1024).check(smollm, "x " * 10_000, 0)


@pytest.mark.packaged
def test_a_server_without_a_limit_of_tokens_has_one_of_characters(smollm, asked):
    with pytest.raises(InspectorError, match=r"5,000,000 characters, and this server allows 4,194,304 characters: sho"):
        settings.Limits().check(smollm, "\x1d" * 5_000_000, 0)
    assert asked == []
