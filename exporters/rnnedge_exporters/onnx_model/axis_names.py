"""The inputs and outputs that a file declares: their axes, as sizes and names."""

from __future__ import annotations

import onnx

from rnnedge_runtime.contract import Axis, Interface, TensorSpec
from rnnedge_runtime.foreign.read_interface import read_interface
from rnnedge_runtime.onnx_file import Graph, GraphFile, read_graph

_PROTOBUF_LIMIT = 2**31 - 1


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
