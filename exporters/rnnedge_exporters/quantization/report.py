"""What was done to the weights of each layer, and what it costs in error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from rnnedge_exporters.layers.weights import DirectionWeights, RecurrentLayer
from rnnedge_exporters.lowerings import INT8_LOWERINGS
from rnnedge_exporters.lowerings.layer_graph import build_layer_graph
from rnnedge_exporters.onnx_model.int8_grid import Float32, halved, quantize_blocks
from rnnedge_exporters.onnx_model.serialize import serialize_graph
from rnnedge_exporters.option_values import Storage
from rnnedge_exporters.quantization.layer_plan import Written, explain, int8_grids
from rnnedge_runtime.contract import LayerInfo
from rnnedge_runtime.engine.inference_session import open_inference_session
from rnnedge_runtime.engine.options import EngineOptions

_TIME, _BATCH = 50, 2
_OPSET = 17
HEADINGS = ("layer", "what was done", "bytes before", "after")


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
        calibrated: Its weights that were rounded up or down by the caller's data, by the path of
            the parameter; all others are rounded to the nearest.
    """

    name: str
    kind: str
    done: str
    reason: str
    bytes_before: int
    bytes_after: int
    weight_error: float
    output_error: float | None
    calibrated: tuple[str, ...] = ()

    def cells(self) -> tuple[str, str, str, str]:
        """Return the cells of a table with `HEADINGS`."""
        sizes = f"{self.bytes_before:,}", f"{self.bytes_after:,}"
        return (self.name or self.kind, self.done, *sizes)


def describe_layer(written: Written, info: LayerInfo) -> LayerQuantization:
    """Describe a recurrent layer; runs both forms of it in ONNX Runtime."""
    layer, storage = written.source, written.storage
    if storage == "float32":
        size = 4 * sum(array.size for array in layer.arrays())
        return kept_in_float32(info.name, layer.cell, size, f"it was asked for; {info.reason}")
    after = round_layer(written.layer, info.lowering, storage)
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
    if info.lowering == "scan_nbits":
        sizes[storage] += sum(map(_blocked_bytes, _recurrent_weights(layer)))
    return LayerQuantization(
        name=info.name,
        kind=layer.cell,
        done=done(info.lowering, storage),
        reason=explain(info.reason, written.gains),
        bytes_before=4 * elements,
        bytes_after=sizes[storage],
        weight_error=max(float(np.abs(w - changed).max(initial=0)) for w, changed in pairs),
        output_error=_output_error(layer, written.layer, info.lowering, storage),
        calibrated=tuple(written.gains),
    )


def kept_in_float32(name: str, kind: str, size: int, reason: str) -> LayerQuantization:
    """Describe a layer of `size` bytes that is left as it is."""
    return LayerQuantization(name, kind, "kept in float32", reason, size, size, 0.0, 0.0)


def round_layer(layer: RecurrentLayer, lowering: str, storage: Storage) -> RecurrentLayer:
    """Return the layer with its weights as they are after rounding."""
    if storage == "float32":
        return layer
    names = ["weight_ih", "weight_hh", "weight_hr"]
    names += ["bias_ih", "bias_hh"] if storage == "half" else []

    def changed(direction: DirectionWeights, index: int) -> DirectionWeights:
        grids = int8_grids(layer, lowering, storage, index)
        arrays = {name: getattr(direction, name) for name in names}
        return replace(
            direction,
            **{
                name: grids[name].rounded(array) if name in grids else halved(array)
                for name, array in arrays.items()
                if array is not None
            },
        )

    return replace(
        layer,
        layers=tuple(
            tuple(changed(one, index) for one in both) for index, both in enumerate(layer.layers)
        ),
    )


def _recurrent_weights(layer: RecurrentLayer) -> Iterator[Float32]:
    for direction in (one for both in layer.layers for one in both):
        yield direction.weight_hh
        if direction.weight_hr is not None:
            yield direction.weight_hr


def _blocked_bytes(weights: Float32) -> int:
    """Return what blocks add to the bytes of weights with a scale for each row."""
    values, scale = quantize_blocks(weights)
    return values.size - weights.size + 4 * (scale.size - len(weights))


def done(lowering: str, storage: Storage) -> str:
    """Say what is done to a layer of a form."""
    if storage == "half":
        return "computes in float16"
    if storage == "float16":
        return "stored in float16"
    done = "computes in int8" if lowering in INT8_LOWERINGS else "stored in int8"
    return done if storage == "int8" else f"{done}, input weights in float16"


def _output_error(
    layer: RecurrentLayer, after: RecurrentLayer, lowering: str, storage: Storage
) -> float:
    x = np.random.default_rng(0).standard_normal((_TIME, _BATCH, layer.input_size))
    exact = "scan" if layer.proj_size else "operator"
    outputs = []
    # Half arithmetic is for CUDA: here, what the rounding of the weights does is measured alone.
    ways: list[tuple[RecurrentLayer, str, Storage]] = [
        (layer, exact, "float32"),
        (after, lowering, "float16" if storage == "half" else storage),
    ]
    for weights, form, written in ways:
        plain = replace(weights, name="", batch_first=False)
        graph, _ = build_layer_graph(
            plain, form, lengths=False, states=False, opset=_OPSET, storage=written
        )
        engine, _ = open_inference_session(
            serialize_graph(graph), device="cpu", options=EngineOptions(threads=1)
        )
        outputs.append(engine.run(["output"], {"input": x.astype(np.float32)})[0])
    return float(np.abs(outputs[0] - outputs[1]).max(initial=0))
