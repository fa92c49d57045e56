"""A measurement as tables and lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.table import Table

from rnnedge.measuring.baseline import Row
from rnnedge.measuring.latency import CallLatency
from rnnedge.measuring.results import OWN, Benchmark, ShapeResult
from rnnedge.measuring.work import Work

_UNDISTURBED = 0.95
"""Part of a core that a process which never waits has at least when nobody takes it away."""


def bench_tables(benchmark: Benchmark, speeds: Mapping[Row, float]) -> Iterator[Table]:
    """Show what was measured.

    Args:
        benchmark: What was measured.
        speeds: How many times as fast it is as a baseline, by shape; empty without one.
    """
    if benchmark.streams:
        yield _streams(benchmark, speeds)
        return
    yield _latencies(benchmark, speeds)
    yield _work(benchmark)
    if len(benchmark.sides) > 1:
        yield _beside(benchmark)


def bench_lines(benchmark: Benchmark) -> Iterator[str]:
    """Return the lines around a table: the machine, the memory, who was not timed and why."""
    yield from _sides(benchmark)
    if benchmark.memory:
        memory = benchmark.memory
        also = ", with PyTorch in it" if "torch" in benchmark.machine.versions else ""
        yield (
            f"memory: {memory.resident / 1e6:,.1f} MB more are resident once the model was opened "
            f"and run, {memory.added / 1e6:,.1f} MB at the peak of that; the process takes "
            f"{memory.after / 1e6:,.1f} MB{also}"
        )
    work = next((result.work for result in benchmark.shapes), None)
    if work:
        yield f"a step: {weights_read(work)}"
    if benchmark.peak_gflops:
        yield (
            f"peak: {benchmark.peak_gflops:,.1f} GFLOP/s in a large float32 MatMul, "
            f"{benchmark.threads} thread(s)"
        )
    yield f"machine: {benchmark.machine}"
    yield from _disturbed(benchmark)


def weights_read(work: Work) -> str:
    """Say how many bytes of weights a step reads, and how many that is in the file."""
    said = f"{work.weight_bytes:,} bytes of weights are read"
    if work.stored_bytes == work.weight_bytes:
        return said
    return f"{said}: {work.stored_bytes:,} in the file, widened to float32 when it is opened"


def _sides(benchmark: Benchmark) -> Iterator[str]:
    """Say what ran, where answers differ, and who was not timed and why."""
    for side, label in benchmark.sides.items():
        if len(benchmark.sides) > 1:
            yield f"{side}: {label}"
    for side in benchmark.sides:
        told = [(r.differences[side], r.shape) for r in benchmark.shapes if side in r.differences]
        if told:
            most, shape = max(told, key=lambda one: one[0])
            yield f"{side}: its answers differ by up to {most:.1e}, at {shape}"
    reasons: dict[tuple[str, str], list[str]] = {}
    for result in benchmark.shapes:
        for side, reason in result.not_timed.items():
            reasons.setdefault((side, reason), []).append(str(result.shape))
    for (side, reason), shapes in reasons.items():
        more = f" and {len(shapes) - 1} more" if len(shapes) > 1 else ""
        yield f"{side}: not timed at {shapes[0]}{more}: {reason}"


def _disturbed(benchmark: Benchmark) -> Iterator[str]:
    """Say that other work had the processor, which shows in the processor time of the model."""
    latencies = [result.own for result in benchmark.shapes]
    latencies += [result.latency for result in benchmark.streams]
    least = min((latency.cpu_cores for latency in latencies), default=1.0)
    if benchmark.device == "cpu" and least < _UNDISTURBED:
        yield (
            f"note: the model had {least:.2f} of a core while it ran, since the machine had other "
            "work: what is slow here may be that"
        )


def short(milliseconds: float | None) -> str:
    """Return a number of milliseconds with the digits that matter, `-` for None."""
    if milliseconds is None:
        return "-"
    if milliseconds < 10:
        return f"{milliseconds:.3f}"
    return f"{milliseconds:.1f}" if milliseconds < 1000 else f"{milliseconds:,.0f}"


def numbers(title: str, headings: list[str]) -> Table:
    """Return a table of numbers without rows."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


