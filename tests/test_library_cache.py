"""The library's key/value cache goes back under the name the model returned it by: transformers 5.24 renamed it."""

import warnings
from types import SimpleNamespace

import pytest
import tiny
import torch

from inspector.coverage import tiny as types
from inspector.model.forward import greedy
from inspector.model.library_cache import returned_cache


class Renamed:
    """What a newer library returns: asked for the older name, it warns."""

    cache = "keys and values"

    @property
    def past_key_values(self):
        warnings.warn("past_key_values is deprecated", FutureWarning, stacklevel=1)
        return self.cache


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (SimpleNamespace(cache="new"), {"cache": "new"}),
        (SimpleNamespace(past_key_values="old"), {"past_key_values": "old"}),
        (SimpleNamespace(cache=None, past_key_values="old"), {"past_key_values": "old"}),
        (SimpleNamespace(cache="new", past_key_values="new"), {"cache": "new"}),
        (SimpleNamespace(logits=1), {}),
        (("logits", "cache"), {}),
        (Renamed(), {"cache": "keys and values"}),
    ],
)
def test_the_cache_is_found_under_its_newer_name_first(result, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert returned_cache(result) == expected


class Model:
    """A model that takes its cache by one name alone, and counts on: the next token is the last one and 1."""

    device = torch.device("cpu")

    def __init__(self, name):
        self.name, self.lengths, self.handed = name, [], []

    def get_output_embeddings(self):
        return torch.nn.Linear(1, 10)

    def __call__(self, ids, *, use_cache, **more):
        assert set(more) <= {self.name}
        self.lengths.append(ids.shape[1])
        self.handed.append(more.get(self.name))
        logits = torch.nn.functional.one_hot((ids + 1) % 10, 10).float()
        return SimpleNamespace(logits=logits, **({self.name: len(self.lengths)} if self.name else {}))


@pytest.mark.parametrize("name", ["cache", "past_key_values", ""])
def test_generation_hands_it_back_by_that_name(name):
    model = Model(name)
    assert greedy(model, [3, 4], 3) == [5, 6, 7]
    assert model.lengths == ([2, 1, 1] if name else [2, 3, 4])  # without a cache the whole text again
    assert model.handed == ([None, 1, 2] if name else [None] * 3)


# By grown attention of their own, sliding layers, positions of their own, states of a recurrence, no cache at all.
TYPES = ["llama", "gpt2", "xglm", "gemma3_text", "qwen3_5_text", "opt", "mamba", "openai-gpt"]


@pytest.mark.parametrize("name", TYPES)
def test_the_librarys_models_generate_without_a_warning_what_they_do_without_a_cache(name, tmp_path):
    model = types.build(types.types()[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        with_cache = greedy(model, tiny.ids(9), 6)
    text = tiny.ids(9)
    with torch.inference_mode():
        for _ in range(6):
            text = [*text, int(model(torch.tensor([text]), use_cache=False).logits[0, -1].argmax())]
    assert with_cache == text[9:]


@pytest.mark.parametrize("kind", ["grouped", "gemma2", "mistral", "qwen3"])
def test_a_models_cache_can_be_asked_for(kind, tmp_path):
    model = tiny.load(kind, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        cache = model.passes.cache(tiny.ids(5))
    assert len(cache.layers) == 3
    assert cache.layers[0].keys.shape[:2] == (1, 2)
