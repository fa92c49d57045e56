"""Arguments and results keep their names as they are written, and plain values stay fixed."""

from collections import namedtuple
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge_exporters.modules.arguments import Arguments
from rnnedge_exporters.modules.call_structure import describe, rebuild
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime import ContractError, Session
from rnnedge_runtime.contract import Contract

X = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
H = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(1))
Pair = namedtuple("Pair", "H c")


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.LSTM(4, 5)
        self.linear = nn.Linear(5, 5)
        self.weight = nn.Parameter(torch.randn(5))


class Mixed(Base):
    def forward(self, X: Tensor, x: Tensor, bH: Tensor) -> Tensor:  # noqa: N803
        return self.rnn(X + 2 * x)[0] + bH


class Unicode(Base):
    def forward(self, señal: Tensor, _lead: Tensor) -> Tensor:
        return self.rnn(señal)[0] + _lead


class Axes(Base):
    """Arguments with the names of axes and of what a bare layer takes."""

    def forward(self, time: Tensor, batch: Tensor, input: Tensor, h_0: Tensor) -> Tensor:
        return self.rnn(time + input)[0] + batch + h_0


class Torchs(Base):
    """Arguments with names that torch gives to weights and values."""

    def forward(self, weight: Tensor, p_weight: Tensor, val_0: Tensor) -> Tensor:
        return self.rnn(weight)[0] * self.weight + p_weight + val_0


class Inner(Base):
    """Results with names that values inside have, and the argument's own."""

    def forward(self, relu: Tensor) -> dict[Any, Tensor]:
        add = self.rnn(relu + 1)[0]
        mul = torch.relu(add)
        results = {"add": mul, "mul": add + 1, "linear": self.linear(mul), "relu": mul * 2}
        return {**results, "class": add, "Y y": add - 1, 0: mul - 1, "": add * 3}


