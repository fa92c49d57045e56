"""Send clients to workers.py that lose their connection again and again, and check every answer.

A client comes back to any worker, is sent to the one that has its stream, and goes on with the
frame that was not answered yet. In the middle one worker is killed: its clients begin again.
Needs numpy, rnnedge_runtime and the standard library, as the workers do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
from clients import ALLOWED, Array, Connection, sequence, worst
from numpy.typing import NDArray

from rnnedge_runtime import Session

LOST = 0.1  # of the frames are followed by a lost connection


class Client:
    """One named stream, whose connection is lost at random."""

    def __init__(self, number: int, frames: Array, ports: list[int], counts: Counter[str]) -> None:
        self.name, self.frames = f"client {number}".encode(), frames
        self.ports, self.counts = ports, counts
        self.random = random.Random(number)
        self.answers: list[NDArray[np.float32]] = []

    async def run(self) -> None:
        """Send all frames, over as many connections as it takes."""
        while len(self.answers) < len(self.frames):
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.visit(self.random.choice(self.ports))
                continue
            await asyncio.sleep(0.1)  # the worker is gone: its port is served again soon

    async def visit(self, port: int) -> None:
        """Find the stream, and send frames until the connection is lost."""
        connection = await Connection.open(port)
        try:
            kind, payload = await connection.ask(b"N", self.name)
            if kind != b"N":
                raise RuntimeError(payload.decode())
            found = json.loads(payload)
            if "port" in found:
                self.counts["sent to the worker that has the stream"] += 1
                return await self.visit(found["port"])
            if found["steps"] < len(self.answers):
                self.counts["begun again, since a worker was killed"] += 1
            del self.answers[found["steps"] :]
            for frame in self.frames[found["steps"] :]:
                self.answers.append(await connection.step(frame))
                if self.random.random() < LOST:
                    self.counts["connections lost"] += 1
                    return connection.writer.transport.abort()
        finally:
            await connection.close()


async def wander(
    ports: list[int], frames: dict[int, Array], victim: int
) -> tuple[dict[int, Array], Counter[str]]:
    """Run all clients, and kill a worker while they do."""
    counts: Counter[str] = Counter()
    clients = {n: Client(n, each, ports, counts) for n, each in frames.items()}
    running = asyncio.gather(*(client.run() for client in clients.values()))
    total = sum(map(len, frames.values()))
    while sum(len(client.answers) for client in clients.values()) < total / 2:
        await asyncio.sleep(0.01)
    os.kill(victim, signal.SIGKILL)
    await running
    return {n: np.stack(client.answers) for n, client in clients.items()}, counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=Path("build/many/model.onnx"))
    parser.add_argument("--clients", type=int, default=200, help="Connected at the same time.")
    parser.add_argument("--workers", type=int, default=2, help="Processes of the server.")
    options = parser.parse_args()
    session = Session(options.model, threads=1)
    features = int(session.interface.data_inputs[0].axes[-1])
    frames = {number: sequence(number, features) for number in range(options.clients)}

    server = [sys.executable, str(Path(__file__).with_name("workers.py")), str(options.model)]
    server += ["--port", "0", "--workers", str(options.workers)]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        ports = [int(port) for port in line.rsplit(":", 1)[1].split(",")]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        try:
            answers, counts = asyncio.run(wander(ports, frames, int(children[0])))
        finally:
            process.terminate()
    print(f"{options.clients} named streams, {sum(map(len, frames.values())):,} frames")
    for what, count in sorted(counts.items()):
        print(f"  {count:6,} {what}")
    error = worst(session, answers, features)
    print(f"every answer, compared with a run of its sequence alone: off by {error:.1e} at most")
    sys.exit(error > ALLOWED)


if __name__ == "__main__":
    main()
