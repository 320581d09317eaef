"""Change a part of a model's attention, and see what follows: every experiment carries its own control."""

from inspector.capture.edits import Edit
from inspector.capture.edits_on_paper import edits_from_data, edits_to_data
from inspector.lab.attention_edits import cut, mask, rope, scale_off, temperature, zero_value
from inspector.lab.comparison import ComparisonReport, compare
from inspector.lab.explanation import Explanation
from inspector.lab.head_edits import freeze, mean, patch, resample, scale, zero
from inspector.lab.head_tables import composition, copying_scores, ov_circuit, promoted
from inspector.lab.importance_report import ImportanceReport
from inspector.lab.logit_shares import attribution
from inspector.lab.report import ExperimentReport
from inspector.lab.run_experiment import experiment
from inspector.lab.run_explain import explain
from inspector.lab.run_sweep import sweep
from inspector.lab.score_shares import score_parts
from inspector.lab.sweep_report import SweepReport
from inspector.lab.sweeps_report import SweepsReport
from inspector.lab.token_measures import token_importance

__all__ = [
    "ComparisonReport",
    "Edit",
    "ExperimentReport",
    "Explanation",
    "ImportanceReport",
    "SweepReport",
    "SweepsReport",
    "attribution",
    "compare",
    "composition",
    "copying_scores",
    "cut",
    "edits_from_data",
    "edits_to_data",
    "experiment",
    "explain",
    "freeze",
    "mask",
    "mean",
    "ov_circuit",
    "patch",
    "promoted",
    "resample",
    "rope",
    "scale",
    "scale_off",
    "score_parts",
    "sweep",
    "temperature",
    "token_importance",
    "zero",
    "zero_value",
]
