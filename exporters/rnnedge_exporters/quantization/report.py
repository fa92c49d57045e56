"""What was done to the weights of each layer, and what it costs in error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rnnedge_exporters.bare_layer import build_layer_graph
from rnnedge_exporters.lowerings import INT8_LOWERINGS
from rnnedge_exporters.model_file import serialize_graph
from rnnedge_exporters.quantization.channels import (
    COMPUTED_LIMIT,
    STORED_LIMIT,
    Float32,
    halved,
    rounded,
)
from rnnedge_exporters.quantization.options import Storage
from rnnedge_exporters.weights import DirectionWeights, RecurrentLayer
from rnnedge_runtime.contract import LayerInfo
from rnnedge_runtime.engine import EngineOptions, open_engine

_TIME, _BATCH = 50, 2
_OPSET = 17


@dataclass(frozen=True, slots=True)
class LayerQuantization:
    """What was done to the weights of one layer.

    Attributes:
        name: Path of the layer inside the exported module; empty for a bare layer.
        kind: The cell, or the ONNX operator of a layer that is not recurrent.
        done: What was done: the type that it computes in, and the one that is stored.
        reason: Why that.
        bytes_before: Size of its weights and biases in float32.
        bytes_after: Size of what is stored for them, scales included.
        weight_error: Largest difference of a weight from what it was.
        output_error: Largest difference of an output from that of the float32 layer, over 50 steps
            of standard normal input; None for a layer that is not recurrent.
    """

    name: str
    kind: str
    done: str
    reason: str
    bytes_before: int
    bytes_after: int
    weight_error: float
    output_error: float | None


def describe_layer(layer: RecurrentLayer, info: LayerInfo, storage: Storage) -> LayerQuantization:
    """Describe a recurrent layer; runs both forms of it in ONNX Runtime."""
    if storage == "float32":
        size = 4 * sum(array.size for array in layer.arrays())
        return kept_in_float32(info.name, layer.cell, size, f"it was asked for; {info.reason}")
    after = round_layer(layer, info.lowering, storage)
    pairs = list(zip(layer.arrays(), after.arrays(), strict=True))
    elements = sum(weights.size for weights, _ in pairs)
    matrices = [w for w, _ in pairs if w.ndim > 1]
    inside = sum(w.size for w in matrices)
    inputs = [one.weight_ih for both in layer.layers for one in both]
    in_int8 = inside + 4 * sum(map(len, matrices)) + 4 * (elements - inside)
    sizes = {
        "half": 2 * elements,
        "float16": 2 * inside + 4 * (elements - inside),
        "int8": in_int8,
        "int8_float16": in_int8 + sum(w.size - 4 * len(w) for w in inputs),
    }
    return LayerQuantization(
        name=info.name,
        kind=layer.cell,
        done=_done(info.lowering, storage),
        reason=info.reason,
        bytes_before=4 * elements,
        bytes_after=sizes[storage],
        weight_error=max(float(np.abs(w - changed).max(initial=0)) for w, changed in pairs),
        output_error=_output_error(layer, info.lowering, storage),
    )


def kept_in_float32(name: str, kind: str, size: int, reason: str) -> LayerQuantization:
    """Describe a layer of `size` bytes that is left as it is."""
    return LayerQuantization(name, kind, "kept in float32", reason, size, size, 0.0, 0.0)


def round_layer(layer: RecurrentLayer, lowering: str, storage: Storage) -> RecurrentLayer:
    """Return the layer with its weights as they are after rounding."""

    def integer(limit: int) -> Callable[[Float32], Float32]:
        return lambda array: rounded(array, 1, limit)

    if storage == "float32":
        return layer
    weights: dict[str, Callable[[Float32], Float32]]
    weights = dict.fromkeys(("weight_ih", "weight_hh", "weight_hr"), halved)
    if storage == "half":
        weights |= {"bias_ih": halved, "bias_hh": halved}
    if storage.startswith("int8"):
        state = integer(COMPUTED_LIMIT if lowering in INT8_LOWERINGS else STORED_LIMIT)
        inputs = integer(COMPUTED_LIMIT if lowering == "operator_int8" else STORED_LIMIT)
        weights |= {"weight_hh": state, "weight_hr": state}
        weights |= {"weight_ih": inputs} if storage == "int8" else {}

    def changed(direction: DirectionWeights) -> DirectionWeights:
        arrays = {name: getattr(direction, name) for name in weights}
        return replace(
            direction, **{name: weights[name](a) for name, a in arrays.items() if a is not None}
        )

    return replace(
        layer, layers=tuple(tuple(changed(one) for one in both) for both in layer.layers)
    )


def _done(lowering: str, storage: Storage) -> str:
    if storage == "half":
        return "computes in float16"
    if storage == "float16":
        return "stored in float16"
    done = "computes in int8" if lowering in INT8_LOWERINGS else "stored in int8"
    return done if storage == "int8" else f"{done}, input weights in float16"


def _output_error(layer: RecurrentLayer, lowering: str, storage: Storage) -> float:
    plain = replace(layer, name="", batch_first=False)
    x = np.random.default_rng(0).standard_normal((_TIME, _BATCH, layer.input_size))
    exact = "scan" if layer.proj_size else "operator"
    outputs = []
    # Half arithmetic is for CUDA: here, what the rounding of the weights does is measured alone.
    ways: list[tuple[str, Storage]] = [
        (exact, "float32"),
        (lowering, "float16" if storage == "half" else storage),
    ]
    for form, written in ways:
        graph, _ = build_layer_graph(
            plain, form, lengths=False, states=False, opset=_OPSET, storage=written
        )
        engine, _ = open_engine(
            serialize_graph(graph), device="cpu", options=EngineOptions(threads=1)
        )
        outputs.append(engine.run(["output"], {"input": x.astype(np.float32)})[0])
    return float(np.abs(outputs[0] - outputs[1]).max(initial=0))
