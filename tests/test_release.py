"""What a release needs stands beside the code: each file can be read, names commands that exist, and is looked at by
`make release-check`, whose every complaint is provoked here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import release_check
import yaml

import hatch_build
from inspector import __version__

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
FORMS = sorted(path for path in ROOT.glob(".github/ISSUE_TEMPLATE/*.yml") if path.stem != "config")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_commands_that_exist_with_no_more_rights_than_they_need(path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"] == "ubuntu-latest"
        for step in job["steps"]:
            assert "uses" in step or "run" in step
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v1)", step.get("uses", "a/b@v1"))
            for words in re.findall(r"make ([^&|\n]+)", step.get("run", "")):
                wanted = {word for word in words.split() if not word.startswith("-") and "=" not in word}
                assert wanted <= TARGETS, wanted - TARGETS
    assert "Not run where this was written" in path.read_text(encoding="utf-8").splitlines()[0]


def test_the_tests_run_on_each_python_that_the_metadata_names():
    named = set(re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    assert set(read(ROOT / ".github/workflows/tests.yml")["jobs"]["tests"]["strategy"]["matrix"]["python"]) == named


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_each_form_asks_for_what_info_prints(path):
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    asked = [field["attributes"]["label"] for field in form["body"]]
    assert any("attention-inspector info" in label for label in asked)
    assert all(field["id"] for field in form["body"])


def test_hooks_before_a_commit_download_nothing():
    (repo,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        assert hook["language"] == "system"
        command, _, target = hook["entry"].partition(" ")
        assert command == ".venv/bin/pytest" or target in TARGETS


def test_the_container_runs_as_nobody_special_and_needs_no_network():
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    lines = [line.split(" ", 1) for line in text.replace("\\\n", " ").splitlines() if re.match(r"[A-Z]+ ", line)]
    assert [words for order, words in lines if order == "USER"] == ["inspector"]
    assert "HF_HUB_OFFLINE=1" in text
    pinned = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    assert pinned[0] in text


def test_files_beside_the_code_are_whole():
    assert list(release_check.file_faults()) == []


def test_what_is_wrong_with_them_would_be_said(tmp_path):
    (tmp_path / "CITATION.cff").write_text("version: 9.9.9\ntitle: x\n")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changes\n\n## {__version__}x (unreleased)\n")
    said = "\n".join(release_check.file_faults(tmp_path))
    for part in ("says version 9.9.9", "has no authors", f"no section {__version__}", "SECURITY.md is missing"):
        assert part in said


def test_what_is_wrong_with_the_metadata_would_be_said():
    said = "\n".join(release_check.metadata_faults({"Version": "9"}, [], "short [a](docs/tour.md) ![b](c.png)"))
    for part in (
        "version is 9",
        "no Summary",
        "no classifier for Python 3.13",
        "there: docs/tour.md",
        "there: c.png",
        "no README",
    ):
        assert part in said


def test_what_is_left_to_the_owner_is_said(tmp_path):
    (tmp_path / "CHANGELOG.md").write_text(f"\n## {__version__} (2026-12-01)\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nurls = { Repository = "https://example.org/x" }\n')
    assert list(release_check.left_to_the_owner(tmp_path)) == []
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "CHANGELOG.md").write_text(f"\n## {__version__} (unreleased)\n")
    assert len(list(release_check.left_to_the_owner(tmp_path))) == 2


def test_the_index_page_has_no_link_that_leads_nowhere():
    text = "[docs](docs/tour.md) ![picture](docs/a.png) [out](https://example.org) [here](#start)"
    assert hatch_build.index_page(text, None) == "docs  [out](https://example.org) [here](#start)"
    placed = hatch_build.index_page(text, "https://example.org/me/it/")
    assert "[docs](https://example.org/me/it/blob/main/docs/tour.md)" in placed
    assert "![picture](https://example.org/me/it/raw/main/docs/a.png)" in placed
    whole = hatch_build.index_page((ROOT / "README.md").read_text(encoding="utf-8"), None)
    assert not re.findall(r"\]\((?!https?://|#)", whole)
