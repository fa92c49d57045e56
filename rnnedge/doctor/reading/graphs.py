"""What is asked of the parts of a model, and done to them: functions over ONNX's own messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from rnnedge_runtime.contract import Axis, Interface, TensorSpec
from rnnedge_runtime.foreign.graph import Graph, GraphFile, read_graph
from rnnedge_runtime.foreign.read_interface import read_interface

_PROTOBUF_LIMIT = 2**31 - 1


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node; strings as text."""
    found = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif isinstance(value, list) and value and isinstance(value[0], bytes):
            value = [item.decode(errors="replace") for item in value]
        found[attribute.name] = value
    return found


def label(node: onnx.NodeProto) -> str:
    """Return what to call a node: its name, or its operator and what it makes."""
    made = next((name for name in node.output if name), "?")
    return node.name or f"{node.op_type} of {made}"


def inner_graphs(item: onnx.NodeProto | onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs in the attributes of a node, or of all nodes of a graph, one level down."""
    for node in [item] if isinstance(item, onnx.NodeProto) else item.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def used(node: onnx.NodeProto) -> list[str]:
    """Return the tensors of the outermost graph that a node, or a graph inside it, takes."""
    names = [name for name in node.input if name]
    for graph in inner_graphs(node):
        names += [name for inner in graph.node for name in used(inner)]
        names += [output.name for output in graph.output]
    return names


def spec_of(info: onnx.ValueInfoProto) -> TensorSpec:
    """Describe an input or output; an axis without a name is called `name.axis`."""
    kind = info.type.tensor_type.elem_type
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind).name if kind else "unknown"
    except KeyError:
        dtype = "unknown"
    return TensorSpec(
        info.name,
        dtype,
        tuple(f"{info.name}.{i}" if a is None else a for i, a in enumerate(axes_of(info))),
    )


def axes_of(info: onnx.ValueInfoProto) -> tuple[Axis | None, ...]:
    """Return the declared axes: a size, a name, or None."""
    axes: list[Axis | None] = []
    for dim in info.type.tensor_type.shape.dim:
        axes.append(dim.dim_value if dim.dim_value > 0 else dim.dim_param or None)  # some write -1
    return tuple(axes)


def interface_of(model: onnx.ModelProto) -> Interface:
    """Return the states and lengths that the runtime finds in a model, with its declared axes."""
    ins, outs = (tuple(map(spec_of, given)) for given in (model.graph.input, model.graph.output))
    is_small = model.ByteSize() <= _PROTOBUF_LIMIT
    file = read_graph(model.SerializeToString()) if is_small else GraphFile(Graph(), {})
    return read_interface(file, ins, outs).declared


def relabel(model: onnx.ModelProto, axes: dict[str, tuple[Axis, ...]]) -> None:
    """Give inputs and outputs other axes, in place, and forget shapes that were noted inside.

    Args:
        model: The model.
        axes: For each input or output, its axes; an empty name leaves an axis open.
    """
    model.graph.ClearField("value_info")
    for info in [*model.graph.input, *model.graph.output]:
        tensor = info.type.tensor_type
        if info.name in axes:
            tensor.ClearField("shape")
            tensor.shape.SetInParent()
            for axis in axes[info.name]:
                dim = tensor.shape.dim.add()
                if isinstance(axis, int):
                    dim.dim_value = axis
                elif axis:
                    dim.dim_param = axis
    for info in model.graph.output:
        if info.name not in axes:
            info.type.tensor_type.ClearField("shape")


def drop_unused(graph: onnx.GraphProto) -> None:
    """Take out the nodes and weights that no output needs; ONNX Runtime would run them."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(used(node))
            kept.append(node)
    nodes = list(reversed(kept))
    del graph.node[:]
    graph.node.extend(nodes)
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(tensors)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a model, with its weights beside it when one file cannot hold them."""
    if model.ByteSize() > _PROTOBUF_LIMIT:
        onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
