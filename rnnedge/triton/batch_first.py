"""Rewrites a model so that the batch is the first axis of all inputs and outputs.

Triton joins requests along the first axis of every tensor, states included, and the states of
PyTorch's layers are [layers*directions, batch, hidden].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence
from dataclasses import replace

import numpy as np
import onnx

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.onnx_model.nodes import all_graphs
from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import BATCH, METADATA_KEY, Contract, Interface, TensorSpec

_INNER = "as_exported"
"""The end of the name that a moved input or output has inside the graph."""


def batch_first(
    model: onnx.ModelProto,
    interface: Interface,
    contract: Contract | None,
    constants: Mapping[str, Array],
) -> tuple[onnx.ModelProto, Interface]:
    """Return a model with the batch axis in front, and with constants in place of some inputs.

    Args:
        model: The model, with its weights.
        interface: Its inputs and outputs, with the batch axis named.
        contract: Its contract, or None.
        constants: Values of inputs that are the same in every call, by name.

    Raises:
        ExportError: When an input is an output at the same time.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    names = _Names(made)
    _store(graph, constants)
    inputs = tuple(spec for spec in interface.inputs if spec.name not in constants)
    for spec in inputs:
        if _position(spec) > 0:
            inner = names.moved(graph, spec, kind="input")
            graph.node.insert(0, _transpose(spec.name, inner, _back(spec)))
            _move_dims(graph.input, spec)
    for spec in interface.outputs:
        if _position(spec) > 0:
            inner = names.moved(graph, spec, kind="output")
            graph.node.append(_transpose(inner, spec.name, _forward(spec)))
            _move_dims(graph.output, spec)
    moved = replace(
        interface,
        inputs=tuple(map(_moved_spec, inputs)),
        outputs=tuple(map(_moved_spec, interface.outputs)),
    )
    if contract is not None:
        _write_contract(made, contract, moved)
    return made, moved


class _Names:
    """Gives moved tensors another name inside the graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._taken = {
            name
            for graph in all_graphs(model.graph)
            for item in (graph, *graph.node)
            for name in _names_in(item)
        }

    def moved(self, graph: onnx.GraphProto, spec: TensorSpec, *, kind: str) -> str:
        """Rename a tensor everywhere but among the inputs and outputs; return its new name."""
        if {info.name for info in graph.input} & {info.name for info in graph.output} & {spec.name}:
            raise ExportError(
                f"{spec}: is an input and an output of the graph, so its batch axis cannot be "
                "moved: return a copy of the input"
            )
        inner = f"{spec.name}/{_INNER}"
        while inner in self._taken:
            inner += "_"
        self._taken.add(inner)
        for each in all_graphs(graph):
            for node in each.node:
                _rename(node.input, spec.name, inner)
                _rename(node.output, spec.name, inner)
            for info in (*each.value_info, *(each.output if each is not graph else ())):
                if info.name == spec.name:
                    info.name = inner
        if kind == "output":
            for tensor in graph.initializer:
                if tensor.name == spec.name:
                    tensor.name = inner
        return inner


def _names_in(item: onnx.GraphProto | onnx.NodeProto) -> list[str]:
    if isinstance(item, onnx.NodeProto):
        return [*item.input, *item.output]
    return [each.name for each in (*item.input, *item.output, *item.initializer)]


def _rename(names: MutableSequence[str], old: str, new: str) -> None:
    for index, name in enumerate(names):
        if name == old:
            names[index] = new


def _store(graph: onnx.GraphProto, constants: Mapping[str, Array]) -> None:
    """Make initializers of inputs."""
    kept = [info for info in graph.input if info.name not in constants]
    del graph.input[:]
    graph.input.extend(kept)
    for name, value in constants.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))


def _position(spec: TensorSpec) -> int:
    return spec.axes.index(BATCH) if BATCH in spec.axes else 0


def _forward(spec: TensorSpec) -> list[int]:
    """Return the permutation that moves the batch axis to the front."""
    at = _position(spec)
    return [at, *(axis for axis in range(len(spec.axes)) if axis != at)]


def _back(spec: TensorSpec) -> list[int]:
    """Return the permutation that moves it to where the graph has it."""
    return [int(axis) for axis in np.argsort(_forward(spec))]


def _transpose(source: str, result: str, order: list[int]) -> onnx.NodeProto:
    name = f"{result if result.endswith(_INNER) else source}/Transpose"
    return onnx.helper.make_node("Transpose", [source], [result], name=name, perm=order)


def _move_dims(infos: Iterable[onnx.ValueInfoProto], spec: TensorSpec) -> None:
    """Declare the axes of an input or output in their new order."""
    info = next(info for info in infos if info.name == spec.name)
    before = onnx.TensorShapeProto()
    before.CopyFrom(info.type.tensor_type.shape)
    del info.type.tensor_type.shape.dim[:]
    info.type.tensor_type.shape.dim.extend(before.dim[axis] for axis in _forward(spec))


def _moved_spec(spec: TensorSpec) -> TensorSpec:
    at = _position(spec)
    axes = (*spec.axes[at : at + 1], *spec.axes[:at], *spec.axes[at + 1 :])
    return replace(spec, axes=axes)


def _write_contract(model: onnx.ModelProto, contract: Contract, interface: Interface) -> None:
    """Let the contract say where the axes are now; a bare layer is batch_first."""
    layers = tuple(
        layer if layer.name else replace(layer, batch_first=True) for layer in contract.layers
    )
    text = replace(contract, interface=interface, layers=layers).to_json()
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = text
