"""Find what each head of a model does: labels with scores, nulls and the texts that show it."""

from inspector.heads.finder import find
from inspector.heads.labels import LABELS, Label, Score
from inspector.heads.report import HeadFindings, HeadReport

__all__ = ["LABELS", "HeadFindings", "HeadReport", "Label", "Score", "find"]
