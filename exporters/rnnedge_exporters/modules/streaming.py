"""What stands in the way of running a module chunk after chunk.

A module can be streamed exactly when nothing but its recurrent states connects one time step with
another. The exported program is read node by node: whatever looks across the time axis is named,
with the line of the user's code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from rnnedge_exporters.modules.capture import LAYER, LENGTHS_GIVEN, Capture
from rnnedge_exporters.modules.causal import CausalConv
from rnnedge_exporters.modules.loops.rolled import RolledLoop
from rnnedge_exporters.modules.packing import DOMAIN, LONGEST, PACKED
from rnnedge_runtime.contract import TIME

Shape: TypeAlias = tuple[Any, ...]
"""Sizes, and symbols of torch."""
Rule: TypeAlias = Callable[[fx.Node, str, list[Shape], set[str]], Iterator[str]]
"""Takes a node, its operator, the shapes of its tensors, and the symbols of time."""

_OVER_AN_AXIS = {
    *("mean", "sum", "amax", "amin", "max", "min", "prod", "var", "std", "logsumexp", "norm"),
    *("softmax", "_softmax", "log_softmax", "_log_softmax", "cumsum", "cumprod", "flip", "roll"),
    *("sort", "topk", "argmax", "argmin", "index_select", "gather", "any", "all", "median"),
    *("linalg_vector_norm", "cat", "unfold", "index"),
}
_CONVERSIONS = {"to", "_to_copy", "detach", "clone", "alias", "contiguous", "view", "reshape"}
_MATRIX = {"matmul", "bmm", "mm", "einsum"}
_WINDOW = {
    *("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d"),
    *("avg_pool1d", "avg_pool2d", "max_pool1d", "max_pool2d", "max_pool2d_with_indices"),
    *("adaptive_avg_pool1d", "adaptive_max_pool1d", "pad", "constant_pad_nd", "upsample_linear1d"),
    *("upsample_nearest1d", "stft", "reflection_pad1d", "replication_pad1d"),
}


@dataclass(frozen=True, slots=True)
class Hindrance:
    """One thing that keeps chunks from giving what the whole sequence gives.

    Attributes:
        what: What looks across time.
        where: The line of the user's code, or empty; it is not written into the file.
    """

    what: str
    where: str = ""

    def __str__(self) -> str:
        """Return what and where."""
        return f"{self.what} ({self.where})" if self.where else self.what


def time_symbols(names: dict[str, str]) -> set[str]:
    """Return the symbols of torch that stand for a time axis."""
    return {symbol for symbol, name in names.items() if name.startswith((TIME, LONGEST, PACKED))}


def hindrances(
    program: ExportedProgram,
    capture: Capture,
    names: dict[str, str],
    causal: Iterable[CausalConv] = (),
) -> list[Hindrance]:
    """Name what looks across time; an empty list means that the module can be streamed.

    Args:
        program: The exported program.
        capture: Its recurrent layers and calls.
        names: Symbol of torch to the name of the axis.
        causal: Convolutions that are streamed with a kept context.
    """
    times = time_symbols(names)
    handled = {name for conv in causal for name in conv.nodes}
    longest = {symbol for symbol in times if names[symbol].startswith(LONGEST)}
    found: dict[Hindrance, None] = {}
    for node in program.graph.nodes:
        if node.op == "call_function" and node.name not in handled:
            for what in _looks_across(node, times, capture):
                found[Hindrance(what, line_of(node))] = None
        if node.op == "output":
            values = [value for value in map(_value, tensor_nodes(node.args)) if value is not None]
            if any(_timed(size, longest) for value in values for size in value.shape):
                what = "an output ends at the longest row: give pad_packed_sequence total_length"
                found[Hindrance(what)] = None
            packed = {symbol for symbol in times if names[symbol].startswith(PACKED)}
            if any(_timed(size, packed) for value in values for size in value.shape):
                found[Hindrance("an output is the data of a packed sequence")] = None
    return list(found)


def _looks_across(node: fx.Node, times: set[str], capture: Capture) -> Iterator[str]:
    if node.kwargs.get("domain") == DOMAIN:
        yield from _layer_looks_across(node, times, capture)
        return
    name = _name(node)
    tensors = [a for a in tensor_nodes(node.args) if isinstance(a.meta.get("val"), Tensor)]
    shapes = [tuple(a.meta["val"].shape) for a in tensors]
    if name == "arange" and _has(node.args, times):
        yield "positions are counted from the start of each chunk (arange over time)"
    if not shapes or not any(_timed(size, times) for shape in shapes for size in shape):
        return
    rule = _RULES.get(name)
    if rule is not None:
        yield from rule(node, name, shapes, times)


def _layer_looks_across(node: fx.Node, times: set[str], capture: Capture) -> Iterator[str]:
    keys: Any = node.kwargs["attr_keys"]
    if LAYER not in keys:
        return
    numbers: Any = node.kwargs["attr_ints"]
    path = list(capture.layers)[numbers[keys.index(LAYER)]]
    layer = capture.layers[path]
    place = numbers[keys.index(LENGTHS_GIVEN)]
    if isinstance(layer, RolledLoop):
        yield from _loop_looks_across(node, layer.shape.label or path, layer, times, place)
        return
    label = path or "it"
    if layer.bidirectional:
        yield f"{label} is bidirectional"
    x, *rest = tensor_nodes(node.args[0])
    if place and not _given_or_full(rest[0], x, times):
        yield f"the lengths of {label} are computed"
    if any(_comes_from_a_layer(state) for state in rest[place:]):
        yield f"{label} starts from a state that is computed from the same chunk"


def _joined(node: fx.Node, name: str, shapes: list[Shape], times: set[str]) -> Iterator[str]:
    joined = {str(s) for s in _value(node).shape if _timed(s, times) and "//" in str(s)}
    if joined - {str(size) for size in shapes[0]}:
        yield "steps are joined by a reshape"


def _attention(node: fx.Node, name: str, shapes: list[Shape], times: set[str]) -> Iterator[str]:
    if len(shapes) > 1 and _timed(shapes[1][-2], times):
        yield "attention over time"


def _product(node: fx.Node, name: str, shapes: list[Shape], times: set[str]) -> Iterator[str]:
    if len(shapes) < 2:
        return
    inner = shapes[1][-2 if len(shapes[1]) > 1 else -1]
    if _timed(shapes[0][-1], times) or _timed(inner, times):
        yield f"{name} over time (attention)"


def _layer_norm(node: fx.Node, name: str, shapes: list[Shape], times: set[str]) -> Iterator[str]:
    normalized: Any = node.args[1]
    if any(_timed(size, times) for size in shapes[0][len(shapes[0]) - len(normalized) :]):
        yield "layer_norm over time"


def _norm(node: fx.Node, name: str, shapes: list[Shape], times: set[str]) -> Iterator[str]:
    if any(_timed(size, times) for size in shapes[0][2:]):
        yield f"{name} over time"


def _over_an_axis(node: fx.Node, name: str, shapes: list[Shape], times: set[str]) -> Iterator[str]:
    shape = shapes[0]
    axes = [a for a in _axes(node, name, len(shape)) if -len(shape) <= a < len(shape)]
    if any(_timed(shape[axis], times) for axis in axes):
        yield f"{name} over time"


def _loop_looks_across(
    node: fx.Node, label: str, loop: RolledLoop, times: set[str], lengths: int
) -> Iterator[str]:
    given: Any = node.args[0]
    if lengths and not _given_or_full(given[lengths], given[loop.shape.states], times):
        yield f"the lengths of {label} are computed"
    last = loop.shape.states + len(loop.shape.directions)
    if any(way < 0 for way in loop.shape.directions):
        yield f"{label} runs backwards over time"
    if loop.shape.may_be_empty:
        yield f"the first turn of {label} is another"
    for number, made in enumerate(given):
        if loop.is_scanned(number):
            continue
        if any(_timed(size, times) for size in _value(made).shape):
            part = "carries" if number < last else "reads"
            yield f"{label} {part} a whole sequence in each turn"
    if any(_comes_from_a_layer(state) for state in given[: loop.shape.states]):
        yield f"{label} starts from a state that is computed from the same chunk"


def _comes_from_a_layer(node: fx.Node) -> bool:
    """Whether a value depends on the answer of a recurrent layer."""
    waiting, seen = [node], set()
    while waiting:
        current = waiting.pop()
        if current.kwargs.get("domain") == DOMAIN:
            return True
        if current not in seen:
            seen.add(current)
            waiting += current.all_input_nodes
    return False


def _given_or_full(lengths: fx.Node, x: fx.Node, times: set[str]) -> bool:
    """Whether lengths are an input as it is, or the steps that `x` has."""
    while _name(lengths) in _CONVERSIONS:
        lengths = lengths.all_input_nodes[0]
    if _name(lengths) == "full":
        steps = [str(size) for size in _value(x).shape[:2] if _timed(size, times)]
        return [str(node.meta["val"]) for node in tensor_nodes(lengths.args[1])] == steps
    return lengths.op == "placeholder"


def _window(node: fx.Node, name: str, shapes: list[Shape], times: set[str]) -> Iterator[str]:
    spatial = shapes[0][2:] if len(shapes[0]) > 2 else shapes[0][1:]
    if "conv" in name and len(shapes) > 1:
        kernel = shapes[1][2:]
        stride = node.args[3] if len(node.args) > 3 else 1
        steps = list(stride) if isinstance(stride, list | tuple) else [stride] * len(kernel)
        if any(
            _timed(size, times) and (k != 1 or s != 1)
            for size, k, s in zip(spatial, kernel, steps, strict=False)
        ):
            yield f"{name} looks ahead, or in strides, across the seam of two chunks"
    elif any(_timed(size, times) for size in _padded(node, name, shapes[0], spatial)):
        yield f"{name} looks across the seam of two chunks"


def _padded(node: fx.Node, name: str, shape: Shape, spatial: Shape) -> Shape:
    """Return the sizes of the axes that a pad changes, or of all that a window sees."""
    if name not in ("pad", "constant_pad_nd"):
        return spatial
    pads: Any = node.args[1]
    pairs = zip(pads[::2], pads[1::2], strict=True)
    return tuple(shape[-1 - place] for place, pair in enumerate(pairs) if any(pair))


def _pick(node: fx.Node, name: str, shapes: list[Shape], times: set[str]) -> Iterator[str]:
    shape = shapes[0]
    axis = node.args[1] if len(node.args) > 1 else 0
    if not isinstance(axis, int) or not _timed(shape[axis], times):
        return
    if name == "select":
        if node.args[2] != -1:
            yield f"one step is picked by its position ({node.args[2]})"
        elif any(_name(user).endswith("_") for user in node.users):
            yield "the last step is changed in place"
        return
    start = node.args[2] if len(node.args) > 2 else None
    if start not in (0, None) or str(_value(node).shape[axis]) != str(shape[axis]):
        yield "a part of the sequence is picked by its position"


def _axes(node: fx.Node, name: str, rank: int) -> list[int]:
    if name == "cat":
        axis = node.args[1] if len(node.args) > 1 else 0
        return [axis] if isinstance(axis, int) else []
    given = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if name in ("norm", "linalg_vector_norm", "topk", "sort", "roll"):
        given = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", -1)
    if name == "index":  # x[i, :, j]: the axes that have an index
        indices = node.args[1]
        given = [n for n, i in enumerate(indices) if i is not None]  # type: ignore[arg-type]
    if given is None:
        return list(range(rank))
    return list(given) if isinstance(given, list | tuple) else [given]  # type: ignore[list-item]


def _name(node: fx.Node) -> str:
    target = node.target
    return target._schema.name.split("::")[-1] if isinstance(target, torch._ops.OpOverload) else ""


def tensor_nodes(args: Any) -> list[fx.Node]:
    """Return the nodes among the arguments of a node, nested as they are."""
    found: list[fx.Node] = []
    fx.map_arg(args, lambda node: found.append(node))
    return found


def _value(node: fx.Node) -> Any:
    """Return the fake tensor that a node makes, or None."""
    value = node.meta.get("val")
    return value if isinstance(value, Tensor) else None


def _timed(size: Any, times: set[str]) -> bool:
    return isinstance(size, torch.SymInt) and bool(
        times & set(map(str, size.node.expr.free_symbols))
    )


def _has(args: Any, times: set[str]) -> bool:
    return any(_timed(node.meta.get("val"), times) for node in tensor_nodes(args))


def line_of(node: fx.Node) -> str:
    """Return the line of the user's code that a node comes from, or nothing."""
    trace = node.meta.get("stack_trace") or ""
    lines = re.findall(r'File "([^"]+)", line (\d+), in (\w+)', trace)
    mine = [
        line for line in lines if "/torch/" not in line[0] and "rnnedge_exporters" not in line[0]
    ]
    if not mine:
        return ""
    file, number, _ = mine[-1]
    return f"line {number} of {file.rsplit('/', 1)[-1]}"


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_OVER_AN_AXIS, _over_an_axis),
    **dict.fromkeys(("select", "slice"), _pick),
    **dict.fromkeys(("group_norm", "instance_norm", "_native_batch_norm_legit"), _norm),
    "layer_norm": _layer_norm,
    **dict.fromkeys(_WINDOW, _window),
    **dict.fromkeys(_MATRIX, _product),
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "unflatten"), _joined),
}
"""What is asked of an operator that sees time: it yields what looks from one step to others."""
