"""`RNNSpec`: every parameter of `torch.nn.RNN`, `nn.LSTM` and `nn.GRU`, as a frozen value."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rnnedge.errors import SpecError
from rnnedge.sources.weight_names import NamedWeights, find_layer
from rnnedge_runtime.errors import one_line
from rnnedge_runtime.json_record import LONGEST_TEXT, parse
from rnnedge_runtime.missing_file import no_such_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from torch import nn

_GATES = {"rnn": 1, "gru": 3, "lstm": 4}
_LONGEST = 1 << 16
"""Characters of a specification."""
_MOST_LAYERS = 10_000


class Shaped(Protocol):
    """A torch tensor or a numpy array, as far as its shape goes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RNNSpec:
    """A recurrent layer without its weights.

    Attributes:
        cell: `rnn`, `lstm` or `gru`.
        input_size: Features of the input, 1 or more.
        hidden_size: Features of the hidden state, 1 or more.
        num_layers: Layers stacked, 1 or more.
        nonlinearity: `tanh` or `relu`; `relu` for `rnn` only.
        bias: Whether the layers have `bias_ih` and `bias_hh`.
        batch_first: Whether input and output are [batch, time, features].
        dropout: Probability between stacked layers while training, 0 to 1.
        bidirectional: Whether each layer runs in both directions.
        proj_size: Features that an LSTM projects its hidden state to, 0 (no projection) to
            `hidden_size - 1`; `lstm` only.

    Raises:
        SpecError: When a value is of the wrong type or range, or values do not go together.
    """

    cell: Literal["rnn", "lstm", "gru"] = "rnn"
    input_size: int
    hidden_size: int
    num_layers: int = 1
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int = 0

    def __post_init__(self) -> None:
        self._check_type("cell", str)
        if self.cell not in _GATES:
            raise SpecError(f"cell: expected 'rnn', 'lstm' or 'gru', got {self.cell!r}")
        for name in ("input_size", "hidden_size", "num_layers"):
            self._check_type(name, int)
            self._check_at_least_1(name)
        if self.num_layers > _MOST_LAYERS:
            raise SpecError(f"num_layers: expected {_MOST_LAYERS:,} or less, got {self.num_layers}")
        for name in ("bias", "batch_first", "bidirectional"):
            self._check_type(name, bool)
        self._check_type("dropout", float)
        if not 0 <= self.dropout <= 1:
            raise SpecError(f"dropout: expected 0 to 1, got {self.dropout}")
        self._check_type("nonlinearity", str)
        if self.nonlinearity not in ("tanh", "relu"):
            raise SpecError(f"nonlinearity: expected 'tanh' or 'relu', got {self.nonlinearity!r}")
        if self.nonlinearity == "relu" and self.cell != "rnn":
            raise SpecError(
                f"nonlinearity: expected 'tanh', the only one that {self.cell} has, got 'relu'; "
                "use cell='rnn' for relu"
            )
        self._check_type("proj_size", int)
        if self.proj_size and self.cell != "lstm":
            raise SpecError(
                f"proj_size: expected 0, since {self.cell} has no projection, got {self.proj_size};"
                " use cell='lstm'"
            )
        if not 0 <= self.proj_size < self.hidden_size:
            raise SpecError(
                f"proj_size: expected 0 to {self.hidden_size - 1}, below hidden_size, "
                f"got {self.proj_size}"
            )

    def _check_at_least_1(self, name: str) -> None:
        if getattr(self, name) < 1:
            raise SpecError(f"{name}: expected 1 or more, got {getattr(self, name)}")

    def _check_type(self, name: str, kind: type[int | float | str]) -> None:
        given = getattr(self, name)
        # bool is an int to Python, and no size to anybody else.
        accepted = (int, float) if kind is float else kind
        if not isinstance(given, accepted) or (isinstance(given, bool) and kind is not bool):
            words = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
            raise SpecError(f"{name}: expected {words[kind]}, got {type(given).__name__} {given!r}")

    @property
    def num_directions(self) -> int:
        """1, or 2 when bidirectional."""
        return 2 if self.bidirectional else 1

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, source: str = "specification") -> RNNSpec:
        """Make a specification from keys and values.

        Args:
            values: Keys are the attributes of `RNNSpec`.
            source: Where they come from, for error messages.

        Returns:
            The specification, checked.

        Raises:
            SpecError: For an unknown or missing key, and for a wrong value.
        """
        known = [f.name for f in fields(cls)]
        unknown = [str(key) for key in values if key not in known]
        if unknown:
            raise SpecError(
                f"{source}: unknown key {', '.join(unknown)}; expected keys are {', '.join(known)}"
            )
        missing = [name for name in ("input_size", "hidden_size") if name not in values]
        if missing:
            raise SpecError(f"{source}: {' and '.join(missing)} missing")
        try:
            return cls(**values)
        except SpecError as error:
            raise SpecError(f"{source}: {error}") from None

    @classmethod
    def from_file(cls, path: str | Path) -> RNNSpec:
        """Read a `.toml` or `.json` file.

        Args:
            path: The file; its keys are the attributes of `RNNSpec`.

        Returns:
            The specification, checked.

        Raises:
            SpecError: When the file is missing, not TOML or JSON, or not a specification.
        """
        return cls.from_mapping(read_spec_file(path), source=str(path))

    @classmethod
    def from_layer(cls, layer: nn.RNNBase) -> RNNSpec:
        """Describe a live `nn.RNN`, `nn.LSTM` or `nn.GRU`."""
        cell, _, nonlinearity = layer.mode.lower().partition("_")
        return cls.from_mapping(
            {
                "cell": cell,
                "input_size": layer.input_size,
                "hidden_size": layer.hidden_size,
                "num_layers": layer.num_layers,
                "nonlinearity": nonlinearity or "tanh",
                "bias": bool(layer.bias),
                "batch_first": layer.batch_first,
                "dropout": float(layer.dropout),
                "bidirectional": layer.bidirectional,
                "proj_size": layer.proj_size,
            },
            source=type(layer).__name__,
        )

    @classmethod
    def from_state_dict(
        cls,
        state_dict: Mapping[str, Shaped],
        *,
        prefix: str | None = None,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        batch_first: bool = False,
        dropout: float = 0.0,
    ) -> RNNSpec:
        """Recover a specification from the names and shapes of weights alone.

        Args:
            state_dict: Weights by name, as `state_dict()` gives them; other weights may be there.
            prefix: What the names of the layer begin with, such as `encoder.rnn.`; None finds the
                only recurrent layer.
            nonlinearity: What shapes do not determine; PyTorch's default.
            batch_first: What shapes do not determine; PyTorch's default.
            dropout: What shapes do not determine; PyTorch's default.

        Returns:
            The specification that the weights fit.

        Raises:
            SourceError: When there is no recurrent layer, or several and no prefix.
            SpecError: When the shapes fit no cell, or each other.
        """
        layer = find_layer(state_dict, prefix)
        told = {"nonlinearity": nonlinearity, "batch_first": batch_first, "dropout": dropout}
        spec = cls.from_mapping({**_read_shapes(layer), **told}, source=layer.label)
        spec.check_weights(layer.weights, layer.prefix)
        return spec

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight by PyTorch's name, in PyTorch's order."""
        rows, state = _GATES[self.cell] * self.hidden_size, self.proj_size or self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for index in range(self.num_layers):
            features = self.input_size if index == 0 else state * self.num_directions
            for suffix in ("", "_reverse")[: self.num_directions]:
                shapes[f"weight_ih_l{index}{suffix}"] = (rows, features)
                shapes[f"weight_hh_l{index}{suffix}"] = (rows, state)
                if self.bias:
                    shapes[f"bias_ih_l{index}{suffix}"] = (rows,)
                    shapes[f"bias_hh_l{index}{suffix}"] = (rows,)
                if self.proj_size:
                    shapes[f"weight_hr_l{index}{suffix}"] = (self.proj_size, self.hidden_size)
        return shapes

    def check_weights(self, weights: Mapping[str, Shaped], prefix: str = "") -> None:
        """Compare names and shapes of weights with what this specification needs.

        Args:
            weights: Weights by name, without the prefix.
            prefix: What their names begin with in the checkpoint, for error messages.

        Raises:
            SpecError: Naming the first weight that is missing, left over or of another shape.
        """
        expected = self.weight_shapes()
        for name, shape in expected.items():
            if name not in weights:
                raise SpecError(
                    f"{prefix}{name}: expected shape {list(shape)}, found no such weight"
                )
            if tuple(weights[name].shape) != shape:
                raise SpecError(
                    f"{prefix}{name}: expected shape {list(shape)} for {self}, "
                    f"got {list(weights[name].shape)}"
                )
        left = [name for name in weights if name not in expected]
        if left:
            raise SpecError(f"{prefix}{left[0]}: {self} has no such weight")

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a dictionary that `from_mapping` takes."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the cell, the sizes, and what differs from PyTorch's defaults."""
        default = type(self)(cell=self.cell, input_size=1, hidden_size=1)
        parts = [f"{self.input_size}->{self.hidden_size}"]
        for f in fields(self)[3:]:
            given = getattr(self, f.name)
            if given != getattr(default, f.name):
                parts.append(f.name if given is True else f"{f.name}={given}")
        return f"{self.cell}({', '.join(parts)})"


