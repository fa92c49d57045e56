"""An `.onnx` file as a graph that can be changed, and what it is refused for."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.version_converter
import onnx_ir as ir
from onnx_ir.passes import common as passes

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.onnx_model.nodes import label
from rnnedge_exporters.onnx_model.serialize import LARGEST, first_cause
from rnnedge_exporters.versions import HIGHEST_OPSET
from rnnedge_runtime.contract import METADATA_KEY, Contract
from rnnedge_runtime.engine.opening_cost import check_functions
from rnnedge_runtime.errors import one_line, pass_on_interruption
from rnnedge_runtime.missing_file import no_such_file

LOWEST = 7
"""The operator set in which `Mul` learned to broadcast, as scales need it."""
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
_QUANTIZED = {
    *("DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul"),
    *("QuantizeLinear", "DequantizeLinear", "MatMulInteger", "MatMulInteger16", "ConvInteger"),
    *("MatMulIntegerToFloat", "MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "GatherBlockQuantized"),
    *("QAttention", "QGemm", "QMoE"),
}
"""Operators of ONNX, and of ONNX Runtime, that are in quantized files alone."""
_SMALL = (
    *(ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4),
    *(ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT8E5M2, ir.DataType.FLOAT16),
)


def read_model(path: Path) -> ir.Model:
    """Read a float32 model, its external data too, with its functions in line.

    Constants are initializers afterwards, and none of them is an input.

    Raises:
        ExportError: When it cannot be read, is too large, or quantized already.
        ModelError: When its functions do not end.
    """
    model = _load(path)
    if not model.graph.outputs:
        raise ExportError(f"{path}: expected an ONNX model, found no graph in it")
    _refuse_quantized(path, model)
    opset = model.graph.opset_imports.get("", LOWEST)
    if opset < LOWEST:
        raise ExportError(
            f"{path}: expected opset {LOWEST} or later, got {opset}: convert it with "
            "onnx.version_converter"
        )
    check_functions(str(path), str(path))
    for prepare in (
        passes.InlinePass(),
        passes.LiftConstantsToInitializersPass(),
        passes.RemoveInitializersFromInputsPass(),
    ):
        prepare(model)
    # Before 4, each initializer had to be an input.
    model.ir_version = max(model.ir_version, 4)
    return model


def _load(path: Path) -> ir.Model:
    """Return what a file holds, its external data too."""
    if not path.is_file():
        missing = no_such_file(path, (".onnx",))
        raise ExportError(f"{path}: expected an ONNX file, {missing}")
    try:
        if path.stat().st_size > LARGEST:
            raise _too_large(path, path.stat().st_size)
        model = ir.load(path)
        size = sum(
            value.const_value.nbytes
            for graph in model.graphs()
            for value in graph.initializers.values()
            if value.const_value is not None
        )
        if size > LARGEST:
            raise _too_large(path, size)
        ir.external_data.load_to_model(model)
        _check_values(model)
    except ExportError:
        raise
    except OSError as error:  # such as external data that is not there
        raise ExportError(f"{path}: cannot be read: {one_line(error)}") from error
    except Exception as error:  # protobuf's, of whichever implementation, and those of onnx-ir
        pass_on_interruption(error)
        raise ExportError(
            f"{path}: expected an ONNX model: the file is of another kind, damaged, cut short, or "
            f"of unsupported types ({' '.join(str(first_cause(error)).split())[:100]})"
        ) from error
    return model


def _check_values(model: ir.Model) -> None:
    """Raise an exception for a tensor whose bytes are not those of its sizes and its dtype."""
    initializers = (v for graph in model.graphs() for v in graph.initializers.values())
    tensors = [value.const_value for value in initializers if value.const_value is not None]
    for node in model.graph.all_nodes():
        attributes = (one for one in node.attributes.values() if not one.is_ref())
        tensors += [a.as_tensor() for a in attributes if a.type == ir.AttributeType.TENSOR]
    for tensor in tensors:
        if tensor.numpy().shape != tuple(tensor.shape):  # numpy infers a negative size
            raise ValueError(f"{tensor.name} has sizes below zero")


def convert(path: Path, model: ir.Model, opset: int) -> ir.Model:
    """Return a model in a later version of ONNX's operator set.

    Raises:
        ExportError: When it is no later one, or an operator cannot be converted.
    """
    own = model.graph.opset_imports.get("", 0)
    if not isinstance(opset, int) or not own <= opset <= HIGHEST_OPSET:
        raise ExportError(
            f"opset: expected {own}, that of {path}, to {HIGHEST_OPSET}, got {opset!r}"
        )
    if opset == own:
        return model
    try:
        proto = onnx.version_converter.convert_version(ir.to_proto(model), opset)
    except Exception as error:  # its own, and RuntimeError
        pass_on_interruption(error)
        raise ExportError(
            f"opset={opset}: {path} cannot be converted from opset {own}: {one_line(error)}"
        ) from error
    converted = ir.from_proto(proto)
    converted.metadata_props.update(model.metadata_props)
    passes.LiftConstantsToInitializersPass()(converted)
    oldest = onnx.helper.find_min_ir_version_for(list(proto.opset_import), ignore_unknown=True)
    converted.ir_version = max(model.ir_version, oldest)
    return converted


def contract_of(path: Path, model: ir.Model) -> Contract | None:
    """Return what rnnedge wrote into the file; None when others made it."""
    text = model.metadata_props.get(METADATA_KEY)
    return None if text is None else Contract.from_json(text, source=str(path))


def _too_large(path: Path, size: int) -> ExportError:
    return ExportError(
        f"{path}: expected at most {LARGEST:,} bytes, including its weights, got {size:,}"
    )


def quantized_part(path: Path, model: ir.Model) -> str | None:
    """Return what a model stores or computes in fewer bits than float32; None for nothing.

    Args:
        path: The file, for messages about its contract.
        model: The model.
    """
    contract = contract_of(path, model)
    if contract is not None and (contract.quantization or contract.dtype != "float32"):
        return f"a file that rnnedge wrote in {contract.quantization or contract.dtype}"
    inside = (node for function in model.functions.values() for node in function.all_nodes())
    for node in (*model.graph.all_nodes(), *inside):
        if node.op_type in _QUANTIZED or node.op_type.startswith("QLinear"):
            return f"{node.op_type} {label(node)}, which is quantized already"
        widened = node.inputs[0] if node.op_type == "Cast" and node.inputs else None
        if widened is not None and widened.dtype in _SMALL and _is_weight(widened):
            dtype = widened.dtype.name.lower()
            return f"{dtype} that {label(node)} widens, which is quantized already"
    return None


def _refuse_quantized(path: Path, model: ir.Model) -> None:
    found = quantized_part(path, model)
    if found is not None:
        raise ExportError(
            f"{path}: expected float32 weights, got {found}: take the float32 file that it was "
            "made from"
        )


def _is_weight(value: ir.Value) -> bool:
    made = value.producer()
    constant = value.is_initializer() or (made is not None and made.op_type == "Constant")
    return constant and len(value.shape or ()) > 1
