"""The `Interface` of a model without a contract, read in its graph.

The graph decides which tensors are states and which axes are batch and time; names decide what the
graph leaves open. If that is wrong, `Session(..., states={output: input})` names the pairs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rnnedge_runtime.contract import Interface, StatePair, TensorSpec
from rnnedge_runtime.errors import StateError
from rnnedge_runtime.foreign.axis_names import name_axes
from rnnedge_runtime.foreign.axis_roles import Roles, find_axis_roles
from rnnedge_runtime.foreign.input_values import compared_values
from rnnedge_runtime.foreign.state_pairs import find_states
from rnnedge_runtime.onnx_file import GraphFile

_LENGTHS = re.compile(r"(?:(?:seq|sequence|input|x)_?)?(?:lengths?|lens?)$")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model without a contract says of itself.

    Attributes:
        interface: The inputs, outputs, states and lengths.
        declared: The same with the axes as they are declared.
        roles: Which axes of the inputs the graph shows to be batch and time.
        values: Integers that inputs are compared with, by name.
        doubts: A sentence for each input that may be a state and is not taken for one.
    """

    interface: Interface
    declared: Interface
    roles: Roles
    values: Mapping[str, int]
    doubts: tuple[str, ...]


def read_interface(
    file: GraphFile,
    ins: tuple[TensorSpec, ...],
    outs: tuple[TensorSpec, ...],
    states: Mapping[str, str] | None = None,
) -> Reading:
    """Describe a model.

    Args:
        file: Its graph; an empty one where it cannot be read.
        ins: The inputs of the graph, as the engine reports them.
        outs: The outputs of the graph.
        states: Output name to the input that it feeds on the next call; None finds them.

    Raises:
        StateError: If `states` names a tensor that the model does not have.
    """
    doubts: tuple[str, ...] = ()
    if states is None:
        pairs, doubts = find_states(file, ins, outs)
    else:
        pairs = _given_pairs(ins, outs, states)
    lengths = next(
        (
            spec.name
            for spec in ins
            if spec.dtype in ("int32", "int64")
            and len(spec.axes) == 1
            and _LENGTHS.search(spec.name.lower())
        ),
        None,
    )
    declared = Interface(ins, outs, pairs, lengths)
    roles = find_axis_roles(file)
    return Reading(name_axes(declared, roles), declared, roles, compared_values(file), doubts)


def _given_pairs(
    ins: Sequence[TensorSpec], outs: Sequence[TensorSpec], states: Mapping[str, str]
) -> tuple[StatePair, ...]:
    for names, specs, kind in ((states.values(), ins, "input"), (states, outs, "output")):
        known = [spec.name for spec in specs]
        for name in names:
            if name not in known:
                raise StateError(
                    f"states: the model has no {kind} {name!r}; it has {', '.join(known)}"
                )
    return tuple(StatePair(into, out) for out, into in states.items())
