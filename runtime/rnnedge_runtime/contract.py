"""The contract of an exported model: what the exporter writes and the runtime reads.

The exporter writes a `Contract` as JSON into the model's `metadata_props` under `METADATA_KEY`; the
runtime reads it back. `Interface` is the part that is needed to run a model, and the only part that
is known of a model that rnnedge did not export (`rnnedge_runtime.foreign`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias

from rnnedge_runtime.errors import ContractError

METADATA_KEY = "rnnedge.contract"
FORMAT_VERSION = 1
"""The newest format of the contract that this version reads and writes."""

_DEEPEST = 32
"""Levels of nesting that the arguments of a forward may have."""

BATCH = "batch"
TIME = "time"

Axis: TypeAlias = int | str
"""A fixed size, or the name of a dynamic one."""
Cell: TypeAlias = Literal["rnn", "lstm", "gru", "custom"]
"""`custom` is a user's own cell, run over time by a `Scan`."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and axes of one graph input or output.

    Attributes:
        name: The name in the graph.
        dtype: The name of the numpy dtype, such as `float32`.
        axes: One entry for each axis: a size, or the name of an axis of any size.
    """

    name: str
    dtype: str
    axes: tuple[Axis, ...]

    def __str__(self) -> str:
        """Return `name dtype[axis, axis]`."""
        return f"{self.name} {self.dtype}[{', '.join(map(str, self.axes))}]"


@dataclass(frozen=True, slots=True)
class StatePair:
    """Which output holds the value that `input` takes on the next call."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Interface:
    """The inputs and outputs of a model.

    Attributes:
        inputs: Graph inputs in graph order, lengths and states among them.
        outputs: Graph outputs in graph order, final states among them.
        states: Pairs of initial and final state; empty when the model has none.
        lengths: Name of the int64 [batch] input that ends each row, or None.
        arguments: How the forward of a module was called at the export, by parameter: plain values,
            which are fixed in the file, and where the inputs go; empty where each input is a
            parameter of its own name.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[StatePair, ...] = ()
    lengths: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def data_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that are neither a state nor the lengths."""
        other = {pair.input for pair in self.states} | {self.lengths}
        return tuple(spec for spec in self.inputs if spec.name not in other)

    @property
    def state_inputs(self) -> tuple[TensorSpec, ...]:
        """The initial states, in the order of `states`."""
        by_name = {spec.name: spec for spec in self.inputs}
        return tuple(by_name[pair.input] for pair in self.states)

    @property
    def data_outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs that are not a final state."""
        other = {pair.output for pair in self.states}
        return tuple(spec for spec in self.outputs if spec.name not in other)


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One recurrent layer of the model, with the argument names of `torch.nn.RNN`.

    Attributes:
        name: Path of the layer inside the exported module; empty for a bare layer.
        cell: `rnn`, `lstm` or `gru`.
        input_size: Features of the input.
        hidden_size: Features of the hidden state.
        num_layers: Layers stacked inside it.
        nonlinearity: `tanh` or `relu`; `tanh` for lstm and gru.
        bias: Whether it has biases.
        batch_first: Whether its input is [batch, time, features].
        bidirectional: Whether it runs in both directions.
        proj_size: Features of the projected hidden state of an LSTM; 0 without projection.
        lowering: The ONNX form that it was exported as.
        weights: Elements in all of its weights and biases.
        reason: Why this form was chosen; empty in files of the first exporters.
    """

    name: str
    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    nonlinearity: Literal["tanh", "relu"]
    bias: bool
    batch_first: bool
    bidirectional: bool
    proj_size: int
    lowering: str
    weights: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """The whole contract of an exported model.

    Attributes:
        interface: Inputs, outputs, states and lengths.
        layers: The recurrent layers in it.
        dtype: The dtype that the weights are stored in.
        quantization: None, or the kind of quantization.
        target: What the lowerings were chosen for: `cpu`, `cuda` or `portable`.
        opset: Version of the ONNX operator set.
        weights_digest: `sha256:` and the digest of all weights in PyTorch's order.
        versions: Package name to version, of what exported the model.
        hindrances: What keeps chunks from giving what the whole sequence gives, such as
            `the layer is bidirectional`; empty when the model can be streamed exactly.
        calibrated: The int8 parameters that were rounded with calibration data, by their path in
            PyTorch: such a value may be off by a whole step; others are rounded to the nearest.
        format: Format version of the contract itself.
    """

    interface: Interface
    layers: tuple[LayerInfo, ...]
    dtype: str
    quantization: str | None
    target: str
    opset: int
    weights_digest: str
    versions: Mapping[str, str] = field(default_factory=dict)
    hindrances: tuple[str, ...] = ()
    calibrated: tuple[str, ...] = ()
    format: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Return the contract as one line of JSON whose bytes depend on its values alone."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, *, source: str = "the model") -> Contract:
        """Read a contract back.

        Args:
            text: The value under `METADATA_KEY`.
            source: Where the contract was found, for the error message.

        Returns:
            The contract, checked.

        Raises:
            ContractError: If the text is not a contract, or its format is newer than
                `FORMAT_VERSION`.
        """
        try:
            values = json.loads(text)
            version = values["format"]
        except (ValueError, TypeError, KeyError) as error:
            raise ContractError(
                f"{source} has no readable contract under {METADATA_KEY!r}: export it again"
            ) from error
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise ContractError(
                f"{source} has contract format {version!r}, and this version reads formats up to "
                f"{FORMAT_VERSION}: update rnnedge-runtime, or export it again"
            )
        try:
            stored = values["interface"]
            interface = Interface(
                inputs=tuple(_tensor(item) for item in stored["inputs"]),
                outputs=tuple(_tensor(item) for item in stored["outputs"]),
                states=tuple(StatePair(**_known(StatePair, item)) for item in stored["states"]),
                lengths=stored["lengths"],
                arguments=_bounded(stored.get("arguments", {})),
            )
            _check_names(interface)
            layers = tuple(LayerInfo(**_known(LayerInfo, item)) for item in values["layers"])
            rest = _known(cls, values) | {"interface": interface, "layers": layers}
            for name in ("hindrances", "calibrated"):
                rest[name] = tuple(rest.get(name, ()))
            return cls(**rest)
        except (TypeError, KeyError, AttributeError) as error:
            raise ContractError(
                f"{source} has a damaged contract under {METADATA_KEY!r} ({error}): export it again"
            ) from error


