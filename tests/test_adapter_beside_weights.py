"""A folder that holds a whole model and a PEFT adapter: the library adds the adapter where PEFT is installed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import IDS, change, saved
from transformers import AutoModelForCausalLM

import inspector
from inspector.loading import adapter, library_model


def whole_model_beside(tmp_path: Path, **settings: Any) -> tuple[Path, Any]:
    """A folder that holds a whole model and an adapter, and the live model."""
    folder, live = saved(tmp_path, **settings)
    change(folder, base_model_name_or_path="/nowhere/else")  # the model beside counts, not this
    shutil.copytree(tmp_path / "base", folder, dirs_exist_ok=True)
    return folder, live


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"layers_to_transform": [1]}])
def test_an_adapter_beside_a_whole_model_is_added_as_the_library_does_it(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    folder, live = whole_model_beside(tmp_path, **settings)
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    due = live(torch.tensor([IDS])).logits[0, -1]
    model, given = inspector.load(folder), inspector.load(theirs, inspector.load(folder).tokenizer)
    by_us = library_model.without_adapter(folder)  # else the library has added it, as an object's
    for each, weights in ((model, "files" if by_us else "memory"), (given, "memory")):
        assert torch.allclose(each.trace(IDS).last_logits, due, atol=2e-4)
        report = inspector.verify(each, IDS, controls=False)
        assert (report.verdict, report.weights_from) == ("equal", weights), str(report)
    assert "The adapter beside them is added, as the library does it." in model.source.note


def test_an_adapter_beside_a_whole_model_is_left_out_where_the_library_does_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = whole_model_beside(tmp_path)
    if not library_model.without_adapter(folder):
        pytest.skip("this version of the library adds it wherever peft is installed, as it is here")
    monkeypatch.setattr(adapter, "is_installed", lambda module: False)
    model = inspector.load(folder)
    assert torch.equal(model.trace(IDS).last_logits, inspector.load(tmp_path / "base").trace(IDS).last_logits)
    report = inspector.verify(model, IDS, controls=False)
    assert (report.verdict, report.weights_from) == ("equal", "files")
    assert "is left out, as the library does without the package peft: run `pip install peft`" in str(report)


def test_an_adapter_without_weights_beside_a_whole_model_is_said(tmp_path: Path) -> None:
    folder, _ = whole_model_beside(tmp_path)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(inspector.InspectorError, match=r"in no adapter_model\.saf.*: .* or take away its adapter_"):
        inspector.load(folder)
