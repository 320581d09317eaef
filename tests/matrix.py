"""Run tests and coverage at the oldest and the newest transformers that are supported: `make matrix`. Not a test.

    pyproject.toml, constraints.txt ─► an environment for each, in .matrix/
        ─► tests without a browser, coverage --rope ─► docs/versions.md

A type that docs/versions.md or docs/architectures.md records as verified or captured, and that is so no longer, fails
the run, as does a test; the documents then stay as they were. `python -m tests.matrix coverage` leaves out the tests.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from inspector.loading.releases import DEVIATIONS, ONLY_LISTED, RAISES

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".matrix"
DOCUMENT, ARCHITECTURES = ROOT / "docs" / "versions.md", ROOT / "docs" / "architectures.md"
STATES = ("absent", "no", "captured", "verified")  # each is more than those before it
Types = dict[str, str]  # type -> state


@dataclass(frozen=True)
class Run:
    """What was found at one release."""

    transformers: str
    python: str
    torch: str
    tests: Mapping[str, int]  # passed, skipped, failed
    failed: tuple[str, ...]  # names of tests
    rows: tuple[Mapping[str, Any], ...]  # coverage's

    @property
    def types(self) -> Types:
        return {row["model_type"]: state_of(row["captured"], row["reimplemented"]) for row in self.rows}


def state_of(captured: bool, verified: bool) -> str:
    return "verified" if verified else "captured" if captured else "no"


def supported() -> tuple[str, str]:
    """The oldest release that pyproject.toml allows, and the one that constraints.txt names."""
    oldest = re.search(r'"transformers>=([\d.]+),', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    newest = re.search(r"^transformers==([\d.]+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    assert oldest is not None
    assert newest is not None
    return oldest[1] + ".0" * (2 - oldest[1].count(".")), newest[1]


def environment(version: str) -> Path:
    """The environment of a release, as `make setup` would make it, but for transformers' version."""
    folder, bin_ = PLACE / version, PLACE / version / "bin"
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    constraints = re.sub(r"^transformers==.*$", f"transformers=={version}", constraints, flags=re.M)
    wanted = hashlib.sha256((constraints + (ROOT / "pyproject.toml").read_text(encoding="utf-8")).encode()).hexdigest()
    ready = folder / "ready"
    if ready.exists() and ready.read_text() == wanted:
        return folder
    torch = next(line for line in constraints.splitlines() if line.startswith("torch=="))
    packaged = re.search(r"--no-deps (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert packaged is not None
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    told = folder / "constraints.txt"
    told.write_text(constraints, encoding="utf-8")
    install = [str(bin_ / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--constraint", str(told), torch], check=True)
    subprocess.run([*install, "--constraint", str(told), "--editable", f"{ROOT}[dev]"], check=True)
    subprocess.run([*install, "--no-deps", packaged[1]], check=True)
    ready.write_text(wanted)
    return folder


def run_at(version: str, *, tests: bool = True) -> Run:
    """Run the tests that need no browser (unless told not to), and the coverage of types with RoPE."""
    started = time.monotonic()
    folder = environment(version)
    made = time.monotonic()
    bin_, found, covered = folder / "bin", folder / "tests.xml", folder / "coverage.json"
    options = ["-n", "logical", "--maxprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
    cache = ["-o", f"cache_dir={folder / 'pytest_cache'}", f"--junitxml={found}"]
    if tests:
        asked_for = ["-m", "not browser and not slow"]
        subprocess.run([bin_ / "pytest", "-q", *options, *cache, *asked_for], cwd=ROOT, check=False)
    subprocess.run([bin_ / "attention-inspector", "coverage", "--rope", "--json", covered], cwd=ROOT, check=False)
    print(f"{version}: environment {made - started:.0f} s, what was run in it {time.monotonic() - made:.0f} s")
    count, failed = count_cases(ET.parse(found).getroot()) if tests else ({}, ())  # noqa: S314  (pytest's own)
    asked = (
        "import platform, torch as p, transformers as t; print(t.__version__, platform.python_version(), p.__version__)"
    )
    said = subprocess.run([bin_ / "python", "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    rows = json.loads(covered.read_text(encoding="utf-8"))["rows"]
    return Run(said[-3], said[-2], said[-1], tests=count, failed=failed, rows=tuple(rows))


def count_cases(report: ET.Element) -> tuple[dict[str, int], tuple[str, ...]]:
    """What a JUnit report says: how many passed, were skipped, failed; and the names of those that failed."""
    count = {"passed": 0, "skipped": 0, "failed": 0}
    failed = []
    for case in report.iter("testcase"):
        kinds = {child.tag for child in case}
        state = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        count[state] += 1
        if state == "failed":
            failed.append(f"{case.get('classname')}::{case.get('name')}")
    return count, tuple(failed)


def lost(recorded: Types, found: Types) -> Iterator[str]:
    """Sentences on the types that are less now than was recorded; a type that is new, or more, is none."""
    for name, before in recorded.items():
        now = found.get(name, "absent")
        if STATES.index(now) < STATES.index(before):
            yield f"{name} was {before}, and is {now}"


def recorded_versions(text: str) -> tuple[Types, Types]:
    """The states that docs/versions.md records, at the oldest and at the newest release."""
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| (\w+) \|$", text, re.M)
    return {name: old for name, old, _ in rows}, {name: new for name, _, new in rows}


def recorded_architectures(text: str) -> Types:
    """The states that docs/architectures.md records of types with RoPE."""
    rows = re.findall(r"^\| `([^`]+)` \| yes \| (no|\d+ layers) \| (yes|no) \|", text, re.M)
    return {name: state_of(layers != "no", verified == "yes") for name, layers, verified in rows}


def complaints(oldest: Run, newest: Run, versions: str, architectures: str) -> list[str]:
    """Why the run fails; nothing where it does not."""
    floor, top = recorded_versions(versions)
    found = [f"{run.transformers}: {name} failed" for run in (oldest, newest) for name in run.failed]
    found += [f"{oldest.transformers}: {said}" for said in lost(floor, oldest.types)]
    known = {**recorded_architectures(architectures), **top}
    return found + [f"{newest.transformers}: {said}" for said in lost(known, newest.types)]


def main(arguments: Sequence[str] = ()) -> int:
    oldest, newest = (run_at(version, tests="coverage" not in arguments) for version in supported())
    versions = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
    found = complaints(oldest, newest, versions, ARCHITECTURES.read_text(encoding="utf-8"))
    if found:
        print("\n".join(["", *found, f"{DOCUMENT} was not written."]))
        return 1
    DOCUMENT.write_text(render(oldest, newest), encoding="utf-8")
    print(f"{DOCUMENT}: written")
    return 0


# --- the document ------------------------------------------------------------------------------------

HEADING = """# Versions of transformers

Supported are transformers {oldest} to {newest}: `pyproject.toml` names the oldest, `constraints.txt` the newest, with
which this project is developed. `make matrix` makes this page: in an environment of each it runs all tests that need no
browser, and every decoder type with RoPE as a tiny model with random weights, as in
[architectures.md](architectures.md). A type that this page records and that is lost fails the run. This page: {day}.

| transformers | torch | Python | tests | types with RoPE | captured | verified | planted mistakes caught |
| --- | --- | --- | --- | --- | --- | --- | --- |
{runs}

Python: developed with 3.11. On 3.12.1 and 3.13.0 (torch 2.13.0, CPU, by hand, 2026-11-27) the quick tests of the
mathematics, of capture and of every family passed, and the wheel in an environment of its own fetched the packaged
model, verified it bit for bit, judged and showed the app. The tests with a browser were not run there; the workflow
for all three is written, not run. One test failed on 3.12: it held last bits of two passes equal to 1e-6 and missed by
1.6e-7. It compares one pass, exactly, since then, and was not run again there.

## What a release itself computes otherwise

Such a model is captured as that release runs it; where that is not query·key, mask and softmax alone it is not drawn.
`verify` refuses it by name and says what helps (RemBERT and RoFormer: at every release, as not reimplemented).

| type | releases | what the library does there |
| --- | --- | --- |
{deviations}

Before 5.18 a GGUF file's tokenizer, such as the packaged model's, is given an unknown token: characters that it has no
token for become that one (`<|endoftext|>` there) instead of being left out, any number of them in a row. Tokens shown
are those that the model then reads; a prompt that is far too long is refused only after it was tokenized.

## Type by type

*verified*: captured, and the reimplementation gave the library's numbers; *captured*: only that; *no*: neither;
*absent*: that release has no such type.

| type | {oldest} | {newest} |
| --- | --- | --- |
{types}
"""


def render(oldest: Run, newest: Run, *, day: date | None = None) -> str:
    """The whole of docs/versions.md."""
    old, new = oldest.types, newest.types
    types = (f"| `{name}` | {old.get(name, 'absent')} | {new.get(name, 'absent')} |" for name in {**new, **old})
    return HEADING.format(
        oldest=oldest.transformers,
        newest=newest.transformers,
        day=(day or date.today()).isoformat(),
        runs="\n".join(map(_of_run, (oldest, newest))),
        deviations="\n".join(_of_deviations()),
        types="\n".join(types),
    )


def _of_run(run: Run) -> str:
    states = list(run.types.values())
    captured = len(states) - states.count("no")
    done = [row for row in run.rows if row["reimplemented"]]
    mistakes = f"{sum(row['caught'] for row in done)} of {sum(row['planted'] for row in done)}"
    tests = ", ".join(f"{count} {state}" for state, count in run.tests.items() if count)
    tests = tests or "not run for this page"
    cells = (run.transformers, run.torch, run.python, tests, len(states), captured, states.count("verified"), mistakes)
    return f"| {' | '.join(map(str, cells))} |"


def _of_deviations() -> Iterator[str]:
    for row in (*DEVIATIONS, *RAISES, *ONLY_LISTED):
        end = ", so it cannot be loaded" if row in RAISES else f"; {row.instead}" if row.instead else ""
        yield f"| {_listed(row.types)} | before {row.before} | {row.what}{end} |"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
