"""Serve one model from several processes, with streams that are found again by their names.

Each worker is the server of server.py with its own pool and port; the name of a stream decides
which one has it. The first message of a client is

    N  a name, 1 to 200 bytes; it gets N and JSON: {"port": 7001} if another worker has the stream,
       or {"steps": 12}, how many of its frames were answered: the next one is the 13th

and then F and S as in server.py. A stream whose client hung up is kept for a while; an answer that
was lost with its connection is not sent again. If a worker dies, a new one takes its port, and its
streams begin again at 0 steps. Needs POSIX.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server import HEADER, Array, Pooled, Server, Step, send

from rnnedge_runtime import RnnEdgeError, Session

LONGEST_NAME = 200
PATIENCE = 5.0  # seconds that the last connection of a stream has to let go of it


@dataclass
class Named:
    """A stream with a name: its place in the pool, and the connection that has it now."""

    stream: int
    steps: int = 0
    writer: asyncio.StreamWriter | None = None
    free: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None


class Worker(Server):
    """The protocol of a worker."""

    way: Pooled

    def __init__(self, way: Pooled, index: int, ports: list[int], keep_seconds: float) -> None:
        super().__init__(way)
        self.index, self.ports, self.keep_seconds = index, ports, keep_seconds
        self.streams: dict[bytes, Named] = {}

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it leaves, or send it on to where its stream is."""
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                kind, length = HEADER.unpack(await reader.readexactly(HEADER.size))
                if kind != b"N" or not 0 < length <= LONGEST_NAME:
                    return send(writer, b"E", b"expected a message of kind N with a name")
                name = await reader.readexactly(length)
                owner = zlib.crc32(name) % len(self.ports)
                if owner != self.index:
                    return send(writer, b"N", json.dumps({"port": self.ports[owner]}).encode())
                named = await self.take(name, writer)
                await self.converse(reader, writer, self.stepping(name, named))
        except (RnnEdgeError, asyncio.TimeoutError) as error:  # the pool is full
            send(writer, b"E", (str(error) or "the stream is in use").encode())
        finally:
            writer.close()

    async def take(self, name: bytes, writer: asyncio.StreamWriter) -> Named:
        """Return a stream for a connection; one that still has it is ended."""
        named = self.streams.get(name)
        if named is None:
            named = self.streams[name] = Named(self.way.pool.open())
        if named.timer is not None:
            named.timer.cancel()
        while named.writer is not None:
            named.free.clear()
            named.writer.close()
            await asyncio.wait_for(named.free.wait(), PATIENCE)
        named.writer, named.timer = writer, None
        send(writer, b"N", json.dumps({"steps": named.steps}).encode())
        return named

    @contextmanager
    def stepping(self, name: bytes, named: Named) -> Iterator[Step]:
        """Give the steps of a stream to a connection; keep the stream when that ends."""

        async def step(frame: Array) -> Any:
            answer = await self.way.pool.step_async(named.stream, frame)
            named.steps += 1
            return answer

        def forget() -> None:
            del self.streams[name]
            self.way.pool.close(named.stream)

        try:
            yield step
        finally:
            named.writer = None
            named.free.set()
            named.timer = asyncio.get_running_loop().call_later(self.keep_seconds, forget)


async def work(options: argparse.Namespace) -> None:
    """Be one worker, on a socket that the parent listens on, until the parent is gone."""
    limits = {"capacity": options.capacity, "max_delay_ms": options.max_delay_ms}
    way = Pooled(Session(options.model, threads=1), **limits)
    ports = [int(port) for port in options.ports.split(",")]
    worker = Worker(way, options.index, ports, options.keep_seconds)
    listening = socket.socket(fileno=options.socket)
    async with await asyncio.start_server(worker.connected, sock=listening, backlog=1024):
        parent = os.getppid()
        while os.getppid() == parent:
            await asyncio.sleep(0.5)


def supervise(options: argparse.Namespace) -> None:
    """Start the workers, and start those again that die."""
    first = options.port
    sockets = [
        socket.create_server(("127.0.0.1", first + n if first else 0), backlog=1024)
        for n in range(options.workers)
    ]
    ports = [str(each.getsockname()[1]) for each in sockets]
    children: list[subprocess.Popen[bytes]] = []

    def started(index: int) -> subprocess.Popen[bytes]:
        number = sockets[index].fileno()
        own = ["--index", str(index), "--socket", str(number), "--ports", ",".join(ports)]
        return subprocess.Popen([sys.executable, *sys.argv, *own], pass_fds=[number])

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        children += [started(index) for index in range(options.workers)]
        print(f"serving {options.model} on 127.0.0.1:{','.join(ports)}", flush=True)
        while True:
            time.sleep(0.2)
            for index, child in enumerate(children):
                if child.poll() is not None:
                    print(f"worker {index} ended with {child.returncode}", file=sys.stderr)
                    time.sleep(1)  # a model that cannot be opened ends each of them at once
                    children[index] = started(index)
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="A recurrent model with one float32 input.")
    parser.add_argument("--workers", type=int, default=2, help="Processes.")
    parser.add_argument("--port", type=int, default=7000, help="The first one; 0 takes any.")
    parser.add_argument("--keep-seconds", type=float, default=60, help="Of streams without client.")
    parser.add_argument("--capacity", type=int, default=1024, help="Most streams of a worker.")
    parser.add_argument("--max-delay-ms", type=float, default=2.0, help="A frame waits at most.")
    for name in ("--index", "--socket"):  # of a worker
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ports", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.index is None:
        supervise(options)
    else:
        asyncio.run(work(options))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
