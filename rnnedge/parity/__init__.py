"""Parity: proof that an exported model computes what PyTorch computes."""

from rnnedge.parity.cases import Case as Case
from rnnedge.parity.compare import Tolerance as Tolerance
from rnnedge.parity.report import Report as Report
from rnnedge.parity.results import OutputReport as OutputReport
from rnnedge.parity.validation import validate as validate
