"""List the app's pages: one table for the navigation, the bar, the tabs and the links between pages."""

from __future__ import annotations

from pathlib import Path

from inspector.ui.screens.labs.table import PAGES as LEARN_PAGES

EXPLORE, LEARN, VERIFY, ATLAS = "Explore", "Learn", "Verify", "Atlas"
# Part of the app -> file, path in the address and title of each page; the first one is where the app opens. Paths are
# those of earlier releases where a link may have them.
PAGES = {
    EXPLORE: (
        ("explore.py", "", "Heads"),
        ("vectors.py", "vectors", "Vectors"),
        ("pair.py", "pair", "Pair"),
        ("bertviz.py", "bertviz", "Lines"),
        ("change.py", "change", "Change"),
        ("compare.py", "compare", "Compare"),
        ("why.py", "why", "Why"),
    ),
    LEARN: tuple((page.file, page.name, page.title) for page in LEARN_PAGES),
    VERIFY: (("verification.py", "verification", "Verify"),),
    ATLAS: (("atlas.py", "atlas", "Atlas"),),
}

_HERE = Path(__file__).resolve().parent / "screens"


def file_of(title: str) -> Path:
    """Return the file of a page, which is what links to it name.

    Args:
        title: the page's title in PAGES.

    Returns:
        The file's path.
    """
    return next(_HERE / file for found in PAGES.values() for file, _, each in found if each == title)