def read_spec_file(path: str | Path) -> dict[str, Any]:
    """Read the keys and values of a `.toml` or `.json` specification.

    Args:
        path: The file.

    Returns:
        The table that it holds; the keys are not checked.

    Raises:
        SpecError: When the file cannot be read, or is not a table of keys and values.
    """
    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise ValueError(f"expected at most {_LONGEST:,} characters")
        values = _parse_toml(text) if kind == "toml" else parse(text, longest=_LONGEST)
    except FileNotFoundError:
        missing = no_such_file(path, (".toml", ".json"))
        raise SpecError(f"{path}: expected a specification, {missing}") from None
    except (OSError, ValueError) as error:
        reason = one_line(error)
        raise SpecError(f"{path}: expected a readable {kind.upper()} file: {reason}") from error
    if not isinstance(values, dict):
        raise SpecError(f"{path}: expected keys and values, got {type(values).__name__}")
    return values


def _parse_toml(text: str) -> dict[str, Any]:
    if max(map(len, text.splitlines()), default=0) > LONGEST_TEXT:
        # The parser takes memory by the square of the parts of a dotted key.
        raise ValueError(f"expected lines of at most {LONGEST_TEXT:,} characters")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _read_shapes(layer: NamedWeights[Shaped]) -> dict[str, Any]:
    shapes = {name: tuple(weight.shape) for name, weight in layer.weights.items()}
    for name in ("weight_ih_l0", "weight_hh_l0"):
        if len(shapes.get(name, ())) != 2:
            raise SpecError(
                f"{layer.prefix}{name}: expected a matrix, got "
                f"{list(shapes[name]) if name in shapes else 'no such weight'}"
            )
    rows, state = shapes["weight_hh_l0"]
    projected = "weight_hr_l0" in shapes
    hidden = shapes["weight_hr_l0"][-1] if projected else state
    cells = {gates: cell for cell, gates in _GATES.items()}
    if hidden == 0 or rows % hidden or rows // hidden not in cells:
        raise SpecError(
            f"{layer.prefix}weight_hh_l0: expected 1 (rnn), 3 (gru) or 4 (lstm) blocks of {hidden} "
            f"rows, got shape {[rows, state]}"
        )
    numbers = {int(name.split("_l")[1].split("_")[0]) for name in shapes}
    for number in range(max(numbers)):
        if number not in numbers:
            raise SpecError(
                f"{layer.prefix}weight_ih_l{number}: expected a matrix, got no such weight"
            )
    return {
        "cell": cells[rows // hidden],
        "input_size": shapes["weight_ih_l0"][1],
        "hidden_size": hidden,
        "num_layers": max(numbers) + 1,
        "bias": any(name.startswith("bias") for name in shapes),
        "bidirectional": any(name.endswith("_reverse") for name in shapes),
        "proj_size": state if projected else 0,
    }
