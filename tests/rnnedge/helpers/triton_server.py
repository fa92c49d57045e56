"""What Triton Inference Server does with a model repository, as its sources say.

`read_config` parses a configuration as protobuf does, by the fields that Triton's
`model_config.proto` publishes. `Server` checks a model as Triton's ONNX Runtime backend does when
it loads it, and joins requests of several sequences as its sequence batcher does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

KINDS = {
    "KIND_AUTO": 0,
    "KIND_GPU": 1,
    "KIND_CPU": 2,
    "KIND_MODEL": 3,
}
TYPES = (
    *("TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64"),
    *("TYPE_INT8", "TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32"),
    *("TYPE_FP64", "TYPE_STRING", "TYPE_BF16"),
)
FIELDS = {
    "ModelTensorReshape": {"shape": "*int64"},
    "ModelInput": {
        "name": "string",
        "data_type": "DataType",
        "dims": "*int64",
        "reshape": "ModelTensorReshape",
    },
    "ModelOutput": {
        "name": "string",
        "data_type": "DataType",
        "dims": "*int64",
        "reshape": "ModelTensorReshape",
    },
    "ModelSequenceBatching.InitialState": {
        "data_type": "DataType",
        "dims": "*int64",
        "zero_data": "bool",
        "data_file": "string",
        "name": "string",
    },
    "ModelSequenceBatching.State": {
        "input_name": "string",
        "output_name": "string",
        "data_type": "DataType",
        "dims": "*int64",
        "initial_state": "*ModelSequenceBatching.InitialState",
    },
    "ModelSequenceBatching.StrategyOldest": {
        "max_candidate_sequences": "int32",
        "preferred_batch_size": "*int32",
        "max_queue_delay_microseconds": "uint64",
        "preserve_ordering": "bool",
    },
    "ModelSequenceBatching": {
        "oldest": "ModelSequenceBatching.StrategyOldest",
        "max_sequence_idle_microseconds": "uint64",
        "state": "*ModelSequenceBatching.State",
    },
    "ModelDynamicBatching": {"max_queue_delay_microseconds": "uint64"},
    "ModelInstanceGroup": {"name": "string", "kind": "ModelInstanceGroup.Kind", "count": "int32"},
    "ModelParameter": {"string_value": "string"},
    "ModelConfig.ParametersEntry": {"key": "string", "value": "ModelParameter"},
    "ModelConfig": {
        "name": "string",
        "backend": "string",
        "max_batch_size": "int32",
        "input": "*ModelInput",
        "output": "*ModelOutput",
        "dynamic_batching": "ModelDynamicBatching",
        "sequence_batching": "ModelSequenceBatching",
        "instance_group": "*ModelInstanceGroup",
        "parameters": "*ModelConfig.ParametersEntry",
    },
}
"""The fields that a configuration may use; `*` marks repeated ones."""
NUMPY = {"TYPE_BOOL": "bool", "TYPE_FP16": "float16", "TYPE_FP32": "float32"}
ONNX = {"TYPE_FP32": "tensor(float)", "TYPE_INT64": "tensor(int64)"}


def read_config(path: Path) -> Any:
    """Return a configuration as protobuf reads it; a field that Triton does not have is an error.

    Where `tritonclient` is installed, the definition that it carries reads it too.
    """
    text = path.read_text("utf-8")
    published = _published()
    if published is not None:
        text_format.Parse(text, published.ModelConfig())
    return text_format.Parse(text, _message("ModelConfig")())


def published_fields() -> Mapping[str, Mapping[str, str]] | None:
    """Return the fields of `FIELDS` as `tritonclient` defines them; None where it is missing."""
    published = _published()
    if published is None:
        return None
    pool = published.DESCRIPTOR.pool
    found: dict[str, dict[str, str]] = {}
    for message, fields in FIELDS.items():
        described = pool.FindMessageTypeByName(f"inference.{message}").fields_by_name
        found[message] = {name: _kind(described[name]) for name in fields}
    return found


def _kind(field: Any) -> str:
    inner = field.message_type or field.enum_type
    plain = {v: k.removeprefix("TYPE_").lower() for k, v in _WIRE.items()}
    name = inner.full_name.removeprefix("inference.") if inner else plain[field.type]
    return f"{'*' if field.is_repeated else ''}{name}"


_WIRE = dict(descriptor_pb2.FieldDescriptorProto.Type.items())


@cache
def _published() -> Any:
    if find_spec("tritonclient") is None:
        return None
    folder = find_spec("tritonclient").submodule_search_locations[0]
    # Its package imports grpc, which is not needed to read a file.
    loader = SourceFileLoader("model_config_pb2", f"{folder}/grpc/model_config_pb2.py")
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@cache
def _message(name: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="t")
    file.syntax = "proto3"
    _enum(file.enum_type, "DataType", {name: number for number, name in enumerate(TYPES)})
    for message in sorted(FIELDS, key=lambda name: name.count(".")):
        outer, _, inner = message.rpartition(".")
        within = next((m.nested_type for m in file.message_type if m.name == outer), None)
        made = (file.message_type if within is None else within).add(name=inner)
        for number, (field, kind) in enumerate(FIELDS[message].items(), 1):
            _field(made, field, number, kind)
        if message == "ModelInstanceGroup":
            _enum(made.enum_type, "Kind", KINDS)
        made.options.map_entry = message.endswith("Entry")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}"))


def _enum(enums: Any, name: str, values: Mapping[str, int]) -> None:
    made = enums.add(name=name)
    for text, number in values.items():
        made.value.add(name=text, number=number)


def _field(message: Any, name: str, number: int, kind: str) -> None:
    made = message.field.add(name=name, number=number)
    made.label = made.LABEL_REPEATED if kind.startswith("*") else made.LABEL_OPTIONAL
    kind = kind.removeprefix("*")
    if f"TYPE_{kind.upper()}" in _WIRE:
        made.type = _WIRE[f"TYPE_{kind.upper()}"]
    else:
        made.type = made.TYPE_ENUM if kind in ("DataType", "ModelInstanceGroup.Kind") else 11
        made.type_name = f".t.{kind}"


class Server:
    """A loaded model, with the states of its sequences.

    Args:
        folder: The folder of the model in the repository.
    """

    def __init__(self, folder: Path) -> None:
        self.config = read_config(folder / "config.pbtxt")
        assert self.config.name == folder.name
        self.session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
        self.batching = self.config.sequence_batching
        self._states: dict[int, dict[str, np.ndarray]] = {}
        self._check()

    def _check(self) -> None:
        """Check what the backend checks when it loads a model."""
        inputs = {info.name: info for info in self.session.get_inputs()}
        outputs = {info.name: info for info in self.session.get_outputs()}
        states = {state.input_name for state in self.batching.state}
        assert {each.name for each in self.config.input} | states == set(inputs)
        assert not {each.name for each in self.config.input} & states
        for each in self.config.input:
            self._fits(each, inputs[each.name], exact=False)
        for each in self.config.output:
            self._fits(each, outputs[each.name], exact=True)
        for state in self.batching.state:
            info = inputs[state.input_name]
            assert isinstance(info.shape[0], str)
            assert list(state.dims) == info.shape[1:]
            assert state.output_name in outputs
            (first,) = state.initial_state
            assert (first.zero_data, first.data_type) == (True, state.data_type)
            assert first.name
            assert list(first.dims) == list(state.dims)

    def _fits(self, each: Any, info: Any, *, exact: bool) -> None:
        dims = list(each.reshape.shape if each.HasField("reshape") else each.dims)
        assert each.dims, "Triton refuses an input or output without dims"
        declared = [size if isinstance(size, int) else -1 for size in info.shape]
        assert declared[0] == -1, f"{each.name}: the first axis of a batch is open"
        assert len(declared) == 1 + len(dims)
        for size, dim in zip(declared[1:], dims, strict=True):
            assert size == dim or (size == -1 and not exact)
        kind = TYPES[each.data_type]
        assert ONNX.get(kind, info.type) == info.type

    def infer(self, requests: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, np.ndarray]]:
        """Run one request of each of several sequences in one call.

        Args:
            requests: Inputs of one row, without the batch axis, by sequence.
        """
        feeds = {}
        for each in self.config.input:
            rows = [np.asarray(request[each.name]) for request in requests.values()]
            if each.HasField("reshape"):
                rows = [row.reshape(tuple(each.reshape.shape)) for row in rows]
            feeds[each.name] = np.stack(rows)
        for state in self.batching.state:
            dtype = NUMPY[TYPES[state.data_type]]
            fresh = np.zeros([1, *state.dims], dtype)
            rows = [self._states.get(one, {}).get(state.input_name, fresh) for one in requests]
            feeds[state.input_name] = np.concatenate(rows)
        names = [each.name for each in self.config.output]
        finals = {state.output_name: state.input_name for state in self.batching.state}
        wanted = list(dict.fromkeys([*names, *finals]))
        answers = dict(zip(wanted, self.session.run(wanted, feeds), strict=True))
        for row, sequence in enumerate(requests):
            self._states[sequence] = {
                into: answers[out][row : row + 1] for out, into in finals.items()
            }
        return {
            sequence: {name: answers[name][row] for name in names}
            for row, sequence in enumerate(requests)
        }
