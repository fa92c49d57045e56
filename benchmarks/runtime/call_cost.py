"""`Session.run` against `InferenceSession.run` of the same file with the same options."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

import rnnedge
from benchmarks.runtime.models import exported
from benchmarks.timing import Time, blocks_in_turns, time_in_blocks
from rnnedge_runtime import Session
from rnnedge_runtime.engine.inference_session import open_inference_session
from rnnedge_runtime.engine.library import onnxruntime
from rnnedge_runtime.engine.options import EngineOptions
from rnnedge_runtime.loaded_model import RunResult

INPUT_SIZE = 64
SECONDS = 1.5
"""For each row of the table."""
SHARE, MORE_US = 0.05, 3.0
"""What a call may cost more than a bare one."""

LSTM = rnnedge.RNNSpec(cell="lstm", input_size=INPUT_SIZE, hidden_size=32)
CASES = (
    (rnnedge.RNNSpec(cell="rnn", input_size=INPUT_SIZE, hidden_size=32), 1, 1, True),
    (rnnedge.RNNSpec(cell="gru", input_size=INPUT_SIZE, hidden_size=32), 1, 1, True),
    (LSTM, 1, 1, True),
    (LSTM, 1, 1, False),
    (rnnedge.RNNSpec(cell="lstm", input_size=INPUT_SIZE, hidden_size=128), 1, 1, True),
    (
        rnnedge.RNNSpec(cell="lstm", input_size=INPUT_SIZE, hidden_size=128, num_layers=2),
        1,
        1,
        True,
    ),
    (rnnedge.RNNSpec(cell="gru", input_size=INPUT_SIZE, hidden_size=128), 10, 8, True),
    (rnnedge.RNNSpec(cell="lstm", input_size=INPUT_SIZE, hidden_size=128), 100, 1, True),
)
"""A layer, time, batch, and whether it was exported with states."""


def report() -> tuple[list[str], None]:
    """Measure, and return lines of Markdown."""
    rows, worst = [], 0.0
    for spec, time, batch, states in CASES:
        session, engine, x = _opened(spec, time, batch, states=states)
        blocks = blocks_in_turns(_calls(session, engine, x), SECONDS, block_seconds=0.002)
        bare = blocks.pop("bare")
        allowed = SHARE * _median(bare).cpu * 1e3 + MORE_US
        name = f"{spec.cell} {spec.hidden_size}, {spec.num_layers} layer(s), time {time}, "
        for how, taken in blocks.items():
            turns = zip(taken, bare, strict=True)
            more = _median([Time(a.wall - b.wall, a.cpu - b.cpu) for a, b in turns])
            worst = max(worst, more.cpu * 1e3 / allowed)
            rows.append(
                f"| {name}batch {batch} | {how} | {_us(_median(bare))} | {_us(_median(taken))} | "
                f"{_us(more)} | {allowed:.1f} |"
            )
    return [
        "## A call",
        "",
        "`Session.run` against `InferenceSession.run` of the same file with the same options, its "
        "feeds ready and its outputs named, which is its quickest way. Microseconds, CPU time in "
        f"brackets. Allowed are {SHARE:.0%} + {MORE_US:g} µs; by CPU time, which other work on the "
        f"machine moves least, the worst row takes {worst:.0%} of that. *More* is the median over "
        "turns, one of each side after the other.",
        "",
        "| model and shape | state | bare | Session | more | allowed |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "What it consists of, for one step of the LSTM of hidden 32, each piece alone in a loop:",
        "",
        "| piece | µs |",
        "|---|---|",
        *(f"| {name} | {us:.2f} |" for name, us in _pieces()),
        "",
    ], None


def _opened(
    spec: rnnedge.RNNSpec, time: int, batch: int, *, states: bool
) -> tuple[Session, onnxruntime.InferenceSession, np.ndarray]:
    model = exported(spec, states=states)
    engine, _ = open_inference_session(model, device="cpu", options=EngineOptions(threads=1))
    x = np.random.default_rng(0).standard_normal((time, batch, INPUT_SIZE)).astype(np.float32)
    return Session(model, engine="onnxruntime", threads=1), engine, x


def _calls(
    session: Session, engine: onnxruntime.InferenceSession, x: np.ndarray
) -> dict[str, Callable[[], object]]:
    names = [spec.name for spec in session.interface.outputs]
    state = session.zero_state(x.shape[1])
    feeds = {"input": x} | {
        pair.input: part for pair, part in zip(session.interface.states, state, strict=True)
    }
    calls = {"bare": partial(engine.run, names, feeds)}
    calls["none kept" if not state else "zeros"] = partial(session.run, x)
    if state:
        calls["given"] = partial(session.run, x, state=state)
    return calls


def _pieces() -> Iterator[tuple[str, float]]:
    """Time what `Session.run` adds to the engine, and what the engine does in Python."""
    session, engine, x = _opened(LSTM, 1, 1, states=True)
    state = session.zero_state(1)
    result = session.run(x, state=state)
    session.run(x)
    feeds = session.binder.seen_before(x, state)
    names, values = list(result.outputs), list(result.outputs.values())
    pieces: dict[str, Callable[[], object]] = {
        "shapes and dtypes looked up, the input alone": lambda: session.binder.seen_before(x, None),
        "the same with two states": lambda: session.binder.seen_before(x, state),
        "outputs named, `RunResult` made": lambda: RunResult(
            dict(zip(names, values, strict=True)), tuple(values[1:])
        ),
        "`InferenceSession.run`": lambda: engine.run(names, feeds),
        "the same without its own Python": lambda: engine._sess.run(names, feeds, None),  # noqa: SLF001
    }
    timed: dict[str, Time] = time_in_blocks(pieces, SECONDS)
    empty = time_in_blocks({"": lambda: None}, 0.1)[""].wall
    yield from ((name, (taken.wall - empty) * 1e3) for name, taken in timed.items())


def _median(blocks: Sequence[Time]) -> Time:
    return Time(*map(statistics.median, zip(*blocks, strict=True)))


def _us(taken: Time) -> str:
    return f"{taken.wall * 1e3:.1f} ({taken.cpu * 1e3:.1f})"
