"""Threads that share the rows of a batch give the answers of one, bit for bit."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip(
    "rnnedge_native",
    reason="rnnedge-native is not built, which takes a C compiler",
    exc_type=ImportError,
)
from rnnedge_native import Plan
from rnnedge_native._engine import Team
from rnnedge_runtime import Session

LAYERS = {
    "rnn": {"cell": "rnn", "hidden_size": 130},
    "gru, both directions": {"cell": "gru", "hidden_size": 65, "bidirectional": True},
    "lstm": {"cell": "lstm", "hidden_size": 70, "num_layers": 2, "batch_first": True},
    "projection": {"cell": "lstm", "hidden_size": 70, "proj_size": 33},
    "integers": {"cell": "gru", "hidden_size": 70, "quantize": "int8:all"},
    "lengths": {"cell": "lstm", "hidden_size": 70, "lengths": True},
}


def inputs(plan, batch, time, seed=0):
    random, sizes = np.random.default_rng(seed), {"batch": batch, "time": time}
    feeds = {}
    for info in plan.inputs:
        shape = [sizes.get(axis, axis) for axis in info.axes]
        feeds[info.name] = random.standard_normal(shape).astype(np.float32)
        if info.dtype == "int64":
            feeds[info.name] = random.integers(0, time + 1, shape)
    return feeds


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("name", LAYERS)
def test_answers_are_those_of_one_thread(exported, name, threads):
    _, content = exported(**LAYERS[name])
    alone, together = Plan(content), Plan(content, threads=threads)
    for batch in (1, 12, 13, 71):
        feeds = inputs(alone, batch, 40)
        expected, answers = alone.run(feeds), together.run(feeds)
        for output, values in expected.items():
            assert np.array_equal(values, answers[output])


def test_a_linear_layer_is_shared(tmp_path):
    import torch

    import rnnedge

    class Headed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head = torch.nn.GRU(4, 5), torch.nn.Linear(5, 700)

        def forward(self, x):
            return self.head(self.gru(x)[0])

    path = tmp_path / "m.onnx"
    example = (torch.zeros(3, 2, 4),)
    rnnedge.export(Headed().eval(), path, example_inputs=example, validate=False)
    alone, together = Session(path, engine="native"), Session(path, engine="native", threads=3)
    x = np.random.default_rng(0).standard_normal((50, 40, 4)).astype(np.float32)
    assert np.array_equal(alone.run(x).output, together.run(x).output)


def test_pools_and_callers_from_several_threads(exported):
    _, content = exported(**LAYERS["lstm"])
    alone, together = (
        Session(content, engine="native"),
        Session(content, engine="native", threads=2),
    )
    batches = [
        np.random.default_rng(seed).standard_normal((60, 40, 5)).astype(np.float32)
        for seed in range(8)
    ]
    expected = [alone.run(x).output for x in batches]
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda x: together.run(x).output, batches))
    assert all(map(np.array_equal, expected, answers))
    pools = [session.pool(capacity=256) for session in (alone, together)]
    streams = [[pool.open() for _ in range(256)] for pool in pools]
    frames = np.random.default_rng(0).standard_normal((256, 5)).astype(np.float32)
    for _ in range(3):
        made = [pool.step_rows(own, frames) for pool, own in zip(pools, streams, strict=True)]
        assert np.array_equal(*made)


def test_a_length_out_of_range_is_found_before_anything_is_shared(exported):
    _, content = exported(**LAYERS["lengths"])
    plan = Plan(content, threads=2)
    feeds = inputs(plan, 40, 40)
    feeds["lengths"][39] = 41
    with pytest.raises(ValueError, match="a length is 41, expected 0 to 40"):
        plan.run(feeds)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_goes_on_alone(exported):
    _, content = exported(**LAYERS["lstm"])
    plan = Plan(content, threads=2)
    feeds = inputs(plan, 40, 40)
    expected = plan.run(feeds)["output"]
    child = os.fork()
    if child == 0:
        same = np.array_equal(plan.run(feeds)["output"], expected)
        del plan
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_threads_start_with_the_first_large_batch_and_end_with_the_plan(exported):
    _, content = exported(**LAYERS["lstm"])
    before = len(os.listdir("/proc/self/task"))
    plan = Plan(content, threads=3)
    plan.run(inputs(plan, 12, 1))
    assert len(os.listdir("/proc/self/task")) == before
    plan.run(inputs(plan, 40, 40))
    assert len(os.listdir("/proc/self/task")) == before + 2
    del plan
    assert len(os.listdir("/proc/self/task")) == before


@pytest.mark.parametrize("members", [0, 1025])
def test_a_team_has_members(members):
    with pytest.raises(ValueError, match="members: expected 1 to 1024"):
        Team(members)
