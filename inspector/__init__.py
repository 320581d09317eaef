"""See every attention head of a real pretrained model, and trust what you see.

model = inspector.load("smollm2-135m-instruct")
trace = model.trace("Houston, we have a problem")
trace.weights(layer=0, head=0)                      # attention weights [t, s]
inspector.verify(model, "Houston, we have a problem").ok

Names are imported when they are first used (PEP 562), so that `import inspector` and the command line start at once:
neither torch, transformers, pandas, numpy nor Streamlit is loaded before a name needs it.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# Read by torch when it makes its first tensor. Stored vectors would leave gaps between those that come and go; in huge
# pages they do not: 8192 tokens of the packaged model take what a trace stores, and not half as much again
# (docs/performance.md). Linux only; without effect elsewhere, and where torch has been used before.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if TYPE_CHECKING:
    from inspector import atlas as atlas
    from inspector import heads as heads
    from inspector import lab as lab
    from inspector import views as views
    from inspector.analysis import head_scores as measures
    from inspector.errors import InspectorError
    from inspector.judging.report import Judgement
    from inspector.judging.run import judge
    from inspector.model.load_model import load
    from inspector.model.model import Model
    from inspector.model.outside import from_tensors, from_transformer_lens
    from inspector.trace.trace import Trace, open_trace
    from inspector.verification.report import VerificationReport
    from inspector.verification.run import verify

__version__ = "0.1.0"  # the one source: pyproject.toml, --version and saved pictures read it from here

# Public name -> (module, name in that module); an empty name stands for the module itself.
_PLACES = {
    "InspectorError": ("inspector.errors", "InspectorError"),
    "Judgement": ("inspector.judging.report", "Judgement"),
    "Model": ("inspector.model.model", "Model"),
    "Trace": ("inspector.trace.trace", "Trace"),
    "VerificationReport": ("inspector.verification.report", "VerificationReport"),
    "atlas": ("inspector.atlas", ""),
    "from_tensors": ("inspector.model.outside", "from_tensors"),
    "from_transformer_lens": ("inspector.model.outside", "from_transformer_lens"),
    "heads": ("inspector.heads", ""),
    "judge": ("inspector.judging.run", "judge"),
    "lab": ("inspector.lab", ""),
    "load": ("inspector.model.load_model", "load"),
    "measures": ("inspector.analysis.head_scores", ""),
    "open_trace": ("inspector.trace.trace", "open_trace"),
    "verify": ("inspector.verification.run", "verify"),
    "views": ("inspector.views", ""),
}

__all__ = [
    "InspectorError",
    "Judgement",
    "Model",
    "Trace",
    "VerificationReport",
    "atlas",
    "from_tensors",
    "from_transformer_lens",
    "heads",
    "judge",
    "lab",
    "load",
    "measures",
    "open_trace",
    "verify",
    "views",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, and keep it for the next time."""
    if name not in _PLACES:
        raise AttributeError(f"module 'inspector' has no attribute '{name}'; it has {', '.join(__all__)}.")
    module, attribute = _PLACES[name]
    loaded = importlib.import_module(module)
    found = getattr(loaded, attribute) if attribute else loaded
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return [*__all__, "__version__"]
