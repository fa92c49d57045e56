"""From an exported program to ONNX, the recurrent layers still opaque."""

from __future__ import annotations

import re

import onnx_ir as ir
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.float_sizes import compute_in_float64
from rnnedge_exporters.modules.floor_division import round_down
from rnnedge_exporters.modules.simplify import simplify
from rnnedge_exporters.modules.squeezes import drop_idle_squeezes
from rnnedge_exporters.modules.streaming import line_of
from rnnedge_exporters.modules.translations import kept_translations
from rnnedge_runtime.errors import pass_on_interruption

MODULE_OPSET = 18
"""What torch's translations are written in."""


_INSTEAD = {
    "median": "x.sort(dim).values.select(dim, (x.size(dim) - 1) // 2) is x.median(dim).values",
    "round": "math.floor(size + 0.5) rounds a size, halves upwards",
    "kthvalue": "x.sort(dim).values.select(dim, k - 1) is x.kthvalue(k, dim).values",
}
"""What computes the same by operators that have a translation."""


def translate(program: ExportedProgram) -> ir.Model:
    """Translate a program to ONNX, its recurrent layers still opaque.

    Raises:
        ExportError: When an operator has no translation.
    """
    round_down(program)
    drop_idle_squeezes(program)
    try:
        with kept_translations(MODULE_OPSET):
            translated = torch.onnx.export(
                program, dynamo=True, opset_version=MODULE_OPSET, optimize=False, verbose=False
            )
    except Exception as error:  # torch.onnx wraps what an operator raises, or does not
        pass_on_interruption(error)
        raise ExportError(_reason(error, program)) from error
    assert translated is not None  # with dynamo=True it always is an ONNXProgram
    assert translated.exported_program is not None
    compute_in_float64(translated.model, translated.exported_program)
    simplify(translated.model)
    return translated.model


def _reason(error: BaseException, program: ExportedProgram) -> str:
    """Find the operator without translation in a chain of torch's exceptions, and its line."""
    seen: BaseException | None = error
    texts = []
    while seen is not None:
        texts.append(str(seen))
        seen = seen.__cause__ or seen.__context__
    text = "\n".join(texts)
    missing = re.search(
        r"No ONNX function found for <(?:OpOverload\(op='|built-in function )([\w.]+)", text
    )
    if missing:
        return _missing(missing[1], program, complex_numbers="complex-valued" in text)
    line = re.search(r'File "([^"]+)", line (\d+), in forward', text)
    where = f" at line {line[2]} of {line[1].rsplit('/', 1)[-1]}" if line else ""
    last = [t for t in texts[-1].splitlines() if t.strip()]
    return f"cannot be translated to ONNX{where}: {last[0] if last else type(error).__name__}"


def _missing(name: str, program: ExportedProgram, *, complex_numbers: bool) -> str:
    """Say which operator of the module has no translation, and where it is."""
    last = name.rsplit(".", 1)[-1]
    places = [
        node
        for node in program.graph.nodes
        if last in str(node.target) and line_of(node) and (_is_complex(node) or not complex_numbers)
    ]
    where = f" at {line_of(places[0])}" if places else ""
    if complex_numbers:
        return (
            f"the operator {name}{where} computes with complex numbers, and has no translation to "
            "ONNX for them: compute with the real and the imaginary part, or keep it outside the "
            "exported module"
        )
    return (
        f"the operator {name}{where} has no translation to ONNX: "
        f"{_INSTEAD.get(last, 'replace it by other operators')}, or keep it outside the "
        "exported module"
    )


def _is_complex(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_complex()
