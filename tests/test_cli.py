"""The command line: what it prints and writes, and its exit status: 0 all held, 1 a difference, 2 could not run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import tiny
import torch
import transformers
from safetensors.torch import load_file, save_file

import inspector
from inspector import cli
from inspector.cli import common
from inspector.errors import InspectorError
from inspector.loading import download, known_models
from inspector.loading.source import PACKAGED
from inspector.model.cost import HALVES

PROMPT = "w3 w14 w15 w9 w26 w5 w3 w14 w35"
QUICK = ("--prompt", PROMPT, "--no-controls")


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    def refused(self) -> str:
        """The one line on standard error of a command that could not run."""
        assert self.status == 2, self
        assert self.out == ""
        assert self.err.startswith("attention-inspector: ")
        assert self.err.count("\n") == 1, self.err  # so no traceback either
        sentence = self.err.removeprefix("attention-inspector: ").strip()
        assert sentence.endswith(".")
        return sentence


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*arguments: str | Path) -> Ran:
        capfd.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        return Ran(status, *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("grouped", tmp_path_factory.mktemp("model"))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learned positions instead of RoPE: a family that can be captured and is not reimplemented."""
    place = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    sizes = {"vocab_size": 128, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
    config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    transformers.GPT2LMHeadModel(config).save_pretrained(place)
    tiny.word_tokenizer(place)
    return place


# -- verify -----------------------------------------------------------------------------------------------------------


def test_all_held_is_exit_0(run, folder):
    ran = run("verify", folder, "--prompt", PROMPT)
    assert ran.status == 0, ran
    assert "9 tokens, float32 on cpu" in ran.out
    assert "Reproduced bit for bit at every stage of all 3 layers" in ran.out
    assert "attention weights" in ran.out
    assert "mistakes planted" in ran.out
    assert ran.err == ""


def test_no_controls_plants_none(run, folder):
    assert "planted" not in run("verify", folder, *QUICK).out


def test_another_rope_base_is_exit_1_and_names_layer_and_stage(run, folder, copy):
    config = json.loads((copy / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 5000.0
    (copy / "config.json").write_text(json.dumps(config))
    ran = run("verify", folder, *QUICK, "--checkpoint", copy)
    assert ran.status == 1
    assert "differs first at layer 0, query after RoPE" in ran.out
    assert ran.err == ""


def test_one_changed_weight_is_exit_1_and_names_layer_and_stage(run, folder, copy):
    tensors = load_file(copy / "model.safetensors")
    tensors["model.layers.2.self_attn.o_proj.weight"][3, 5] += 0.5
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    ran = run("verify", folder, *QUICK, "--checkpoint", copy)
    assert ran.status == 1
    assert "differs first at layer 2, attention output" in ran.out


def test_json_on_standard_output_is_all_there_is(run, folder):
    ran = run("verify", folder, *QUICK, "--json", "-")
    report = json.loads(ran.out)
    assert (ran.status, report["ok"], ran.err) == (0, True, "")
    assert (report["n"], report["prompt"], report["first_difference"]) == (9, PROMPT, None)
    assert len(report["checks"]) == 3 * 8
    assert set(report["versions"]) >= {"torch", "transformers", "python"}


def test_json_in_a_file(run, folder, tmp_path):
    ran = run("verify", folder, *QUICK, "--json", tmp_path / "report.json")
    assert ran.status == 0
    assert "Reproduced bit for bit" in ran.out
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["ok"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_json_says_what_differs(run, folder, copy):
    config = json.loads((copy / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 5000.0
    (copy / "config.json").write_text(json.dumps(config))
    ran = run("verify", folder, *QUICK, "--checkpoint", copy, "--json", "-")
    report = json.loads(ran.out)
    assert (ran.status, report["ok"]) == (1, False)
    assert (report["first_difference"]["layer"], report["first_difference"]["stage"]) == (0, "query")


def test_prompt_from_a_file(run, folder, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("w3 w14\nw15 日本語", encoding="utf-8")
    ran = run("verify", folder, "--prompt-file", file, "--no-controls", "--quick", "--json", "-")
    report = json.loads(ran.out)
    assert report["spliced"]["tokens_compared"] == 0
    assert (ran.status, report["n"], report["prompt"]) == (0, 4, "w3 w14\nw15 日本語")


# -- what cannot run --------------------------------------------------------------------------------------------------


def test_a_family_that_is_not_reimplemented_can_still_be_captured(run, gpt2, tmp_path):
    said = run("verify", gpt2, *QUICK).refused()
    assert '"gpt2" is not reimplemented' in said
    assert "can still be captured" in said
    ran = run("capture", gpt2, "--prompt", PROMPT, "--out", tmp_path / "trace.safetensors")
    assert ran.status == 0, ran
    assert inspector.open_trace(tmp_path / "trace.safetensors").weights(1, 1).shape == (9, 9)


def test_an_unknown_folder(run, tmp_path):
    said = run("verify", tmp_path / "nothing").refused()
    assert f"There is no file or folder '{tmp_path / 'nothing'}'" in said


def test_an_unknown_checkpoint_is_said_before_a_model_is_fetched(run, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(common, "load_model", lambda _: pytest.fail("the model was fetched first"))
    said = run("verify", folder, *QUICK, "--checkpoint", tmp_path).refused()
    assert said.startswith(f"--checkpoint {tmp_path} has no config.json: give a folder")
    said = run("verify", folder, *QUICK, "--checkpoint", tmp_path / "nothing").refused()
    assert said.startswith(f"--checkpoint {tmp_path / 'nothing'} is not a folder that exists: give a folder")


def test_dtype_and_device_are_judged_before_a_model_is_downloaded(run, monkeypatch):
    monkeypatch.setattr("inspector.load", lambda *_, **__: pytest.fail("the model was fetched first"))
    assert "dtype 'int4' is not one of float32, bfloat16" in run("verify", "owner/name", "--dtype", "int4").refused()
    said = run("capture", "owner/name", "--out", "file", "--device", "abacus").refused()
    assert "Device 'abacus' is not available here: choose one of" in said


def test_a_path_that_leads_nowhere_is_said_before_the_app_starts(run, tmp_path, monkeypatch):
    monkeypatch.setattr("inspector.ui.server.launch.start_server", lambda **_: pytest.fail("the app was started first"))
    for arguments in ([tmp_path / "nothing"], ["--models", f"owner/name, {tmp_path / 'nothing'}"]):
        assert f"There is no file or folder '{tmp_path / 'nothing'}': check" in run("app", *arguments).refused()
    assert "There is no file or folder 'nothing.gguf': check" in run("app", "nothing.gguf").refused()


def test_no_jobs_examine_nothing(run):
    assert run("coverage", "--jobs", "0").refused() == "--jobs 0 examines nothing: give at least 1."


@pytest.mark.parametrize(
    "arguments", [["app", "--port", "x"], ["app", "--most-tokens", "1.5"], ["coverage", "--jobs", ""]]
)
def test_what_is_no_whole_number_is_said(run, capfd, arguments):
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    said = f"argument {arguments[1]}: {arguments[2]!r} is not a whole number: give one such as 8.\n"
    assert capfd.readouterr().err.endswith(said)


@pytest.mark.parametrize(("prompt", "words"), [("", "The prompt is empty"), ("  ", "makes no token of this prompt")])
def test_an_empty_prompt(run, folder, prompt, words):
    assert words in run("verify", folder, "--prompt", prompt).refused()


@pytest.mark.parametrize("command", [["verify"], ["capture", "--out", "never.safetensors"]])
def test_what_is_wrong_with_the_prompt_is_said_before_a_model_is_fetched(run, tmp_path, monkeypatch, command):
    monkeypatch.setattr(common, "load_model", lambda _: pytest.fail("the model was fetched first"))
    file = tmp_path / "prompt.txt"
    file.write_bytes("café".encode("latin-1"))
    command = [*command, "some-model"]
    assert (
        "either --prompt or --prompt-file, not both" in run(*command, "--prompt", "a", "--prompt-file", file).refused()
    )
    assert f"{file} is not UTF-8 text (byte 3 is 0xe9)" in run(*command, "--prompt-file", file).refused()
    assert f"{tmp_path} could not be read" in run(*command, "--prompt-file", tmp_path).refused()
    assert "No such file" in run(*command, "--prompt-file", tmp_path / "nothing").refused()


@pytest.mark.parametrize("command", [["verify", "--json"], ["capture", "--out"]])
def test_a_place_that_cannot_be_written_is_said_before_a_model_is_fetched(run, tmp_path, monkeypatch, command):
    monkeypatch.setattr(common, "load_model", lambda _: pytest.fail("the model was fetched first"))
    said = run(*command, tmp_path / "nothing" / "file", "some-model").refused()
    assert f"{tmp_path / 'nothing'} is not a folder that exists" in said
    assert f"{tmp_path} is a folder" in run(*command, tmp_path, "some-model").refused()
    assert list(tmp_path.iterdir()) == []


def test_dtype_and_device_that_are_not_there(run, folder):
    assert "dtype 'int4' is not one of" in run("verify", folder, "--dtype", "int4").refused()
    assert "Device 'abacus' is not available here" in run("verify", folder, "--device", "abacus").refused()


def test_something_unexpected_is_not_taken_for_a_difference(run, folder, monkeypatch):
    monkeypatch.setattr(common, "load_model", lambda _: [][1])
    said = run("verify", folder).refused()
    assert "unexpected IndexError (list index out of range): run it again with --debug" in said


def test_debug_shows_where(run, tmp_path):
    ran = run("verify", tmp_path / "nothing", "--debug")
    assert ran.status == 2  # still: 1 would say that a difference was found
    assert "Traceback (most recent call last)" in ran.err
    assert "InspectorError: There is no file or folder" in ran.err


def test_stopped_by_the_user(run, folder, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(common, "load_model", interrupted)
    ran = run("verify", folder)
    assert (ran.status, ran.out, ran.err) == (130, "", "attention-inspector: stopped.\n")


@pytest.mark.parametrize("arguments", [[], ["verify"], ["capture", "model"], ["verify", "model", "--colour"]])
def test_arguments_that_are_no_command(run, arguments, capfd):
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    assert "usage: attention-inspector" in capfd.readouterr().err


def test_progress_is_wiped_before_the_sentence(run, folder, gpt2, monkeypatch):
    """On a terminal, which shows one line of progress that replaces itself."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    err = run("verify", folder, *QUICK).err
    assert "step 3 of" in err
    assert err.endswith("\r\033[K")
    assert "\r\033[Kattention-inspector: " in run("verify", gpt2, *QUICK).err


# -- capture ----------------------------------------------------------------------------------------------------------


def test_capture_writes_what_open_trace_reads(run, folder, tmp_path):
    file = tmp_path / "trace.safetensors"
    ran = run("capture", folder, "--prompt", PROMPT, "--out", file)
    assert (ran.status, ran.err) == (0, "")
    assert str(file) in ran.out
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    read, fresh = inspector.open_trace(file), inspector.load(folder).trace(PROMPT)
    assert (read.prompt, read.tokens, read.layers) == (PROMPT, fresh.tokens, fresh.layers)
    for layer in range(3):
        assert torch.equal(read.weights(layer), fresh.weights(layer))
        assert torch.equal(read.context(layer), fresh.context(layer))
    assert torch.equal(read.last_logits, fresh.last_logits)


def test_a_capture_that_fails_leaves_the_old_file_and_nothing_else(run, folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    file = tmp_path / "trace.safetensors"
    file.write_text("the old one")
    monkeypatch.setattr("inspector.trace.file.save_file", full)
    said = run("capture", folder, "--prompt", PROMPT, "--out", file).refused()
    assert "could not be written (No space left on device)" in said
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(file.name, "the old one")]


def test_capture_of_some_layers_in_half_precision(run, folder, tmp_path):
    file = tmp_path / "trace.safetensors"
    ran = run("capture", folder, "--prompt", PROMPT, "--out", file, "--layers", "2, 0-0", "--precision", "bfloat16")
    assert (ran.status, ran.err) == (0, "")
    read = inspector.open_trace(file)
    assert ([info.index for info in read.stored_layers], read.precision) == ([0, 2], "bfloat16")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (("--layers", "1,x"), "argument --layers: 'x' names no layers: give numbers below 10000"),
        (("--layers", "0-1000000000"), "'0-1000000000' names no layers"),
        (("--layers", "12-10"), "ranges from low to high, such as 0,5,10-12."),
        (("--layers", ""), "'' names no layers"),
        (("--layers=-1",), "'-1' names no layers"),
        (("--layers", "٣"), "'٣' names no layers"),
        (("--precision", "float61"), "argument --precision: invalid choice: 'float61'"),
    ],
)
def test_a_mistyped_flag_is_refused_before_a_model_is_fetched(run, tmp_path, monkeypatch, capfd, flag, said):
    monkeypatch.setattr(common, "load_model", lambda _: pytest.fail("the model was fetched first"))
    with pytest.raises(SystemExit) as ended:
        run("capture", "model", "--out", tmp_path / "trace.safetensors", *flag)
    assert ended.value.code == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("precision", HALVES)
def test_each_half_precision_can_be_asked_for(precision):
    arguments = ["capture", "model", "--out", "file", "--precision", precision]
    assert cli._parser().parse_args(arguments).precision == precision


# -- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.packaged
def test_models_lists_the_packaged_one(run):
    ran = run("models")
    assert (ran.status, ran.err) == (0, "")
    line = next(line.split() for line in ran.out.splitlines() if line.startswith(PACKAGED + " "))
    assert line[1] == "packaged"
    assert float(line[2]) > 50


def test_models_says_what_is_damaged(run, monkeypatch, tmp_path):
    monkeypatch.setenv("ATTENTION_INSPECTOR_CACHE", str(tmp_path))
    left = tmp_path / "attention-inspector" / "models" / "half"
    left.mkdir(parents=True)
    (left / "converted.json").write_text("{")
    line = next(line for line in run("models").out.splitlines() if line.startswith("half "))
    assert "(damaged: converted.json cannot be read" in line


def test_models_can_ask_the_hub(run, monkeypatch):
    monkeypatch.setattr(known_models, "models_known", list)
    monkeypatch.setattr(download, "check_hub", lambda name: f"{name} is on the hub.")
    nothing, asked = run("models", "--check-hub", "owner/name").out.splitlines()
    assert nothing.split() == [
        *(PACKAGED, "packaged", "not", "fetched", "yet:", "run", "`attention-inspector", "get-default`"),
    ]
    assert asked == "owner/name is on the hub."

    def refuse(_):
        raise InspectorError("'owner/name' is not on the hub.")

    monkeypatch.setattr(download, "check_hub", refuse)
    assert run("models", "--check-hub", "owner/name").refused() == "'owner/name' is not on the hub."


# -- as real processes ------------------------------------------------------------------------------------------------


def test_as_a_module_in_a_terminal_of_another_encoding(folder):
    """Its standard output is ASCII here, which the prompt is not."""
    command = [sys.executable, "-m", "inspector", "verify", str(folder), "--no-controls", "--json", "-"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*command, "--prompt", "w1 日本語"], capture_output=True, env=environment, check=False)
    assert done.stderr == b""
    assert done.returncode == 0
    assert json.loads(done.stdout)["prompt"] == "w1 日本語"


def test_as_the_installed_command(tmp_path):
    script = Path(sys.executable).with_name("attention-inspector")
    if not script.exists():
        pytest.skip("the package is not installed in this environment, only its folder is on the path")
    done = subprocess.run([script, "verify", tmp_path / "nothing"], capture_output=True, text=True, check=False)
    assert Ran(done.returncode, done.stdout, done.stderr).refused()
