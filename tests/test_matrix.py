"""`make matrix`: a type lost against what is recorded fails the run, and what it writes is what it reads again."""

import dataclasses
import xml.etree.ElementTree as ET
from datetime import date
from pathlib import Path

import matrix
import pytest
from matrix import Run, complaints, count_cases, lost, recorded_architectures, recorded_versions, render, supported

from inspector.loading.releases import DEVIATIONS, ONLY_LISTED, RAISES

DOCS = Path(__file__).parents[1] / "docs"


def row(name, captured=True, verified=True):
    planted = 20 if verified else 0
    return {
        "model_type": name, "captured": captured, "reimplemented": verified, "planted": planted, "caught": planted,
    }  # fmt: skip


OLD = Run("5.17.0", "3.11.7", "2.13.0", {"passed": 9, "skipped": 1, "failed": 0}, (), (row("llama"), row("qwen3")))
NEW = Run(
    "5.24.0", "3.11.7", "2.13.0", {"passed": 10, "skipped": 0, "failed": 0}, (),
    (row("llama"), row("qwen3"), row("zaya", verified=False), row("csm", captured=False, verified=False)),
)  # fmt: skip
PAGE = render(OLD, NEW, day=date(2026, 11, 26))


def without(run, name, **now):
    rows = [one for one in run.rows if one["model_type"] != name] + ([row(name, **now)] if now else [])
    return dataclasses.replace(run, rows=tuple(rows))


def test_what_is_written_is_read_again():
    assert recorded_versions(PAGE) == ({**OLD.types, "zaya": "absent", "csm": "absent"}, NEW.types)
    assert complaints(OLD, NEW, PAGE, "") == []
    assert "| 5.24.0 | 2.13.0 | 3.11.7 | 10 passed | 4 | 3 | 2 | 40 of 40 |" in PAGE
    for deviation in (*DEVIATIONS, *RAISES, *ONLY_LISTED):
        assert deviation.what in PAGE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (OLD, without(NEW, "llama"), "5.24.0: llama was verified, and is absent"),
        (OLD, without(NEW, "qwen3", verified=False), "5.24.0: qwen3 was verified, and is captured"),
        (OLD, without(NEW, "zaya", captured=False, verified=False), "5.24.0: zaya was captured, and is no"),
        (without(OLD, "llama", captured=False, verified=False), NEW, "5.17.0: llama was verified, and is no"),
        (without(OLD, "qwen3"), NEW, "5.17.0: qwen3 was verified, and is absent"),
        (dataclasses.replace(OLD, failed=("tests.test_rope::test_x",)), NEW, "5.17.0: tests.test_rope::test_x failed"),
    ],
)
def test_a_type_or_a_test_lost_is_named(old, new, said):
    assert complaints(old, new, PAGE, "") == [said]


def test_what_is_more_than_was_recorded_is_no_loss():
    more = without(without(NEW, "zaya", verified=True), "brand_new", verified=True)
    assert complaints(OLD, more, PAGE, "") == []
    assert list(lost({"csm": "absent", "zaya": "no"}, {"zaya": "captured"})) == []


def test_types_recorded_in_architectures_are_kept_too():
    text = (DOCS / "architectures.md").read_text(encoding="utf-8")
    recorded = recorded_architectures(text)
    assert recorded["llama"] == "verified"
    assert recorded["roformer"] == "captured"
    assert recorded["csm"] == "no"
    assert "bert" not in recorded
    said = complaints(OLD, NEW, "", text)
    assert "5.24.0: mistral was verified, and is absent" in said
    assert not any(": llama was" in one for one in said)


@pytest.mark.parametrize("loses", [True, False])
def test_the_page_is_written_only_where_nothing_is_lost(loses, tmp_path, monkeypatch, capsys):
    page, other = tmp_path / "versions.md", tmp_path / "architectures.md"
    page.write_text(PAGE)
    other.write_text("")
    found = {"5.17.0": OLD, "5.24.0": without(NEW, "qwen3") if loses else without(NEW, "csm", verified=True)}
    monkeypatch.setattr(matrix, "DOCUMENT", page)
    monkeypatch.setattr(matrix, "ARCHITECTURES", other)
    monkeypatch.setattr(matrix, "supported", lambda: ("5.17.0", "5.24.0"))
    asked = []
    monkeypatch.setattr(matrix, "run_at", lambda version, *, tests: asked.append(tests) or found[version])
    assert matrix.main(["coverage"]) == matrix.main() == int(loses)
    assert asked == [False, False, True, True]
    assert (page.read_text() == PAGE) is loses
    assert ("qwen3 was verified, and is absent" in capsys.readouterr().out) is loses


def test_the_page_is_of_the_releases_that_are_pinned():
    oldest, newest = supported()
    page = (DOCS / "versions.md").read_text(encoding="utf-8")
    assert f"| type | {oldest} | {newest} |" in page
    floor, top = recorded_versions(page)
    assert list(top.values()).count("verified") > list(floor.values()).count("verified") > 100


def test_a_report_of_tests_is_counted():
    cases = {"x": "", "y": "<skipped/>", "z": "<failure/>", "e": "<error/>"}
    inner = "".join(f'<testcase classname="t" name="{name}">{child}</testcase>' for name, child in cases.items())
    report = ET.fromstring(f"<suite>{inner}</suite>")  # noqa: S314
    assert count_cases(report) == ({"passed": 1, "skipped": 1, "failed": 2}, ("t::z", "t::e"))
