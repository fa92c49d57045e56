"""Golden vectors against a model: what it has to do to equal them, in Python and as a command."""

import json

import numpy as np
import pytest
from golden_files import echo, raw, write_set, write_vectors
from tiny_models import Tiny, silero_style

from rnnedge_runtime import GoldenError, Session
from rnnedge_runtime.proof.golden import Golden, GoldenSet, position, read_golden
from rnnedge_runtime.proof.golden_check import FILE, RUNS, check_golden

LSTM = Tiny("lstm", lengths=True)
OUTPUTS = ("output", "h_n", "c_n")
VALUES = "y matches the vectors"
LIKE_ONNX = "the tolerance is that of ONNX's tests, 1e-07 + 0.001 of the value"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "vectors"


@pytest.fixture
def vectors(folder):
    write_vectors(folder, LSTM)
    return folder


def findings(session, golden, **options):
    return {f.name: (f.passed, f.detail) for f in check_golden(session, golden, **options)}


CELLS = [Tiny(cell, lengths=ends) for cell in ("rnn", "lstm", "gru") for ends in (False, True)]


@pytest.mark.parametrize("tiny", CELLS, ids=lambda tiny: f"{tiny.cell}-{tiny.lengths}")
def test_a_model_equals_its_own_vectors(folder, tiny):
    write_vectors(folder, tiny, 3)
    given = findings(Session(tiny.content), read_golden(folder), model=tiny.content)
    names = [FILE, RUNS, *(f"{spec.name} matches the vectors" for spec in tiny.interface.outputs)]
    assert list(given) == names
    assert {passed for passed, _ in given.values()} == {True}


def test_the_finding_of_an_output_has_the_error_and_what_is_allowed(vectors):
    _, detail = findings(Session(LSTM.content), read_golden(vectors))["h_n matches the vectors"]
    assert ", allowed 1.0e-06, at [0, " in detail
    assert "of test_data_set_" in detail


@pytest.mark.parametrize("sets", [1, 40])
def test_there_is_one_finding_for_each_output_however_many_sets(folder, sets):
    write_vectors(folder, LSTM, sets)
    assert len(findings(Session(LSTM.content), read_golden(folder))) == 5


def test_another_model_fails_in_every_output(vectors):
    other = Tiny("lstm", lengths=True, seed=5)
    given = findings(Session(other.content), read_golden(vectors), model=other.content)
    assert [name for name, (passed, _) in given.items() if passed is False] == [
        FILE,
        *(f"{name} matches the vectors" for name in OUTPUTS),
    ]
    assert given["output matches the vectors"][1].startswith(
        "2 of 2 sets fail (test_data_set_0, test_data_set_1); worst: error "
    )


def test_many_failing_sets_are_not_all_named(folder):
    write_vectors(folder, LSTM, 6)
    _, detail = findings(Session(Tiny("lstm", lengths=True, seed=5).content), read_golden(folder))[
        "output matches the vectors"
    ]
    assert detail.startswith(
        "6 of 6 sets fail (test_data_set_0, test_data_set_1, test_data_set_2, ...); worst: "
    )


