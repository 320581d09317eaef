"""The wheel holds all that the app and the types need: JavaScript, styles, py.typed, and nothing of the tests. The
source archive holds the tests with all that they import and read."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_imports import MODULES, libraries

import inspector
from inspector.cli import main
from inspector.views import provenance

ROOT = Path(__file__).parent.parent


def built(kind: str, out: Path) -> Path:
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = out.glob("attention_inspector-*")
    return archive


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    return zipfile.ZipFile(built("wheel", tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    return set(wheel.namelist())


def test_everything_in_the_packages_travels(names):
    for package in ("inspector", "reimpl"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(ROOT).as_posix() in names
    assert {"inspector/py.typed", "reimpl/py.typed", "inspector/views/js/heatmap.js"} <= names
    assert {
        "inspector/views/js/bertviz.css",
        "inspector/views/js/bertviz.js",
        "inspector/views/vendor/d3.min.js",
    } <= names


def test_licences_of_files_made_by_others_travel_with_them(names):
    for path in (ROOT / "inspector" / "views" / "vendor").glob("*.LICENSE"):
        ends = (f"vendor/{path.name}", f"dist-info/licenses/inspector/views/vendor/{path.name}")
        for end in ends:
            assert any(name.endswith(end) for name in names), end


def test_nothing_else_travels(names):
    assert {name.split("/")[0].split("-")[0] for name in names} == {"inspector", "reimpl", "attention_inspector"}


def test_the_source_archive_holds_what_its_tests_import_and_read(tmp_path):
    with tarfile.open(built("sdist", tmp_path)) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    texts = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/*.py"))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", texts, flags=re.M))
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name in imported}
    assert folders >= {"inspector", "reimpl", "benchmarks"}
    for folder in [*folders, "tests", "docs", "notebooks", ".streamlit"]:
        for path in (ROOT / folder).rglob("*"):
            name = path.relative_to(ROOT).as_posix()
            assert name in held or path.is_dir() or "__pycache__" in name, name
    assert {"app.py", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= held  # test_docs.py reads them


def test_the_version_has_one_source(wheel, names, capsys):
    (metadata,) = (name for name in names if name.endswith("dist-info/METADATA"))
    assert f"\nVersion: {inspector.__version__}\n" in wheel.read(metadata).decode()
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"attention-inspector {inspector.__version__}\n")
    trace = SimpleNamespace(source={"torch": "2"}, edits=())
    assert provenance.line(trace).startswith(f"Attention Inspector {inspector.__version__} · torch 2")
    texts = {
        path: path.read_text(encoding="utf-8")
        for folder in ("inspector", "reimpl")
        for path in (ROOT / folder).rglob("*.py")
    }
    texts[ROOT / "pyproject.toml"] = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    written = [path for path, text in texts.items() if f'"{inspector.__version__}"' in text]
    assert written == [ROOT / "inspector" / "__init__.py"]


# -- dependencies -----------------------------------------------------------------------------------------------------

# The name that is imported -> the package that brings it, where the two differ.
PACKAGES = {"PIL": "pillow", "IPython": "ipython", "huggingface_hub": "huggingface-hub"}
# Needed without an import of ours: by the library (device_map), for its scripts (bertviz).
NOT_IMPORTED = {"accelerate", "bertviz"}


def undeclared(paths: Iterable[Path], declared: set[str]) -> set[str]:
    """The packages that these files import and that nobody declares, `inspector` and `reimpl` themselves left out."""
    known = set(sys.stdlib_module_names) | {"inspector", "reimpl"}
    imported = set[str]().union(*(libraries(path) for path in paths)) - known
    return {PACKAGES.get(name, name) for name in imported} - declared


def test_what_is_imported_is_declared_and_what_is_declared_is_needed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = project["optional-dependencies"]
    declared, optional = (
        {re.split(r"[<>=~! \[]", line)[0] for line in lines}
        for lines in (project["dependencies"], [*extra["peft"], *extra["pytest"], *extra["notebook"]])
    )
    assert undeclared(MODULES.values(), declared) == optional
    assert declared - undeclared(MODULES.values(), set()) == NOT_IMPORTED
    assert optional <= {re.split(r"[<>=~! \[]", line)[0] for line in extra["dev"]}


def test_an_undeclared_import_would_be_seen(tmp_path):
    (tmp_path / "one.py").write_text(
        "import os, torch.nn\ndef late():\n    from PIL import Image\n    import sklearn.svm\n"
    )
    assert undeclared(tmp_path.glob("*.py"), {"torch"}) == {"pillow", "sklearn"}


def test_the_command_is_installed():
    command = Path(sys.executable).parent / "attention-inspector"
    shown = subprocess.run([str(command), "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    for name in ("app", "verify", "capture", "models"):
        assert name in shown.stdout
