"""Export code as it is written by hand: one ONNX node for each direction, with its own names.

All of it is right; a mistake is a subclass that overrides one method.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from breaking.originals import Original

Array = NDArray[np.float32]

ORDERS = {"rnn": (0,), "relu": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
"""For each ONNX gate, the block of rows that holds it in PyTorch."""

START = np.iinfo(np.int64).min


class HandMade:
    """Writes the file of an original that has no projection."""

    opset = 15

    def __init__(self, original: Original) -> None:
        self.original = original
        self.layer = original.layer
        self.op_type = "RNN" if original.cell == "relu" else original.cell.upper()
        self.scope = ""
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def reorder(self, rows: Array, tensor: str, index: int, direction: int) -> Array:
        """Put rows of gates in ONNX's order; `tensor` is W, R, Wb or Rb."""
        return permuted(rows, ORDERS[self.original.cell])

    def biases(self, ih: Array, hh: Array, index: int, direction: int) -> tuple[Array, Array]:
        """Return what goes into the two halves of B, in PyTorch's order."""
        return ih, hh

    def source(self, index: int, direction: int) -> str:
        """Return the end of the names of the PyTorch weights."""
        return f"l{index}{'_reverse' if direction else ''}"

    def weight(self, name: str, index: int, direction: int) -> Array:
        return getattr(self.layer, f"{name}_{self.source(index, direction)}").detach().numpy()

    def attributes(self, index: int, direction: int) -> dict[str, Any]:
        made: dict[str, Any] = {"hidden_size": self.original.hidden_size}
        if direction:
            made["direction"] = "reverse"
        if self.original.cell == "gru":
            made["linear_before_reset"] = 1
        if self.original.cell == "relu":
            made["activations"] = ["Relu"]
        return made

    def enter(self, x: str) -> str:
        """Give the input ONNX's axes, [time, batch, features]."""
        return self.op("Transpose", x, perm=[1, 0, 2]) if self.original.batch_first else x

    def leave(self, y: str) -> str:
        """Give the output the layer's own axes."""
        return self.op("Transpose", y, perm=[1, 0, 2]) if self.original.batch_first else y

    def join(self, outputs: list[str]) -> str:
        """Put the directions, forward first, side by side."""
        return self.op("Concat", *outputs, axis=2) if len(outputs) > 1 else outputs[0]

    def between(self, y: str, index: int) -> str:
        """Lead the output of layer `index` to the next layer."""
        return y

    def row(self, state: str, index: int, direction: int) -> int:
        """Return the row of an initial state that a direction starts from."""
        return index * self.original.directions + direction

    def initial(self, state: str, index: int, direction: int) -> str:
        """Return an initial state of one direction, [1, batch, hidden]."""
        if not self.original.states:
            return ""
        row = self.row(state, index, direction)
        ends = [self.integers(row), self.integers(row + 1), self.integers(0)]
        return self.op("Slice", f"{state}0", *ends)

    def final(self, rows: list[str], state: str) -> str:
        """Put the final states of all directions, each [1, batch, hidden], into one."""
        return self.op("Concat", *rows, axis=0) if len(rows) > 1 else rows[0]

    def sequence_lens(self, index: int, direction: int) -> str:
        if not self.original.lengths:
            return ""
        return self.op("Cast", "lens", to=TensorProto.INT32)

    def run(self, x: str, index: int, direction: int) -> list[str]:
        """Return output [time, batch, hidden] and final states [1, batch, hidden]."""
        states = [self.initial(state, index, direction) for state in self.original.state_names]
        lens = self.sequence_lens(index, direction)
        y, *finals = self.operator(x, index, direction, lens, states)
        return [self.op("Squeeze", y, self.integers(1)), *finals]

    def operator(
        self, x: str, index: int, direction: int, lens: str, states: list[str]
    ) -> list[str]:
        return self.ops(
            self.op_type,
            x,
            *self.parameters(index, direction),
            lens,
            *states,
            outputs=1 + len(states),
            **self.attributes(index, direction),
        )

    def parameters(self, index: int, direction: int) -> list[str]:
        """Return the names of W, R and B."""
        place = f"{self.original.cell}{index}.{'bw' if direction else 'fw'}"
        arrays = {
            name: self.reorder(self.weight(weight, index, direction), name, index, direction)
            for name, weight in (("W", "weight_ih"), ("R", "weight_hh"))
        }
        if self.original.bias:
            pair = (self.weight(name, index, direction) for name in ("bias_ih", "bias_hh"))
            halves = zip(self.biases(*pair, index, direction), ("Wb", "Rb"), strict=True)
            arrays["B"] = np.concatenate(
                [self.reorder(half, name, index, direction) for half, name in halves]
            )
        made = [self.constant(f"{place}.{name}", array[None]) for name, array in arrays.items()]
        return made if self.original.bias else [*made, ""]

    def model(self) -> onnx.ModelProto:
        x, finals = self.enter("x"), []
        for index in range(self.original.num_layers):
            made = [self.run(x, index, direction) for direction in range(self.original.directions)]
            x = self.join([outputs[0] for outputs in made])
            if index + 1 < self.original.num_layers:
                x = self.between(x, index)
            finals += [outputs[1:] for outputs in made]
        self.rename(self.leave(x), "y")
        for state, rows in zip(self.original.state_names, zip(*finals, strict=True), strict=True):
            self.rename(self.final(list(rows), state), f"{state}n")
        graph = helper.make_graph(
            self.nodes, "net", self.inputs(), self.outputs(), self.initializers
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def inputs(self) -> list[onnx.ValueInfoProto]:
        outer = ["B", "T"] if self.original.batch_first else ["T", "B"]
        made = [_floats("x", [*outer, self.original.input_size])]
        if self.original.lengths:
            made.append(helper.make_tensor_value_info("lens", TensorProto.INT64, ["B"]))
        return made + (self.states("0") if self.original.states else [])

    def outputs(self) -> list[onnx.ValueInfoProto]:
        width = self.original.directions * self.original.hidden_size
        return [_floats("y", [None, None, width]), *self.states("n")]

    def states(self, suffix: str) -> list[onnx.ValueInfoProto]:
        rows = self.original.num_layers * self.original.directions
        shape = [rows if suffix == "0" else None, "B" if suffix == "0" else None]
        return [
            _floats(f"{name}{suffix}", [*shape, self.original.hidden_size])
            for name in self.original.state_names
        ]

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(op_type, *inputs, outputs=1, **attributes)[0]

    def ops(self, op_type: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        name = f"{self.scope}{op_type.lower()}.{len(self.nodes)}"
        names = [name, *(f"{name}.{number}" for number in range(1, outputs))]
        self.nodes.append(helper.make_node(op_type, inputs, names, name=name, **attributes))
        return names

    def constant(self, name: str, array: NDArray[Any]) -> str:
        if name not in [tensor.name for tensor in self.initializers]:
            self.initializers.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def integers(self, *numbers: int) -> str:
        return self.constant(f"i{numbers}", np.array(numbers, np.int64))

    def rename(self, name: str, wanted: str) -> None:
        self.nodes.append(helper.make_node("Identity", [name], [wanted]))


class Reversing(HandMade):
    """Runs the backward direction forwards over a reversed sequence, and reverses its output."""

    def attributes(self, index: int, direction: int) -> dict[str, Any]:
        return super().attributes(index, 0)

    def run(self, x: str, index: int, direction: int) -> list[str]:
        if not direction:
            return super().run(x, index, direction)
        y, *finals = super().run(self.reversed(x), index, direction)
        return [self.reversed_output(y), *finals]

    def reversed_output(self, y: str) -> str:
        return self.reversed(y)

    def reversed(self, x: str) -> str:
        first, last = self.integers(-1), self.integers(START)
        return self.op("Slice", x, first, last, self.integers(0), self.integers(-1))


class Looped(HandMade):
    """Runs a one-step operator in a `Loop` over time; takes initial states and no lengths."""

    def steps(self, x: str) -> str:
        """Return how often the loop runs, an int64 scalar."""
        zero = self.constant("zero", np.array(0, np.int64))
        return self.op("Gather", self.op("Shape", x), zero, axis=0)

    def attributes(self, index: int, direction: int) -> dict[str, Any]:
        return super().attributes(index, 0)

    def run(self, x: str, index: int, direction: int) -> list[str]:
        steps = self.steps(x)
        states = [self.initial(state, index, direction) for state in self.original.state_names]
        *finals, y = self.ops(
            "Loop",
            steps,
            "",
            *states,
            outputs=len(states) + 1,
            body=self.body(x, steps, index, direction),
        )
        return [Reversing.reversed(self, y) if direction else y, *finals]

    def body(self, x: str, steps: str, index: int, direction: int) -> onnx.GraphProto:
        outer, self.nodes, self.scope = self.nodes, [], f"loop{index}{direction}."
        states = [f"{self.scope}{state}" for state in self.original.state_names]
        counter, condition = f"{self.scope}i", f"{self.scope}condition"
        step = self.op("Identity", counter)
        if direction:
            one = self.constant("one", np.array(1, np.int64))
            step = self.op("Sub", self.op("Sub", steps, one), step)
        x_t = self.op("Gather", x, step, axis=0)  # [batch, features]
        x_t = self.op("Unsqueeze", x_t, self.integers(0))
        _, *after = self.operator(x_t, index, direction, "", states)
        y = self.op("Squeeze", after[0], self.integers(0))
        keep = self.op("Identity", condition)
        shape = [1, None, self.original.hidden_size]
        graph = helper.make_graph(
            self.nodes,
            self.scope,
            [
                helper.make_tensor_value_info(counter, TensorProto.INT64, []),
                helper.make_tensor_value_info(condition, TensorProto.BOOL, []),
                *(_floats(name, shape) for name in states),
            ],
            [
                helper.make_tensor_value_info(keep, TensorProto.BOOL, []),
                *(_floats(name, shape) for name in after),
                _floats(y, shape[1:]),
            ],
        )
        self.nodes, self.scope = outer, ""
        return graph


def permuted(rows: Array, order: Sequence[int]) -> Array:
    """Put the blocks of rows, one for each gate, in another order."""
    return np.concatenate([np.split(rows, len(order))[block] for block in order])


def _floats(name: str, shape: list[int | str | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
