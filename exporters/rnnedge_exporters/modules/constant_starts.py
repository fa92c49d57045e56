"""States that start from a constant other than zero, such as a learned one.

A stream starts with states of zeros. Such a layer has one state more, `started`, one number for
each row: where it is zero, the layer starts from its constant, whatever the other states hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rnnedge_exporters.modules.graph_states import is_zeros, name_state
from rnnedge_exporters.onnx_model.graph_builder import FLOAT, GraphBuilder, value
from rnnedge_runtime.contract import Axis

STARTED = "started"
_SHAPES = ("Shape", "Size")
_DRAWN = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial")


class Starts:
    """What the states of a call start from.

    Attributes:
        given: The states that the module gives.
        zeros: Whether all are zeros.
        may_be_lifted: Whether they are the same at each call, so that they can become inputs.
    """

    def __init__(self, given: Sequence[ir.Value], *, have_rows: bool = True) -> None:
        self.given = list(given)
        self.zeros = all(map(is_zeros, given))
        self.may_be_lifted = self.zeros or (have_rows and all(map(is_constant, given)))

    def lifted(
        self,
        builder: GraphBuilder,
        name: str,
        states: Sequence[ir.Value],
        axes: Sequence[int],
        batch: Axis,
    ) -> tuple[tuple[ir.Value, ...], list[ir.Value]]:
        """Return what to run from, and the flag of rows that have started, before and after.

        Args:
            builder: What to add to.
            name: The name of the call.
            states: The inputs that the states become.
            axes: Which axis of each is the batch.
            batch: The name or size of the batch.
        """
        if self.zeros:
            return tuple(states), []
        flag = value(name_state(name, STARTED), FLOAT, [batch])
        chosen, after = start_rows(builder, flag, states, self.given, axes)
        return tuple(chosen), [flag, after]


def is_constant(state: ir.Value) -> bool:
    """Whether a state is computed from weights and constants alone, for as many rows as there are.

    Only the sizes of the inputs may matter. Whether they matter to more than the number of rows is
    what chunks show that are run.
    """
    waiting, seen = [state], {state}
    while waiting:
        current = waiting.pop()
        node = current.producer()
        if node is None:
            if current.const_value is None:  # an input
                return False
            continue
        if node.op_type in _SHAPES and node.domain == "":
            continue
        if node.domain != "" or node.op_type in _DRAWN or _has_graphs(node):
            return False
        fresh = [one for one in node.inputs if one is not None and one not in seen]
        seen.update(fresh)
        waiting += fresh
    return True


def start_rows(
    graph: GraphBuilder,
    flag: ir.Value,
    states: Sequence[ir.Value],
    starts: Sequence[ir.Value],
    axes: Sequence[int],
) -> tuple[list[ir.Value], ir.Value]:
    """Let rows that have not started begin at their constants.

    Args:
        graph: What to add to.
        flag: float32 [batch]: zero where a row starts.
        states: The states that are given.
        starts: The constants, of the same shapes.
        axes: Which axis of each is the batch.

    Returns:
        The states to run from, and the next flag, ones [batch].
    """
    zero = graph.constant("zero", np.zeros(1, np.float32))
    running = graph.op("Greater", flag, zero)  # bool [batch]
    chosen = []
    for state, start, axis in zip(states, starts, axes, strict=True):
        after = len(state.shape or ()) - axis
        inside = running if after == 1 else graph.op(
            "Unsqueeze", running, graph.integers(*range(1, after))
        )  # fmt: skip
        made = graph.op("Where", inside, state, start)
        made.type, made.shape = state.type, state.shape
        chosen.append(made)
    one = ir.tensor(np.ones(1, np.float32))
    ones = graph.op("ConstantOfShape", graph.op("Shape", flag), value=one)
    ones.type, ones.shape = flag.type, flag.shape
    return chosen, ones


def _has_graphs(node: ir.Node) -> bool:
    graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in graphs for attribute in node.attributes.values())
