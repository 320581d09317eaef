"""The command `judge`: somebody's function or dump in, a verdict out; 0 right, 1 different, 2 not shown or not run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from test_cli import run  # noqa: F401  (the fixture that runs a command)

from inspector.errors import InspectorError
from inspector.judging.callables import named_attention

PROMPT = "w3 w14 w15 w9 w26 w5 w3 w14 w35"
MINE = """
import torch
import inspector
from inspector.model.load_model import load

layers = load({folder!r}).reimplementation
NUMBER = 5

def right(x, layer):
    return layers[layer].stages(x).output

def wrong(x, layer):
    return {{"value": layers[layer].stages(x).value * 1.5}}

def raises(x, layer):
    raise ValueError("no kernel for this\\nsize")

class Cached:
    def reset(self):
        self.past = {{}}
    def __call__(self, x, layer):
        self.past[layer] = torch.cat((self.past[layer], x)) if layer in self.past else x
        return layers[layer].stages(self.past[layer]).output[-len(x):]

class Restarts(Cached):
    def __call__(self, x, layer):
        return layers[layer].stages(x).output

cached, restarts = Cached(), Restarts()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("grouped", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def mine(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mine") / "mine.py"
    file.write_text(MINE.format(folder=str(folder)))
    return file


@pytest.fixture
def reference(run, folder, tmp_path) -> Path:  # noqa: F811
    out = tmp_path / "reference"
    assert run("reference", folder, "--prompt", PROMPT, "--out", out).status == 0
    return out


def suite_in(file: Path) -> ElementTree.Element:
    suite = ElementTree.fromstring(file.read_bytes()).find("testsuite")  # noqa: S314  (our own file)
    assert suite is not None
    return suite


# -- a function -------------------------------------------------------------------------------------------------------


def test_a_right_function_is_exit_0(run, folder, mine):  # noqa: F811
    ran = run("judge", folder, f"{mine}:right", "--prompt", PROMPT)
    assert (ran.status, ran.err) == (0, "")
    assert "Right. Your attention is right" in ran.out
    assert "token by token: not run" in ran.out


def test_a_wrong_one_is_exit_1_and_names_layer_and_stage(run, folder, mine):  # noqa: F811
    ran = run("judge", folder, f"{mine}:wrong", "--prompt", PROMPT)
    assert (ran.status, ran.err) == (1, "")
    assert "differs first at the value of layer 0" in ran.out
    assert "Cause: " in ran.out


def test_what_shows_too_little_is_exit_2(run, folder, mine):  # noqa: F811
    ran = run("judge", folder, f"{mine}:right", "--prompt", "w3")
    assert (ran.status, ran.err) == (2, "")
    assert "Not shown." in ran.out


def test_decode_runs_the_last_tokens_one_by_one(run, folder, mine):  # noqa: F811
    right = run("judge", folder, f"{mine}:cached", "--prompt", PROMPT, "--decode", "4")
    assert (right.status, "token by token: right." in right.out) == (0, True), right.out
    wrong = run("judge", folder, f"{mine}:restarts", "--prompt", PROMPT, "--decode", "4")
    assert (wrong.status, "token by token: DIFFERENT" in wrong.out) == (1, True), wrong.out


def test_a_module_is_found_in_the_folder_of_the_command(run, folder, mine, monkeypatch):  # noqa: F811
    package = mine.parent / "mine_package"
    package.mkdir()
    shutil.copy(mine, package / "attention.py")
    monkeypatch.chdir(mine.parent)
    assert run("judge", folder, "mine_package.attention:right", "--prompt", PROMPT).status == 0


def test_json_and_junit(run, folder, mine, tmp_path):  # noqa: F811
    ran = run("judge", folder, f"{mine}:wrong", "--prompt", PROMPT, "--json", "-", "--junit", tmp_path / "tests.xml")
    report = json.loads(ran.out)
    assert next(iter(report.items())) == ("schema", 1)
    assert (ran.status, report["kind"], report["verdict"], report["ok"]) == (1, "judgement", "different", False)
    suite = suite_in(tmp_path / "tests.xml")
    cases = {case.get("name"): case for case in suite}
    assert set(cases) >= {"layer 0", "layer 1", "layer 2", "verdict", "whole", "token by token"}
    assert cases["layer 0"].find("failure").get("message").startswith("value differs by ")
    assert cases["token by token"].find("skipped") is not None
    assert suite.get("failures") == str(sum(case.find("failure") is not None for case in suite)) != "0"
    assert suite.get("tests") == str(len(suite))
    run("judge", folder, f"{mine}:right", "--prompt", PROMPT, "--junit", tmp_path / "tests.xml")
    suite = suite_in(tmp_path / "tests.xml")
    assert (suite.get("failures"), suite.findall("testcase/failure")) == ("0", [])


# -- a dump -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("npy", [False, True], ids=["safetensors", "npy"])
def test_a_references_own_folder_is_right_with_nothing_differing(npy, run, folder, tmp_path):  # noqa: F811
    out = tmp_path / "reference"
    run("reference", folder, "--prompt", PROMPT, "--out", out, *(["--npy"] * npy))
    ran = run("judge", folder, "--dumps", out, "--json", "-")  # the prompt is the dump's
    report = json.loads(ran.out)
    assert (ran.status, report["verdict"], report["n"]) == (0, "right", 9)
    assert {check["differing"] for check in report["checks"]} == {0}
    assert len(report["checks"]) == 3 * 9
    assert run("judge", folder, "--dumps", out, "--prompt", PROMPT).status == 0


def test_a_changed_number_is_exit_1(run, folder, reference):  # noqa: F811
    file = reference / "layers.1.safetensors"
    tensors = load_file(file)
    tensors["context"][2, 3, 4] += 0.01
    save_file(tensors, file)
    ran = run("judge", folder, "--dumps", reference)
    assert ran.status == 1
    assert "differs first at the context vectors of layer 1" in ran.out


def test_another_prompt_or_model_is_refused(run, folder, reference, tmp_path):  # noqa: F811
    sentence = run("judge", folder, "--dumps", reference, "--prompt", "w3 w14 w15").refused()
    assert "is a dump of another prompt or model: it is of 9 tokens, and this prompt of 3;" in sentence
    other = tiny.save("one wide head", tmp_path / "other")
    assert "has the shape [4, 9, 16]" in run("judge", other, "--dumps", reference).refused()


def test_numbers_of_bfloat16_are_right_to_bfloat16(run, folder, reference):  # noqa: F811
    for layer in range(3):
        file = reference / f"layers.{layer}.safetensors"
        save_file({name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file)
    ran = run("judge", folder, "--dumps", reference, "--json", "-")
    assert (ran.status, json.loads(ran.out)["verdict"]) == (0, "right to bfloat16"), ran.out


# -- what is refused --------------------------------------------------------------------------------------------------


def test_what_could_not_be_run_is_exit_2_in_a_sentence(run, folder, mine, tmp_path):  # noqa: F811
    def refused(*arguments: object) -> str:
        return str(run("judge", folder, *arguments).refused())

    assert "Give either your attention" in refused()
    assert "Give either your attention" in refused(f"{mine}:right", "--dumps", tmp_path)
    assert "--decode runs your code token by token" in refused("--dumps", tmp_path, "--decode", "2")
    assert "--decode 0 runs no token" in refused(f"{mine}:right", "--decode", "0")
    assert "has no arrays in it" in refused("--dumps", tmp_path)
    assert "does not exist" in refused("--dumps", tmp_path / "nowhere")
    assert "is a folder" in refused(f"{mine}:right", "--junit", tmp_path)
    assert "raised ValueError at layer 0" in refused(f"{mine}:raises", "--prompt", PROMPT)
    torch.save({}, tmp_path / "mine.pt")
    assert "is a pickled file" in refused("--dumps", tmp_path)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("mine", "'mine' names no attention: give package.module:function or file.py:function"),
        ("mine.py", "names no attention"),
        (":right", "names no attention"),
        ("nowhere.py:right", "nowhere.py is not a file that exists"),
        ("no_such_module_here:right", "There is no module no_such_module_here in .* or among the installed packages"),
        ("json.no_such:right", "There is no module json.no_such"),
        ("json:nothing", "json has no nothing; it has "),
        ("collections:OrderedDict", "collections:OrderedDict is a class: name an object of it"),
        ("broken.py:right", r"broken.py could not be imported: it raised SyntaxError"),
        (
            "needs.py:right",
            r"needs.py could not be imported: it raised ModuleNotFoundError \(No module named 'not_there'\)",
        ),
        ("needs:right", r"needs could not be imported: it raised ModuleNotFoundError \(No module named 'not_there'\)"),
    ],
)
def test_names_that_lead_nowhere_are_refused(target, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("def right(:")
    (tmp_path / "needs.py").write_text("import not_there")
    with pytest.raises(InspectorError, match=sentence):
        named_attention(target)


def test_a_file_may_import_what_stands_beside_it(tmp_path):
    (tmp_path / "beside_it.py").write_text("def kernel(x, layer):\n    return x\n")
    (tmp_path / "mine.py").write_text(
        "from beside_it import kernel\nclass Holder:\n    kernel = staticmethod(kernel)\n"
    )
    assert named_attention(f"{tmp_path / 'mine.py'}:Holder.kernel")(3, 0) == 3
