"""Serve one recurrent model to many clients: one session, and a stream for each connection.

Needs numpy, rnnedge_runtime and the standard library. A message is a kind of one byte, the length
of its payload as uint32, little-endian, and the payload. A client sends

    F  a frame, float32 [features]; it gets A, the answer, float32 [hidden], or E, an error
    S  nothing; it gets S, what the server counted, as JSON

After an E the stream goes on as if the frame had not been sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime import RnnEdgeError, Session, StreamPool

HEADER = struct.Struct("<cI")
LONGEST = 1 << 20  # bytes of a payload; who announces more is not a client of ours
Array = NDArray[np.float32]
Step = Callable[[Array], Awaitable[Any]]


class CountingPool(StreamPool):
    """A pool that counts how large its batches are."""

    def __init__(self, session: Session, **limits: Any) -> None:
        super().__init__(session, **limits)
        self.batches: Counter[int] = Counter()

    def step(self, frames: Mapping[int, Any]) -> dict[int, Any]:
        """Count, and step."""
        self.batches[len(frames)] += 1
        return super().step(frames)


class Pooled:
    """Frames of all connections that come close together run as one batch."""

    def __init__(self, session: Session, **limits: Any) -> None:
        self.pool = CountingPool(session, **limits)
        self.batches = self.pool.batches

    @contextmanager
    def opened(self) -> Iterator[Step]:
        """Open a stream for a connection, and close it at its end."""
        stream = self.pool.open()
        try:
            yield lambda frame: self.pool.step_async(stream, frame)
        finally:
            self.pool.close(stream)


class Alone:
    """Each connection has a `Stream`, whose steps run one after the other: what to compare with."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.batches: Counter[int] = Counter()

    @contextmanager
    def opened(self) -> Iterator[Step]:
        """Open a stream for a connection, and close it at its end."""
        with self.session.stream() as stream:

            async def step(frame: Array) -> Any:
                self.batches[1] += 1
                return stream.step(frame[None])[0]  # a batch of one row

            yield step


class Server:
    """The protocol, for either way of stepping."""

    def __init__(self, way: Pooled | Alone) -> None:
        self.way = way

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it leaves, which it may do at any time."""
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await self.converse(reader, writer, self.way.opened())
        finally:
            writer.close()

    async def converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        opened: AbstractContextManager[Step],
    ) -> None:
        """Answer one message after the other."""
        try:
            with opened as step:
                while True:
                    kind, length = HEADER.unpack(await reader.readexactly(HEADER.size))
                    if length > LONGEST:
                        return send(writer, b"E", f"{length} bytes are too many: bye".encode())
                    payload = await reader.readexactly(length)
                    send(writer, *await self.answer(kind, payload, step))
                    await writer.drain()
        except RnnEdgeError as error:  # no stream could be opened: the pool is full
            send(writer, b"E", str(error).encode())

    async def answer(self, kind: bytes, payload: bytes, step: Step) -> tuple[bytes, bytes]:
        """Return the kind and the payload of the answer."""
        if kind == b"S":
            return b"S", json.dumps(sorted(self.way.batches.items())).encode()
        if kind != b"F":
            return b"E", f"expected a message of kind F or S, got {kind!r}".encode()
        if len(payload) % 4:
            return b"E", f"expected float32 numbers, got {len(payload)} bytes".encode()
        try:
            # The runtime says what is wrong with a frame, before it can reach the others.
            answer = await step(np.frombuffer(payload, "<f4"))
        except RnnEdgeError as error:
            return b"E", str(error).encode()
        return b"A", answer.tobytes()


def send(writer: asyncio.StreamWriter, kind: bytes, payload: bytes) -> None:
    writer.write(HEADER.pack(kind, len(payload)) + payload)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="A recurrent model with one float32 input.")
    parser.add_argument("--port", type=int, default=7000, help="0 takes any that is free.")
    parser.add_argument("--alone", action="store_true", help="One stream for each, no batches.")
    parser.add_argument("--capacity", type=int, default=1024, help="Most clients at once.")
    parser.add_argument("--max-delay-ms", type=float, default=2.0, help="A frame waits at most.")
    options = parser.parse_args()

    session = Session(options.model, threads=1)
    if options.alone:
        way: Pooled | Alone = Alone(session)
    else:
        limits = {"capacity": options.capacity, "max_delay_ms": options.max_delay_ms}
        way = Pooled(session, **limits)
    listening = await asyncio.start_server(
        Server(way).connected, "127.0.0.1", options.port, backlog=1024
    )
    host, port = listening.sockets[0].getsockname()
    print(f"serving {options.model} on {host}:{port}", flush=True)
    async with listening:
        await listening.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
