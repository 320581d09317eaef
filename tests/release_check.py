"""`make release-check`: build wheel and source archive and look at them as an index and a reader would.

Written as a command, not a test: it builds both archives and asks twine. What only the owner can decide (the address of
the repository, the date of the release) is listed; with --strict, as the publishing workflow runs it, it is an error.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from inspector import __version__  # noqa: E402

WANTED = {"inspector/py.typed", "inspector/views/js/explore.js", "inspector/views/vendor/d3.min.js"}
UNWANTED = re.compile(r"(^|/)(tests?|\.venv|__pycache__|\.git|node_modules)(/|$)|\.pyc$")
LARGEST = {"wheel": 3 * 2**20, "sdist": 20 * 2**20}  # bytes: an index keeps every release for ever


def wheel_faults(wheel: Path) -> Iterator[str]:
    """What is wrong with the wheel's contents and metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (place,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(place).decode())
    yield from (f"the wheel lacks {name}" for name in sorted(WANTED - names))
    yield from (f"the wheel holds {name}" for name in sorted(names) if UNWANTED.search(name))
    yield from metadata_faults(dict(metadata.items()), metadata.get_all("Classifier") or [], metadata.get_payload())


def metadata_faults(fields: dict[str, str], classifiers: list[str], page: str) -> Iterator[str]:
    """What is wrong with the metadata and the page that an index shows."""
    if fields.get("Version") != __version__:
        yield f"the metadata's version is {fields.get('Version')}, and the program's {__version__}"
    for name in ("Summary", "License-Expression", "Requires-Python", "Description-Content-Type"):
        if not fields.get(name):
            yield f"the metadata has no {name}"
    for version in ("3.11", "3.12", "3.13"):
        if f"Programming Language :: Python :: {version}" not in classifiers:
            yield f"no classifier for Python {version}"
    for target in re.findall(r"\]\((?!https?://|#)([^)]*)\)", page):
        yield f"the index page has a link that leads nowhere there: {target}"
    if len(page) < 2000:
        yield "the index page has no README"


def file_faults(root: Path = ROOT) -> Iterator[str]:
    """What is wrong with the files that stand beside the code."""
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    if citation.get("version") != __version__:
        yield f"CITATION.cff says version {citation.get('version')}, and the program {__version__}"
    for name in ("cff-version", "message", "title", "authors", "license"):
        if not citation.get(name):
            yield f"CITATION.cff has no {name}"
    if f"\n## {__version__} (" not in (root / "CHANGELOG.md").read_text(encoding="utf-8"):
        yield f"CHANGELOG.md has no section {__version__}"
    for name in ("LICENSE", "SECURITY.md", "CONTRIBUTING.md"):
        if not (root / name).is_file():
            yield f"{name} is missing"


def left_to_the_owner(root: Path = ROOT) -> Iterator[str]:
    """What cannot be decided here, and must be before an upload."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if "Repository" not in project.get("urls", {}):
        yield "[project.urls] in pyproject.toml has no Repository: links of the index page are left out until it has"
    if f"\n## {__version__} (unreleased)" in (root / "CHANGELOG.md").read_text(encoding="utf-8"):
        yield f"CHANGELOG.md's section {__version__} has no date"


def main() -> int:
    """Build, look, and say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strict", action="store_true", help="what is left to the owner is an error, too")
    options = parser.parse_args()
    out = ROOT / "dist"
    shutil.rmtree(out, ignore_errors=True)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr)
        return 1
    (wheel,), (source,) = out.glob("*.whl"), out.glob("*.tar.gz")
    faults = [*wheel_faults(wheel), *file_faults()]
    for kind, archive in (("wheel", wheel), ("sdist", source)):
        size = archive.stat().st_size
        print(f"{archive.name}: {size / 2**20:.2f} MB")
        faults += [f"the {kind} has more than {LARGEST[kind] / 2**20:.0f} MB"] if size > LARGEST[kind] else []
    with tarfile.open(source) as held:
        names = {name.partition("/")[2] for name in held.getnames()}
    faults += [
        f"the source archive lacks {name}" for name in ("CITATION.cff", "SECURITY.md", "Makefile") if name not in names
    ]
    twine = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(source)]
    faults += [] if subprocess.run(twine, check=False).returncode == 0 else ["twine refuses an archive"]
    owner = list(left_to_the_owner())
    for line in owner:
        print(f"left to the owner: {line}")
    for line in faults:
        print(f"wrong: {line}")
    return 1 if faults or (options.strict and owner) else 0


if __name__ == "__main__":
    raise SystemExit(main())
