"""A module's attention is found in its code whatever its methods are wrapped in: decorators, properties, functions."""

import functools

import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional as F

import inspector
from inspector.capture.code_names import names_in, names_in_class
from inspector.capture.hooks import asks_interface
from inspector.capture.torch_functions import computes_attention
from inspector.coverage import tiny as types


def with_wraps(function):
    """As transformers 5.24 decorates forward methods whose argument was renamed."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def without_wraps(function):
    return lambda *args, **kwargs: function(*args, **kwargs)


class Decorator:
    """A decorator that is a class."""

    def __init__(self, function):
        functools.update_wrapper(self, function)
        self.function = function

    def __get__(self, module, kind=None):
        return functools.partial(self.function, module)


def attend(self, x):
    return F.softmax(x @ x.mT, dim=-1) @ x


class InAnInnerFunction(nn.Module):
    def forward(self, x):
        def weights(y):
            return F.softmax(y @ y.mT, dim=-1)

        return weights(x) @ x


class InAProperty(nn.Module):
    @property
    def weights(self):
        return F.softmax(self.x @ self.x.mT, dim=-1)

    def forward(self, x):
        self.x = x
        return self.weights @ x


class InAStaticMethod(nn.Module):
    @staticmethod
    @without_wraps
    def weights(x):
        return F.softmax(x @ x.mT, dim=-1)

    def forward(self, x):
        return self.weights(x) @ x


def wrapped_in(decorate):
    return type("Wrapped", (nn.Module,), {"forward": decorate(attend)})


WRAPPED = {
    "functools.wraps": wrapped_in(with_wraps),
    "no wraps": wrapped_in(without_wraps),
    "twice": wrapped_in(lambda function: without_wraps(with_wraps(function))),
    "torch.no_grad": wrapped_in(torch.no_grad()),
    "partialmethod": wrapped_in(functools.partialmethod),
    "a class": wrapped_in(Decorator),
    "lru_cache": wrapped_in(functools.lru_cache),
    "inherited": type("Inherits", (wrapped_in(with_wraps),), {}),
    "inner function": InAnInnerFunction,
    "property": InAProperty,
    "static method": InAStaticMethod,
}


@pytest.mark.parametrize("how", WRAPPED)
def test_attention_is_found_in_wrapped_code(how):
    assert computes_attention(WRAPPED[how]())


@pytest.mark.parametrize("decorate", [with_wraps, without_wraps])
def test_a_wrapped_module_that_asks_the_library_is_found_too(decorate):
    asking = type(types.build(types.types()["llama"]).model.layers[0].self_attn)
    wrapped = type("Wrapped", (nn.Module,), {"forward": decorate(asking.forward)})
    assert asks_interface(wrapped())
    assert not computes_attention(wrapped())


@pytest.mark.parametrize("decorate", [with_wraps, without_wraps])
@pytest.mark.parametrize("name", ["xglm", "roformer", "mpt"])
def test_a_librarys_module_decorated_anew_is_captured(name, decorate, tmp_path, monkeypatch):
    folder = types.save(types.types()[name], tmp_path)
    plain, other = inspector.load(folder).trace(tiny.ids(12)), inspector.load(folder)
    kind = type(next(module for module in other.model.modules() if computes_attention(module)))
    monkeypatch.setattr(kind, "forward", decorate(kind.forward))
    decorated = inspector.load(types.build(types.types()[name]), other.tokenizer).trace(tiny.ids(12))  # an object
    assert len(decorated.layers) == len(plain.layers) == 4
    assert torch.equal(decorated.weights(2), plain.weights(2))


def test_decorators_alone_are_no_attention():
    class Plain(nn.Module):
        @with_wraps
        def forward(self, x):
            return x

    assert not computes_attention(Plain())
    assert "relu" in names_in_class(type("One", (), {"f": with_wraps(lambda x: F.relu(x))}))


def test_what_has_no_code_and_what_refers_to_itself_is_passed():
    @without_wraps
    def again():
        return again()

    again.__wrapped__ = again
    assert "relu" not in names_in([again, 3, "text", None, property(), nn.Linear(1, 1), with_wraps(len)])
