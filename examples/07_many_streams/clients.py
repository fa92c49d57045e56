"""Send hundreds of clients to the server, check every answer, and measure both ways of serving.

The server runs in a separate process: with a pool, and then with one stream for each client.
Needs numpy, rnnedge_runtime and the standard library, as the server does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from server import HEADER

from rnnedge_runtime import Session

ALLOWED = 1e-6  # how far an answer may be from that of a run alone
Array = NDArray[np.float32]


@dataclass
class Measured:
    """What the clients of one server saw."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    answers: dict[int, Array] = field(default_factory=dict)
    batches: list[tuple[int, int]] = field(default_factory=list)
    trouble: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        frames, latencies = len(self.latencies), np.array(self.latencies) * 1e3
        sizes = np.repeat(*np.array(self.batches).T)
        return (
            f"{frames / self.seconds:6,.0f} frames/s, latency p50 {np.median(latencies):.0f} ms, "
            f"p99 {np.percentile(latencies, 99):.0f} ms, "
            f"batches of {sizes.mean():.0f}, the largest {sizes.max()}"
        )


class Connection:
    """One client's side of the protocol."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, kind: bytes, payload: bytes = b"") -> tuple[bytes, bytes]:
        """Send a message and return the kind and the payload of what comes back."""
        self.writer.write(HEADER.pack(kind, len(payload)) + payload)
        kind, length = HEADER.unpack(await self.reader.readexactly(HEADER.size))
        return kind, await self.reader.readexactly(length)

    async def step(self, frame: Array) -> Array:
        """Send a frame and return its answer."""
        kind, payload = await self.ask(b"F", frame.tobytes())
        if kind != b"A":
            raise RuntimeError(payload.decode())
        return np.frombuffer(payload, "<f4")

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


def sequence(number: int, features: int) -> Array:
    """Return what client `number` sends, [time, features]; each has its own length."""
    random = np.random.default_rng(number)
    return random.standard_normal((int(random.integers(10, 50)), features), np.float32)


async def visit(port: int, number: int, features: int, measured: Measured) -> None:
    """Come, send each frame when the last one is answered, and go."""
    connection = await Connection.open(port)
    answers = []
    for frame in sequence(number, features):
        started = time.perf_counter()
        answers.append(await connection.step(frame))
        measured.latencies.append(time.perf_counter() - started)
    await connection.close()
    measured.answers[number] = np.stack(answers)


async def misbehave(port: int, features: int, trouble: dict[str, str]) -> None:
    """Send what must be refused, between good frames of one stream, and leave too early."""
    frame = np.ones(features, np.float32)
    bad = frame.copy()
    bad[3] = np.nan
    connection = await Connection.open(port)
    before = await connection.step(frame)
    for what, payload in {
        "NaN": bad.tobytes(),
        "too short": frame[1:].tobytes(),
        "no float32": b"hello",
    }.items():
        kind, text = await connection.ask(b"F", payload)
        trouble[what] = f"{kind.decode()} {text.decode()}"
    after = await connection.step(frame)
    await connection.close()

    alone = await Connection.open(port)
    same = [await alone.step(frame), await alone.step(frame)]
    await alone.close()
    error = max(np.abs(before - same[0]).max(), np.abs(after - same[1]).max())
    assert error <= ALLOWED, error
    trouble["afterwards"] = f"its stream goes on, off by {error:.1e}"

    for _ in range(20):  # gone before the answer
        connection = await Connection.open(port)
        connection.writer.write(HEADER.pack(b"F", frame.nbytes) + frame.tobytes())
        connection.writer.transport.abort()
    trouble["gone early"] = "(20 more, which hung up with a frame under way)"


async def crowd(port: int, features: int, at_once: int, visits: int) -> Measured:
    """Keep `at_once` clients connected until `visits` have come and gone."""
    measured = Measured()
    numbers = iter(range(visits))

    async def chair(wait: float) -> None:
        await asyncio.sleep(wait)
        for number in numbers:  # shared: whoever is free takes the next
            await visit(port, number, features, measured)

    started = time.perf_counter()
    await asyncio.gather(
        *[chair(0.2 * n / at_once) for n in range(at_once)],
        misbehave(port, features, measured.trouble),
    )
    measured.seconds = time.perf_counter() - started
    counting = await Connection.open(port)
    measured.batches = json.loads((await counting.ask(b"S"))[1])
    await counting.close()
    return measured


@contextmanager
def serving(model: Path, *options: str) -> Iterator[int]:
    """Start a server and return its port."""
    command = [sys.executable, Path(__file__).with_name("server.py"), model, "--port", "0"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            sys.exit("the server did not start")
        yield int(line.rsplit(":", 1)[1])
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def worst(session: Session, answers: dict[int, Array], features: int) -> float:
    """Return how far any answer is from that of a run of its client's whole sequence alone."""
    errors = []
    for number, given in answers.items():
        alone = session.run(sequence(number, features)[:, None]).output[:, 0]
        errors.append(np.abs(alone - given).max())
    return float(np.max(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=Path("build/many/model.onnx"))
    parser.add_argument("--clients", type=int, default=300, help="Connected at the same time.")
    parser.add_argument("--visits", type=int, default=600, help="Clients that come in all.")
    options = parser.parse_args()
    session = Session(options.model, threads=1)
    (spec,) = session.interface.data_inputs
    features = int(spec.axes[-1])

    print(f"{options.visits} clients, {options.clients} at a time, next frame when answered")
    rates, errors, trouble = {}, {}, {}
    for name, arguments in {"pool": (), "alone": ("--alone",)}.items():
        with serving(options.model, *arguments) as port:
            measured = asyncio.run(crowd(port, features, options.clients, options.visits))
        print(f"  {name:6} {measured}")
        rates[name] = len(measured.latencies) / measured.seconds
        errors[name] = worst(session, measured.answers, features)
        trouble[name] = measured.trouble
    print(f"the pool serves {rates['pool'] / rates['alone']:.1f} times as many frames\n")

    print("every answer, compared with a run of that client's sequence alone")
    for name, error in errors.items():
        print(f"  {name:6} {options.visits} clients, off by {error:.1e} at most")
    print("\nthe errors that a misbehaving client got meanwhile, from the server with the pool")
    for what, said in trouble["pool"].items():
        print(f"  {what:10} {said}")
    sys.exit(not all(error <= ALLOWED for error in errors.values()))


if __name__ == "__main__":
    main()
