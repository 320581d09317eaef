"""Which weight files of a folder are the model: the library's choice, by checks, reimplementation and hub alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import inspector
import reimpl
from inspector.loading import folder_checks
from reimpl.weights_on_disk import INDEX, WHOLE


def other(folder: Path, name: str) -> None:
    """Write weights of the same names and shapes and other numbers."""
    save_file({key: tensor * 1.5 for key, tensor in load_file(folder / WHOLE).items()}, folder / name)


def sharded(folder: Path, factor: float) -> None:
    """Write two shards and their index, with numbers times `factor`."""
    tensors = {key: tensor * factor for key, tensor in load_file(folder / WHOLE).items()}
    places = {key: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, key in enumerate(tensors)}
    for shard in set(places.values()):
        save_file({key: tensors[key] for key in tensors if places[key] == shard}, folder / shard)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def named_in_config(folder: Path) -> None:
    other(folder, "best.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": "best.safetensors"}))


def only_shards(folder: Path) -> None:
    sharded(folder, 1.0)
    (folder / WHOLE).unlink()


def half_of_older_shards(folder: Path) -> None:
    sharded(folder, 1.5)
    (folder / "model-00002-of-00002.safetensors").unlink()


BESIDE = {
    "shards of an older save": lambda folder: sharded(folder, 1.5),
    "averaged weights": lambda folder: other(folder, "model_ema.safetensors"),
    "an adapter": lambda folder: other(folder, "adapter_model.safetensors"),
    "the original's own file": lambda folder: other(folder, "consolidated.safetensors"),
    "another precision": lambda folder: other(folder, "model.fp16.safetensors"),
    "half of older shards": half_of_older_shards,
    "a file that config.json names": named_in_config,
    "shards alone": only_shards,
}  # fmt: skip


@pytest.mark.parametrize("case", BESIDE)
def test_the_files_that_the_library_takes_are_taken(case: str, tmp_path: Path) -> None:
    folder = tiny.save("grouped", tmp_path)
    BESIDE[case](folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder).model.layers[1].self_attn.q_proj.weight
    ours = reimpl.load_layers(folder)[1].projections.q_proj.weight
    assert torch.equal(ours, theirs)
    model = inspector.load(str(folder))
    report = inspector.verify(model, tiny.ids(12), controls=False)
    assert (report.ok, report.verdict) == (True, "equal")


def test_one_rule_by_two_names() -> None:
    assert (folder_checks.SINGLE, folder_checks.INDEX) == (WHOLE, INDEX)


def test_a_hubs_repository_is_chosen_from_by_the_same_rule(tmp_path: Path) -> None:
    folder = tiny.save("grouped", tmp_path)
    fetched: list[str] = []

    def download(name: str) -> Path:
        fetched.append(name)
        return folder / name

    sharded(folder, 1.5)
    everything = [path.name for path in folder.iterdir()]
    assert folder_checks.wanted_weights("tiny", everything, download) == [WHOLE]
    without = [name for name in everything if name != WHOLE]
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert folder_checks.wanted_weights("tiny", without, download) == [INDEX, *shards]
    assert fetched == ["config.json", "config.json", INDEX]
    named_in_config(folder)
    assert folder_checks.wanted_weights("tiny", everything, download) == ["best.safetensors"]


def test_a_shard_of_the_index_that_counts_is_missed(tmp_path: Path) -> None:
    folder = tiny.save("grouped", tmp_path)
    only_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(inspector.InspectorError, match="which its index names; fetch that file"):
        inspector.load(str(folder))


def test_other_names_alone_are_no_model(tmp_path: Path) -> None:
    folder = tiny.save("grouped", tmp_path)
    (folder / WHOLE).rename(folder / "model_ema.safetensors")
    with pytest.raises(reimpl.CheckpointError, match=f"holds no {WHOLE} and no {WHOLE}.index.json"):
        reimpl.load_layers(folder)
    with pytest.raises(inspector.InspectorError, match=f"There is no {WHOLE}"):
        inspector.load(str(folder))
