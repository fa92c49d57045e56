"""The least time that the speed of this machine allows, and what is reached.

A recurrent layer multiplies the state by the same weights at each step: [batch, hidden] by
[hidden, gates * hidden]. No form of it is done sooner than this product alone, at this very shape,
by the quickest sgemm at hand, which has both bounds in it, arithmetic and the reading of weights;
the input is projected by one product over all time. Activations are not counted, so that no layer
can reach all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

import rnnedge
from benchmarks.speed import HIDDEN, INPUT_SIZE, compare, sides
from benchmarks.timing import time_in_blocks
from rnnedge_runtime.engine.inference_session import open_inference_session
from rnnedge_runtime.engine.options import EngineOptions

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
TIME, BATCHES = 100, (1, 8, 32)
SECONDS = 2.5
"""For all that is measured of one cell of the grid together."""
ENGINE = "ONNX Runtime"
_TOGETHER = 1 << 20
"""Bytes that lie in the second cache, of what is multiplied in one call."""
_TELLING_MS = 0.02
"""Below, what ONNX Runtime takes for any node is too large a part of what is measured."""


@dataclass(frozen=True)
class Product:
    """A product of one shape; milliseconds of CPU time by who multiplies."""

    flops: int
    ms: dict[str, float]

    @property
    def least_ms(self) -> float:
        """The quickest."""
        return min(self.ms.values())

    def gflops(self, who: str) -> float:
        """Return operations in a second, in units of 1e9."""
        return self.flops / self.ms[who] / 1e6


@dataclass(frozen=True)
class Bound:
    """One cell of the grid, and what it is bound by; milliseconds of CPU time.

    Attributes:
        spec: The layer.
        batch: Rows of the call.
        step: The recurrent product.
        inputs: For each layer, the product that projects its input over all time.
        read_ms: What a pass over the recurrent weights of a step takes that only adds them up.
        reached: What a call takes, by who runs it.
    """

    spec: rnnedge.RNNSpec
    batch: int
    step: Product
    inputs: tuple[Product, ...]
    read_ms: float
    reached: dict[str, float]

    @property
    def name(self) -> str:
        """Cell, hidden size and batch."""
        return f"{self.spec.cell} {self.spec.hidden_size}, {self.batch}"

    @property
    def least_ms(self) -> float:
        """The least that a call can take."""
        return self._all(lambda product: product.least_ms)

    def share(self, side: str) -> float:
        """Return the least as a part of what a side takes."""
        return self.least_ms / self.reached[side]

    @property
    def own_share(self) -> float:
        """The same for rnnedge, when all products are ONNX Runtime's own."""
        return self._all(lambda product: product.ms[ENGINE]) / self.reached["rnnedge"]

    def _all(self, ms: Callable[[Product], float]) -> float:
        layers = TIME * len(self.inputs) * ms(self.step) + sum(map(ms, self.inputs))
        return layers * _directions(self.spec)


def report() -> tuple[list[str], list[Bound]]:
    """Measure, and return lines of Markdown."""
    bounds = [
        bound(rnnedge.RNNSpec(cell=cell, input_size=INPUT_SIZE, hidden_size=hidden), batch)
        for cell in ("lstm", "gru")
        for batch in BATCHES
        for hidden in HIDDEN
    ]
    others = [side for side in bounds[0].reached if side != "rnnedge"]
    who = list(bounds[0].step.ms)
    lines = [
        "## The least time",
        "",
        "At each step the recurrent product at its very shape, by the quickest sgemm measured "
        "here, the reading of its weights within; and one product for the input over all time. "
        f"{TIME} steps, input {INPUT_SIZE}, one layer, one direction; activations are not counted. "
        "*Reading* is what a pass over the weights of a step takes that only adds them up, as a "
        "part of the product: at 1 memory limits, far below it arithmetic. *Share* is the least "
        "as a part of what is reached, *own sgemm* the same when ONNX Runtime's products are the "
        "measure; `-` where they are over too soon to tell. Above 100%, a kernel multiplies a row "
        "sooner than any sgemm here. CPU milliseconds of one thread.",
        "",
        f"| layer, batch | sgemm GFLOP/s: {' | '.join(who)} | reading | least ms | rnnedge ms | "
        f"share | own sgemm | {' | '.join(f'{side} share' for side in others)} |",
        "|---|" + "---|" * (len(who) + 5 + len(others)),
    ]
    for one in bounds:
        row = [one.name, *(f"{one.step.gflops(name):.0f}" for name in who)]
        row += [f"{one.read_ms / one.step.least_ms:.2f}"]
        row += [f"{one.least_ms:.3f}", f"{one.reached['rnnedge']:.3f}"]
        row += [f"{one.share('rnnedge'):.0%}"]
        row += [f"{one.own_share:.0%}" if one.step.ms[ENGINE] > _TELLING_MS else "-"]
        row += [f"{one.share(side):.0%}" for side in others]
        lines.append(f"| {' | '.join(row)} |")
    return [*lines, ""], bounds


