"""Give pytest what judges attention: the fixture `judge`, and tiny random models by the marker `attention_models`.

It is installed with the package (an entry point), so nothing heavy is imported before a test asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from inspector.judging.report import Judgement
    from inspector.model.model import Model

MARKER = "attention_models"
TOKENS = 40  # of the prompt where none is given: longer than the windows of tiny models

# Where in one's code to look for a step that differs.
CHANGE = {
    "input": "what stands before attention: the norm, the MLP or the residual of the layer below",
    "project": "the projections: which matrix and bias, transposed or not, and how heads are cut out of them",
    "norm": "the norm of queries and keys: its weight (w or 1 + w), its epsilon, and that it comes before RoPE",
    "rotate": "RoPE: its base and scaling rule, which dimensions pair up, how many turn, and the first position",
    "score": "the scores: the scale, the soft-cap, and which key/value head each query head uses",
    "mask": "the mask: which keys each query may see (causal, window, chunk, padding), before the softmax",
    "softmax": "the softmax: over keys, in float32, with sinks where the model has them, and without dropout",
    "weighted sum": "the weighted sum: which value head each query head uses",
    "concatenate": "how heads are joined: [h, n, d] is turned to [n, h, d] before it is flattened",
    "output projection": "the output projection: W_o, transposed or not, and its bias",
}


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", f"{MARKER}(*types): run once for each of these model types, as the tiny random attention_model"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a marked test once for each model type that its marker names."""
    marker = metafunc.definition.get_closest_marker(MARKER)
    if "attention_model" not in metafunc.fixturenames:
        return
    if marker is None or not marker.args:
        raise pytest.UsageError(
            f'{metafunc.function.__name__} uses attention_model: mark it with @pytest.mark.{MARKER}("llama").'
        )
    metafunc.parametrize("attention_model", marker.args, indirect=True, ids=[str(name) for name in marker.args])


@pytest.fixture(scope="session")
def attention_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Make a tiny model with random weights of the type that the marker names, offline and in a second."""
    return tiny_model(request.param, tmp_path_factory.mktemp("attention_model") / "model")


@pytest.fixture
def judge() -> Callable[..., Judged]:
    """Judge your attention, as in `judge(model, mine).assert_right()`."""
    return judged


class Judged:
    """What a test is told of an attention; `report` is all that `inspector.judge` found."""

    def __init__(self, report: Judgement) -> None:
        """Take a report."""
        self.report = report

    def assert_right(self) -> Judged:
        """Fail the test unless the attention is right.

        Returns:
            Itself, for more assertions on `report`.
        """
        __tracebackhide__ = True
        if not self.report.ok:
            pytest.fail(in_six_lines(self.report), pytrace=False)
        return self


def judged(model: Any, mine: Any, prompt: Any = None, **options: Any) -> Judged:
    """Judge an attention for a test.

    Args:
        model: the fixture attention_model, another model that inspector.load returned, or what it loads.
        mine: your attention, in any of the forms that `inspector.judge` takes.
        prompt: a text or token ids; 40 varied ids where None.
        **options: as `inspector.judge` takes them.

    Returns:
        What came of it.
    """
    import inspector

    loaded = model if isinstance(model, inspector.Model) else inspector.load(model)
    ids = [(i * 7 + (i // 5) * 3) % loaded.vocabulary for i in range(TOKENS)] if prompt is None else prompt
    return Judged(inspector.judge(loaded, mine, ids, **options))


def in_six_lines(report: Judgement) -> str:
    """Return a judgement that is not right as six lines: verdict, step, layer, worst element, cause, what to change.

    Args:
        report: what `inspector.judge` found.

    Returns:
        The lines.
    """
    first = report.first_difference
    way = next((way for way in report.ways_run if way.ok is False), None)
    layer, worst = "none", "no number"
    if first is not None:
        known = math.isfinite(first.max_abs)
        layer, worst = (
            f"{first.layer}",
            f"{first.worst}{_size(first.max_abs, first.tolerance)}" if known else first.reason,
        )
    elif way is not None:
        layer = f"{way.layer}, {way.way}"
        worst = f"{way.stage or 'the call'} of token {way.token}{_size(way.max_abs, way.tolerance)}"
    elif back := [check for check in report.gradient_checks if not check.ok]:
        layer = f"{back[0].layer}, gradients"
        worst = f"by {back[0].by}, {back[0].worst or back[0].reason}"
    lines = {
        "attention": f"{report.verdict} ({report.model}, {report.n} tokens)",
        "step": report.step or "none",
        "layer": layer,
        "worst": worst,
        "cause": report.causes[0] if report.causes else "not found; the report's table has every stage of every layer",
        "change": CHANGE.get(report.step or "", report.summary()),
    }
    return "\n".join(f"{name + ':':<10} {' '.join(text.split())}" for name, text in lines.items())


def _size(largest: float | None, rounding: float | None) -> str:
    return (
        "" if largest is None or rounding is None else f" (largest difference {largest:.3g}, rounding {rounding:.1e})"
    )


def tiny_model(name: Any, folder: Path) -> Model:
    """Make a tiny model with random weights of a model type.

    Args:
        name: such as "llama" or "gemma2".
        folder: where its files are written; it is made.

    Returns:
        The model, as `inspector.load` returns it.

    Raises:
        InspectorError: there is no such type, or its attention needs more than a prompt.
    """
    import difflib

    import inspector
    from inspector.coverage.tiny import save, types

    known = types()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=3)
        raise inspector.InspectorError(
            f"There is no model type {name!r} in the installed transformers: "
            + (f"did you mean {' or '.join(near)}?" if near else "give one such as llama, qwen2 or gemma2.")
        )
    if known[name].needs:
        raise inspector.InspectorError(f"A tiny {name} cannot run on a prompt alone: it needs {known[name].needs}.")
    return inspector.load(save(known[name], folder))
