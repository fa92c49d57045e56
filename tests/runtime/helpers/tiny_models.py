"""Small recurrent models with their weights, contract and expected answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy_oracle
import tiny_onnx

from rnnedge_runtime.contract import (
    METADATA_KEY,
    Contract,
    Interface,
    LayerInfo,
    StatePair,
    TensorSpec,
)

# Blocks of rows in ONNX's order, as places in PyTorch's: lstm i, o, f, c and gru z, r, h.
_ONNX_ORDER = {"rnn": [0], "lstm": [0, 3, 1, 2], "gru": [1, 0, 2]}


@dataclass
class Graph:
    """The parts of a model before they are written, so that a test can change them."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    constants: dict[str, np.ndarray]
    nodes: list[tuple[str, list[str], list[str], dict[str, object]]] = field(default_factory=list)

    def add(self, op: str, inputs: list[str], outputs: list[str], **attributes: object) -> None:
        self.nodes.append((op, inputs, outputs, attributes))

    def drop(self, output: str) -> None:
        """Remove the node that makes `output`."""
        self.nodes = [node for node in self.nodes if output not in node[2]]

    def content(
        self,
        contract: Contract | str | None = None,
        *,
        names: Mapping[str, str] | None = None,
        axes: Mapping[str, str | None] | None = None,
    ) -> bytes:
        """Write the model.

        Args:
            contract: What to put into the metadata; None makes a model of another maker.
            names: Tensor names to replace.
            axes: Axis names to replace; by None for an axis without a name.
        """
        names, axes = names or {}, axes or {}

        def values(specs: Sequence[TensorSpec]) -> list[bytes]:
            return [
                tiny_onnx.value(
                    names.get(spec.name, spec.name),
                    spec.dtype,
                    [axes.get(a, a) if isinstance(a, str) else a for a in spec.axes],
                )
                for spec in specs
            ]

        nodes = [
            tiny_onnx.node(op, [names.get(i, i) for i in ins], [names.get(o, o) for o in outs], **a)
            for op, ins, outs, a in self.nodes
        ]
        text = contract.to_json() if isinstance(contract, Contract) else contract
        metadata = {} if text is None else {METADATA_KEY: text}
        return tiny_onnx.model(
            nodes, values(self.inputs), values(self.outputs), self.constants, metadata=metadata
        )


