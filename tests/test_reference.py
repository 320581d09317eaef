"""The command `reference`: the numbers of verify's table in files that other languages read, whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file
from test_cli import run  # noqa: F401  (the fixture that runs a command)

from inspector import Model, cli
from inspector.errors import InspectorError
from inspector.judging import reference_folder
from inspector.judging.dump_settings import settings_of
from inspector.judging.reference_folder import write_reference
from inspector.verification.compare import STAGES
from inspector.verification.reference import library_stages

PROMPT = "w3 w14 w15 w9 w26 w5 w3 w14 w35"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("gemma2", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    import inspector

    return inspector.load(folder)


@pytest.mark.parametrize("npy", [False, True], ids=["safetensors", "npy"])
def test_every_stage_of_every_layer_is_written(npy, run, folder, model, tmp_path):  # noqa: F811
    out = tmp_path / "reference"
    ran = run("reference", folder, "--prompt", PROMPT, "--out", out, *(["--npy"] * npy))
    assert (ran.status, ran.err) == (0, "")
    assert f"{out}: {3 * 9 + 3 if npy else 6} files" in ran.out
    trace = model.trace(PROMPT, keep=("input",))
    for layer in trace.stored:
        right = {"input": trace.input(layer.info.index), **vars(library_stages(layer, layer.info.kv_heads))}
        assert set(right) == {"input", *STAGES}
        place = f"layers.{layer.info.index}"
        written = (
            {name: torch.from_numpy(np.load(out / f"{place}.{name}.npy")) for name in right}
            if npy
            else load_file(out / f"{place}.safetensors")
        )
        assert written.keys() == right.keys()
        assert all(torch.equal(written[name], tensor) for name, tensor in right.items())
    ids = np.load(out / "ids.npy") if npy else load_file(out / "ids.safetensors")["ids"].numpy()
    assert (ids.dtype, ids.tolist()) == (np.int64, list(trace.tokens.ids))
    said = json.loads((out / "dump.json").read_text())
    assert said == {
        "schema": 1, "ids": list(trace.tokens.ids), "dtype": "float32", "layout": "[h, n, d]", "layers": [0, 1, 2],
        "pairing": "halves",
    }  # fmt: skip
    assert settings_of(out).layers == (0, 1, 2)


def test_the_readme_says_shapes_and_what_each_layer_is_like(run, folder, model, tmp_path):  # noqa: F811
    run("reference", folder, "--prompt", PROMPT, "--out", tmp_path / "r", "--npy", "--layers", "0,2")
    text = (tmp_path / "r" / "README.md").read_text()
    assert "9 tokens, float32" in text
    assert f'judge {folder} --prompt "{PROMPT}" --dumps YOUR_FOLDER' in text
    assert "| `weights` | [h, n, n] |" in text
    for index, window in ((0, "7"), (2, "7")):
        start = (
            f"| {index} | `model.layers.{index}.self_attn` | 4 | 2 | 16 | 16 | 0.204124145 | {window} | 2.0 | none |"
        )
        assert f"{start} base 10000, halves, 16 dimensions |" in text
    assert "| 1 |" not in text
    write_reference(model, [3, 14], tmp_path / "short", layers=[0, 1])  # which no window of 7 shows in
    text = (tmp_path / "short" / "README.md").read_text()
    assert "| 0.204124145 | 7 | 2.0 |" in text
    assert "| 0.204124145 | none | 2.0 |" in text


def test_bfloat16_is_written_as_it_is_or_as_float32(folder, tmp_path):
    import inspector

    model = inspector.load(folder, dtype="bfloat16")
    write_reference(model, PROMPT, tmp_path / "one", layers=[1])
    write_reference(model, PROMPT, tmp_path / "two", layers=[1], npy=True)
    half = load_file(tmp_path / "one" / "layers.1.safetensors")["query"]
    assert half.dtype == torch.bfloat16
    assert np.array_equal(np.load(tmp_path / "two" / "layers.1.query.npy"), half.float().numpy())
    assert "float32, since .npy has no bfloat16" in (tmp_path / "two" / "README.md").read_text()


def test_a_prompt_that_could_end_the_quotes_is_not_put_into_a_command(model, tmp_path):
    write_reference(model, 'w3 "$(w14)"', tmp_path / "r")
    text = (tmp_path / "r" / "README.md").read_text()
    assert "$(" not in text
    assert "--prompt-file YOUR_PROMPT --dumps YOUR_FOLDER" in text


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_folder_with_files_in_it_is_refused_before_anything_is_run(run, tmp_path):  # noqa: F811
    (tmp_path / "mine.txt").write_text("mine")
    sentence = run("reference", "no-model-at-all", "--out", tmp_path).refused()
    assert sentence == f"{tmp_path} has files in it: give the name of a new folder, or of an empty one."
    assert "is a file" in run("reference", "no-model-at-all", "--out", tmp_path / "mine.txt").refused()
    assert "is not a folder that exists" in run("reference", "no-model", "--out", tmp_path / "a" / "b").refused()


def test_an_empty_folder_is_taken(model, tmp_path):
    (tmp_path / "empty").mkdir()
    assert (write_reference(model, PROMPT, tmp_path / "empty") / "dump.json").is_file()


def test_layers_that_do_not_exist_are_refused(run, folder, tmp_path):  # noqa: F811
    assert "has layers 0 to 2" in run("reference", folder, "--out", tmp_path / "r", "--layers", "0,7").refused()


def test_what_is_too_large_is_refused_with_what_fits(model, tmp_path, monkeypatch):
    monkeypatch.setattr(reference_folder, "MOST_BYTES", 200_000)
    with pytest.raises(InspectorError) as refused:
        write_reference(model, tiny.ids(60), tmp_path / "r")
    found = str(refused.value)
    assert found.startswith(
        "A reference of 60 tokens and 3 layers takes 0.0 GB, with every head's 60 × 60 weights of each"
    )
    tokens = int(found.partition("at most about ")[2].split()[0])
    layers = int(found.partition("choose at most ")[2].split()[0])
    assert (0 < tokens < 60, layers) == (True, 1)
    write_reference(model, tiny.ids(tokens), tmp_path / "fewer tokens")
    write_reference(model, tiny.ids(60), tmp_path / "fewer layers", layers=range(layers))
    assert not (tmp_path / "r").exists()


def test_a_reference_that_cannot_be_finished_leaves_nothing(model, tmp_path):
    def full(done: int, total: int) -> None:
        if done == 2:
            raise OSError(28, "No space left on device")

    with pytest.raises(InspectorError, match=r"No space left on device.*and nothing of it is kept"):
        write_reference(model, PROMPT, tmp_path / "r", on_layer=full)
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_reference_leaves_nothing(model, tmp_path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_reference(model, PROMPT, tmp_path / "r", on_layer=stop)
    assert list(tmp_path.iterdir()) == []


def test_it_can_be_written_for_a_family_that_is_not_reimplemented(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    import inspector

    config = GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tiny.word_tokenizer(tmp_path / "gpt2")
    out = write_reference(inspector.load(tmp_path / "gpt2"), PROMPT, tmp_path / "r")
    assert load_file(out / "layers.1.safetensors")["weights"].shape == (2, 9, 9)
    assert "pairing" not in json.loads((out / "dump.json").read_text())
    shutil.rmtree(out)


def test_the_command_is_listed(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "reference" in capsys.readouterr().out
