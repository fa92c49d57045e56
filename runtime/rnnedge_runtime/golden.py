"""The public names of golden vectors; `rnnedge_runtime.proof.golden` has their code."""

from rnnedge_runtime.proof.golden import Golden as Golden
from rnnedge_runtime.proof.golden import GoldenSet as GoldenSet
from rnnedge_runtime.proof.golden import read_golden as read_golden
