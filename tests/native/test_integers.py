"""Products of integers, against numpy's: sums are exact, on every set of instructions."""

import re

import numpy as np
import pytest

native = pytest.importorskip(
    "rnnedge_native",
    reason="rnnedge-native is not built, which takes a C compiler",
    exc_type=ImportError,
)
import torch  # noqa: E402
from small_models import model, normal, parse  # noqa: E402

import rnnedge  # noqa: E402
from rnnedge_exporters.onnx_model.int8_grid import (  # noqa: E402
    COMPUTED_LIMIT,
    STORED_LIMIT,
    quantize_channels,
    rounded,
)
from rnnedge_native import Plan, PlanError  # noqa: E402
from rnnedge_runtime import Session  # noqa: E402

SETS = native.instructions()
SIZE, HIDDEN = 6, 21
CASES = {
    "rnn": {"cell": "rnn"},
    "rnn of several panels at once": {"cell": "rnn", "hidden_size": 85},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "gru": {"cell": "gru"},
    "gru without bias": {"cell": "gru", "bias": False},
    "lstm": {"cell": "lstm"},
    "projection": {"cell": "lstm", "proj_size": 5},
    "both directions": {"cell": "gru", "bidirectional": True, "num_layers": 2},
    "lstm, both directions": {"cell": "lstm", "bidirectional": True, "num_layers": 2},
}


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """A function that returns a layer by the name of its case, and its file in int8."""
    folder, made = tmp_path_factory.mktemp("integers"), {}

    def export(name, *, lengths=False):
        if (name, lengths) not in made:
            options = {"input_size": SIZE, "hidden_size": HIDDEN, **CASES[name]}
            spec = rnnedge.RNNSpec(**options)
            layer = rnnedge.build(spec, seed=1).eval()
            path = folder / f"{len(made)}.onnx"
            rnnedge.export(layer, path, quantize="int8:all", lengths=lengths, validate=False)
            made[name, lengths] = layer, path.read_bytes()
        return made[name, lengths]

    return export


# --- numpy's ---


def dynamically(x):
    """Return the integers less their zero point, and the scale, of one row."""
    low, high = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
    scale = (high - low) / np.float32(255) if high > low else np.float32(1)
    zero = np.rint(-low / scale)
    return (np.clip(np.rint(x / scale) + zero, 0, 255) - zero).astype(np.int64), scale


def product(x, values, scales):
    """Return one row times integers [units, inputs]."""
    integers, scale = dynamically(x)
    return (values.astype(np.int64) @ integers).astype(np.float32) * scale * scales


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def step(layer, x, state):
    """Return the state after one step of one row, with the weights as our files hold them."""
    weights = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    ready = rounded(weights["weight_ih_l0"], 1, STORED_LIMIT) @ x
    values, scale = quantize_channels(weights["weight_hh_l0"], 1, COMPUTED_LIMIT)
    h = product(state[0], values, scale[:, 0])
    if layer.bias:
        ready, h = ready + weights["bias_ih_l0"], h + weights["bias_hh_l0"]
    if isinstance(layer, torch.nn.GRU):
        r, z = (sigmoid(part) for part in np.split((ready + h)[: 2 * HIDDEN], 2))
        n = np.tanh(ready[2 * HIDDEN :] + r * h[2 * HIDDEN :])
        return ((1 - z) * n + z * state[0],)
    if isinstance(layer, torch.nn.RNN):
        return (np.maximum(ready + h, 0) if layer.nonlinearity == "relu" else np.tanh(ready + h),)
    i, f, g, o = np.split(ready + h, 4)
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    y = (sigmoid(o) * np.tanh(c)).astype(np.float32)
    if layer.proj_size:
        values, scale = quantize_channels(weights["weight_hr_l0"], 1, COMPUTED_LIMIT)
        y = product(y, values, scale[:, 0])
    return y, c


# --- products ---

LINEAR = [
    ("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], {}),
    ("MatMulInteger", ["q", "w", "z"], ["i"], {}),
    ("Cast", ["i"], ["f"], {"to": 1}),
    ("Mul", ["s", "w_scale"], ["both"], {}),
    ("Mul", ["f", "both"], ["y"], {}),
]


def linear(values, scale, nodes=LINEAR, **weights):
    """Return a model of x [batch, inputs] times integers [units, inputs]."""
    weights = {"w": values.T.copy(), "w_scale": np.asarray(scale, np.float32)} | weights
    return model(nodes, {"x": ("batch", values.shape[1])}, weights=weights)


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("inputs", [1, 3, 4, 16, 17, 70])
@pytest.mark.parametrize("largest", [64, 127])
def test_sums_are_exact(instructions, inputs, largest):
    """With 127 two products of neighbours do not fit into 16 bits, where some sets add them."""
    random = np.random.default_rng(inputs)
    values = random.choice(np.array([-largest, largest, 3, -1], np.int8), (85, inputs))
    if largest == 127:
        values[0] = -128
    x = np.abs(normal(9, inputs)) * random.choice([1, -1, 1e-3], (9, 1))
    x = x.astype(np.float32)
    y = Plan(linear(values, 1), instructions=instructions).run({"x": x})["y"]
    for row, got in zip(x, y, strict=True):
        integers, scale = dynamically(row)
        assert np.array_equal(np.rint(got / scale), values.astype(np.int64) @ integers)


@pytest.mark.parametrize("instructions", SETS)
def test_scales_of_units_and_a_bias(instructions):
    values = np.random.default_rng(0).integers(-64, 65, (19, 8)).astype(np.int8)
    scale, bias, x = np.abs(normal(19, seed=1)) / 64, normal(19, seed=2), normal(5, 8)
    nodes = [*LINEAR[:-1], ("Mul", ["f", "both"], ["p"], {}), ("Add", ["p", "b"], ["y"], {})]
    plan = Plan(linear(values, scale, nodes, b=bias), instructions=instructions)
    expected = np.stack([product(row, values, scale) for row in x]) + bias
    assert np.abs(plan.run({"x": x})["y"] - expected).max() < 1e-5
    assert len(plan.layout([(5, 8)]).recipe.calls) == 1


def test_scales_one_after_the_other():
    values = np.random.default_rng(0).integers(-64, 65, (7, 8)).astype(np.int8)
    scale, x = np.abs(normal(7, seed=1)) / 64, normal(2, 8)
    nodes = [
        *LINEAR[:-2],
        ("Mul", ["s", "f"], ["p"], {}),
        ("Mul", ["w_scale", "p"], ["y"], {}),
    ]
    expected = np.stack([product(row, values, scale) for row in x])
    assert np.abs(Plan(linear(values, scale, nodes)).run({"x": x})["y"] - expected).max() < 1e-5


def test_unsigned_weights_and_their_zero_point():
    values = np.random.default_rng(0).integers(-60, 61, (7, 8)).astype(np.int8)
    nodes = [LINEAR[0], ("MatMulInteger", ["q", "w", "z", "w_zero"], ["i"], {}), *LINEAR[2:]]
    zero = np.array(128, np.uint8)
    unsigned = (values.astype(np.int16) + 128).astype(np.uint8)
    x = normal(3, 8)
    ours = Plan(linear(unsigned, 0.1, nodes, w_zero=zero)).run({"x": x})["y"]
    assert np.array_equal(ours, Plan(linear(values, 0.1)).run({"x": x})["y"])


@pytest.mark.parametrize("row", [0.0, 1e-42, 3e-38, 1e30, -5.0], ids=str)
def test_rows_without_a_range(row):
    """Zeros, denormal numbers, large ones, and negative ones alone."""
    values = np.random.default_rng(0).integers(-64, 65, (7, 8)).astype(np.int8)
    x = np.full((2, 8), row, np.float32)
    y = Plan(linear(values, 0.5)).run({"x": x})["y"]
    expected = values.astype(np.float64).sum(1) * row * 0.5
    assert np.abs(y - expected).max() <= abs(row) * 1e-3 + 1e-35


class Tagger(torch.nn.Module):
    """A GRU and a linear layer of as many weights as are computed in integers."""

    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(SIZE, 512, batch_first=True)
        self.linear = torch.nn.Linear(512, 512)

    def forward(self, x):
        return torch.relu(self.linear(self.gru(x)[0]))


def test_a_large_linear_layer_of_a_module(tmp_path):
    torch.manual_seed(0)
    module, path = Tagger().eval(), tmp_path / "model.onnx"
    x = torch.randn(3, 4, SIZE)
    rnnedge.export(module, path, example_inputs=(x,), quantize="int8", validate=False)
    assert path.read_bytes().count(b"MatMulInteger") > 1
    session = Session(path, engine="native")
    assert np.abs(session.run(x.numpy()).output - module(x).detach().numpy()).max() < 1e-2
    theirs = Session(path, engine="onnxruntime", threads=1)
    row = x[:1, :1].numpy()
    assert np.abs(session.run(row).output - theirs.run(row).output).max() < 1e-5


# --- layers ---


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("name", [name for name in CASES if "both" not in name])
def test_a_step_is_that_of_numpy(quantized, name, instructions):
    layer, content = quantized(name)
    plan = Plan(content, instructions=instructions)
    for seed in range(5):
        x = normal(1, 1, SIZE, seed=seed)
        state = [
            normal(1, 1, info.axes[2], seed=10 + seed) / (1 + seed) for info in plan.inputs[1:]
        ]
        names = [info.name for info in plan.inputs[1:]]
        answer = plan.run({"input": x, **dict(zip(names, state, strict=True))})
        expected = step(layer, x[0, 0], [part[0, 0] for part in state])
        finals = [answer[info.name][0, 0] for info in plan.outputs[1:]]
        for ours, theirs in zip(finals, expected, strict=True):
            assert np.abs(ours - theirs).max() < 2e-6


@pytest.mark.parametrize("name", CASES)
def test_the_error_is_no_worse_than_that_of_onnx_runtime(quantized, name):
    layer, content = quantized(name)
    x = normal(30, 8, SIZE)
    exact = layer(torch.from_numpy(x))[0].detach().numpy()
    ours = Session(content, engine="native").run(x).output
    theirs = Session(content, engine="onnxruntime", threads=1).run(x).output
    error, limit = np.abs(ours - exact).max(), np.abs(theirs - exact).max()
    assert error < 1e-2
    assert error <= 1.1 * limit


@pytest.mark.parametrize("name", CASES)
def test_a_row_does_not_depend_on_the_others(quantized, name):
    session = Session(quantized(name)[1], engine="native")
    x = normal(5, 70, SIZE) * np.logspace(-3, 1, 70, dtype=np.float32)[:, None]
    whole = session.run(x).output
    for rows in (slice(0, 1), slice(3, 6), slice(20, 57)):
        assert np.array_equal(session.run(x[:, rows].copy()).output, whole[:, rows])


@pytest.mark.parametrize("name", [name for name in CASES if "both" not in name])
def test_steps_and_pools_give_the_whole(quantized, name):
    session = Session(quantized(name)[1], engine="native")
    x = normal(25, 3, SIZE)
    whole = session.run(x).output
    stream, pool = session.stream(3), session.pool(capacity=3)
    streams = [pool.open() for _ in range(3)]
    assert np.array_equal(np.stack([stream.step(frame) for frame in x]), whole)
    assert np.array_equal(np.stack([pool.step_rows(streams, frame) for frame in x]), whole)


@pytest.mark.parametrize("name", ["gru", "projection", "lstm, both directions"])
def test_lengths(quantized, name):
    session = Session(quantized(name, lengths=True)[1], engine="native")
    x, lengths = normal(9, 4, SIZE), [9, 0, 4, 1]
    whole = session.run(x, lengths=lengths)
    for row, length in enumerate(lengths):
        assert not whole.output[length:, row].any()
        if length:
            alone = session.run(x[:length, row : row + 1].copy(), lengths=[length])
            assert np.array_equal(alone.output[:, 0], whole.output[:length, row])
            for ours, theirs in zip(alone.state, whole.state, strict=True):
                assert np.array_equal(ours[:, 0], theirs[:, row])


@pytest.mark.parametrize("instructions", SETS[1:])
def test_all_sets_of_instructions_give_the_same(quantized, instructions):
    _, content = quantized("gru")
    x, h_0 = normal(1, 40, SIZE), normal(1, 40, HIDDEN, seed=1)
    answers = [
        Plan(content, instructions=name).run({"input": x, "h_0": h_0})["output"]
        for name in (SETS[0], instructions)
    ]
    assert np.abs(answers[0] - answers[1]).max() < 1e-6


def test_weights_that_were_stored_are_still_widened(tmp_path):
    spec = rnnedge.RNNSpec(cell="gru", input_size=SIZE, hidden_size=HIDDEN)
    layer = rnnedge.build(spec, seed=0).eval()
    rnnedge.export(layer, tmp_path / "model.onnx", quantize="int8", validate=False)
    x = normal(5, 2, SIZE)
    ours, theirs = (
        Session(tmp_path / "model.onnx", engine=engine, threads=1).run(x).output
        for engine in ("native", "onnxruntime")
    )
    assert np.abs(ours - theirs).max() < 1e-6


# --- what is refused ---

VALUES = np.ones((4, 8), np.int8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            linear(VALUES, 1, [LINEAR[0], ("DequantizeLinear", ["q", "s", "z"], ["y"], {})]),
            "quantized value is not a result",
        ),
        (
            linear(VALUES, 1, [*LINEAR[:2], ("Cast", ["i"], ["y"], {"to": 7})]),
            "node 'Cast_2' (Cast): takes integer sums as another type",
        ),
        (
            linear(VALUES, 1, [*LINEAR[:3], ("Add", ["f", "w_scale"], ["y"], {})]),
            "node 'Add_3' (Add): takes a quantized value",
        ),
        (
            linear(
                VALUES,
                1,
                [LINEAR[0], ("MatMulInteger", ["q", "w"], ["i"], {}), *LINEAR[2:]],
            ),
            "node 'MatMulInteger_1' (MatMulInteger): multiplies other integers",
        ),
        (
            linear(
                VALUES.astype(np.uint8) * 200,
                1,
                [LINEAR[0], ("MatMulInteger", ["q", "w", "z", "zero"], ["i"], {}), *LINEAR[2:]],
                zero=np.array(3, np.uint8),
            ),
            "do not fit in int8",
        ),
        (
            linear(VALUES, 1, [*LINEAR[:3], ("Mul", ["f", "f"], ["y"], {})]),
            "node 'Mul_3' (Mul): scales integer sums in an unsupported way",
        ),
        (linear(VALUES, np.ones(3)), "scales of shape"),
    ],
    ids=["rounded alone", "int64", "added", "no zero point", "unsigned", "squared", "scales"],
)
def test_integers_that_are_not_known(content, message):
    with pytest.raises(PlanError, match=re.escape(message)):
        Plan(content)


def test_an_input_in_parts_that_do_not_make_up_for_its_rounding(quantized):
    made = parse(quantized("lstm")[1])
    (weights,) = [array for array in made.graph.initializer if array.name.endswith("/parts")]
    weights.raw_data = (np.frombuffer(weights.raw_data, np.float32) * 2).tobytes()
    with pytest.raises(PlanError, match="does not make up"):
        Plan(made.SerializeToString())