@dataclass(frozen=True)
class Tiny:
    """One recurrent layer with random weights, in the words of `torch.nn.RNN`."""

    cell: str = "lstm"
    input_size: int = 2
    hidden_size: int = 3
    bidirectional: bool = False
    batch_first: bool = False
    nonlinearity: str = "tanh"
    lengths: bool = False
    states: bool = True
    seed: int = 0

    @property
    def directions(self) -> int:
        return 1 + self.bidirectional

    @property
    def letters(self) -> str:
        return "hc" if self.cell == "lstm" else "h"

    @property
    def weights(self) -> list[numpy_oracle.Weights]:
        return [
            numpy_oracle.random_weights(self.cell, self.input_size, self.hidden_size, self.seed + d)
            for d in range(self.directions)
        ]

    @property
    def interface(self) -> Interface:
        outer = ("batch", "time") if self.batch_first else ("time", "batch")
        width = self.directions * self.hidden_size
        state = (self.directions, "batch", self.hidden_size)
        inputs = [TensorSpec("input", "float32", (*outer, self.input_size))]
        if self.lengths:
            inputs.append(TensorSpec("lengths", "int64", ("batch",)))
        if self.states:
            inputs += [TensorSpec(f"{x}_0", "float32", state) for x in self.letters]
        outputs = [TensorSpec("output", "float32", (*outer, width))]
        outputs += [TensorSpec(f"{x}_n", "float32", state) for x in self.letters]
        pairs = [StatePair(f"{x}_0", f"{x}_n") for x in self.letters] if self.states else []
        lengths = "lengths" if self.lengths else None
        return Interface(tuple(inputs), tuple(outputs), tuple(pairs), lengths)

    @property
    def contract(self) -> Contract:
        layer = LayerInfo(
            name="",
            cell=self.cell,
            input_size=self.input_size,
            hidden_size=self.hidden_size,
            num_layers=1,
            nonlinearity=self.nonlinearity,
            bias=True,
            batch_first=self.batch_first,
            bidirectional=self.bidirectional,
            proj_size=0,
            lowering="operator",
            weights=sum(a.size for w in self.weights for a in vars(w).values()),
        )
        return Contract(
            interface=self.interface,
            layers=(layer,),
            dtype="float32",
            quantization=None,
            target="cpu",
            opset=17,
            weights_digest="sha256:" + "0" * 64,
            versions={"rnnedge": "0.1.0"},
            hindrances=("the layer is bidirectional",) if self.bidirectional else (),
        )

    @property
    def content(self) -> bytes:
        """The model file with its contract."""
        return self.graph().content(self.contract)

    def promising(self, **changes: object) -> bytes:
        """Return the model file under a contract whose interface says something else."""
        interface = replace(self.interface, **changes)
        return self.graph().content(replace(self.contract, interface=interface))

    def graph(self, *, ends: bool = True, start: bool = True) -> Graph:
        """Build the graph.

        Args:
            ends: Whether the node gets the lengths.
            start: Whether the node is given the initial state.
        """
        face = self.interface
        graph = Graph(list(face.inputs), list(face.outputs), self._constants())
        x = "input"
        if self.batch_first:
            x = "time_first"
            graph.add("Transpose", ["input"], [x], perm=[1, 0, 2])
        if self.lengths and ends:
            graph.add("Cast", ["lengths"], ["sequence_lens"], to=tiny_onnx.DTYPES["int32"])
        initial = [f"{x}_0" if self.states and start else "" for x in self.letters]
        attributes: dict[str, object] = {
            "hidden_size": self.hidden_size,
            "direction": "bidirectional" if self.bidirectional else "forward",
        }
        if self.cell == "rnn":
            attributes["activations"] = [self.nonlinearity.capitalize()] * self.directions
        if self.cell == "gru":
            attributes["linear_before_reset"] = 1
        graph.add(
            self.cell.upper(),
            [x, "W", "R", "B", "sequence_lens" if self.lengths and ends else "", *initial],
            ["y", *(f"raw_{x}" for x in self.letters)],
            **attributes,
        )
        # [time, directions, batch, hidden] -> [time, batch, directions*hidden]
        graph.add("Transpose", ["y"], ["y_by_row"], perm=[0, 2, 1, 3])
        graph.add("Reshape", ["y_by_row", "width"], ["raw"])
        if self.batch_first:
            graph.add("Transpose", ["raw"], ["output"], perm=[1, 0, 2])
        else:
            graph.add("Identity", ["raw"], ["output"])
        self._finish_states(graph, keep=self.lengths and ends and self.states)
        return graph

    def input(self, time: int, batch: int, seed: int = 1) -> np.ndarray:
        """Return float32 [time, batch, features], or with batch first."""
        shape = (batch, time) if self.batch_first else (time, batch)
        random = np.random.default_rng(seed)
        return random.standard_normal((*shape, self.input_size)).astype(np.float32)

    def state(self, batch: int, seed: int = 2) -> tuple[np.ndarray, ...]:
        """Return float32 (h,) or (h, c), each [directions, batch, hidden]."""
        random = np.random.default_rng(seed)
        shape = (self.directions, batch, self.hidden_size)
        return tuple(random.standard_normal(shape).astype(np.float32) for _ in self.letters)

    def expected(
        self,
        x: np.ndarray,
        state: tuple[np.ndarray, ...] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Return what PyTorch would answer: the output and the final state, in float64."""
        x = x.swapaxes(0, 1) if self.batch_first else x
        time, batch, _ = x.shape
        if state is None:
            shape = (self.directions, batch, self.hidden_size)
            state = tuple(np.zeros(shape) for _ in self.letters)
        ends = np.array([time] * batch if lengths is None else lengths, int)
        output, finals = numpy_oracle.run(
            self.cell, self.weights, x, state, ends, self.nonlinearity
        )
        return output.swapaxes(0, 1) if self.batch_first else output, finals

    def _constants(self) -> dict[str, np.ndarray]:
        def onnx_order(array: np.ndarray) -> np.ndarray:
            blocks = np.split(array, numpy_oracle.BLOCKS[self.cell])
            return np.concatenate([blocks[b] for b in _ONNX_ORDER[self.cell]])

        weights = self.weights
        biases = [np.concatenate([onnx_order(w.b_ih), onnx_order(w.b_hh)]) for w in weights]
        return {
            "W": np.stack([onnx_order(w.w_ih) for w in weights]),
            "R": np.stack([onnx_order(w.w_hh) for w in weights]),
            "B": np.stack(biases),
            "width": np.array([0, 0, self.directions * self.hidden_size]),
            "zero": np.array([0]),
            "one": np.array([1]),
        }

    def _finish_states(self, graph: Graph, *, keep: bool) -> None:
        """Name the final states; `keep` hands the initial one on where a row has no steps."""
        if keep:
            graph.add("Equal", ["lengths", "zero"], ["is_empty"])
            graph.add("Unsqueeze", ["is_empty", "one"], ["empty"])  # [batch, 1]
        for x in self.letters:
            if keep:
                graph.add("Where", ["empty", f"{x}_0", f"raw_{x}"], [f"{x}_n"])
            else:
                graph.add("Identity", [f"raw_{x}"], [f"{x}_n"])


def two_inputs() -> tuple[Tiny, bytes]:
    """Return a GRU over `left` and `right` side by side, and its file with a second output.

    Inputs `left` and `right` [time, batch, 1] and `h_0`; outputs `output`, `negative` and `h_n`.
    """
    tiny = Tiny("gru")
    graph = tiny.graph()
    halves = [TensorSpec(name, "float32", ("time", "batch", 1)) for name in ("left", "right")]
    graph.inputs[:1] = halves
    graph.outputs.insert(1, replace(graph.outputs[0], name="negative"))
    graph.nodes.insert(0, ("Concat", ["left", "right"], ["input"], {"axis": 2}))
    graph.add("Neg", ["output"], ["negative"])
    interface = replace(tiny.interface, inputs=tuple(graph.inputs), outputs=tuple(graph.outputs))
    return tiny, graph.content(replace(tiny.contract, interface=interface))


def silero_style(axes: Mapping[str, str | None] | None = None) -> tuple[Tiny, bytes]:
    """Return an LSTM in the manner of the Silero voice detector, without a contract.

    Inputs `input` [batch, 4], `state` [2, batch, 3] that holds h and c, and the scalar `sr`;
    outputs `output` [batch, 3], scaled by sr / 16000, and `stateN`.
    """
    tiny = Tiny("lstm", input_size=4)
    state = ("float32", (2, "batch", 3))
    core = tiny.graph()
    graph = Graph(
        inputs=[
            TensorSpec("input", "float32", ("batch", 4)),
            TensorSpec("state", *state),
            TensorSpec("sr", "int64", ()),
        ],
        outputs=[TensorSpec("output", "float32", ("batch", 3)), TensorSpec("stateN", *state)],
        constants=core.constants | {"full": np.array(16000, np.float32)},
    )
    graph.add("Split", ["state"], ["h_0", "c_0"], axis=0)
    graph.add("Unsqueeze", ["input", "zero"], ["frame"])  # [1, batch, 4]
    graph.add("LSTM", ["frame", "W", "R", "B", "", "h_0", "c_0"], ["", "h", "c"], hidden_size=3)
    graph.add("Concat", ["h", "c"], ["stateN"], axis=0)
    graph.add("Cast", ["sr"], ["rate"], to=tiny_onnx.DTYPES["float32"])
    graph.add("Div", ["rate", "full"], ["scale"])
    graph.add("Squeeze", ["h", "zero"], ["answer"])
    graph.add("Mul", ["answer", "scale"], ["output"])
    return tiny, graph.content(axes=axes)
