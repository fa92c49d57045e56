"""`rnnedge bench model.onnx`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from rnnedge.cli.options import device_options, json_option, layer_options, source_of
from rnnedge.cli.output import print_json, print_lines, progress_bar
from rnnedge_runtime.bench import measure, random_inputs
from rnnedge_runtime.session import Session

if TYPE_CHECKING:
    from rnnedge.sources import Source


@click.command()
@click.argument("model")
@click.option("--against", "source", help="Measure SOURCE in PyTorch beside it.")
@click.option(
    "--time",
    "times",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 10, 100),
    show_default=True,
    help="Steps of a sequence; may be given again.",
)
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 8),
    show_default=True,
    help="Sequences side by side; may be given again.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=0.5,
    show_default=True,
    help="For each shape.",
)
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
        loaded = source_of(source, given)
        torch_call = _torch_call(loaded, threads)
        _check_fit(session, loaded, torch_call)
    rows: list[dict[str, Any]] = []
    shapes = [(time, batch) for batch in batches for time in times]
    with progress_bar("measuring") as progress:
        for done, (time, batch) in enumerate(shapes, 1):
            inputs = random_inputs(session, time, batch)
            calls: dict[str, Callable[[], object]] = {"rnnedge": partial(session.run, inputs)}
            if torch_call:
                calls["torch"] = torch_call(inputs)
            latencies = measure(calls, seconds=seconds)
            rows.append(
                {"time": time, "batch": batch, **{k: asdict(v) for k, v in latencies.items()}}
            )
            progress(done, len(shapes))
    if as_json:
        print_json({"model": model, "threads": threads, "device": session.device, "ms": rows})
        return
    table = Table(title=f"{model}, {session.device}, {threads} thread(s)", title_justify="left")
    headings = ["batch", "time", "p50 ms", "p90 ms", "p99 ms", "us/step"]
    for heading in headings + (["PyTorch p50 ms", "speed"] if torch_call else []):
        table.add_column(heading, justify="right")
    for row in rows:
        own = row["rnnedge"]
        cells = [str(row["batch"]), str(row["time"])]
        cells += [f"{own[name]:.3f}" for name in ("p50", "p90", "p99")]
        cells.append(f"{own['p50'] * 1e3 / row['time']:.1f}")
        if torch_call:
            cells += [f"{row['torch']['p50']:.3f}", f"{row['torch']['p50'] / own['p50']:.2f}x"]
        table.add_row(*cells)
    print_lines(table)


def _torch_call(source: Source, threads: int) -> Callable[[Any], Callable[[], object]]:
    import torch

    from rnnedge_exporters.exporter import is_bare_layer
    from rnnedge_exporters.modules.arguments import bind_by_name

    torch.set_num_threads(threads)
    module = source.module.float().eval()

    def call_for(inputs: dict[str, Any]) -> Callable[[], object]:
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        arguments = (
            {"input": next(iter(tensors.values()))}  # a file of others may name it otherwise
            if is_bare_layer(module)
            else bind_by_name(module, tensors).values
        )

        def call() -> object:
            with torch.inference_mode():
                return module(**arguments)

        return call

    return call_for


def _check_fit(
    session: Session, source: Source, torch_call: Callable[[Any], Callable[[], object]]
) -> None:
    """Run both sides once at three steps and two rows, and compare what comes first out of them."""
    from rnnedge.errors import SourceError

    inputs = random_inputs(session, 3, 2)
    x = next(iter(inputs.values()))
    try:
        answer: Any = torch_call(inputs)()
    except Exception as error:  # the user's own module may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SourceError(
            f"{source.origin}: does not take the model's input of shape {list(x.shape)}: {reason}"
        ) from error
    first = answer[0] if isinstance(answer, tuple) else answer
    given, expected = list(first.shape), list(session.run(inputs).output.shape)
    if given != expected:
        raise SourceError(
            f"{source.origin}: answers shape {given} to an input of shape {list(x.shape)}, where "
            f"the model answers {expected}: they are not the same network"
        )