class Returned(Base):
    def forward(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: N803
        x = self.rnn(X)[0]
        return x, X, X


class States(Base):
    def forward(self, X: Tensor, State: Any) -> Any:  # noqa: N803
        output, State = self.rnn(X, State)  # noqa: N806
        return output, State


class Fields(Base):
    def forward(self, x: Tensor, s: Any) -> Any:
        output, h = self.rnn(x, (s.H, s.c))
        return output, Pair(*h)


class Nested(Base):
    def forward(self, Batch: Any) -> Any:  # noqa: N803
        output, h = self.rnn(Batch["In"], Batch["HC"])
        return {"Out": output * Batch["scale"], "HC": h}


class Keywords(Base):
    def forward(self, **given: Any) -> Any:
        return self.rnn(given["If"])[0] + given["While"]


class Keyword(Base):
    def forward(self, In: Tensor, True_: Tensor) -> Any:  # noqa: N803
        return self.rnn(In)[0] + True_


class Reordered(Base):
    def forward(self, x: Tensor, *, last: Tensor, First: Tensor) -> Any:  # noqa: N803
        return self.rnn(x)[0] * First + last


NAMES: list[tuple[nn.Module, Any, list[str], list[str]]] = [
    (Mixed(), (X, X + 1, H), ["X", "x", "bH"], ["output"]),
    (Unicode(), (X, H), ["señal", "_lead"], ["output"]),
    (Axes(), (X, H, X, H), ["time", "batch", "input", "h_0"], ["output"]),
    (Torchs(), (X, H, H), ["weight", "p_weight", "val_0"], ["output"]),
    (
        Inner(),
        (X,),
        ["relu"],
        ["add", "mul", "linear", "relu_out", "class", "Y y", "0", "output"],
    ),
    (Returned(), (X,), ["X"], ["x", "X_out", "X_2"]),
    (States(), (X, (H, H)), ["X", "State_0", "State_1"], ["output", "State_0_out", "State_1_out"]),
    (Fields(), (X, Pair(H, H)), ["x", "s_H", "s_c"], ["output", "H", "c"]),
    (
        Nested(),
        ({"In": X, "HC": (H, H), "scale": 3},),
        ["Batch_In", "Batch_HC_0", "Batch_HC_1"],
        ["Out", "HC_0", "HC_1"],
    ),
    (Keywords(), {"If": X, "While": H}, ["If", "While"], ["output"]),
    (Keyword(), (X, H), ["In", "True_"], ["output"]),
    (Reordered(), {"First": H, "last": H, "x": X}, ["x", "last", "First"], ["output"]),
]


@pytest.mark.parametrize(
    ("module", "example", "inputs", "outputs"), NAMES, ids=[type(m).__name__ for m, *_ in NAMES]
)
def test_names_are_kept_as_they_are_written(
    module: nn.Module,
    example: Any,
    inputs: list[str],
    outputs: list[str],
    tmp_path: Path,
    worker: Worker,
) -> None:
    path = tmp_path / "m.onnx"
    rnnedge.export(module, path, example_inputs=example, states=False)
    interface = Session(path).interface
    assert [spec.name for spec in interface.inputs] == inputs
    assert [spec.name for spec in interface.outputs] == outputs
    report = rnnedge.validate(path, against=module, quick=True, worker=worker)
    assert report, report


class Mode(Enum):
    GREEDY = 1


class Plain(Base):
    """Plain arguments next to tensors: each is fixed in the file."""

    def forward(
        self,
        x: Tensor,
        mode: Any = None,
        scales: Any = (1.0,),
        dtype: Any = torch.float32,
        bias: Tensor | None = None,
        limit: float = float("inf"),
    ) -> Tensor:
        output, _ = self.rnn(x)
        output = output * scales[0] if mode in ("scaled", Mode.GREEDY) else -output
        output = output.clamp(max=limit) if limit < 1e9 else output
        return (output if bias is None else output + bias).to(dtype).to(x.dtype)


PLAIN: dict[str, tuple[Any, list[str]]] = {
    "word": ((X, "scaled", [3.0]), ["mode='scaled'", "scales[0]=3.0"]),
    "none between": ((X, None, (1.0,), torch.float64, H), ["dtype=torch.float64"]),
    "defaults": ((X, None, (1.0,)), []),
    "by name": ({"x": X, "limit": 0.25, "mode": "other"}, ["limit=0.25", "mode='other'"]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_arguments_are_fixed_and_validated_with(
    name: str, tmp_path: Path, worker: Worker
) -> None:
    example, fixed = PLAIN[name]
    path, module = tmp_path / "m.onnx", Plain()
    result = rnnedge.export(module, path, example_inputs=example, states=False)
    told = [note for note in result.notes if "is fixed in the file" in note]
    assert sorted(told) == sorted(f"{value} is fixed in the file" for value in fixed)
    assert rnnedge.validate(path, against=module, quick=True, worker=worker)


def test_a_value_that_a_file_cannot_keep(tmp_path: Path, worker: Worker) -> None:
    path, module = tmp_path / "m.onnx", Plain()
    rnnedge.export(module, path, example_inputs=(X, Mode.GREEDY, (2.0,)), states=False)
    with pytest.raises(rnnedge.ExportError, match=r"mode was <Mode.GREEDY: 1> at the export"):
        rnnedge.validate(path, against=module, quick=True, worker=worker)


def test_int8_with_calibration_takes_the_plain_arguments(tmp_path: Path, worker: Worker) -> None:
    path, module = tmp_path / "m.onnx", Plain()
    data = [{"x": X.numpy()}, {"x": -X.numpy()}]
    rnnedge.export(
        module, path, example_inputs=(X, "scaled", [3.0]), states=False, quantize="int8",
        calibrate=data,
    )  # fmt: skip
    assert rnnedge.validate(path, against=module, quick=True, worker=worker)


class Lifted(Base):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"rnn.h_0": self.rnn(x)[0]}


def test_a_result_with_the_name_of_a_lifted_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=r"'rnn\.h_0' is the name of an argument or"):
        rnnedge.export(Lifted(), tmp_path / "m.onnx", example_inputs=(X,))
    rnnedge.export(Lifted(), tmp_path / "m.onnx", example_inputs=(X,), states=False)
    assert list(Session(tmp_path / "m.onnx").run(X.numpy()).outputs) == ["rnn.h_0"]


def test_a_call_is_described_and_rebuilt() -> None:
    values = {
        "x": X,
        "s": Pair(H, 2),
        "d": {"a": [X, None], 3: (True, "word")},
        "f": float("nan"),
        "dtype": torch.float16,
    }
    arguments = Arguments(values)
    again = rebuild(describe(Base(), arguments), arguments.flat()).values
    assert list(arguments.flat()) == ["x", "s_H", "d_a_0"]
    assert again["x"] is X
    assert again["s"].H is H
    assert again["s"].c == 2
    assert again["d"] == values["d"]
    assert np.isnan(again["f"])
    assert again["dtype"] is torch.float16


@pytest.mark.parametrize(
    "kept", [{"dtype": "hub"}, {"dict": 3}, {"named": ["1"], "tuple": [1]}, {"tensor": "y"}]
)
def test_what_is_no_call_is_refused(kept: Any) -> None:
    with pytest.raises(rnnedge.ExportError):
        rebuild({"x": kept}, {"x": X})


def test_arguments_nested_without_end_are_no_contract(tmp_path: Path) -> None:
    nested: Any = 1
    for _ in range(40):
        nested = {"list": [nested]}
    rnnedge.export(nn.GRU(2, 3), tmp_path / "m.onnx")
    contract = Session(tmp_path / "m.onnx").contract
    assert contract is not None
    for damaged, told in ((nested, "nested deeper"), ([], "expected an object")):
        text = contract.to_json().replace('"arguments":{}', f'"arguments":{_json(damaged)}')
        with pytest.raises(ContractError, match=told):
            Contract.from_json(text)


def _json(value: Any) -> str:
    return str(value).replace("'", '"')


class Columns(nn.Module):
    """A layer that sees one step in the example, which torch then takes for all sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.conv = nn.MaxPool2d(2), nn.Conv1d(2, 3, 3)
        self.first, self.rnn = (nn.RNN(n, n, batch_first=True) for n in (2, 3))

    def forward(self, image: Tensor) -> Tensor:
        maps = self.pool(image)
        x = maps.reshape(maps.size(0), -1, maps.size(3)).transpose(1, 2)
        x = self.conv(self.first(x)[0].transpose(1, 2)).transpose(1, 2)
        x = nn.functional.gelu(x)
        output: Tensor = x + self.rnn(x)[0].softmax(1)
        return output


def test_nothing_is_declared_with_a_size_that_is_not_its_own(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    result = rnnedge.export(Columns(), path, example_inputs=(torch.randn(2, 1, 4, 6),))
    assert result.contract.interface.outputs[0].axes == ("batch", "output_axis_1", 3)
    graphs = [onnx.load(path).graph]
    for graph in graphs:
        made = {name for node in graph.node for name in node.output}
        for inner in graph.value_info:
            assert not (inner.name in made and inner.type.tensor_type.shape.dim)
        graphs += [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
