"""The `Interface` of a model without a contract, guessed from its names.

The names of graph inputs and outputs decide which tensors are states and lengths; nothing else is
guessed. If the guess is wrong, `Session(..., states={output: input})` names the pairs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rnnedge_runtime.contract import Interface, StatePair, TensorSpec
from rnnedge_runtime.engine.tensor_info import TensorInfo, tensor_spec
from rnnedge_runtime.errors import StateError
from rnnedge_runtime.foreign.axis_names import name_axes

_LENGTHS = re.compile(r"(?:(?:seq|sequence|input|x)_?)?(?:lengths?|lens?)$")
# The parts of a name that differ between an initial and a final state: `h_0`/`h_n`, `hx`/`hy`,
# `state`/`stateN`, `h_in`/`h_out`, `initial_h`/`Y_h`, `past_…`/`present_…`. The rest is equal.
_MARKS = {
    *("0", "n", "in", "out", "input", "output", "initial", "init", "final", "new", "next"),
    *("prev", "previous", "last", "past", "present", "x", "y"),
}
_GLUED = re.compile(r"^(h|c|state|hidden|cell)(?:0|n|x|y)$")


def read_interface(
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    states: Mapping[str, str] | None = None,
) -> Interface:
    """Describe a model from the inputs and outputs that ONNX Runtime reports.

    Args:
        inputs: `InferenceSession.get_inputs()`.
        outputs: `InferenceSession.get_outputs()`.
        states: Output name to the input that it feeds on the next call; None pairs them by their
            names.

    Returns:
        The inputs, outputs, states and lengths.

    Raises:
        StateError: If `states` names a tensor that the model does not have.
    """
    ins, outs = (tuple(map(tensor_spec, infos)) for infos in (inputs, outputs))
    return interface_from_names(ins, outs, states)


def interface_from_names(
    ins: tuple[TensorSpec, ...],
    outs: tuple[TensorSpec, ...],
    states: Mapping[str, str] | None = None,
) -> Interface:
    """Describe a model from the names of its inputs and outputs.

    Args:
        ins: The inputs of the graph.
        outs: The outputs of the graph.
        states: Output name to the input that it feeds on the next call; None pairs them by their
            names.

    Returns:
        The inputs, outputs, states and lengths.

    Raises:
        StateError: If `states` names a tensor that the model does not have.
    """
    pairs = _pairs_by_name(ins, outs) if states is None else _given_pairs(ins, outs, states)
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
    return name_axes(Interface(ins, outs, pairs, lengths))


def _stem(name: str) -> tuple[str, ...]:
    tokens = [token for token in re.split(r"[_.:/\-]+", name.lower()) if token]
    tokens = [_GLUED.sub(r"\1", token) for token in tokens]
    return tuple(token for token in tokens if token not in _MARKS)


def _pairs_by_name(ins: Sequence[TensorSpec], outs: Sequence[TensorSpec]) -> tuple[StatePair, ...]:
    pairs = []
    for spec in ins:
        stem = _stem(spec.name)
        matches = [
            out
            for out in outs
            if stem and _stem(out.name) == stem and _may_feed(out, spec) and out.name != spec.name
        ]
        if len(matches) == 1:
            pairs.append(StatePair(spec.name, matches[0].name))
    return tuple(pairs)


def _may_feed(out: TensorSpec, spec: TensorSpec) -> bool:
    same_rank = out.dtype == spec.dtype and len(out.axes) == len(spec.axes) >= 2
    sizes = zip(out.axes, spec.axes, strict=False)
    return same_rank and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in sizes)


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
