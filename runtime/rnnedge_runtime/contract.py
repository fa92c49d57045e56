"""The contract of an exported model: what the exporter writes and the runtime reads.

The exporter writes a `Contract` as JSON into the model's `metadata_props` under `METADATA_KEY`; the
runtime reads it back. `Interface` is the part that is needed to run a model, and the only part that
is known of a model that rnnedge did not export (`rnnedge_runtime.foreign`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from rnnedge_runtime.errors import ContractError
from rnnedge_runtime.json_record import Record, parse, printable, whole

METADATA_KEY = "rnnedge.contract"
FORMAT_VERSION = 1
"""The newest format of the contract that this version reads and writes."""

_LONGEST = 2**24
"""Characters of a contract."""
_DEEPEST = 32
"""Levels of nesting that the arguments of a forward may have."""
_MOST_AXES = 32
"""Those that numpy 1 takes."""
_DTYPES = {
    *("bool", "float16", "float32", "float64", "bfloat16", "complex64", "complex128", "object"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (4, 8, 16, 32, 64)),
}
"""Of inputs and outputs, as numpy and ml_dtypes spell them."""

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
        inputs: Graph inputs in graph order, including lengths and states.
        outputs: Graph outputs in graph order, including the final states.
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

    def __repr__(self) -> str:
        """List the inputs and outputs with their axes, and the states."""
        inputs, outputs = (", ".join(map(str, specs)) for specs in (self.inputs, self.outputs))
        pairs = ", ".join(f"{pair.output} -> {pair.input}" for pair in self.states)
        return f"Interface({inputs} -> {outputs}{f'; states {pairs}' if pairs else ''})"

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
        target: What the lowerings were chosen for: `cpu`, `cuda`, `portable` or `c`.
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

    def __repr__(self) -> str:
        """Name the layers, the form of the weights, and the start of their digest."""
        layers = [f"{one.cell} {one.input_size}->{one.hidden_size}" for one in self.layers]
        kind = f"{self.dtype}{f', {self.quantization}' if self.quantization else ''}"
        digest = self.weights_digest[: len("sha256:") + 12]
        return (
            f"Contract({', '.join(layers) or 'no layers'}; {kind}, target {self.target}, opset "
            f"{self.opset}, weights {digest})"
        )

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
            record = Record(parse(text, longest=_LONGEST))
            version = record.value("format")
        except ValueError as error:
            raise ContractError(
                f"{source} has no readable contract under {METADATA_KEY!r} ({error}): export it "
                "again"
            ) from error
        if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
            raise ContractError(
                f"{source} has contract format {ascii(version)[:40]}, and this version reads "
                f"formats up to {FORMAT_VERSION}: update rnnedge-runtime, or export it again"
            )
        try:
            return _read_contract(record)
        except ValueError as error:
            raise ContractError(
                f"{source} has a damaged contract under {METADATA_KEY!r} ({error}): export it again"
            ) from error


def _read_contract(record: Record) -> Contract:
    """Read the fields; what a later version adds within the format is passed over."""
    optional: dict[str, Any] = {
        name: record.texts(name) for name in ("hindrances", "calibrated") if name in record
    }
    if "versions" in record:
        optional["versions"] = record.text_by_name("versions")
    quantization = record.value("quantization")
    return Contract(
        interface=_read_interface(record.record("interface")),
        layers=tuple(_read_layer(layer) for layer in record.records("layers")),
        dtype=record.text("dtype"),
        quantization=None if quantization is None else record.text("quantization"),
        target=record.text("target"),
        opset=record.whole("opset", least=1),
        weights_digest=record.text("weights_digest"),
        format=record.whole("format", least=1),
        **optional,
    )


def _read_interface(record: Record) -> Interface:
    lengths = record.value("lengths")
    interface = Interface(
        inputs=tuple(_read_tensor(item) for item in record.records("inputs")),
        outputs=tuple(_read_tensor(item) for item in record.records("outputs")),
        states=tuple(
            StatePair(pair.text("input"), pair.text("output")) for pair in record.records("states")
        ),
        lengths=None if lengths is None else record.text("lengths"),
        arguments=_bounded(record.value("arguments")) if "arguments" in record else {},
    )
    inputs = _by_name(interface.inputs, "inputs")
    outputs = _by_name(interface.outputs, "outputs")
    _check_pairs(interface.states, inputs, outputs)
    if lengths is not None:
        _known(lengths, inputs)
    return interface


def _read_tensor(record: Record) -> TensorSpec:
    dtype = record.text("dtype")
    if dtype not in _DTYPES:
        raise ValueError(f"{record.text('name')}: {dtype} is not the name of a dtype")
    axes = record.items("axes")
    if len(axes) > _MOST_AXES:
        raise ValueError(f"{record.text('name')}: expected at most {_MOST_AXES} axes")
    return TensorSpec(
        record.text("name"),
        dtype,
        tuple(
            printable(axis, place) if isinstance(axis, str) else whole(axis, place)
            for axis, place in axes
        ),
    )


def _read_layer(record: Record) -> LayerInfo:
    cell = record.text("cell")
    if cell not in get_args(Cell):
        raise ValueError(f"{cell} is not one of {', '.join(get_args(Cell))}")
    nonlinearity = record.text("nonlinearity", empty=cell == "custom")
    return LayerInfo(
        name=record.text("name", empty=True),
        cell=cell,  # type: ignore[arg-type]
        input_size=record.whole("input_size"),
        hidden_size=record.whole("hidden_size"),
        num_layers=record.whole("num_layers"),
        nonlinearity=nonlinearity,  # type: ignore[arg-type]
        bias=record.flag("bias"),
        batch_first=record.flag("batch_first"),
        bidirectional=record.flag("bidirectional"),
        proj_size=record.whole("proj_size"),
        lowering=record.text("lowering"),
        weights=record.whole("weights"),
        reason=record.text("reason", empty=True) if "reason" in record else "",
    )


def _by_name(specs: tuple[TensorSpec, ...], kind: str) -> dict[str, TensorSpec]:
    named = {spec.name: spec for spec in specs}
    if len(named) < len(specs):
        raise ValueError(f"{kind}: a name occurs twice")
    return named


def _check_pairs(
    pairs: tuple[StatePair, ...],
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
) -> None:
    """Check that a state comes out as it goes in."""
    for pair in pairs:
        before, after = _known(pair.input, inputs), _known(pair.output, outputs)
        sizes = zip(before.axes, after.axes, strict=False)
        if (
            before.dtype != after.dtype
            or len(before.axes) != len(after.axes)
            or any(a != b for a, b in sizes if isinstance(a, int) and isinstance(b, int))
        ):
            raise ValueError(f"state {before} comes out as {after}")
    if len({pair.input for pair in pairs}) < len(pairs):
        raise ValueError("states: a name occurs twice")


def _known(name: str, specs: Mapping[str, TensorSpec]) -> TensorSpec:
    if name not in specs:
        raise ValueError(f"{name} is not one of {', '.join(specs)}")
    return specs[name]


def _bounded(arguments: Any) -> Mapping[str, Any]:
    """Return the arguments of a forward, which are nested no deeper than a call is."""
    if not isinstance(arguments, dict):
        raise ValueError("arguments: expected an object")
    level: list[Any] = [arguments]
    for _ in range(_DEEPEST + 1):
        if not level:
            return arguments
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
    raise ValueError(f"arguments: nested deeper than {_DEEPEST}")
