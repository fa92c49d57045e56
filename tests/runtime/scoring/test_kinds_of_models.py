"""Models that take steps, rows or constants in other ways than a layer."""

from dataclasses import replace

import numpy as np
import pytest
from corpora import alone, log_normal, rows_of, table_of
from tiny_models import Tiny, silero_style

from rnnedge_runtime import InputError, Session
from rnnedge_runtime.contract import TensorSpec

pa = pytest.importorskip("pyarrow")

from rnnedge_runtime.scoring import Scorer  # noqa: E402 - pyarrow may be missing

ROWS = rows_of([4, 1, 9, 4, 30])


def of(content, **options):
    return Scorer(content, columns={"input": "frames"}, **options)


@pytest.mark.parametrize("keep", ["last", "all"])
def test_a_model_of_one_step_a_call_with_a_constant(keep):
    """In the manner of the Silero voice detector: no time axis, and no contract."""
    tiny, content = silero_style()
    rows = rows_of([5, 1, 12, 3], tiny.input_size)
    scorer = of(content, constants={"sr": 16000}, keep=keep, slots=3)
    found = scorer.arrow(table_of(rows))
    assert scorer.layout.packing == "continuous"
    for answer, row in zip(found["output"].to_pylist(), rows, strict=True):
        stream = Session(content, threads=1).stream(1, constants={"sr": 16000})
        expected = [stream.step(step[None])[0] for step in row]
        assert np.array_equal(np.float32(answer), expected if keep == "all" else expected[-1])


def test_an_input_without_a_batch_axis_has_to_be_a_constant():
    _, content = silero_style()
    with pytest.raises(InputError, match=r"sr int64\[\]: is the same for every row: .* constants="):
        of(content).arrow(table_of(rows_of([2], 4)))


def fixed(axes, content=None):
    """Return a GRU without a contract whose input has these axes."""
    tiny = Tiny("gru", states=False)
    graph = tiny.graph()
    graph.inputs = [TensorSpec("input", "float32", axes)]
    graph.outputs = [TensorSpec("output", "float32", (*axes[:2], 3))]
    return graph.content()


def test_a_file_with_a_fixed_batch_of_one():
    content = fixed(("time", 1, 2))
    found = of(content).arrow(table_of(ROWS))["output"].to_pylist()
    session = Session(content, threads=1)
    for answer, row in zip(found, ROWS, strict=True):
        assert np.array_equal(np.float32(answer), session.run(row[:, None]).output[-1, 0])


def test_a_file_with_a_fixed_batch_of_more():
    with pytest.raises(InputError, match="expected a batch axis of any size: export the model"):
        of(fixed(("time", 4, 2))).arrow(table_of(ROWS))


def test_a_file_with_a_fixed_number_of_steps():
    content = fixed((4, "batch", 2))
    found = of(content).arrow(table_of(ROWS)).to_pydict()
    session = Session(content, threads=1)
    for number, row in enumerate(ROWS):
        if len(row) == 4:
            answer = session.run(row[:, None]).output[-1, 0]
            assert np.array_equal(np.float32(found["output"][number]), answer)
        else:
            assert found["error"][number] == f"frames: expected 4 steps, got {len(row)}"


@pytest.mark.parametrize("axes", [("time", "batch", 2), ("s0", "s1", 2)])
def test_a_file_of_another_exporter(axes):
    tiny = Tiny("lstm")
    content = tiny.graph().content(axes=dict(zip(("time", "batch"), axes[:2], strict=True)))
    scorer = of(content)
    rows = rows_of(log_normal(50))
    found = scorer.arrow(table_of(rows))["output"].to_pylist()
    session = Session(tiny.content, threads=1)
    expected = [alone(session, row)["output"][-1] for row in rows]
    assert np.array_equal(np.float32(found), expected)


def test_an_output_for_each_row_of_a_model_without_lengths():
    """Nothing past the end of a row may be seen, so that rows of one length share a call."""
    tiny = Tiny("gru")
    graph = tiny.graph()
    graph.outputs[0] = TensorSpec("output", "float32", (1, "batch", 3))
    graph.drop("output")
    graph.add("Neg", ["raw_h"], ["output"])
    interface = replace(tiny.interface, outputs=tuple(graph.outputs))
    content = graph.content(replace(tiny.contract, interface=interface))
    scorer = of(content)
    rows = rows_of(log_normal(60))
    found = scorer.arrow(table_of(rows))["output"].to_pylist()
    session = Session(content, threads=1)
    assert scorer.layout.packing == "equal"
    assert np.array_equal(np.float32(found), [alone(session, row)["output"] for row in rows])


def test_an_output_with_fewer_steps_than_the_row():
    tiny = Tiny("gru")
    graph = tiny.graph()
    graph.outputs[0] = TensorSpec("output", "float32", ("(time + 1)//2", "batch", 3))
    graph.drop("output")
    graph.constants |= {"start": np.array([0]), "end": np.array([2**31]), "by": np.array([2])}
    graph.add("Slice", ["raw", "start", "end", "zero", "by"], ["output"])
    interface = replace(tiny.interface, outputs=tuple(graph.outputs))
    content = graph.content(replace(tiny.contract, interface=interface))
    rows = rows_of(log_normal(40))
    session = Session(content, threads=1)
    for keep in ("last", "all"):
        found = of(content, keep=keep).arrow(table_of(rows))["output"].to_pylist()
        for answer, row in zip(found, rows, strict=True):
            expected = alone(session, row)["output"]
            assert np.array_equal(np.float32(answer), expected if keep == "all" else expected[-1])


def test_a_number_for_each_row():
    """An input without a time axis has one value for the whole row."""
    tiny = Tiny("gru")
    graph = tiny.graph()
    graph.inputs.insert(1, TensorSpec("gain", "float32", ("batch", 2)))
    graph.nodes.insert(0, ("Mul", ["input", "gain"], ["louder"], {}))
    graph.nodes = [
        (op, ["louder" if i == "input" and op == "GRU" else i for i in ins], outs, attributes)
        for op, ins, outs, attributes in graph.nodes
    ]
    interface = replace(tiny.interface, inputs=tuple(graph.inputs))
    content = graph.content(replace(tiny.contract, interface=interface))
    rows, gains = rows_of(log_normal(30)), rows_of([30])[0]
    kind = pa.list_(pa.float32())
    values = [*gains.tolist()[:-1], [1.0]]
    table = table_of(rows, gain=pa.array(values, kind))
    found = of(content, slots=4).arrow(table).to_pydict()
    session = Session(content, threads=1)
    for number, row in enumerate(rows[:-1]):
        answer = session.run({"input": row[:, None], "gain": gains[None, number]}).output[-1, 0]
        assert np.array_equal(np.float32(found["output"][number]), answer)
    assert found["error"][-1] == "gain: expected float32[2], got 1 where 2 number(s) belong"
