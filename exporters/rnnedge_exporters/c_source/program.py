"""A model laid out for C: the calls of its plan, and what its functions take and give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rnnedge_exporters.c_source.packing import Matrix, RowPacker
from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.contract import BATCH, Interface, TensorSpec
from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.onnx_file import GraphFile, ValueInfo
from rnnedge_runtime.plan.known import check_operators, dtype_of
from rnnedge_runtime.plan.model_file import read_model
from rnnedge_runtime.plan.operators import FOLDS, OPERATORS
from rnnedge_runtime.plan.packing import LayerWeights
from rnnedge_runtime.plan.placing import place_in_arena
from rnnedge_runtime.plan.tracer import (
    CAST,
    COMPARE,
    COPY,
    DEPTHWISE,
    GATHER,
    LAYER,
    PRODUCT,
    WHERE,
    Kept,
    Recipe,
    Tracer,
)
from rnnedge_runtime.plan.values import DTYPE_CODE, ITEM, Buffer, Call, Dtype

MOST_BYTES = 2**31 - 1
"""Of any one array; size_t of a small device counts no further."""
MOST_CALLS = 2_000
"""Calls of kernels in one function."""
_CODES: dict[int, Dtype] = {code: dtype for dtype, code in DTYPE_CODE.items()}


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the C functions.

    Attributes:
        spec: As the contract has it.
        dtype: What it is computed in.
        shape: Its sizes in one call of the step, or of `run` where there is no step.
        in_time: Whether it has an axis that grows with the steps.
    """

    spec: TensorSpec
    dtype: Dtype
    shape: tuple[int, ...]
    in_time: bool

    @property
    def size(self) -> int:
        """Its elements in one call."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class State:
    """A state float32 that lies in the struct.

    Attributes:
        name: The input that takes it.
        shape: Its sizes.
        input: The number of that input among those of the graph.
        output: The number of the output that gives it.
    """

    name: str
    shape: tuple[int, ...]
    input: int
    output: int

    @property
    def size(self) -> int:
        """Its elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class SizedProgram:
    """A model at fixed sizes.

    Attributes:
        inputs: The inputs of the functions, in the order of the contract.
        outputs: Their outputs, likewise.
        states: What is kept in the struct; empty for a program that runs whole sequences alone.
        steps: Steps of one run, or None for a program of single steps.
        batch: Rows.
        calls: The calls, in order.
        arenas: Bytes of scratch memory by the dtype of what lies there.
        ports: Inputs and outputs by home and number of their buffers.
        macs: Multiply-accumulates of one call of the step, or of a whole run.
        from_zero: By number, the inputs that are zeros (initial states of whole sequences), and
            how many.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[State, ...]
    steps: int | None
    batch: int
    calls: tuple[Call, ...]
    arenas: dict[Dtype, int]
    ports: dict[tuple[str, int], Port]
    macs: int
    from_zero: dict[int, int]


def lay_out(
    content: bytes, interface: Interface, *, batch: int, steps: int | None, name: str
) -> SizedProgram:
    """Lay a model out for C.

    Args:
        content: The `.onnx` file.
        interface: Its inputs, outputs and states.
        batch: Rows, 1 or more.
        steps: Steps of whole sequences, or None for single steps whose states are kept.
        name: The model, for messages.

    Raises:
        ExportError: When the model has what the C target does not know, named by its node, or
            sizes do not fit.
    """
    if interface.lengths is not None:
        raise ExportError(
            f"{name}: takes {interface.lengths}, and rows of a C program all have the same length: "
            "export it without lengths"
        )
    try:
        model = read_model(content, name)
        check_operators(model.graph)
        return _lay_out(model, interface, batch, steps, name)
    except PlanError as error:
        told = str(error).replace("the native engine", "the C target")
        if error.node is not None and error.node not in told:
            told = f"{error.node}: {told}"
        remedy = ": run it as an .onnx file, or leave this part out of the module"
        told = told.replace("; ONNX Runtime runs the model", remedy)
        raise ExportError(f"{name}: {told}") from error


def _lay_out(
    model: GraphFile, interface: Interface, batch: int, steps: int | None, name: str
) -> SizedProgram:
    graph = model.graph
    given = [info for info in graph.inputs if info.name not in graph.initializers]
    specs = {spec.name: spec for spec in (*interface.inputs, *interface.outputs)}
    shapes = {info.name: _shape(specs[info.name], batch, steps, name) for info in given}
    tracer = Tracer(OPERATORS, FOLDS, RowPacker(), Kept())
    recipe = tracer.run(graph, {info.name: (shapes[info.name], dtype_of(info)) for info in given})
    if len(recipe.calls) > MOST_CALLS:
        raise ExportError(
            f"{name}: its plan has {len(recipe.calls):,} calls, and a C function takes up to "
            f"{MOST_CALLS:,}: give a smaller max_steps"
        )
    calls = _prepared(recipe.calls)
    arenas = _place(calls)
    pairs = {} if steps is not None else {pair.output: pair.input for pair in interface.states}
    inputs, outputs = _ports(given, recipe, specs, shapes, interface, whole=steps is not None)
    for port in (*inputs, *outputs):
        _check_size(port.spec.name, port.size * ITEM[port.dtype], name)
    for dtype, size in arenas.items():
        _check_size(f"scratch memory of {dtype}", size, name)
    taken = {info.name: index for index, info in enumerate(given)}
    made = {name: index for index, (name, _, _) in enumerate(recipe.outputs)}
    states = tuple(
        State(taking, shapes[taking], taken[taking], made[giving])
        for giving, taking in pairs.items()
    )
    from_zero = {
        taken[pair.input]: math.prod(shapes[pair.input])
        for pair in (interface.states if steps is not None else ())
    }
    return SizedProgram(
        inputs=inputs,
        outputs=outputs,
        states=states,
        steps=steps,
        batch=batch,
        calls=calls,
        arenas=arenas,
        ports={("input", taken[port.spec.name]): port for port in inputs}
        | {("output", made[port.spec.name]): port for port in outputs},
        macs=sum(map(_macs, calls)),
        from_zero=from_zero,
    )


def _shape(spec: TensorSpec, batch: int, steps: int | None, name: str) -> tuple[int, ...]:
    shape = []
    for axis in spec.axes:
        if isinstance(axis, int):
            shape.append(axis)
        elif axis == BATCH:
            shape.append(batch)
        else:
            shape.append(1 if steps is None else steps)
    if math.prod(shape) * 8 > MOST_BYTES:
        raise ExportError(
            f"{name}: {spec.name} of shape {shape} does not fit in {MOST_BYTES:,} bytes: give a "
            "smaller batch or max_steps"
        )
    return tuple(shape)


def _check_size(what: str, size: int, name: str) -> None:
    if size > MOST_BYTES:
        raise ExportError(
            f"{name}: {what} would take {size:,} bytes, and C arrays of a device hold up to "
            f"{MOST_BYTES:,}: give a smaller batch or max_steps"
        )


def _ports(
    given: Sequence[ValueInfo],
    recipe: Recipe,
    specs: Mapping[str, TensorSpec],
    shapes: Mapping[str, tuple[int, ...]],
    interface: Interface,
    *,
    whole: bool,
) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    kept = {pair.input for pair in interface.states}
    inputs = tuple(
        Port(specs[info.name], dtype_of(info), shapes[info.name], in_time(specs[info.name]))
        for info in given
        if info.name not in kept
    )
    finals = set() if whole else {pair.output for pair in interface.states}
    outputs = tuple(
        Port(specs[name], dtype, shape, in_time(specs[name]))
        for name, shape, dtype in recipe.outputs
        if name not in finals
    )
    return inputs, outputs


def in_time(spec: TensorSpec) -> bool:
    """Whether a tensor has an axis that grows with the steps."""
    return any(isinstance(axis, str) and axis != BATCH for axis in spec.axes)


# --- buffers ---


def dtypes_of(call: Call) -> list[Dtype]:
    """Return the dtype of what lies at each place of a call."""
    floats: list[Dtype] = ["float32"] * len(call.places)
    if call.operation == COPY:
        return [_CODES[call.kind]] * 2
    if call.operation == CAST:
        return [_CODES[call.kind // 3], _CODES[call.kind % 3]]
    if call.operation == COMPARE:
        compared: Dtype = "int64" if call.kind & 16 else "float32"
        return [compared, compared, "bool"]
    if call.operation == WHERE:
        chosen: Dtype = "int64" if call.kind else "float32"
        return ["bool", chosen, chosen, chosen]
    if call.operation == LAYER:
        floats[3] = "int64"
    if call.operation == GATHER:
        floats[1] = "int64"
    return floats


def _prepared(calls: Sequence[Call]) -> tuple[Call, ...]:
    """Leave out the final states of layers that nothing reads."""
    read = {buffer.root()[0] for call in calls for buffer in call.read()}
    for call in calls:
        if call.operation != LAYER:
            continue
        places = list(call.places)
        place = places[5]
        if place is not None:
            root = place[0].root()[0]
            if root.home == "arena" and root not in read:
                places[5] = None
        call.places = tuple(places)
    return tuple(calls)


def _place(calls: Sequence[Call]) -> dict[Dtype, int]:
    """Give each buffer between calls a place among those of its dtype."""
    found: dict[Buffer, Dtype] = {}
    for call in calls:
        for place, dtype in zip(call.places, dtypes_of(call), strict=True):
            if place is not None:
                found[place[0].root()[0]] = dtype
    arenas: dict[Dtype, int] = {}
    for dtype, item in ITEM.items():
        own = {buffer for buffer, held in found.items() if held == dtype}
        size = place_in_arena(calls, item, own.__contains__)
        if size:
            arenas[dtype] = size
    return arenas


def _macs(call: Call) -> int:
    """Return the multiply-accumulates of products; numbers one by one are left out."""
    if call.operation == LAYER:
        layer = call.packed
        assert isinstance(layer, LayerWeights)
        matrices = (layer.weight_ih, layer.weight_hh, layer.projection)
        return math.prod(call.sizes) * sum(m.size for m in matrices if m is not None)
    if call.operation == PRODUCT:
        assert isinstance(call.packed, Matrix)
        return call.sizes[0] * call.sizes[1] * call.packed.weights.size
    return math.prod(call.sizes) if call.operation == DEPTHWISE else 0
