"""See every attention head of a real pretrained model, and trust what you see.

model = inspector.load("smollm2-135m-instruct")
trace = model.trace("Houston, we have a problem")
trace.weights(layer=0, head=0)                      # attention weights [t, s]
inspector.verify(model, "Houston, we have a problem").ok
"""

from inspector.errors import InspectorError
from inspector.export import open_trace
from inspector.model import Model, load
from inspector.report import VerificationReport
from inspector.trace import Trace
from inspector.verify import verify

__all__ = ["InspectorError", "Model", "Trace", "VerificationReport", "load", "open_trace", "verify"]
