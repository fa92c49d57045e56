"""The public name of the check of golden vectors; `rnnedge_runtime.proof.golden_check` has it."""

from rnnedge_runtime.proof.golden_check import check_golden as check_golden
