"""What a model file holds, and what ONNX Runtime makes of it, without PyTorch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from rnnedge.cuda_fallbacks import Fallback, cuda_fallbacks
from rnnedge.foreign_layers import RECURRENT, LayerSizes
from rnnedge.measuring.memory import Memory, import_engine, with_memory
from rnnedge.measuring.work import Work, WorkCounter
from rnnedge_exporters.onnx_model.loading import load, load_if_readable
from rnnedge_exporters.onnx_model.nodes import all_graphs, all_nodes, attributes
from rnnedge_runtime import Contract, InputError, Interface, Session, SessionInfo
from rnnedge_runtime.contract import TIME
from rnnedge_runtime.engine.options import Device
from rnnedge_runtime.errors import EngineError, StateError
from rnnedge_runtime.latency import random_inputs


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """One recurrent layer: from the contract, or a node of a graph that has none."""

    name: str
    cell: str
    input_size: int | None
    hidden_size: int | None
    num_layers: int
    directions: int
    options: tuple[str, ...]
    lowering: str
    reason: str
    parameters: int | None

    def row(self) -> list[str]:
        """Return the cells of a table, `?` where the graph does not say."""
        numbers = [self.input_size, self.hidden_size, self.num_layers, self.directions]
        return [
            self.name or "-",
            self.cell,
            *("?" if number is None else str(number) for number in numbers),
            ", ".join(self.options) or "-",
            self.lowering,
            "?" if self.parameters is None else f"{self.parameters:,}",
        ]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `inspect_model` found.

    Attributes:
        bytes: Size of the file.
        parameters: Elements in all constants of floating dtype or int8 but scales and zero points,
            including those of inner graphs; a narrow RNN for the CPU holds its weights twice, once
            for each branch.
        opsets: Operator set versions by domain.
        ir_version: Version of the file format.
        producer: What made the file, as it says itself.
        operators: Number of nodes by operator, including those of inner graphs.
        layers: The recurrent layers.
        interface: Inputs, outputs, states and lengths.
        contract: What rnnedge promised, or None.
        metadata: What the user keeps in the file.
        session: Where nodes run, what a stream keeps between calls, and its delay.
        work: Of one step with one row, or None where it cannot be counted.
        memory: Resident memory of the process before and after the model was opened and run at
            one step of one row, where it takes that; None where the system reports none.
        cuda_fallbacks: What CUDA would leave to the CPU.
    """

    bytes: int
    parameters: int
    opsets: dict[str, int]
    ir_version: int
    producer: str
    operators: dict[str, int]
    layers: tuple[LayerSummary, ...]
    interface: Interface
    contract: Contract | None
    metadata: Mapping[str, Any]
    session: SessionInfo
    work: Work | None
    memory: Memory | None
    cuda_fallbacks: tuple[Fallback, ...]

    def __repr__(self) -> str:
        """Return the size, the layers and the interface in one line."""
        layers = ", ".join(layer.cell for layer in self.layers[:4])
        more = f" and {len(self.layers) - 4} more" if len(self.layers) > 4 else ""
        return (
            f"Inspection({self.bytes:,} bytes, {self.parameters:,} parameters, layers "
            f"{layers or 'none'}{more}, {len(self.interface.states)} state(s))"
        )

    def role(self, name: str) -> str:
        """Say what an input or output is."""
        for pair in self.interface.states:
            if name == pair.input:
                return f"initial state, from {pair.output}"
            if name == pair.output:
                return f"final state, to {pair.input}"
        return "length of each row" if name == self.interface.lengths else "data"

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        return {**asdict(self), "session": self.session.to_dict()}


def inspect_model(path: str | os.PathLike[str], *, device: Device = "cpu") -> Inspection:
    """Read a model file.

    Args:
        path: The `.onnx` file, of any maker.
        device: Where it is opened, to tell where its nodes run.

    Raises:
        ModelError: When it cannot be opened.
        DeviceError: When the device cannot be read.
    """
    import_engine()
    session, memory = with_memory(lambda: _opened(path, device))
    model = load_if_readable(path) or load(path, external_data=False)
    nodes = list(all_nodes(model.graph))
    operators: dict[str, int] = {}
    for node in nodes:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    contract = session.contract
    layers = _promised(contract) if contract else tuple(_seen(model, nodes))
    return Inspection(
        bytes=Path(path).stat().st_size,
        parameters=sum(_parameters(model.graph)),
        opsets={opset.domain: opset.version for opset in model.opset_import},
        ir_version=model.ir_version,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        operators=dict(sorted(operators.items())),
        layers=layers,
        interface=session.interface,
        contract=contract,
        metadata=session.metadata,
        session=session.info,
        work=_work_of_a_step(session, path),
        memory=memory,
        cuda_fallbacks=cuda_fallbacks(nodes),
    )


def _opened(path: str | os.PathLike[str], device: Device) -> Session:
    """Open a model, and run one step of one row where it takes that."""
    session = Session(path, device=device, engine="onnxruntime", threads=1)
    with suppress(InputError, StateError, EngineError):
        session.run(random_inputs(session, 1, 1))
    return session


def _work_of_a_step(session: Session, path: str | os.PathLike[str]) -> Work | None:
    if not any(TIME in spec.axes for spec in session.interface.data_inputs):
        return None  # a call of it is not a step
    try:
        return WorkCounter(path)(random_inputs(session, 1, 1))
    except InputError:  # an axis is neither batch nor time
        return None


def _promised(contract: Contract) -> tuple[LayerSummary, ...]:
    summaries = []
    for layer in contract.layers:
        options: list[str] = [layer.nonlinearity] if layer.cell == "rnn" else []
        options += [] if layer.bias else ["no bias"]
        options += ["batch_first"] if layer.batch_first else []
        options += [f"proj_size {layer.proj_size}"] if layer.proj_size else []
        summaries.append(
            LayerSummary(
                name=layer.name,
                cell=layer.cell,
                input_size=layer.input_size,
                hidden_size=layer.hidden_size,
                num_layers=layer.num_layers,
                directions=2 if layer.bidirectional else 1,
                options=tuple(options),
                lowering=layer.lowering,
                reason=layer.reason,
                parameters=layer.weights,
            )
        )
    return tuple(summaries)


def _seen(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> Iterator[LayerSummary]:
    recurrent = [node for node in nodes if node.op_type in RECURRENT]
    sizes = LayerSizes(model) if recurrent else None
    for node in recurrent:
        assert sizes is not None
        found_sizes = sizes.of(node)
        found = attributes(node)
        direction = found.get("direction", "forward")
        yield LayerSummary(
            name=node.name,
            cell=node.op_type,
            input_size=found_sizes.input_size,
            hidden_size=found_sizes.hidden_size,
            num_layers=1,
            directions=2 if direction == "bidirectional" else 1,
            options=() if direction in ("forward", "bidirectional") else (direction,),
            lowering="operator" if node.op_type not in ("Scan", "Loop") else "control flow",
            reason="",
            parameters=found_sizes.parameters,
        )


def _parameters(graph: onnx.GraphProto) -> Iterator[int]:
    weights = (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.INT8,
    )
    for inner in all_graphs(graph):
        names = {tensor.name for tensor in inner.initializer}
        for tensor in inner.initializer:
            belongs_to = tensor.name.removesuffix("_scale").removesuffix("_zero_point")
            of_another = belongs_to != tensor.name and belongs_to in names
            if tensor.data_type in weights and not of_another:
                yield math.prod(tensor.dims)
