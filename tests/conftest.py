"""What several test files share: the packaged real model, loaded once, and tiny random models on disk."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches a hub unless it makes its own on loopback

import pytest
import tiny
import torch

import inspector
from inspector.model import Model

HOUSTON = "Houston, we have a problem"


@pytest.fixture(scope="session")
def smollm() -> Model:
    """The packaged real model: SmolLM2-135M-Instruct."""
    return inspector.load()


@pytest.fixture(scope="session")
def houston(smollm: Model) -> inspector.Trace:
    return smollm.trace(HOUSTON, keep=("input", "output", "residual"))


@pytest.fixture
def tiny_model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    """A tiny random model of the kind given by indirect parametrisation, saved to disk and loaded from there."""
    return tiny.load(request.param, tmp_path)


@pytest.fixture(autouse=True)
def _same_numbers_each_time() -> None:
    torch.manual_seed(0)
