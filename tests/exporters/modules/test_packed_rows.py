"""Which operators keep each row of a batch in its place: what is read of a program, and what is so.

The rules are compared with PyTorch: an operator keeps rows when its answer to some of the rows, in
another order, is that part of its answer to all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from rnnedge_exporters.modules.capture import Capture
from rnnedge_exporters.modules.rows import row_hindrances
from rnnedge_runtime.contract import BATCH

X = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([2, 4, 3])
SOME = torch.tensor([2, 1])
W = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
TABLE = torch.randn(5, 2, generator=torch.Generator().manual_seed(2))

Function = Callable[[Tensor, Tensor], Any]

_GATES = [torch.randn(24, 6, generator=torch.Generator().manual_seed(3)) for _ in range(2)]


def _written(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 0] = 0
    x[:, 1:3] += x[:, :2]
    return x


def _mask_written(x: Tensor) -> Tensor:
    x = x.clone()
    x[x > 0] = -1
    return x


def _buffer(x: Tensor) -> Tensor:
    buffer = torch.zeros(x.size(0), 5, 6)
    buffer[:, 1:] = x
    return buffer * 2


def _row_written(x: Tensor, n: Tensor) -> Tensor:
    x = x.clone()
    x[0] = 0
    return x


def _sorted_written(x: Tensor, n: Tensor) -> Tensor:
    buffer = torch.zeros_like(x)
    buffer[:, 1] = x[n.argsort(), 0]
    return buffer


KEPT: dict[str, tuple[Function, int]] = {
    "pointwise": (lambda x, n: torch.tanh(x) * 2 + x.relu(), 0),
    "broadcast": (lambda x, n: x * n.view(-1, 1, 1), 0),
    "where": (lambda x, n: torch.where(x > 0, x, n[:, None, None].float()), 0),
    "transpose": (lambda x, n: x.transpose(0, 1) + 1, 1),
    "permute": (lambda x, n: x.permute(2, 0, 1) * 2, 1),
    "movedim": (lambda x, n: x.movedim(0, -1) * 2, 2),
    "T": (lambda x, n: x[:, 0].T * 2, 1),
    "joined with time": (lambda x, n: (x.reshape(-1, 6) @ W).view(x.shape[0], -1, 6), 0),
    "time in front, joined": (
        lambda x, n: (x.transpose(0, 1).reshape(-1, 6) + 1).view(4, -1, 6),
        1,
    ),
    "split features": (lambda x, n: x.view(-1, 4, 2, 3).transpose(1, 2) + 0, 0),
    "squeezed": (lambda x, n: x.unsqueeze(0).unsqueeze(2).squeeze(0) + 0, 0),
    "flatten": (lambda x, n: x.flatten(1) * 2, 0),
    "step": (lambda x, n: x[:, -1] * 2, 0),
    "slice": (lambda x, n: x[:, 1:, ::2] + 0, 0),
    "all rows": (lambda x, n: x[:] + 0, 0),
    "chunk": (lambda x, n: x.chunk(2, -1)[1] + 0, 0),
    "unbind": (lambda x, n: x.unbind(1)[2] + 0, 0),
    "sum": (lambda x, n: x.sum(1), 0),
    "sum of two": (lambda x, n: x.transpose(0, 1).sum((0, 2)), 0),
    "max": (lambda x, n: x.max(1).values, 0),
    "max of two": (lambda x, n: torch.max(x, x * 2), 0),
    "std": (lambda x, n: x.std(-1, keepdim=True), 0),
    "norm": (lambda x, n: x / x.norm(dim=-1, keepdim=True), 0),
    "softmax": (lambda x, n: x.softmax(1), 0),
    "cumsum": (lambda x, n: x.cumsum(1), 0),
    "flip": (lambda x, n: x.flip(1), 0),
    "sort": (lambda x, n: x.sort(1).values, 0),
    "topk": (lambda x, n: x.topk(2, -1).values, 0),
    "linear": (lambda x, n: F.linear(x, W), 0),
    "matmul": (lambda x, n: x @ W, 0),
    "attention": (lambda x, n: (x @ x.transpose(1, 2)).softmax(-1) @ x, 0),
    "rows times a matrix": (lambda x, n: x[:, 0] @ W, 0),
    "matrix times rows": (lambda x, n: W @ x[:, 0].T, 1),
    "vector": (lambda x, n: x @ W[0], 0),
    "bmm": (lambda x, n: torch.bmm(x, x.transpose(1, 2)), 0),
    "sdpa": (lambda x, n: F.scaled_dot_product_attention(x, x, x), 0),
    "einsum": (lambda x, n: torch.einsum("btf,bsf->tbs", x, x), 1),
    "conv1d": (lambda x, n: F.conv1d(x, W[:, :4, None]), 0),
    "pool": (lambda x, n: F.max_pool1d(x, 2), 0),
    "layer_norm": (lambda x, n: F.layer_norm(x, (6,)), 0),
    "group_norm": (lambda x, n: F.group_norm(x, 2), 0),
    "batch_norm": (lambda x, n: F.batch_norm(x, W[0, :4], W[1, :4].abs()), 0),
    "pad": (lambda x, n: F.pad(x, (1, 0, 2, 3)), 0),
    "embedding": (lambda x, n: F.embedding(n, TABLE), 0),
    "table": (lambda x, n: TABLE[n], 0),
    "one_hot": (lambda x, n: F.one_hot(n, 5), 0),
    "cat": (lambda x, n: torch.cat([x, x], 2), 0),
    "stack": (lambda x, n: torch.stack([x, x], 0), 1),
    "repeat": (lambda x, n: x.repeat(1, 2, 1), 0),
    "expand": (lambda x, n: x[:, None].expand(-1, 3, -1, -1) + 0, 0),
    "fixed index": (lambda x, n: x[:, torch.tensor([3, 0])], 0),
    "two fixed indices": (lambda x, n: x[:, torch.tensor([3, 0]), torch.tensor([1, 5])], 0),
    "index_select": (lambda x, n: x.index_select(1, torch.tensor([3, 0])), 0),
    "last step": (lambda x, n: x[torch.arange(x.size(0)), n - 1], 0),
    "last step, time first": (lambda x, n: x.transpose(0, 1)[n - 1, torch.arange(x.size(0))], 0),
    "gather": (lambda x, n: x.gather(1, (n - 1).view(-1, 1, 1).expand(-1, 1, 6)), 0),
    "mask": (lambda x, n: x.masked_fill(torch.arange(4) .view(1, -1, 1) >= n.view(-1, 1, 1), 0), 0),
    "zeros": (lambda x, n: torch.cat([x.new_zeros(x.size(0), 1, 6), x], 1), 0),
    "written": (lambda x, n: _written(x), 0),
    "written mask": (lambda x, n: _mask_written(x), 0),
    "buffer": (lambda x, n: _buffer(x), 0),
    "cell": (lambda x, n: torch.lstm_cell(x[:, 0], (x[:, 1], x[:, 2]), *_GATES)[0], 0),
}  # fmt: skip
"""What keeps rows, and the axis that they are on in the end."""

MOVED: dict[str, Function] = {
    "sorted by lengths": lambda x, n: x[n.argsort(descending=True)],
    "index_select": lambda x, n: x.index_select(0, n.argsort()),
    "flip": lambda x, n: x.flip(0),
    "roll": lambda x, n: x.roll(1, 0),
    "sort": lambda x, n: x.sort(0).values,
    "mean": lambda x, n: x - x.mean(0),
    "sum of all": lambda x, n: x / x.sum(),
    "softmax": lambda x, n: x.softmax(0),
    "cumsum": lambda x, n: x.cumsum(0),
    "max": lambda x, n: x - x.max(0).values,
    "first row": lambda x, n: x - x[0],
    "batch as features": lambda x, n: (x.permute(1, 2, 0) @ x.permute(1, 0, 2)).sum() * x,
    "between rows": lambda x, n: torch.einsum("btf,ctf->bc", x, x) @ n.float(),
    "outer": lambda x, n: n.view(1, -1) - n.view(-1, 1),
    "mixed shapes": lambda x, n: x.reshape(4, -1, 6).transpose(0, 1) + 0,
    "numbers": lambda x, n: x * torch.arange(x.size(0)).view(-1, 1, 1),
    "counted ones": lambda x, n: x * torch.ones(x.size(0)).cumsum(0).view(-1, 1, 1),
    "gather": lambda x, n: x.gather(0, (n - 2).view(-1, 1, 1).expand(-1, 4, 6)),
    "row of another": lambda x, n: x[n - 2, 0],
    "by numbers of others": lambda x, n: x[n - 2, torch.arange(x.size(0)) * 0],
    "steps of others": lambda x, n: x[:, n - 1],
    "batch norm": lambda x, n: F.batch_norm(x, None, None, training=True),
    "conv over rows": lambda x, n: F.conv1d(x.permute(1, 2, 0), torch.stack([W] * 3, 2), padding=1),
    "pad": lambda x, n: F.pad(x, (0, 0, 0, 0, 1, 0))[:-1],
    "written row": _row_written,
    "written sorted": _sorted_written,
    "attention between rows": lambda x, n: F.scaled_dot_product_attention(*[x.transpose(0, 1)] * 3),
    "scattered": lambda x, n: torch.zeros_like(x).index_copy(0, n.argsort(), x),
    "no rule": lambda x, n: torch.cdist(x[:, 0], x[:, 0]),
}
"""What moves or mixes rows."""

CAREFUL: dict[str, Function] = {
    "number of rows": lambda x, n: x / x.size(0),
    "longest": lambda x, n: x * n.max(),
    "step of the longest": lambda x, n: x[:, n.max() - 1],
    "halves": lambda x, n: torch.cat([x[:1], x[1:]], 0),
    "renorm": lambda x, n: torch.renorm(x, 2, 0, 1.0),
}
"""What depends on the other rows in a number alone, or has no rule: nothing is risked."""


class _Module(nn.Module):
    def __init__(self, functions: Sequence[Function]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, x: Tensor, n: Tensor) -> Any:
        return [function(x, n) for function in self.functions]


def _read(functions: Sequence[Function]) -> dict[str, str]:
    """Return what is read of a program of all functions, by the number of the output."""
    dynamic = ({0: Dim.AUTO}, {0: Dim.AUTO})
    program = torch.export.export(
        _Module(functions), (X, LENGTHS), dynamic_shapes=dynamic, strict=False
    )
    inputs = [node for node in program.graph.nodes if node.name in ("x", "n")]
    names = {str(node.meta["val"].shape[0]): BATCH for node in inputs}
    numbers = list(map(str, range(len(functions))))
    found = row_hindrances(program, Capture({}), names, numbers)
    return dict(one.what.split(" ", 1) for one in found)  # type: ignore[misc]


def _keeps(function: Function, axis: int) -> bool:
    """Whether some of the rows are answered what they are among all."""
    try:
        some, whole = function(X[SOME], LENGTHS[SOME]), function(X, LENGTHS)
        return torch.allclose(some, whole.index_select(axis, SOME), atol=1e-6)
    except (IndexError, RuntimeError):  # another shape
        return False


@pytest.mark.parametrize("name", KEPT)
def test_rows_that_stay(name: str) -> None:
    function, axis = KEPT[name]
    assert _keeps(function, axis)


def test_nothing_is_said_of_rows_that_stay() -> None:
    """All of them in one program, since to export each takes a while."""
    found = _read([function for function, _ in KEPT.values()])
    assert {list(KEPT)[int(number)]: what for number, what in found.items()} == {}


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """What is reported for all others, by their names."""
    functions = MOVED | CAREFUL
    found = _read(list(functions.values()))
    return {list(functions)[int(number)]: what for number, what in found.items()}


@pytest.mark.parametrize("name", MOVED)
def test_rows_that_do_not(name: str, said: dict[str, str]) -> None:
    assert not any(_keeps(MOVED[name], axis) for axis in range(3))
    assert said[name].startswith("has rows that ")


@pytest.mark.parametrize("name", CAREFUL)
def test_rows_that_depend_on_others(name: str, said: dict[str, str]) -> None:
    assert said[name].startswith("has rows that ")
