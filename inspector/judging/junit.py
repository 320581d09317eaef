"""Write a judgement as JUnit XML, which build servers show: a test for each layer and for each way of running."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from inspector.judging.report import Judgement

_ALLOWED = "\t\n\r"


def junit_xml(report: Judgement) -> str:
    """Return a judgement as JUnit XML.

    Args:
        report: what `inspector.judge` found.

    Returns:
        A test suite: a test for each layer that was compared, one for each way that was run, one for the gradients of
        each layer where they were asked for, and one for the verdict.
    """
    suite = ElementTree.Element("testsuite", name="attention-inspector judge", time=f"{report.seconds:.3f}")
    failed = 0
    for layer in report.layers:
        wrong = [] if report.ok else [check for check in report.checks if check.layer == layer and not check.ok]
        case = _case(suite, report, f"layer {layer}")
        if wrong:
            failed += 1
            first = wrong[0]
            how = f"differs by {first.max_abs:.3g}, {first.worst}" if math.isfinite(first.max_abs) else first.reason
            _failure(case, f"{first.stage} {how}", first.reason)
    for way in report.ways_run:
        case = _case(suite, report, way.way)
        if not way.run:
            ElementTree.SubElement(case, "skipped", message=_plain(way.why))
        elif way.ok is False:
            failed += 1
            _failure(case, way.why or f"differs {way.way}", "")
    for layer in sorted({check.layer for check in report.gradient_checks}):
        case = _case(suite, report, f"gradients of layer {layer}")
        back = [check for check in report.gradient_checks if check.layer == layer and not check.ok]
        if back:
            failed += 1
            _failure(case, f"the gradient by {back[0].by} differs, {back[0].worst}", back[0].reason)
    case = _case(suite, report, "verdict")
    if not report.ok:
        failed += 1
        _failure(case, report.summary(), "\n".join(report.causes))
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(failed))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    suite.set("errors", "0")
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode")


def _case(suite: ElementTree.Element, report: Judgement, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=_plain(report.model), name=_plain(name))


def _failure(case: ElementTree.Element, message: str, text: str) -> None:
    ElementTree.SubElement(case, "failure", message=_plain(message)).text = _plain(text)


def _plain(text: str) -> str:
    """Leave out what XML cannot hold: control characters and halves of surrogate pairs."""
    return "".join(
        c for c in text if c in _ALLOWED or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )
