"""What the kernels promise beyond the layers: accuracy, rows apart, denormals, real time."""

import numpy as np
import pytest

native = pytest.importorskip(
    "rnnedge_native",
    reason="rnnedge-native is not built, which takes a C compiler",
    exc_type=ImportError,
)
import small_models  # noqa: E402

SETS = native.instructions()
CELLS = ({"cell": "rnn"}, {"cell": "lstm"}, {"cell": "gru"}, {"cell": "lstm", "proj_size": 5})


def ids(options):
    return "proj" if "proj_size" in options else options["cell"]


def numbers():
    """Return float32 over the whole range, dense where the functions bend."""
    near = np.linspace(-12, 12, 400_001)
    far = np.linspace(-90, 90, 20_001)
    small = np.geomspace(1e-30, 1, 20_001)
    return np.concatenate([near, far, small, -small]).astype(np.float32)


def function(name, instructions, x):
    plan = native.Plan(small_models.one(name, ("n",)), instructions=instructions)
    return plan.run({"x": x})["y"].astype(np.float64)


@pytest.mark.parametrize("instructions", SETS)
def test_tanh_is_within_2e_7(instructions):
    x = numbers()
    error = np.abs(function("Tanh", instructions, x) - np.tanh(x.astype(np.float64)))
    assert error.max() < 2e-7


@pytest.mark.parametrize("instructions", SETS)
def test_tanh_of_small_numbers_is_relatively_right(instructions):
    x = np.geomspace(1e-30, 0.1, 50_001).astype(np.float32)
    exact = np.tanh(x.astype(np.float64))
    assert (np.abs(function("Tanh", instructions, x) - exact) / exact).max() < 4e-7


@pytest.mark.parametrize("instructions", SETS)
def test_sigmoid_is_within_2e_7_and_relatively_right_far_below_zero(instructions):
    x = numbers()
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    found = function("Sigmoid", instructions, x)
    assert np.abs(found - exact).max() < 2e-7
    normal = x > -87
    assert (np.abs(found - exact) / exact)[normal].max() < 4e-7


@pytest.mark.parametrize("instructions", SETS)
def test_exp_is_relatively_right_up_to_infinity(instructions):
    x = np.linspace(-87, 88.7, 100_001).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    assert (np.abs(function("Exp", instructions, x) - exact) / exact).max() < 5e-7
    ends = function("Exp", instructions, np.array([-np.inf, -200, 89, np.inf], np.float32))
    assert ends.tolist() == [0, 0, np.inf, np.inf]


@pytest.mark.parametrize("name", ["Tanh", "Sigmoid", "Relu", "Exp"])
@pytest.mark.parametrize("instructions", SETS)
def test_nan_is_not_swallowed(instructions, name):
    assert np.isnan(function(name, instructions, np.full(3, np.nan, np.float32))).all()


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("options", CELLS, ids=ids)
def test_a_row_is_the_same_whatever_rows_are_beside_it(exported, options, instructions):
    _, model = exported(hidden_size=37, num_layers=2, **options)
    plan = native.Plan(model, instructions=instructions)
    random = np.random.default_rng(0)
    most = 14
    feeds = {"input": random.standard_normal((5, most, 5)).astype(np.float32)}
    for info in plan.inputs[1:]:
        feeds[info.name] = random.standard_normal((2, most, info.axes[2])).astype(np.float32)
    whole = plan.run(feeds)
    for batch in range(1, most):
        part = plan.run({name: value[:, :batch].copy() for name, value in feeds.items()})
        for name, value in part.items():
            assert np.array_equal(value, whole[name][:, :batch]), (batch, name)


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("options", CELLS, ids=ids)
def test_steps_are_the_whole_bit_for_bit(exported, options, instructions):
    _, model = exported(hidden_size=21, **options)
    plan = native.Plan(model, instructions=instructions)
    random = np.random.default_rng(0)
    x = random.standard_normal((70, 2, 5)).astype(np.float32)
    names = [info.name for info in plan.inputs[1:]]
    state = {info.name: np.zeros((1, 2, info.axes[2]), np.float32) for info in plan.inputs[1:]}
    whole = plan.run({"input": x} | state)
    for t in range(len(x)):
        made = plan.run({"input": x[t : t + 1]} | state)
        assert np.array_equal(made["output"][0], whole["output"][t]), t
        state = {name: made[name.replace("_0", "_n")] for name in names}


@pytest.mark.parametrize("options", CELLS, ids=ids)
def test_padding_holds_no_trace_of_what_lies_past_a_length(exported, options):
    _, model = exported(hidden_size=9, lengths=True, bidirectional=True, **options)
    plan = native.Plan(model)
    random = np.random.default_rng(0)
    feeds = {
        info.name: np.zeros([2 if axis == "batch" else axis for axis in info.axes], np.float32)
        for info in plan.inputs[2:]
    }
    x = random.standard_normal((6, 2, 5)).astype(np.float32)
    feeds["lengths"] = np.array([6, 2])
    first = plan.run({"input": x} | feeds)
    x[2:, 1] = np.nan
    second = plan.run({"input": x} | feeds)
    for name, value in first.items():
        assert np.array_equal(value, second[name]), name


def test_denormals_are_flushed_inside_and_stay_outside(exported):
    _, model = exported(cell="rnn", hidden_size=9, nonlinearity="relu")
    plan = native.Plan(model)
    tiny = np.full((1, 1, 9), 1e-40, np.float32)
    found = plan.run({"input": np.full((1, 1, 5), 1e-40, np.float32), "h_0": tiny})
    assert np.isfinite(found["output"]).all()
    assert (tiny * np.float32(1)).max() > 0, "the caller's denormals have become zero"
    copied = native.Plan(small_models.one("Neg", ("n",))).run({"x": tiny.reshape(-1)})["y"]
    assert np.abs(copied).max() in (0.0, np.float32(1e-40))


@pytest.mark.parametrize("name", SETS)
def test_the_sets_of_instructions_agree(exported, name):
    _, model = exported(cell="gru", hidden_size=40)
    x = np.random.default_rng(0).standard_normal((9, 3, 5)).astype(np.float32)
    h_0 = np.zeros((1, 3, 40), np.float32)
    plans = [native.Plan(model), native.Plan(model, instructions=name)]
    first, second = (plan.run({"input": x, "h_0": h_0})["output"] for plan in plans)
    assert np.abs(first - second).max() < 1e-6
