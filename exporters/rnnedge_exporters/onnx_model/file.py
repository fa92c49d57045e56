"""`OnnxFile`: a model file read and indexed, without running it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import external_data_helper, inliner

from rnnedge_exporters.onnx_model.axis_names import axes_of, relabel, spec_of
from rnnedge_exporters.onnx_model.loading import infer_shapes
from rnnedge_exporters.onnx_model.nodes import STANDARD, all_nodes, all_tensors, array_of, used
from rnnedge_runtime.contract import METADATA_KEY, Axis, Contract, TensorSpec
from rnnedge_runtime.engine.opening_cost import check_functions
from rnnedge_runtime.errors import ContractError, ModelError, one_line, pass_on_interruption
from rnnedge_runtime.not_a_model import not_a_model

_NUMBER = re.compile("[0-9]{1,18}")
"""An offset or a length of external data."""
_LARGE = 1024
"""Bytes; what shape inference never needs the values of."""


class OnnxFile:
    """A model and what its graph says.

    Local functions are put in line, so that every node is where it runs.

    Attributes:
        path: The file.
        stored: The model as the file has it.
        proto: The model with its functions in line, and the external data that could be read.
        broken_data: What is wrong with external data, one line each; empty when all is there.
        producer: The node that makes a tensor, by the tensor's name; of the outermost graph.
        consumers: The nodes that take a tensor, by the tensor's name; of the outermost graph.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read `path`.

        Raises:
            ModelError: When it is missing, not ONNX, or cut short, or its functions do not end.
        """
        self.path = Path(path)
        self.stored = self.proto = _read(self.path)
        self.broken_data = tuple(_broken_data(self.proto, self.path.parent))
        if not self.broken_data:
            self.broken_data = _load_data(self.proto, self.path.parent)
        if self.proto.functions and not self.broken_data:
            self.proto = _inlined(self.proto, self.path)
        self.producer: dict[str, onnx.NodeProto] = {}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.proto.graph.node:
            self.producer.update({name: node for name in node.output if name})
            for name in used(node):
                self.consumers.setdefault(name, []).append(node)
        self._tensors = {tensor.name: tensor for tensor in self.proto.graph.initializer}
        for node in self.proto.graph.node:
            if node.op_type == "Constant":
                tensor = _constant_tensor(node)
                if tensor is not None:
                    self._tensors[node.output[0]] = tensor

    @property
    def ours(self) -> bool:
        """Whether the file carries a contract of rnnedge."""
        return any(entry.key == METADATA_KEY for entry in self.proto.metadata_props)

    @cached_property
    def contract(self) -> Contract | None:
        """The contract of rnnedge; None where there is none, or none that can be read."""
        for entry in self.proto.metadata_props:
            if entry.key == METADATA_KEY:
                with suppress(ContractError):
                    return Contract.from_json(entry.value, source=self.path.name)
        return None

    @property
    def opset(self) -> int:
        """Version of ONNX's own operator set; 0 when the file imports none."""
        return next((o.version for o in self.proto.opset_import if o.domain in STANDARD), 0)

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph inputs as declared, without those that are only weights."""
        return tuple(
            spec_of(info) for info in self.proto.graph.input if info.name not in self._tensors
        )

    @cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph outputs as declared."""
        return tuple(spec_of(info) for info in self.proto.graph.output)

    def is_constant(self, name: str) -> bool:
        """Whether `name` is an initializer or the output of a `Constant`."""
        return name in self._tensors

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the value of an initializer or a `Constant`; None for anything else.

        A damaged one is None too, such as one whose bytes are not those of its sizes.
        """
        tensor = self._tensors.get(name)
        return None if tensor is None else array_of(tensor)

    def constants(self) -> Iterator[tuple[str, onnx.TensorProto]]:
        """Yield every constant of the outermost graph, with its name."""
        yield from self._tensors.items()

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """Yield every node, including those of inner graphs."""
        yield from all_nodes(self.proto.graph)

    def ancestors(self, *names: str) -> set[str]:
        """Return the tensors whose values `names` are computed from, `names` among them.

        What gives its shape only is not among them.
        """
        seen: set[str] = set()
        waiting = [name for name in names if name]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            node = self.producer.get(name)
            if node is not None and node.op_type not in ("Shape", "Size"):
                waiting += used(node)
        return seen

    def symbolic_shapes(self) -> dict[str, tuple[Axis | None, ...]]:
        """Infer the shape of every tensor with each axis of each input called `input.axis`.

        An axis that a constant fixes comes out as that number, whatever the file declares.
        """
        light = onnx.ModelProto()
        light.CopyFrom(self.proto)
        for tensor in light.graph.initializer:
            if len(tensor.raw_data) > _LARGE:
                tensor.ClearField("raw_data")
        relabel(
            light,
            {s.name: tuple(f"{s.name}.{i}" for i, _ in enumerate(s.axes)) for s in self.inputs},
        )
        inferred = infer_shapes(light)
        infos = [*inferred.value_info, *inferred.input, *inferred.output]
        shapes = {
            info.name: axes_of(info) for info in infos if info.type.tensor_type.HasField("shape")
        }
        return shapes | {name: tuple(t.dims) for name, t in self._tensors.items()}


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise not_a_model(path) or ModelError(f"{path}: expected an ONNX file")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # protobuf's DecodeError, of whichever implementation
        pass_on_interruption(error)
        raise not_a_model(path) or ModelError(
            f"{path}: expected an ONNX model: the file is of another kind, damaged, or cut short"
        ) from error
    if not model.ir_version or not (model.graph.node or model.graph.output):
        raise not_a_model(path) or ModelError(
            f"{path}: expected an ONNX model: found no graph in it; it is of another kind, or empty"
        )
    return model


def _inlined(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    check_functions(str(path), str(path))
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # onnx's own, and RuntimeError
        pass_on_interruption(error)
        raise ModelError(
            f"{path}: its functions cannot be put in line: {one_line(error)[:200]}"
        ) from error


def _broken_data(model: onnx.ModelProto, folder: Path) -> Iterator[str]:
    """Say what is wrong with external data: once for each file, since all tensors share it."""
    wrong: dict[str, str] = {}
    for tensor in all_tensors(model.graph):
        if not external_data_helper.uses_external_data(tensor):
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        shown, target, end = ascii(location[:80]), _inside(folder, location), _end_of(entries)
        if target is None:
            wrong[location] = f"{shown} is outside the model's folder"
        elif end is None:
            wrong[location] = f"{shown} has no offset and length where {tensor.name} is"
        elif not target.is_file():
            wrong[location] = f"{shown} is not next to the model"
        else:
            size = target.stat().st_size
            if size < end:
                wrong[location] = f"{shown} has {size:,} bytes, and {tensor.name} ends at {end:,}"
    yield from wrong.values()


def _load_data(model: onnx.ModelProto, folder: Path) -> tuple[str, ...]:
    """Read external data into a model; return what is wrong with it."""
    try:
        external_data_helper.load_external_data_for_model(model, str(folder))
    except Exception as error:  # links that onnx does not follow, and what cannot be read
        pass_on_interruption(error)
        return (one_line(error)[:200],)
    return ()


def _inside(folder: Path, location: str) -> Path | None:
    """Return the path of external data; None outside of the model's folder, or for no name."""
    try:
        target = (folder / location).resolve()
        inside = target.is_relative_to(folder.resolve())
        target.is_file()
    except (OSError, RuntimeError, ValueError):  # too long, a loop of links, a zero byte
        return None
    return target if location and inside else None


def _end_of(entries: Mapping[str, str]) -> int | None:
    """Return where a tensor ends in its file of external data; None where they are not numbers."""
    numbers = [entries.get(key, "0") for key in ("offset", "length")]
    if not all(_NUMBER.fullmatch(number) for number in numbers):
        return None
    return sum(map(int, numbers))


def _constant_tensor(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return the value of a `Constant`, in whichever attribute it is; None for strings."""
    if len(node.attribute) != 1:
        return None
    (attribute,) = node.attribute
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        tensor: onnx.TensorProto = attribute.t
        return tensor
    if attribute.name in ("value_int", "value_ints"):
        return onnx.numpy_helper.from_array(np.array(value, np.int64))
    if attribute.name in ("value_float", "value_floats"):
        return onnx.numpy_helper.from_array(np.array(value, np.float32))
    return None
