"""The set of broken models is honest: each is wrong, by its one mistake, and its original right."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from breaking.broken import Broken, Source
from breaking.originals import BATCH, TIME, Original
from broken_models import BROKEN, CAUSES, CLASSIC, UNSEEN, mistake_of, options_of
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException
from pairwise import pairwise
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Array = NDArray[Any]

EXAMPLE = (TIME, BATCH)
SHAPES = (EXAMPLE, (1, 1), (7, 3), (10, 2), (3, 3))
"""(time, batch) pairs."""
RIGHT, WRONG = 1e-5, 1e-4
CELLS = {cause: ("rnn", "relu", "lstm", "gru") for cause in CLASSIC} | {
    "gate order": ("lstm", "gru"),
    "linear_before_reset": ("gru",),
}
"""The cells in which a mistake can be made."""

ORIGINALS = {str(broken.original): broken.original for broken in (*BROKEN, *UNSEEN)}

every = pytest.mark.parametrize(
    "broken", pairwise(BROKEN, mistake_of), ids=lambda broken: broken.name
)


def of(*causes: str) -> pytest.MarkDecorator:
    members = [broken for broken in BROKEN if broken.cause in causes]
    return pytest.mark.parametrize("broken", members, ids=lambda broken: broken.name)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Broken], Path]:
    """A function that writes a broken model once."""
    folder = tmp_path_factory.mktemp("broken")

    def write(broken: Broken) -> Path:
        path = folder / f"{broken.name}.onnx"
        if not path.exists():
            broken.write(path)
        return path

    return write


@pytest.fixture
def session(broken: Broken, written: Callable[[Broken], Path]) -> onnxruntime.InferenceSession:
    return _open(written(broken))


@every
def test_broken_file_is_valid(broken: Broken, written: Callable[[Broken], Path]) -> None:
    model, right = onnx.load(written(broken)), broken.original.model()
    onnx.checker.check_model(model)
    assert len(model.graph.input) == len(right.graph.input)
    assert len(model.graph.output) == len(right.graph.output)


@every
def test_broken_file_answers_wrong(broken: Broken, session: onnxruntime.InferenceSession) -> None:
    assert max(_difference(session, broken.original, shape) for shape in SHAPES) > WRONG


@pytest.mark.parametrize("original", pairwise(ORIGINALS.values(), options_of), ids=str)
def test_original_answers_right(original: Source) -> None:
    session = _open(original.model().SerializeToString())
    assert max(_difference(session, original, shape) for shape in SHAPES) < RIGHT


@of("frozen length")
def test_frozen_file_is_right_at_its_example(
    broken: Broken, session: onnxruntime.InferenceSession
) -> None:
    assert _difference(session, broken.original, EXAMPLE) < RIGHT


@of("dropout left on")
def test_dropout_gives_two_answers(broken: Broken, session: onnxruntime.InferenceSession) -> None:
    inputs = _inputs(broken.original, EXAMPLE)
    first, second = (_in_runtime(session, inputs)[0] for _ in range(2))
    assert np.abs(first - second).max() > WRONG


@of("initial state ignored")
def test_file_that_ignores_states_is_right_from_zeros(
    broken: Broken, session: onnxruntime.InferenceSession
) -> None:
    for shape in SHAPES:
        assert _difference(session, broken.original, shape, zeros=True) < RIGHT


@of("states of the wrong layer")
def test_exchanged_states_do_no_other_harm(
    broken: Broken, session: onnxruntime.InferenceSession
) -> None:
    from_zeros = max(_difference(session, broken.original, s, zeros=True) for s in SHAPES)
    in_output = max(_difference(session, broken.original, s, outputs=1) for s in SHAPES)
    assert min(from_zeros, in_output) < RIGHT


@of("lengths ignored", "h_n taken at padding")
def test_file_that_ignores_lengths_is_right_for_full_rows(
    broken: Broken, session: onnxruntime.InferenceSession
) -> None:
    for shape in SHAPES:
        assert _difference(session, broken.original, shape, full=True) < RIGHT


@of("h_n taken at padding")
def test_output_is_right_where_only_the_state_is_wrong(
    broken: Broken, session: onnxruntime.InferenceSession
) -> None:
    for shape in SHAPES:
        assert _difference(session, broken.original, shape, outputs=1) < RIGHT


@pytest.mark.parametrize("broken", UNSEEN, ids=lambda broken: broken.name)
def test_unseen_mistake_shows_without_optimizations(
    broken: Broken, written: Callable[[Broken], Path]
) -> None:
    mended, plain = _open(written(broken)), _open(written(broken), optimized=False)
    for shape in SHAPES:
        assert _difference(mended, broken.original, shape) < RIGHT
    assert _difference(plain, broken.original, EXAMPLE) > WRONG


def test_names_are_unique() -> None:
    counts = Counter(broken.name for broken in (*BROKEN, *UNSEEN))
    assert [name for name, count in counts.items() if count > 1] == []


def test_every_label_occurs() -> None:
    assert {broken.cause for broken in BROKEN} == set(CAUSES)


def test_the_contract_is_mostly_lost(tmp_path: Path) -> None:
    kept = [broken for broken in BROKEN if broken.keeps_contract]
    assert 0 < len(kept) < len(BROKEN) / 10
    for broken in kept:
        broken.write(tmp_path / "model.onnx")
        metadata = onnx.load(tmp_path / "model.onnx").metadata_props
        assert [entry.key for entry in metadata] == ["rnnedge.contract"]


@pytest.mark.parametrize(("cause", "cell"), [(c, cell) for c in CLASSIC for cell in CELLS[c]])
def test_classic_mistake_occurs_in_each_cell(cause: str, cell: str) -> None:
    found = [b.original for b in BROKEN if b.cause == cause and isinstance(b.original, Original)]
    found = [original for original in found if original.cell == cell]
    ways = {True} if cause == "swapped directions" else {False, True}
    assert {original.bidirectional for original in found} == ways
    assert any(original.bidirectional and original.num_layers > 1 for original in found)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("producer", {"operator", "scan", "torchscript", "hand", "reversing", "looped"}),
        ("num_layers", {1, 2, 3}),
        ("batch_first", {False, True}),
        ("bias", {False, True}),
        ("states", {False, True}),
        ("lengths", {False, True}),
        ("proj_size", {0, 2, 3}),
    ],
)
def test_every_option_of_the_originals_occurs(option: str, values: set[object]) -> None:
    originals = [one for one in ORIGINALS.values() if isinstance(one, Original)]
    assert {getattr(original, option) for original in originals} == values


def _open(model: Path | bytes, *, optimized: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # refusals are expected here
    content = model.read_bytes() if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(content, options)


def _inputs(
    original: Source, shape: tuple[int, int], *, full: bool = False, zeros: bool = False
) -> list[Array]:
    """Make the inputs of a file, in its order."""
    time, batch = shape
    random = np.random.default_rng(shape)
    outer = (batch, time) if original.batch_first else (time, batch)
    made: list[Array] = [random.standard_normal((*outer, original.input_size))]
    if original.lengths:
        made.append(np.full(batch, time) if full else random.integers(1, time + 1, batch))
    made += [random.standard_normal(one) * (not zeros) for one in original.state_shapes(batch)]
    return [array.astype(np.float32) if array.dtype == np.float64 else array for array in made]


def _in_runtime(session: onnxruntime.InferenceSession, inputs: list[Array]) -> list[Array]:
    names = [argument.name for argument in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def _in_torch(original: Source, inputs: list[Array]) -> list[Array]:
    """Answer in float64."""
    layer = copy.deepcopy(original.layer).double().eval()
    x, *states = (torch.from_numpy(a).double() for a in inputs if a.dtype == np.float32)
    if not isinstance(layer, nn.RNNBase):
        with torch.no_grad():
            result = layer(x)
        return [leaf.numpy() for leaf in torch.utils._pytree.tree_leaves(result)]
    state = (tuple(states) if len(states) == 2 else states[0]) if states else None
    with torch.no_grad():
        if original.lengths:
            lengths = torch.from_numpy(inputs[1])
            first, total = layer.batch_first, x.size(int(layer.batch_first))
            packed = pack_padded_sequence(x, lengths, first, enforce_sorted=False)
            output, after = layer(packed, state)
            output, _ = pad_packed_sequence(output, first, total_length=total)
        else:
            output, after = layer(x, state)
    finals = after if isinstance(after, tuple) else (after,)
    return [tensor.numpy() for tensor in (output, *finals)]


def _difference(
    session: onnxruntime.InferenceSession,
    original: Source,
    shape: tuple[int, int],
    *,
    outputs: int | None = None,
    full: bool = False,
    zeros: bool = False,
) -> float:
    """Return the largest difference in the first `outputs`; infinity for a refusal or a shape."""
    inputs = _inputs(original, shape, full=full, zeros=zeros)
    expected = _in_torch(original, inputs)
    try:
        given = _in_runtime(session, inputs)
    except (Fail, InvalidArgument, RuntimeException):
        return float("inf")
    pairs = list(zip(given, expected, strict=True))[:outputs]
    if any(one.shape != other.shape for one, other in pairs):
        return float("inf")
    return max(float(np.abs(one - other).max()) for one, other in pairs)
