"""Mistakes that no change was written for: the judge names them by their value, and never by another's."""

from __future__ import annotations

import pytest
import tiny
from judge_cases import HANDED
from judge_unseen import MODELS, TOKENS, UNSEEN, Own, load, outcome
from judge_unseen_again import AGAIN

import inspector
from inspector.model.model import Model

# name of a mistake -> the model that it is asked of in the quick tests
QUICK = {
    "length one instead of root mean square one": "qwen3",
    "keys' weight left out": "qwen3",
    "dropout left on": "qwen3",
    "added to the first key": "gpt_oss",
    "attention factor forgotten": "gpt_oss",
    "scaling left out": "gpt_oss",
    "sines for cosines": "qwen3",
    "twice": "qwen3",
    "keys used as values": "qwen3",
    "a window to both sides": "gpt_oss",
    "bias of queries twice": "gpt_oss",
    "values rounded to bfloat16": "gpt_oss",
}
TINY = [name for name in MODELS if name != "packaged"]


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {}


def model_of(name: str, made: dict[str, Model]) -> Model:
    if name not in made:
        made[name] = load(name)
    return made[name]


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "gpt_oss" else pytest.mark.slow) for n in TINY])
def test_right_code_is_right(models, name):
    model = model_of(name, models)
    report = inspector.judge(model, Own(model), tiny.ids(TOKENS))
    assert report.verdict == "right", str(report)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(n, case, marks=() if QUICK.get(case.name) == n else pytest.mark.slow, id=f"{n}-{case.name}")
        for n in TINY
        for case in (*UNSEEN, *AGAIN)
    ],
)
def test_what_was_not_seen_before_is_named(models, name, case):
    model = model_of(name, models)
    if not case.can(Own(model)):
        pytest.skip("this model cannot have it")
    for stages in HANDED.values():
        came, said = outcome(case, model, stages, tiny.ids(TOKENS))
        assert came == "named", f"{stages}: {came}: {said}"
