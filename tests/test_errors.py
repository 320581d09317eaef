"""docs/errors.md has every sentence that a refusal can say; each file that refuses has a kind, with an anchor."""

from __future__ import annotations

import re

import errors_document as document


def test_the_page_is_todays():
    assert document.PAGE.read_text(encoding="utf-8") == document.page(), (
        "python -m tests.errors_document writes it anew"
    )


def test_each_file_that_refuses_has_a_kind_and_each_kind_a_file():
    found = document.all_sentences()
    assert [place for place in found if document.kind_of(place) is None] == []
    used = {document.kind_of(place).title for place in found}
    assert used == {kind.title for kind in document.KINDS}


def test_anchors_lead_to_headings_and_no_two_are_alike():
    text = document.PAGE.read_text(encoding="utf-8")
    headings = [document.anchor(title) for title in re.findall(r"^## (.+)$", text, re.MULTILINE)]
    assert sorted(set(headings)) == sorted(headings)
    assert re.findall(r"^- \[.*\]\(#(.+)\)$", text, re.MULTILINE) == headings


def test_each_sentence_names_a_next_step():
    """A colon or a semicolon before what to do, or a sentence that is a step itself; few cannot."""
    said = [text for texts in document.all_sentences().values() for text in texts]
    bare = [text for text in said if not re.search(r"[:;,] |`|…$|: …", text)]
    assert len(bare) <= 0.05 * len(said), bare


def test_a_sentence_is_found_however_it_is_handed_over(tmp_path):
    file = tmp_path / "one.py"
    file.write_text(
        "def f(x):\n"
        "    if x:\n        raise InspectorError(f'The value {x} is too large: give less than ' + str(3))\n"
        "    text = 'Another sentence that stands apart: do this'\n    return InspectorError(text + '.')\n"
    )
    assert set(document.sentences(file)) == {
        "The value … is too large: give less than …",
        "Another sentence that stands apart: do this",
    }