_PERCENTILES = ["p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "CPU ms", "cores"]


def _percentiles(latency: CallLatency) -> list[str]:
    times = (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p99_9_ms, latency.largest_ms)
    return [*map(short, times), short(latency.cpu_ms), f"{latency.cpu_cores:.2f}"]


def _title(benchmark: Benchmark) -> str:
    words = [benchmark.model, benchmark.device, f"{benchmark.threads} thread(s)"]
    return ", ".join([*words, *benchmark.options.changed])


def _latencies(benchmark: Benchmark, speeds: Mapping[Row, float]) -> Table:
    title = _title(benchmark)
    earlier = ["than earlier"] if speeds else []
    table = numbers(title, ["batch", "time", "calls", *_PERCENTILES, *earlier])
    for result in benchmark.shapes:
        shape = result.shape
        cells = [str(shape.batch), str(shape.time), f"{result.own.count:,}"]
        cells += _percentiles(result.own)
        cells += [_speed(speeds.get((shape.time, shape.batch)))] * bool(speeds)
        table.add_row(*cells)
    return table


def _work(benchmark: Benchmark) -> Table:
    headings = ["batch", "time", "us/step", "GFLOP/s", "of peak"]
    headings += ["real-time factor"] * (benchmark.rate is not None)
    rate = "" if benchmark.rate is None else f", a signal of {benchmark.rate:g} steps a second"
    table = numbers(f"by the median{rate}", headings)
    for result in benchmark.shapes:
        share = benchmark.share_of_peak(result)
        cells = [str(result.shape.batch), str(result.shape.time), f"{result.us_per_step:.1f}"]
        cells += ["-" if result.gflops is None else f"{result.gflops:.2f}"]
        cells += ["-" if share is None else f"{share:.1%}"]
        factor = result.real_time_factor(benchmark.rate)
        cells += [] if factor is None else [f"{factor:.5f}"]
        table.add_row(*cells)
    return table


def _beside(benchmark: Benchmark) -> Table:
    others = [side for side in benchmark.sides if side != OWN]
    headings = [heading for side in others for heading in (f"{side} ms", "ratio")]
    title = "median next to others, and how many times as long they take"
    table = numbers(title, ["batch", "time", f"{OWN} ms", *headings])
    for result in benchmark.shapes:
        cells = [str(result.shape.batch), str(result.shape.time), short(result.own.p50_ms)]
        for side in others:
            cells += _beside_cells(result, side)
        table.add_row(*cells)
    return table


def _beside_cells(result: ShapeResult, side: str) -> list[str]:
    ratio = result.ratio(side)
    return ["-", "-"] if ratio is None else [short(result.latency[side].p50_ms), f"{ratio:.2f}x"]


def _streams(benchmark: Benchmark, speeds: Mapping[Row, float]) -> Table:
    rate = "" if benchmark.rate is None else f", {benchmark.rate:g} frames a second"
    title = _title(benchmark)
    headings = ["batch", "steps", *_PERCENTILES]
    headings += ["real-time factor", "frames missed"] * (benchmark.rate is not None)
    headings += ["than earlier"] if speeds else []
    table = numbers(f"{title}, steps of one in a stream{rate}", headings)
    for result in benchmark.streams:
        cells = [str(result.batch), f"{result.latency.count:,}", *_percentiles(result.latency)]
        if result.real_time_factor is not None and result.missed_share is not None:
            cells += [f"{result.real_time_factor:.5f}", f"{result.missed_share:.3%}"]
        cells += [_speed(speeds.get((None, result.batch)))] * bool(speeds)
        table.add_row(*cells)
    return table


def _speed(speed: float | None) -> str:
    return "-" if speed is None else f"{speed:.2f}x"
