"""Diagnosis: why a model does not compute what its source computes."""

from rnnedge.parity.diagnosis.diagnose import Subject as Subject
from rnnedge.parity.diagnosis.diagnose import diagnose as diagnose
from rnnedge.parity.diagnosis.diagnose import layer_curves as layer_curves
