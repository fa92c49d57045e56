"""Hear speech in a WAV file, read as a microphone would give it, and show it in a terminal.

Needs numpy, rnnedge_runtime and the standard library.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime import Session

RATE, FRAME = 16_000, 512  # what the detector was trained on: 32 ms a frame
CONTEXT = 64  # samples of the last frame that the published model wants in front of each
SECONDS = FRAME / RATE
SPEECH, SILENCE, HANGOVER = 0.5, 0.35, 4  # from, below, and for how many frames; Silero's own
Array = NDArray[np.float32]
Detector = Callable[[Array], float]


def published(path: Path) -> Detector:
    """Open the file as Silero publishes it: a model that rnnedge did not make."""
    session = Session(path, threads=1, states={"stateN": "state"})
    stream = session.stream(constants={"sr": RATE})
    window = np.zeros((1, CONTEXT + FRAME), np.float32)

    def probability(frame: Array) -> float:
        window[0, :CONTEXT] = window[0, -CONTEXT:]
        window[0, CONTEXT:] = frame
        return float(stream.step(window)[0, 0])

    return probability


def rebuilt(path: Path) -> Detector:
    """Open the file that `prepare.py` exported: the context is a state like any other."""
    stream = Session(path, threads=1).stream()
    return lambda frame: float(stream.step(frame[None])[0])


def read_wav(path: Path) -> Array:
    """Return the samples of a WAV file, float32 [samples] from -1 to 1, at 16 kHz."""
    try:
        with wave.open(str(path)) as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            data = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        sys.exit(f"listen.py: {path} cannot be read: {error}")
    if width != 2 or rate % RATE:
        sys.exit(
            f"listen.py: {path}: expected 16 bits at 16 kHz or a multiple of it, got {8 * width} "
            f"bits at {rate} Hz; convert it, as with: ffmpeg -i {path} -ar 16000 -ac 1 speech.wav"
        )
    samples = np.frombuffer(data, "<i2").reshape(-1, channels).mean(axis=1) / 32768
    times = rate // RATE
    whole = len(samples) // times * times
    return samples[:whole].reshape(-1, times).mean(axis=1).astype(np.float32)


def microphone(samples: Array, *, fast: bool) -> Iterator[tuple[Array, float]]:
    """Give frames [samples] when they are over, and when the answer to each must be there."""
    started = time.perf_counter()
    for index in range(len(samples) // FRAME):
        over = started + (index + 1) * SECONDS
        if fast:
            over = time.perf_counter()
        else:
            time.sleep(max(0.0, over - time.perf_counter()))
        yield samples[index * FRAME : (index + 1) * FRAME], over + SECONDS


@dataclass
class Segments:
    """Stretches of speech: they begin at a likely frame, and end after some unlikely ones."""

    found: list[tuple[float, float]] = field(default_factory=list)
    began: float | None = None
    quiet: int = 0

    def push(self, index: int, probability: float) -> bool:
        """Take the next frame; whether a stretch ended with it."""
        if self.began is None:
            if probability >= SPEECH:
                self.began, self.quiet = index * SECONDS, 0
            return False
        self.quiet = self.quiet + 1 if probability < SILENCE else 0
        return self.quiet == HANGOVER and self.end((index + 1 - HANGOVER) * SECONDS)

    def last(self) -> str:
        """Say when the last one was."""
        return "{:8.2f} to {:6.2f} s  speech".format(*self.found[-1])

    def end(self, at: float) -> bool:
        """End the stretch that has begun, if one has."""
        if self.began is None:
            return False
        self.found.append((self.began, at))
        self.began = None
        return True


class View:
    """One line that is drawn again and again; where nobody sees that, only what stays."""

    def __init__(self, out: TextIO) -> None:
        self.out, self.live, self.drawn = out, out.isatty(), 0.0
        self.block, self.rest = "█░" if "utf" in (out.encoding or "").lower() else "#."

    def bar(self, share: float, width: int) -> str:
        """Return a bar of `width` characters, of which `share` are full."""
        full = round(min(max(share, 0.0), 1.0) * width)
        return self.block * full + self.rest * (width - full)

    def draw(self, now: float, frame: Array, probability: float, factor: float, late: int) -> None:
        """Draw the line again, at most 50 times a second."""
        if not self.live or time.perf_counter() - self.drawn < 1 / 50:
            return
        self.drawn = time.perf_counter()
        level = 10 * math.log10(float(frame.dot(frame)) / len(frame) + 1e-9)  # dB of full scale
        columns = shutil.get_terminal_size().columns - 1  # in the last one some terminals wrap
        width = min(max((columns - 51) // 2, 4), 30)
        line = (
            f"{now:6.1f} s  {self.bar(1 + level / 60, width)} {level:3.0f} dB  speech "
            f"{self.bar(probability, width)} {probability:4.2f}  RTF {factor:.3f}  {late} late"
        )
        self.out.write(f"\r{line[:columns]}\x1b[K")
        self.out.flush()

    def keep(self, line: str = "") -> None:
        """Put a line above the one that is drawn."""
        self.out.write(("\r\x1b[K" if self.live else "") + line + "\n")
        self.out.flush()


def annotation(path: Path, frames: int) -> NDArray[np.bool_] | None:
    """Return which frames are speech by an annotation next to the WAV, where there is one."""
    rttm = path.with_suffix(".rttm")
    if not rttm.exists():
        return None
    speech = np.zeros(frames, bool)
    for line in rttm.read_text(encoding="utf-8").splitlines():
        begin, duration = map(float, line.split()[3:5])
        speech[round(begin / SECONDS) : round((begin + duration) / SECONDS)] = True
    return speech


def summary(
    segments: Segments, spent: list[float], late: int, annotated: NDArray[np.bool_] | None
) -> Iterator[str]:
    """Say what was heard, and what it took."""
    ours = np.zeros(len(spent), bool)
    for begin, end in segments.found:
        ours[round(begin / SECONDS) : round(end / SECONDS)] = True
    heard, total = ours.sum() * SECONDS, len(spent) * SECONDS
    p50, p99 = np.percentile(spent, [50, 99]) * 1e3
    yield f"speech   {heard:.1f} s of {total:.1f} s, in {len(segments.found)} stretches"
    yield f"a frame  p50 {p50:.2f} ms, p99 {p99:.2f} ms, one thread"
    yield f"         real-time factor {sum(spent) / total:.4f}, where 1 is too slow"
    yield f"late     {late} of {len(spent)} frames, answered after the next one was there"
    if annotated is not None:
        speech, agreed = annotated.sum() * SECONDS, np.mean(ours == annotated)
        yield f"expected {speech:.1f} s, by the recording's annotation; {agreed:.1%} agreement"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/live"))
    parser.add_argument("--wav", type=Path, help="16 kHz, or a multiple; default: the fetched one.")
    parser.add_argument("--fast", action="store_true", help="As fast as it goes, not in real time.")
    parser.add_argument("--published", action="store_true", help="Silero's own file, not ours.")
    options = parser.parse_args()

    name, opened = ("silero_vad", published) if options.published else ("rebuilt", rebuilt)
    detector = opened(options.folder / f"{name}.onnx")
    path = options.wav or options.folder / "conversation.wav"
    samples = read_wav(path)
    if len(samples) < FRAME:
        sys.exit(f"listen.py: {path}: expected {FRAME} samples or more, got {len(samples)}")
    assert "torch" not in sys.modules, "torch is imported: this is not a test of a device"

    view, segments = View(sys.stdout), Segments()
    view.keep(f"{name}.onnx hears {path}, {len(samples) / RATE:.1f} s, {FRAME} samples a frame")
    spent: list[float] = []
    total, late = 0.0, 0
    with suppress(KeyboardInterrupt):
        for index, (frame, deadline) in enumerate(microphone(samples, fast=options.fast)):
            started = time.perf_counter()
            probability = detector(frame)
            now = time.perf_counter()
            spent.append(now - started)
            total += spent[-1]
            late += now > deadline
            if segments.push(index, probability):
                view.keep(segments.last())
            over = (index + 1) * SECONDS
            view.draw(over, frame, probability, total / over, late)
    if segments.end(len(spent) * SECONDS):
        view.keep(segments.last())
    view.keep()
    for line in summary(segments, spent, late, annotation(path, len(spent))):
        view.keep(line)


if __name__ == "__main__":
    main()
