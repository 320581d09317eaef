"""Labels that a person can read, and texts that join to the prompt again."""

import pytest
import tiny

pytestmark = pytest.mark.packaged


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        ("a b", ("a", "␣b")),
        (" a\n\tb", ("␣a", "↵", "⇥", "b")),
        ("日本", ("日⟨1/2⟩", "日⟨2/2⟩", "本")),
        ("</script>", ("</", "script", ">")),
        ("<|im_end|>", ("<|im_end|>",)),
    ],
)
def test_labels(smollm, prompt, labels):
    assert smollm.tokenize(prompt).labels == labels


@pytest.mark.parametrize(
    "prompt",
    [
        "Houston, we have a problem",
        "日本語の 🙂👩‍👩‍👧 émoji",
        "\u202eright to left אבג",
        "a\u2028b\x00\x07",
        "  \n\n ",
        "x" * 500,
        "�",
    ],
)
def test_texts_join_to_the_prompt(smollm, prompt):
    tokens = smollm.tokenize(prompt)
    assert "".join(tokens.texts) == prompt
    assert len(tokens.labels) == len(tokens.texts) == len(tokens)
    assert all(tokens.labels)
    assert prompt == "�" or not any("�" in label for label in tokens.labels)


def test_pieces_that_are_no_text_by_themselves(smollm):
    half = smollm.tokenize("日").ids[:1]
    tokens = smollm.tokenize(list(half))
    assert len(tokens.labels) == 1


def test_what_the_tokenizer_has_no_token_for_stays_where_it_is(smollm):
    """Byte F2 is no token of it, and the end of the first character is in one token with what is left of the second."""
    tiny.skip_where_unknown_characters_are_swallowed(smollm.tokenizer)
    tokens = smollm.tokenize("\U000ea8c2\U000b9000 b")
    assert tokens.texts[0] == "\U000ea8c2�"
    assert "".join(tokens.texts) == smollm.tokenizer.decode(tokens.ids)
    assert tokens.labels[-1] == "␣b"