def _tensor(item: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(item["name"], item["dtype"], tuple(item["axes"]))


def _bounded(arguments: Any) -> Mapping[str, Any]:
    """Return the arguments of a forward, which are nested no deeper than a call is."""

    def depth(value: Any) -> int:
        items = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, items), default=0) if isinstance(value, dict | list) else 0

    if not isinstance(arguments, dict):
        raise TypeError(f"arguments: expected an object, got {type(arguments).__name__}")
    if depth(arguments) > _DEEPEST:
        raise TypeError(f"arguments: nested deeper than {_DEEPEST}")
    return arguments


def _check_names(interface: Interface) -> None:
    inputs = [spec.name for spec in interface.inputs]
    outputs = [spec.name for spec in interface.outputs]
    named = [(pair.input, inputs) for pair in interface.states]
    named += [(pair.output, outputs) for pair in interface.states]
    named += [(interface.lengths, inputs)] if interface.lengths is not None else []
    for name, known in named:
        if name not in known:
            raise KeyError(f"{name} is not one of {', '.join(known)}")


def _known(cls: type[Any], item: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the keys that `cls` has, so that additions within a format version stay readable."""
    missing = [
        f.name
        for f in fields(cls)
        if f.name not in item and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise KeyError(f"{', '.join(missing)} missing")
    return {f.name: item[f.name] for f in fields(cls) if f.name in item}
