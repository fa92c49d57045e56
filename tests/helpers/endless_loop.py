"""A node that never ends, for tests of time limits."""

from __future__ import annotations

from onnx import NodeProto, TensorProto, helper


def endless_loop(given: str, made: str) -> NodeProto:
    """Return a `Loop` that negates a float32 tensor for ever; `true` must be a constant."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_"]), helper.make_node("Neg", ["v"], ["v_"])],
        "body",
        [
            info("i", TensorProto.INT64, []),
            info("on", TensorProto.BOOL, []),
            info("v", TensorProto.FLOAT, None),
        ],
        [info("on_", TensorProto.BOOL, []), info("v_", TensorProto.FLOAT, None)],
    )
    return helper.make_node("Loop", ["", "true", given], [made], body=body)