def test_the_file_is_compared_by_path_and_by_bytes(vectors, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(LSTM.content)
    session, golden = Session(path), read_golden(vectors)
    expected = (True, f"sha256 {golden.model_sha256}")
    assert findings(session, golden, model=path)[FILE] == expected
    assert findings(session, golden, model=LSTM.content)[FILE] == expected


def test_without_the_file_its_digest_is_not_checked(vectors):
    given = findings(Session(LSTM.content), read_golden(vectors))
    assert given[FILE] == (None, "not checked: pass the file as model=")


def test_a_file_that_is_gone_is_an_error(vectors, tmp_path):
    with pytest.raises(GoldenError, match=r"gone\.onnx: cannot be read: No such file"):
        check_golden(Session(LSTM.content), read_golden(vectors), model=tmp_path / "gone.onnx")


@pytest.mark.parametrize("bit", [0, 3, 7])
@pytest.mark.parametrize("byte", range(0, 96, 5))
def test_a_flipped_bit_in_the_weights_is_another_file(vectors, byte, bit):
    flipped = bytearray(LSTM.content)
    flipped[flipped.index(LSTM.graph().constants["W"].tobytes()) + byte] ^= 1 << bit
    given = findings(Session(bytes(flipped)), read_golden(vectors), model=bytes(flipped))
    passed, detail = given[FILE]
    assert passed is False
    assert detail.endswith(": the file was changed or damaged, or is another model")


def echoing(given, expected, allowed=None):
    """Compare `given`, which a model answers as it is, with `expected`."""
    given, expected = np.asarray(given), np.asarray(expected)
    session = Session(echo(str(given.dtype), ["batch", *given.shape[1:]]))
    limit = None if allowed is None else {"y": allowed}
    return findings(session, Golden((GoldenSet("", {"x": given}, {"y": expected}, limit),)))


NAN, INF = np.nan, np.inf
F16, F32, F64 = np.float16, np.float32, np.float64
SAME = {
    "equal": ([1.0, 2.0], [1.0, 2.0], 0.0),
    "at-the-limit": ([1.5, 2.0], [1.0, 2.0], 0.5),
    "nan": ([NAN, 2.0], [NAN, 2.0], 0.0),
    "infinity": ([INF, -INF], [INF, -INF], 0.0),
    "zeros-of-two-signs": ([0.0, 0.0], [-0.0, 0.0], 0.0),
}
DIFFERENT = {
    "past-the-limit": ([1.5, 2.0], [1.0, 2.0], 0.49, "error 5.0e-01, allowed 4.9e-01"),
    "by-a-little": ([1.0, 2.0], [1.001, 2.0], 0.0, "error 1.0e-03, allowed 0.0e+00"),
    "nan-given": ([1.0, NAN], [1.0, 2.0], 1e30, "error inf, allowed 1.0e+30, at [1]"),
    "nan-expected": ([1.0, 2.0], [1.0, NAN], 1e30, "error inf, allowed 1.0e+30, at [1]"),
    "infinity-given": ([1.0, INF], [1.0, 2.0], 1e30, "error inf, allowed"),
    "infinity-expected": ([1.0, 2.0], [1.0, INF], 1e30, "error inf, allowed"),
    "two-infinities": ([1.0, -INF], [1.0, INF], 1e30, "error inf, allowed"),
    "nan-and-infinity": ([1.0, NAN], [1.0, INF], 1e30, "error inf, allowed"),
}


@pytest.mark.parametrize("dtype", [F16, F32, F64])
@pytest.mark.parametrize(("given", "expected", "limit"), SAME.values(), ids=SAME)
def test_what_is_inside_the_limit_passes(given, expected, limit, dtype):
    assert echoing(np.array(given, dtype), np.array(expected, dtype), limit)[VALUES][0] is True


@pytest.mark.parametrize("dtype", [F16, F32, F64])
@pytest.mark.parametrize(
    ("given", "expected", "limit", "detail"), DIFFERENT.values(), ids=DIFFERENT
)
def test_what_is_outside_the_limit_fails(given, expected, limit, detail, dtype):
    found = echoing(np.array(given, dtype), np.array(expected, dtype), limit)[VALUES]
    assert found[0] is False
    if dtype != F16:  # whose 1.001 is another number
        assert found[1].startswith(detail)


def test_nan_on_both_sides_is_said():
    assert echoing(np.array([NAN, 1, NAN], F32), np.array([NAN, 1, NAN], F32), 0.0)[VALUES] == (
        True,
        "error 0.0e+00, allowed 0.0e+00, at [0] of set; NaN on both sides in 2 value(s)",
    )


LIKE_ONNX_CASES = {
    "relative": ([1000.0], [1000.9], True),
    "past-it": ([1000.0], [1001.1], False),
    "absolute": ([0.0], [0.9e-7], True),
    "past-both": ([0.0], [1.1e-7], False),
    "each-value-by-its-own-size": ([1000.0, 1.0], [1000.0, 1.1], False),
    "nan": ([NAN], [NAN], True),
    "infinity": ([INF], [INF], True),
    "infinity-expected": ([1.0], [INF], False),
    "two-infinities": ([-INF], [INF], False),
    "nan-given": ([NAN], [1e30], False),
}


@pytest.mark.parametrize(
    ("given", "expected", "passed"), LIKE_ONNX_CASES.values(), ids=LIKE_ONNX_CASES
)
def test_without_a_record_the_limit_is_that_of_onnx_and_said(given, expected, passed):
    found = echoing(np.array(given, F32), np.array(expected, F32))
    assert found[VALUES][0] is passed
    assert LIKE_ONNX in found[VALUES][1]
    assert found[FILE] == (None, "not known: there is no golden.json with its digest")
    assert found[RUNS] == (True, "1 set(s), expected outputs from an unknown source")


def test_the_limit_of_onnx_is_the_one_of_numpy():
    random = np.random.default_rng(0)
    expected = random.standard_normal(500).astype(F32)
    for scale in (1e-4, 9.9e-4, 1.01e-3, 1e-2):
        given = (expected * (1 + scale)).astype(F32)
        close = np.allclose(given, expected, rtol=1e-3, atol=1e-7)
        assert echoing(given, expected)[VALUES][0] is close


@pytest.mark.parametrize("dtype", ["int64", "int32", "bool"])
def test_numbers_without_a_fraction(dtype):
    given, expected = np.array([1, 0], dtype), np.array([1, 1], dtype)
    assert echoing(given, given, 0.0)[VALUES][0] is True
    assert echoing(given, expected, 0.0)[VALUES][0] is False


def test_large_integers_that_are_one_number_in_float64_differ():
    assert echoing(np.array([2**53]), np.array([2**53 + 1]), 0.5)[VALUES][0] is False


def test_a_scalar():
    session = Session(echo("float32", []))
    golden = Golden((GoldenSet("", {"x": np.array(1, F32)}, {"y": np.array(2, F32)}, {"y": 0.5}),))
    assert findings(session, golden)[VALUES] == (
        False,
        "error 1.0e+00, allowed 5.0e-01, at [] of set",
    )


def test_another_dtype():
    found = echoing(np.array([1], F32), np.array([1], F64), 1.0)
    assert found[VALUES] == (False, "dtype float32, expected float64 in set")


def test_another_shape_of_as_many_values():
    found = echoing(np.zeros((2, 3), F32), np.zeros((3, 2), F32), 1.0)
    assert found[VALUES] == (False, "shape [2, 3], expected [3, 2] in set")


def test_no_values():
    tiny = Tiny("gru")
    x, state = tiny.input(3, 0), tiny.state(0)
    outputs = {"output": np.zeros((3, 0, 3), F32), "h_n": np.zeros((1, 0, 3), F32)}
    golden = Golden((GoldenSet("", {"input": x, "h_0": state[0]}, outputs),))
    assert {passed for passed, _ in findings(Session(tiny.content), golden).values()} == {
        None,
        True,
    }


def test_the_worst_is_the_nearest_to_its_own_limit():
    sets = [
        GoldenSet("wide", {"x": np.zeros(1, F32)}, {"y": np.full(1, 0.5, F32)}, {"y": 1.0}),
        GoldenSet("near", {"x": np.zeros(1, F32)}, {"y": np.full(1, 0.1, F32)}, {"y": 0.11}),
    ]
    found = findings(Session(echo("float32", ["batch"])), Golden(tuple(sets)))
    assert found[VALUES][1].endswith("of set (near)")


def with_names(inputs, outputs):
    """Return one set of `LSTM` with its tensors under other names, in the order given."""
    x, state = LSTM.input(3, 2), LSTM.state(2)
    answer, finals = LSTM.expected(x, state, [3, 2])
    values = [x, np.array([3, 2]), *state]
    answers = [a.astype(F32) for a in (answer, *finals)]
    known = dict(zip(["input", "lengths", "h_0", "c_0"], values, strict=True))
    known |= dict(zip(OUTPUTS, answers, strict=True))
    return Golden(
        (
            GoldenSet(
                "case",
                {new: known[old] for new, old in inputs.items()},
                {new: known[old] for new, old in outputs.items()},
                dict.fromkeys(outputs, 1e-6),
            ),
        )
    )


INPUTS = ("input", "lengths", "h_0", "c_0")
BY_NAME = {name: name for name in INPUTS}
ANSWERS = {name: name for name in OUTPUTS}
BY_POSITION = {position(index): name for index, name in enumerate(INPUTS)}
FITTING = {
    "by-name": (BY_NAME, ANSWERS),
    "by-name-in-another-order": (dict(reversed(BY_NAME.items())), dict(reversed(ANSWERS.items()))),
    "by-position": (BY_POSITION, {position(i): name for i, name in enumerate(OUTPUTS)}),
    "by-both": ({"#0": "input", "lengths": "lengths", "#2": "h_0", "c_0": "c_0"}, ANSWERS),
}


@pytest.mark.parametrize(("inputs", "outputs"), FITTING.values(), ids=FITTING)
def test_tensors_belong_by_name_or_by_position(inputs, outputs):
    found = findings(Session(LSTM.content), with_names(inputs, outputs))
    assert {passed for passed, _ in found.values()} == {None, True}


STATES = {name: name for name in ("input", "lengths")}
NOT_FITTING = {
    "no-states": (STATES, ANSWERS, "the inputs input, lengths, h_0, c_0, got input, lengths"),
    "one-unknown": (
        STATES | {"h_0": "h_0", "cell": "c_0"},
        ANSWERS,
        "the inputs input, lengths, h_0, c_0, got input, lengths, h_0, cell",
    ),
    "one-too-many": (BY_NAME | {"#4": "h_0"}, ANSWERS, "the inputs input, lengths, h_0, c_0, got "),
    "twice": (BY_NAME | {"#0": "input"}, ANSWERS, "the inputs input, lengths, h_0, c_0, got "),
    "an-output-less": (
        BY_NAME,
        {"output": "output", "h_n": "h_n"},
        "the outputs output, h_n, c_n, got output, h_n",
    ),
    "outputs-of-another": (BY_NAME, {"y": "output"}, "the outputs output, h_n, c_n, got y"),
}


@pytest.mark.parametrize(("inputs", "outputs", "detail"), NOT_FITTING.values(), ids=NOT_FITTING)
def test_other_names_are_a_finding(inputs, outputs, detail):
    found = findings(Session(LSTM.content), with_names(inputs, outputs))
    assert list(found) == [FILE, RUNS]
    assert found[RUNS][0] is False
    assert found[RUNS][1].startswith(f"1 of 1 set(s) fail; set (case): expected {detail}")


def test_an_input_that_the_model_refuses_is_a_finding():
    golden = with_names(BY_NAME | {"h_0": "output"}, ANSWERS)
    assert findings(Session(LSTM.content), golden)[RUNS] == (
        False,
        "1 of 1 set(s) fail; set (case): h_0: expected float32[1, batch, 3] with batch=2, "
        "got float32[3, 2, 3]",
    )


def test_a_set_that_cannot_run_does_not_hide_the_others(vectors):
    path = vectors / "test_data_set_0" / "input_0.pb"
    path.write_bytes(raw(np.zeros((1, 2, 5), F32), "input"))
    found = findings(Session(LSTM.content), read_golden(vectors))
    assert found[RUNS][0] is False
    assert found[RUNS][1].startswith("1 of 2 set(s) fail; test_data_set_0 (time 1, batch 2): input")
    assert found["output matches the vectors"][0] is True


@pytest.fixture
def check(python, tmp_path, vectors):
    """Run `check` on this model file and the vectors."""

    def check(content, *options):
        (tmp_path / "model.onnx").write_bytes(content)
        return python("-m", "rnnedge_runtime", "check", "model.onnx", vectors.name, *options)

    return check


def test_the_command_passes(check):
    done = check(LSTM.content)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line[:6] for line in lines[:-1]] == ["pass  "] * 14
    assert lines[10] == f"pass  {RUNS}: 2 set(s), expected outputs from numpy 2 float64"
    assert lines[-1].startswith("PASS: model.onnx on ")


