"""Chat messages as prompts, and one sentence for whatever a chat template or a tokenizer raises."""

import fuzz
import pytest
import tiny
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import inspector
from inspector import InspectorError

ASKS = ["trace", "tokenize", "cost"]
PLAIN = (
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}w9{% endif %}"
)
TURNS = [
    {"role": "system", "content": "w1 w2"},
    {"role": "user", "content": "w3"},
    {"role": "assistant", "content": "w4"},
    {"role": "user", "content": "w5"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save("grouped", tmp_path_factory.mktemp("prompts"))


@pytest.fixture
def model(folder):
    return inspector.load(folder)


def refusal(call) -> str:
    with pytest.raises(InspectorError) as caught:
        call()
    return fuzz.one_sentence(caught.value)


def with_tokenizer(model, tokenizer):
    return inspector.load(model.model, tokenizer)


# -- chat messages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"chat": True}, {}], ids=["chat", "plain"])
@pytest.mark.parametrize("turns", [TURNS, tuple(TURNS), TURNS[1:2], TURNS[:3]], ids=["list", "tuple", "one", "last"])
def test_a_list_of_messages_goes_through_the_chat_template(model, turns, options):
    model.tokenizer.chat_template = PLAIN
    due = [0 if word.isalpha() else int(word[1:]) for m in turns for word in (m["role"], *m["content"].split())]
    due += [9] * (turns[-1]["role"] != "assistant")  # w0 is what the tokenizer does not know
    assert list(model.tokenize(turns, **options).ids) == due
    assert list(model.trace(turns, **options).tokens.ids) == due
    assert model.cost(turns, **options).tokens == len(due)


def test_one_users_text_is_that_users_only_message(model):
    model.tokenizer.chat_template = PLAIN
    assert model.tokenize("w3", chat=True) == model.tokenize([{"role": "user", "content": "w3"}])


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([{"role": "user"}], "Message 1 of the chat (role 'user') has no content"),
        ([TURNS[0], {"content": "w1"}], "Message 2 of the chat says no role"),
        ([TURNS[0], "w1"], "Message 2 of the chat is a str"),
        ([{"role": 3, "content": "w1"}], "Message 1 of the chat says no role"),
    ],
)
def test_what_is_no_message_is_refused_by_its_number(model, ask, turns, words):
    model.tokenizer.chat_template = PLAIN
    assert words in refusal(lambda: getattr(model, ask)(turns))


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("prompt", ["w1", TURNS], ids=["text", "messages"])
@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('no such roles') }}", "(no such roles)"),
        ("{{ messages[0].parts.text }}", "has no attribute 'parts'"),
        ("{% if %}", "Expected an expression"),
        ("{{ messages[0]['content'] + 1 }}", "can only concatenate str"),
        ("{% for part in messages[0]['content'] %}{{ part['text'] }}{% endfor %}", "makes no token of"),
        (" ", "makes no token of"),
    ],
)
def test_whatever_a_template_does_is_one_sentence(model, ask, prompt, template, words):
    model.tokenizer.chat_template = template
    said = refusal(lambda: getattr(model, ask)(prompt, chat=True))
    assert words in said
    assert "chat template of" in said


def test_messages_without_a_template_and_ids_with_chat(model):
    assert "has no chat template" in refusal(lambda: model.trace(TURNS))
    assert "token ids are already past it" in refusal(lambda: model.trace([1, 2], chat=True))


# -- tokenizers -------------------------------------------------------------------------------------------------------


class Broken:
    """A tokenizer of somebody's own, whose code fails."""

    def __call__(self, *_, **__):
        raise KeyError("no such merge")

    def decode(self, *_, **__):
        raise OverflowError("out of range")


def no_unknown():
    made = Tokenizer(models.WordLevel({"w1": 1}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made)


def unigram():
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram([("w", -1.0)])))


def word_piece():
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordPiece({"w": 0}, unk_token="[UNK]")))


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("make", [no_unknown, unigram, word_piece, Broken])
def test_whatever_a_tokenizer_raises_is_one_sentence(model, ask, make):
    said = refusal(lambda: getattr(with_tokenizer(model, make()), ask)("zz"))
    assert "cannot take this prompt (" in said


def test_ids_that_a_tokenizer_cannot_decode(model):
    assert "has no text for the token ids [1]" in refusal(lambda: with_tokenizer(model, Broken()).trace([1, 2]))


def only_a():
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0}, [])))


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("prompt", ["zz", " ", "\n\t", "日本"])
def test_a_prompt_of_which_no_token_is_made_is_not_called_empty(model, ask, prompt):
    said = refusal(lambda: getattr(with_tokenizer(model, only_a()), ask)(prompt))
    assert said.startswith(f"The tokenizer makes no token of this prompt ({prompt!r})")
    assert "prompt is empty" in refusal(lambda: getattr(with_tokenizer(model, only_a()), ask)(""))


@pytest.mark.parametrize("tokenizer", ["gpt2", 3, ["a"], {"a": 1}])
def test_what_is_no_tokenizer_is_refused_at_once(model, tokenizer):
    assert f"this is a {type(tokenizer).__name__}" in refusal(lambda: with_tokenizer(model, tokenizer))
