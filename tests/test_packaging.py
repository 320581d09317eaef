"""The wheel holds all that the app and the types need: JavaScript, styles, py.typed, and nothing of the tests."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> set[str]:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = out.glob("attention_inspector-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_everything_in_the_packages_travels(names):
    for package in ("inspector", "reimpl"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(ROOT).as_posix() in names
    assert {"inspector/py.typed", "reimpl/py.typed", "inspector/ui/components/heatmap.js"} <= names
    assert {"inspector/views/bertviz.css", "inspector/views/bertviz.js", "inspector/views/vendor/d3.min.js"} <= names


def test_licences_of_files_made_by_others_travel_with_them(names):
    for path in (ROOT / "inspector" / "views" / "vendor").glob("*.LICENSE"):
        ends = (f"vendor/{path.name}", f"dist-info/licenses/inspector/views/vendor/{path.name}")
        for end in ends:
            assert any(name.endswith(end) for name in names), end


def test_nothing_else_travels(names):
    assert {name.split("/")[0].split("-")[0] for name in names} == {"inspector", "reimpl", "attention_inspector"}


def test_the_command_is_installed():
    command = Path(sys.executable).parent / "attention-inspector"
    shown = subprocess.run([str(command), "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    for name in ("app", "verify", "capture", "models"):
        assert name in shown.stdout
