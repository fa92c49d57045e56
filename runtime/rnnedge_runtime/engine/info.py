"""`SessionInfo`: where the nodes of an opened model run, and what state a stream keeps."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from rnnedge_runtime.contract import BATCH, Interface, TensorSpec
from rnnedge_runtime.engine.integer_cost import integer_cost
from rnnedge_runtime.engine.node import ExecutedNode
from rnnedge_runtime.engine.options import CPU, EngineOptions
from rnnedge_runtime.engine.protocol import Engine
from rnnedge_runtime.machine import cpu_features


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """The value of `Session.info`.

    Attributes:
        device: The device in use.
        options: The options that the model was opened with.
        providers: The execution providers that were opened, in order of preference.
        nodes: Where each node runs, including those of inner graphs; None if the engine does not
            report it (ONNX Runtime before 1.24).
        states: The states that a stream keeps between calls.
        state_bytes: Bytes of state for one row; None if a size is not known before a call.
        delay: Steps by which an output is behind its frame: 0 for a model that can be streamed,
            None for a model that cannot.
        hindrances: Why it cannot.
        remarks: What an application should know about this device, one line each.
    """

    device: Literal["cpu", "cuda"]
    options: EngineOptions
    providers: tuple[str, ...]
    nodes: tuple[ExecutedNode, ...] | None = field(repr=False)  # there may be hundreds
    states: tuple[TensorSpec, ...]
    state_bytes: int | None
    delay: int | None
    hindrances: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Say where nodes run, and what a stream keeps."""
        nodes = ", ".join(f"{n} nodes on {name}" for name, n in self.nodes_by_provider.items())
        stream = f"delay {self.delay}" if self.delay is not None else "no stream"
        state = f"{self.state_bytes} bytes of state a row" if self.state_bytes else "no state known"
        return f"SessionInfo({self.device}, {nodes or 'nodes unknown'}, {state}, {stream})"

    @property
    def nodes_by_provider(self) -> dict[str, int]:
        """How many nodes run on each provider; empty if the engine does not report it."""
        counts: dict[str, int] = {}
        for node in self.nodes or ():
            counts[node.provider] = counts.get(node.provider, 0) + 1
        return counts

    @property
    def fell_back(self) -> tuple[ExecutedNode, ...]:
        """The nodes that run on the CPU although the device is another.

        ONNX Runtime leaves some there on purpose, such as those that compute a shape; a recurrent
        operator among them makes a model slow.
        """
        if self.device == "cpu":
            return ()
        return tuple(node for node in self.nodes or () if node.provider == CPU)

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold, including those that are computed from others."""
        return {
            **asdict(self),
            "nodes_by_provider": self.nodes_by_provider,
            "fell_back": [asdict(node) for node in self.fell_back],
        }


def describe(
    engine: Engine,
    interface: Interface,
    hindrances: tuple[str, ...],
    doubts: tuple[str, ...] = (),
) -> SessionInfo:
    """Describe an opened model.

    Args:
        engine: The opened model.
        interface: Its inputs, outputs and states.
        hindrances: What keeps it from being streamed.
        doubts: What is unknown of its states.

    Returns:
        What `Session.info` shows.
    """
    if not interface.states:
        hindrances = (*hindrances, "it has no states to keep between calls")
    nodes = engine.nodes()
    cost = integer_cost({node.operator for node in nodes or ()}, cpu_features())
    return SessionInfo(
        device=engine.device,
        options=engine.options,
        providers=engine.providers,
        nodes=nodes,
        states=interface.state_inputs,
        state_bytes=_bytes(interface.state_inputs),
        delay=None if hindrances else 0,
        hindrances=hindrances,
        remarks=(*doubts, *([cost] if cost else ())),
    )


def _bytes(states: tuple[TensorSpec, ...]) -> int | None:
    total = 0
    for spec in states:
        sizes = [1 if axis == BATCH else axis for axis in spec.axes]
        if any(isinstance(size, str) for size in sizes):
            return None
        total += math.prod(map(int, sizes)) * np.dtype(spec.dtype).itemsize
    return total
