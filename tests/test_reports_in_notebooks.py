"""What comes of a check shows itself in a notebook: a verdict, a table of few rows, nothing large, no one's markup."""

from __future__ import annotations

import pandas as pd
import pytest
import tiny

import inspector
from inspector import lab
from inspector.reports import MOST_HTML, Report

IDS = [3, 14, 15, 3, 14]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.load("grouped", tmp_path_factory.mktemp("model"))


def right(model):
    return lambda x, layer: model.reimplementation[layer].stages(x).output


def reports(model):
    yield inspector.verify(model, IDS, spliced=False)
    yield inspector.judge(model, right(model), IDS)
    yield lab.experiment(model, IDS, lab.zero(1, 0))
    yield lab.sweep(model, IDS)
    yield lab.compare(model.trace(IDS), model.trace(IDS[:4]))


def test_each_kind_of_report_shows_its_verdict_and_a_table(model):
    for report in reports(model):
        assert isinstance(report, Report)
        shown = report._repr_html_()
        assert f"<b>{report.verdict}</b>" in shown
        assert "<table" in shown
        assert len(shown) < 50_000
        assert len(repr(report)) < 1000


class Long(Report):
    kind = "test"
    verdict = "<script>"
    ok = False

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame({f"column {i}": ["<b>" + "x" * 40] * 1000 for i in range(60)})

    def summary(self) -> str:
        return "<img>"

    def _record(self) -> dict:
        return {}

    def _about(self) -> str:
        return "<i>"


def test_a_wide_table_is_cut_and_says_where_the_rest_is():
    shown = Long()._repr_html_()
    assert len(shown) < MOST_HTML + 1000
    assert "more rows: <code>.table</code> has them all" in shown
    for markup in ("<script>", "<img>", "<i>", "<b>x"):
        assert markup not in shown
