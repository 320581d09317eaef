"""Measure what every head does over a corpus: statistics, best examples, checked against the library."""

from inspector.atlas.build_atlas import build
from inspector.atlas.finished import Atlas, Card
from inspector.atlas.finished import open_atlas as open
from inspector.atlas.headvis import write_headvis
from inspector.atlas.texts import TextCounts

__all__ = ["Atlas", "Card", "TextCounts", "build", "open", "write_headvis"]
