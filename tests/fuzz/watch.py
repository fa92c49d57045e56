"""Reads changed files in a child process, and watches its signals, memory and time."""

import json
import mmap
import os
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.kinds import HERE, KINDS, suffix_of
from tests.fuzz.mutators import any_bytes

MOST_BYTES = 1 << 30
"""Resident, above what the process that watches has: a child starts with its memory."""
MOST_SECONDS = 10.0
"""Of processor time for one file; of real time, six times as many."""
LONGEST = 20_000
"""Characters of a message; names of 5,000 are among the changes."""
CORPUS = HERE / "corpus"
_COUNTS = struct.Struct("<qqqd")
"""Which file is read, how many were accepted and refused, and since when it is read."""
_LOOK = 0.02
_MOST_CHANGES = 4


@dataclass
class Found:
    """What became of the files of one kind.

    Attributes:
        accepted: How many were read.
        refused: How many ended in an error of rnnedge.
        faults: The rest: how each ended, and its number.
    """

    accepted: int = 0
    refused: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)


def changed(kind: str, seeds: list[bytes], seed: int, number: int) -> bytes:
    """Return one file: a few changes of one that is whole, or that was found."""
    rng = random.Random(f"{seed} {kind} {number}")
    content = rng.choice(seeds)
    for _ in range(rng.randrange(_MOST_CHANGES + 1)):
        try:
            content = KINDS[kind].mutate(rng, content)
        except (ValueError, IndexError, struct.error):  # an earlier change broke the format
            content = any_bytes(rng, content)
    return content


def corpus(kind: str) -> list[Path]:
    """Return the files that were found earlier."""
    return sorted((CORPUS / kind).glob("*")) if (CORPUS / kind).is_dir() else []


def fuzz(kind: str, seed: int, *, count: int, seconds: float = 1e9) -> Found:
    """Read up to `count` changed files of a kind; first those of the corpus, as they are.

    A child that dies, or takes too much, is replaced, and goes on with the next file.
    """
    found, until = Found(), time.monotonic() + seconds
    number, last = -len(corpus(kind)), count
    with tempfile.TemporaryDirectory() as folder, mmap.mmap(-1, _COUNTS.size) as shared:
        while number < last and time.monotonic() < until:
            shared[:] = _COUNTS.pack(number, 0, 0, time.monotonic())
            said = Path(folder, "faults.jsonl")
            child = os.fork()
            if child == 0:
                _read_all(kind, seed, number, last, until, Path(folder), shared)
            how = _watch(child, shared)
            number, accepted, refused, _ = _COUNTS.unpack(shared[:])
            found.accepted += accepted
            found.refused += refused
            if how:
                found.faults.append((number, how))
                number += 1
        if said.exists():
            for line in said.read_text().splitlines():
                found.faults.append(tuple(json.loads(line)))
    return found


def content_of(kind: str, seed: int, number: int) -> bytes:
    """Return a file by its number; those of the corpus have negative numbers."""
    if number < 0:
        return corpus(kind)[number].read_bytes()
    return changed(kind, KINDS[kind].seeds(), seed, number)


def _watch(child: int, shared: mmap.mmap) -> str:
    """Wait until a child ends; return how, or nothing if it ended as it should."""
    last, used, base = None, 0.0, _usage(os.getpid())[1]
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return f"signal {-code}" if code < 0 else f"exit code {code}" if code else ""
        number, _, _, since = _COUNTS.unpack(shared[:])
        seconds, size = _usage(child)
        if number != last:
            last, used = number, seconds
        how = ""
        if size - base > MOST_BYTES:
            how = f"{size - base >> 20} MiB"
        elif seconds - used > MOST_SECONDS or time.monotonic() - since > 6 * MOST_SECONDS:
            how = f"more than {MOST_SECONDS:g} s"
        if how:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return how
        time.sleep(_LOOK)


def _usage(child: int) -> tuple[float, int]:
    """Return processor seconds and resident bytes of a process."""
    try:
        stat = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(stat[11]) + int(stat[12])) / ticks, int(stat[21]) * os.sysconf("SC_PAGE_SIZE")


def _read_all(
    kind: str, seed: int, number: int, last: int, until: float, folder: Path, shared: mmap.mmap
) -> None:
    """Read files until the last one, in the child; never returns."""
    code = 1
    try:
        _read_some(kind, seed, number, last, until, folder, shared)
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def _read_some(
    kind: str, seed: int, number: int, last: int, until: float, folder: Path, shared: mmap.mmap
) -> None:
    from rnnedge_runtime.errors import RnnEdgeError

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # what ONNX Runtime prints of files that it refuses
    seeds = KINDS[kind].seeds()
    accepted = refused = 0
    faults = (folder / "faults.jsonl").open("a")
    path = folder / f"fuzzed{suffix_of(kind)}"
    while number < last and time.monotonic() < until:
        content = (
            corpus(kind)[number].read_bytes() if number < 0 else changed(kind, seeds, seed, number)
        )
        path.write_bytes(content)
        shared[:] = _COUNTS.pack(number, accepted, refused, time.monotonic())
        try:
            KINDS[kind].read(path)
            accepted += 1
        except RnnEdgeError as error:
            refused += 1
            try:
                text = str(error)
            except BaseException as failed:
                text = f"str() failed:\n{failed!r}"
            if "\n" in text or not text.isprintable() or len(text) > LONGEST:
                faults.write(json.dumps([number, f"its message: {text[:200]!r}"]) + "\n")
        except BaseException as error:
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
            said = f"{type(error).__name__}: {str(error)[:200]} at {where}"
            faults.write(json.dumps([number, said]) + "\n")
        faults.flush()
        number += 1
    shared[:] = _COUNTS.pack(number, accepted, refused, time.monotonic())
