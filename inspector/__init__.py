"""See every attention head of a real pretrained model, and trust what you see.

model = inspector.load("smollm2-135m-instruct")
trace = model.trace("Houston, we have a problem")
trace.weights(layer=0, head=0)                      # attention weights [t, s]
inspector.verify(model, "Houston, we have a problem").ok
"""

import os

# Read by torch when it makes its first tensor. Vectors that are kept would leave gaps between those that come and go;
# in huge pages they do not: 8192 tokens of the packaged model take what they keep, and not half as much again
# (docs/performance.md). Linux only; without effect elsewhere, and where torch has been used before.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from inspector.errors import InspectorError
from inspector.model.model import Model, load
from inspector.trace.file import open_trace
from inspector.trace.trace import Trace
from inspector.verification.report import VerificationReport
from inspector.verification.run import verify

__all__ = ["InspectorError", "Model", "Trace", "VerificationReport", "load", "open_trace", "verify"]
