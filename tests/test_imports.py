"""One way only: reimpl knows torch and safetensors; inspector outside ui/ knows nothing of Streamlit."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("path", files("reimpl"), ids=lambda path: path.name)
def test_reimpl_stands_on_torch_and_safetensors_alone(path):
    allowed = {"torch", "safetensors", "reimpl", "__future__"} | set(sys.stdlib_module_names)
    assert {name.split(".")[0] for name in imported(path)} <= allowed


@pytest.mark.parametrize(
    "path", [p for p in files("inspector") if "ui" not in p.relative_to(ROOT).parts], ids=lambda path: path.name
)
def test_inspector_knows_nothing_of_the_app(path):
    names = imported(path)
    assert not any(name.split(".")[0] == "streamlit" for name in names)
    if path.name != "cli.py":  # the command line starts the app, and that is all
        assert not any(name.startswith("inspector.ui") for name in names)


@pytest.mark.parametrize("path", files("inspector/ui/screens"), ids=lambda path: path.name)
def test_a_screen_never_touches_a_tensor(path):
    assert not {name.split(".")[0] for name in imported(path)} & {"torch", "transformers", "safetensors", "reimpl"}


def test_only_download_talks_to_a_hub():
    users = {p.name for p in files("inspector") if any(n.startswith("huggingface_hub") for n in imported(p))}
    assert users == {"download.py"}


def test_importing_reimpl_brings_no_transformers():
    code = "import sys, reimpl; sys.exit('transformers' in sys.modules or 'inspector' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
