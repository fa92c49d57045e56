"""What is looked for. Each check is a function from a `Subject` to findings.

`runtimes.check_runtimes`, which also takes the runtimes asked for, is not among `CHECKS`.
"""

from collections.abc import Callable, Iterator

from rnnedge.doctor.checks.axes import check_axes
from rnnedge.doctor.checks.contents import check_contents
from rnnedge.doctor.checks.operators import check_operators
from rnnedge.doctor.checks.running import check_running
from rnnedge.doctor.checks.states import check_states
from rnnedge.doctor.checks.unrolled import check_unrolled
from rnnedge.doctor.checks.weights import check_weights
from rnnedge.doctor.findings import Finding
from rnnedge.doctor.model_facts import Subject

CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    check_contents,
    check_running,
    check_axes,
    check_unrolled,
    check_operators,
    check_weights,
    check_states,
)
