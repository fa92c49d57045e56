"""`config.pbtxt`: what Triton must know of a model, in protobuf's text format.

The fields are those of `ModelConfig` in
https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import onnx

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.onnx_model.axis_names import axes_of
from rnnedge_runtime.contract import BATCH, Interface, StatePair, TensorSpec

MARK = "# Made by rnnedge"
"""How the file starts."""
_TYPES = {
    "bool": "TYPE_BOOL",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "bfloat16": "TYPE_BF16",
    **{f"int{bits}": f"TYPE_INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"TYPE_UINT{bits}" for bits in (8, 16, 32, 64)},
}
_OPEN = -1
"""What Triton writes for an axis of any size."""

Field: TypeAlias = tuple[str, Any]
"""A name, and a value: a number, text, a word, a list of numbers, or fields."""


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """How Triton serves a model.

    Attributes:
        max_batch: Sequences in one call of the model, 1 or more.
        streams: Sequences whose state is kept at the same time, for each instance; later ones
            wait. 1 or more.
        idle_seconds: How long a sequence may be idle before its state is given up, above 0.
        max_delay_ms: How long a request waits for others to share a call with, 0 or more.
        device: `cpu` or `cuda`.
        instances: Sessions that run side by side, on each GPU where the device is `cuda`.
        threads: Threads inside one operator on the CPU, 1 or more.
    """

    max_batch: int = 64
    streams: int = 1024
    idle_seconds: float = 60.0
    max_delay_ms: float = 0.0
    device: Literal["cpu", "cuda"] = "cpu"
    instances: int = 1
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Word:
    """A value without quotes, such as the name of an enum."""

    text: str


def config_text(
    name: str, model: onnx.ModelProto, interface: Interface, options: ServingOptions
) -> str:
    """Return the configuration of a model whose batch axes are in front.

    Args:
        name: The name of the model on the server.
        model: The model, whose declared sizes Triton compares with the configuration.
        interface: Its inputs and outputs.
        options: How it is served.

    Raises:
        ExportError: When Triton does not have a dtype, or a state has an axis of any size.
    """
    declared = {info.name: axes_of(info) for info in (*model.graph.input, *model.graph.output)}
    states = {pair.input for pair in interface.states}
    inputs = [spec for spec in interface.inputs if spec.name not in states]
    fields: list[Field] = [
        ("name", name),
        ("backend", "onnxruntime"),
        ("max_batch_size", options.max_batch),
        *(("input", _tensor(spec, declared[spec.name])) for spec in inputs),
        *(("output", _tensor(spec, declared[spec.name])) for spec in served_outputs(interface)),
    ]
    if interface.states:
        fields.append(("sequence_batching", _sequences(interface, declared, options)))
    else:
        fields.append(("dynamic_batching", [_delay(options)]))
    kind = Word("KIND_GPU" if options.device == "cuda" else "KIND_CPU")
    fields.append(("instance_group", [("count", options.instances), ("kind", kind)]))
    if options.device == "cpu":
        threads = [("string_value", str(options.threads))]
        fields.append(("parameters", [("key", "intra_op_thread_count"), ("value", threads)]))
    head = [f"{MARK}; the next `rnnedge triton` replaces it."]
    if interface.states:
        head.append("# A sequence that is idle for max_sequence_idle_microseconds loses its state.")
    return "\n".join([*head, *_lines(fields, 0)]) + "\n"


def served_outputs(interface: Interface) -> tuple[TensorSpec, ...]:
    """Return the outputs that a client gets: those with a batch axis, without the states.

    A model whose only outputs are states answers with these.
    """
    served = [spec for spec in interface.data_outputs if BATCH in spec.axes]
    return tuple(served or (spec for spec in interface.outputs if BATCH in spec.axes))


def _tensor(spec: TensorSpec, declared: Sequence[int | str | None]) -> list[Field]:
    dims = _dims(declared)
    fields = [("name", spec.name), ("data_type", _type(spec)), ("dims", dims or [1])]
    # One number for each row: Triton wants a dimension, the model has none.
    return [*fields, *([] if dims else [("reshape", [("shape", [])])])]


def _sequences(
    interface: Interface, declared: dict[str, tuple[int | str | None, ...]], options: ServingOptions
) -> list[Field]:
    by_name = {spec.name: spec for spec in interface.inputs}
    oldest = [("max_candidate_sequences", options.streams), _delay(options)]
    return [
        ("max_sequence_idle_microseconds", round(options.idle_seconds * 1e6)),
        ("oldest", oldest),
        *(("state", _state(pair, by_name[pair.input], declared)) for pair in interface.states),
    ]


def _state(
    pair: StatePair, spec: TensorSpec, declared: dict[str, tuple[int | str | None, ...]]
) -> list[Field]:
    dims = _dims(declared[spec.name])
    if not dims or _OPEN in dims:
        raise ExportError(
            f"{spec}: Triton starts a state at zeros of a fixed shape: expected one or more axes "
            f"besides {BATCH}, each of a fixed size"
        )
    dtype = _type(spec)
    # Without it, Triton starts a sequence at whatever is in memory.
    zeros = [("name", "zeros"), ("data_type", dtype), ("dims", dims), ("zero_data", Word("true"))]
    return [
        ("input_name", pair.input),
        ("output_name", pair.output),
        ("data_type", dtype),
        ("dims", dims),
        ("initial_state", zeros),
    ]


def _delay(options: ServingOptions) -> Field:
    return ("max_queue_delay_microseconds", round(options.max_delay_ms * 1000))


def _dims(declared: Sequence[int | str | None]) -> list[int]:
    return [axis if isinstance(axis, int) else _OPEN for axis in declared[1:]]


def _type(spec: TensorSpec) -> Word:
    if spec.dtype not in _TYPES:
        raise ExportError(f"{spec}: Triton has no such dtype; it has {', '.join(_TYPES)}")
    return Word(_TYPES[spec.dtype])


def _lines(fields: Sequence[Field], level: int) -> Iterator[str]:
    indent = "  " * level
    for name, value in fields:
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            yield f"{indent}{name} {{"
            yield from _lines(value, level + 1)
            yield f"{indent}}}"
        else:
            yield f"{indent}{name}: {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, Word):
        return value.text
    if isinstance(value, str):
        plain = (c if 32 <= c < 127 and c not in b'"\\' else None for c in value.encode())
        quoted = zip(plain, value.encode(), strict=True)
        return '"' + "".join(f"\\{byte:03o}" if c is None else chr(c) for c, byte in quoted) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return str(value)