def test_the_command_fails_on_a_low_bit_by_the_digest_alone(check):
    flipped = bytearray(LSTM.content)
    flipped[flipped.index(LSTM.graph().constants["W"].tobytes())] ^= 1
    done = check(bytes(flipped))
    assert (done.returncode, done.stderr) == (3, "")
    failing = [line for line in done.stdout.splitlines() if line.startswith("FAIL  ")]
    assert [line.partition(":")[0] for line in failing] == [f"FAIL  {FILE}"]


def test_the_command_fails_on_other_weights_by_the_numbers_too(check):
    done = check(Tiny("lstm", lengths=True, seed=5).content, "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["passed"]) == (3, False)
    assert [f["passed"] for f in answer["findings"][9:]] == [False, True, False, False, False]


def test_vectors_that_cannot_be_read_are_one_line_and_exit_1(check, vectors):
    (vectors / "golden.json").write_bytes(b"")
    done = check(LSTM.content)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("rnnedge_runtime: vectors")


def test_a_number_that_the_graph_compares_is_made_up_and_vectors_are_checked_too(python, tmp_path):
    tiny, content = silero_style()
    (tmp_path / "model.onnx").write_bytes(content)
    x, state = tiny.input(1, 2), tiny.state(2)
    output, finals = tiny.expected(x, state)
    write_set(
        tmp_path / "test_data_set_0",
        {"input": x[0], "state": np.concatenate(state), "sr": np.array(16000)},
        {"output": output[0].astype(F32), "stateN": np.concatenate(finals).astype(F32)},
    )
    done = python("-m", "rnnedge_runtime", "check", "model.onnx", ".")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("pass  outputs have the declared shapes")
    assert sum(line.startswith("pass  ") for line in lines) > 3