def bound(spec: rnnedge.RNNSpec, batch: int) -> Bound:
    """Measure a cell of the grid: who runs it and all that bounds it, in turns."""
    wide = GATES[spec.cell] * spec.hidden_size
    layer = rnnedge.build(spec, seed=0).eval()
    x = np.random.default_rng(0).standard_normal((TIME, batch, INPUT_SIZE)).astype(np.float32)
    runners = {name: side for name, side in sides(layer).items() if name != "TorchScript"}
    runs = {name: side(x) for name, side in runners.items()}
    compare(runs)
    widths = [spec.input_size]
    widths += [spec.hidden_size * _directions(spec)] * (spec.num_layers - 1)
    shapes = {(batch, spec.hidden_size, wide)} | {(TIME * batch, width, wide) for width in widths}
    products = {shape: _Products(*shape) for shape in shapes}
    calls: dict[object, Callable[[], object]] = {**runs, "read": _reading(spec.hidden_size * wide)}
    for shape, some in products.items():
        calls |= {(shape, name): call for name, call in some.calls.items()}
    timed = {key: taken.cpu for key, taken in time_in_blocks(calls, SECONDS).items()}
    found = {
        shape: some.product({name: timed[shape, name] for name in some.calls})
        for shape, some in products.items()
    }
    return Bound(
        spec,
        batch,
        step=found[batch, spec.hidden_size, wide],
        inputs=tuple(found[TIME * batch, width, wide] for width in widths),
        read_ms=timed["read"] * spec.hidden_size * wide * 4 / _read_bytes(spec.hidden_size * wide),
        reached={name: timed[name] for name in runs},
    )


def _directions(spec: rnnedge.RNNSpec) -> int:
    return 2 if spec.bidirectional else 1


class _Products:
    """Calls that multiply [rows, inner] by [inner, columns], some in each where one is short."""

    def __init__(self, rows: int, inner: int, columns: int) -> None:
        random = np.random.default_rng(0)
        self._count = max(1, min(16, _TOGETHER // (4 * rows * columns)))
        self._flops = 2 * rows * inner * columns
        a = random.standard_normal((self._count, rows, inner)).astype(np.float32)
        b = random.standard_normal((inner, columns)).astype(np.float32)
        ours = np.empty((self._count, rows, columns), np.float32)
        ta, tb = torch.from_numpy(a), torch.from_numpy(b).expand(self._count, inner, columns)
        theirs = torch.empty(ours.shape)
        self._nodes = max(1, min(16, _TOGETHER // b.nbytes))  # each has its own copy of the weights
        self.calls: dict[str, Callable[[], object]] = {
            "numpy": lambda: np.matmul(a, b, out=ours),
            "torch": lambda: torch.bmm(ta, tb, out=theirs),
            "nodes": _in_onnxruntime(a[0], b, self._nodes),
            "a call": _in_onnxruntime(a[0, :1, :1], b[:1, :1], 1),
        }

    def product(self, timed: dict[str, float]) -> Product:
        """Sum up what the calls took."""
        ms = {name: timed[name] / self._count for name in ("numpy", "torch")}
        ms[ENGINE] = (timed["nodes"] - timed["a call"]) / self._nodes
        return Product(self._flops, ms)


def _in_onnxruntime(a: np.ndarray, b: np.ndarray, count: int) -> Callable[[], object]:
    """Return a call of `count` products of the same."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", [f"a{i}", "b"], [f"y{i}"]) for i in range(count)],
        "products",
        [_value(f"a{i}", a.shape) for i in range(count)],
        [_value(f"y{i}", (a.shape[0], b.shape[1])) for i in range(count)],
        [numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    engine, _ = open_inference_session(
        model.SerializeToString(), device="cpu", options=EngineOptions(threads=1)
    )
    return partial(engine.run, None, {f"a{i}": a for i in range(count)})


def _value(name: str, shape: tuple[int, ...]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _read_bytes(elements: int) -> int:
    return max(4 * elements, _TOGETHER)


def _reading(elements: int) -> Callable[[], object]:
    """Return a call that reads so many float32, or more where that is over too soon to tell."""
    halves = torch.ones(2, _read_bytes(elements) // 8)
    return lambda: torch.dot(*halves)
