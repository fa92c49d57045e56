"""Runs exported recurrent networks with its own kernels: no ONNX Runtime, no PyTorch.

A step of a small network costs ONNX Runtime some ten microseconds of dispatch around one of
arithmetic. Here a model is laid out once for a shape: what is left are a few calls of kernels that
are chosen for the processor, over memory with fixed places.
"""

from rnnedge_native._engine import instructions as instructions
from rnnedge_native.plan import Plan as Plan
from rnnedge_native.steps import step_rows as step_rows
from rnnedge_native.steps import step_through as step_through
from rnnedge_runtime.errors import PlanError as PlanError

__version__ = "0.1.0"
