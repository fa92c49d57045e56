"""`rnnedge bench model.onnx`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import click
from rich.table import Table

from rnnedge.cli.options import device_options, json_option, layer_options, source_of
from rnnedge.cli.output import print_json, print_lines, progress_bar
from rnnedge_runtime.bench import measure, random_inputs
from rnnedge_runtime.session import Session


@click.command()
@click.argument("model")
@click.option("--against", "source", help="Measure SOURCE in PyTorch beside it.")
@click.option("--time", "times", type=int, multiple=True, default=(1, 10, 100), show_default=True)
@click.option("--batch", "batches", type=int, multiple=True, default=(1, 8), show_default=True)
@click.option("--seconds", type=float, default=0.5, show_default=True, help="For each shape.")
@layer_options
@device_options
@json_option
def bench(
    model: str,
    source: str | None,
    times: tuple[int, ...],
    batches: tuple[int, ...],
    seconds: float,
    device: Any,
    threads: int | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure the latency of MODEL over batch and length.

    Threads are 1 on both sides unless --threads says otherwise.
    """
    threads = threads or 1
    session = Session(model, device=device, threads=threads)
    torch_call = None
    if source is not None or any(value is not None for value in given.values()):
        torch_call = _torch_call(source_of(source, given).module, threads)
    rows: list[dict[str, Any]] = []
    shapes = [(time, batch) for batch in batches for time in times]
    with progress_bar("measuring") as progress:
        for done, (time, batch) in enumerate(shapes, 1):
            inputs = random_inputs(session, time, batch)
            calls: dict[str, Callable[[], object]] = {"rnnedge": partial(session.run, inputs)}
            if torch_call:
                calls["torch"] = torch_call(next(iter(inputs.values())))
            latencies = measure(calls, seconds=seconds)
            rows.append(
                {"time": time, "batch": batch, **{k: asdict(v) for k, v in latencies.items()}}
            )
            progress(done, len(shapes))
    if as_json:
        print_json({"model": model, "threads": threads, "device": session.device, "ms": rows})
        return
    table = Table(title=f"{model}, {session.device}, {threads} thread(s)", title_justify="left")
    headings = ["batch", "time", "p50 ms", "p90 ms", "p99 ms", "µs/step"]
    for heading in headings + (["PyTorch p50 ms", "speed"] if torch_call else []):
        table.add_column(heading, justify="right")
    for row in rows:
        own = row["rnnedge"]
        cells = [str(row["batch"]), str(row["time"])]
        cells += [f"{own[name]:.3f}" for name in ("p50", "p90", "p99")]
        cells.append(f"{own['p50'] * 1e3 / row['time']:.1f}")
        if torch_call:
            cells += [f"{row['torch']['p50']:.3f}", f"{row['torch']['p50'] / own['p50']:.2f}×"]
        table.add_row(*cells)
    print_lines(table)


def _torch_call(module: Any, threads: int) -> Callable[[Any], Callable[[], object]]:
    import torch

    torch.set_num_threads(threads)
    module = module.float().eval()

    def call_for(array: Any) -> Callable[[], object]:
        x = torch.from_numpy(array)

        def call() -> object:
            with torch.inference_mode():
                return module(x)

        return call

    return call_for
