"""`rnnedge bench model.onnx`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rnnedge.cli.bench_options import shape_options, shapes_of
from rnnedge.cli.command import FILE, Command, advise, option, renamed
from rnnedge.cli.options import (
    OUTPUT,
    SIZES,
    force_option,
    json_option,
    layer_options,
    session_options,
    session_options_of,
    source_of,
)
from rnnedge.cli.output import print_json, print_lines, progress_bar
from rnnedge.measuring.peer_names import PEER_NAMES

if TYPE_CHECKING:
    from rnnedge.measuring.shapes import Shape

BESIDE = "What it is compared with"


@click.command(
    cls=Command,
    short_help="Measure how long MODEL takes, alone or next to others.",
    examples=(
        "rnnedge bench model.onnx",
        "rnnedge bench model.onnx --shape 100x1 --against weights.pt --beside torch",
        "rnnedge bench model.onnx --stream --rate 100",
        "rnnedge bench small.onnx --beside model.onnx --json",
    ),
    extra="one MODEL is measured; another file next to it is --beside {extra}, and its source "
    "--against {extra}",
    update=lambda arguments: _old_spelling(arguments),
)
@click.argument("model", type=FILE)
@shape_options
@option(
    "--seconds",
    group=SIZES,
    type=click.FloatRange(min=0, min_open=True),
    shown="0.5",
    help="Of each side.",
)
@option(
    "--count",
    group=SIZES,
    type=click.IntRange(min=1),
    help="Calls of each side, instead of --seconds.",
)
@option(
    "--warmup",
    group=SIZES,
    type=click.IntRange(min=0),
    default=5,
    help="Calls of each side that are not measured.",
)
@option(
    "--rate",
    group=SIZES,
    type=click.FloatRange(min=0, min_open=True),
    help="Steps of the signal in a second, for the real-time factor and missed deadlines.",
)
@option("--stream", group=SIZES, is_flag=True, help="Steps of one through a stream, not sequences.")
@option(
    "--beside",
    group=BESIDE,
    callback=lambda context, option, given: _peers(given),
    shown="torch, where there is a source",
    help="Measure next to it, in turns: another .onnx file, or what runs SOURCE: torch, "
    "torchscript (torch's own ONNX export), openvino; several with commas between.",
)
@option(
    "--against",
    "source",
    group=BESIDE,
    type=FILE,
    metavar="SOURCE",
    help="The SOURCE that MODEL was exported from; without it, the layer that options build.",
)
@layer_options
@session_options
@option(
    "--baseline",
    group=BESIDE,
    type=FILE,
    help="What --json printed earlier on this machine, to compare with.",
)
@option(
    "--plot",
    group=OUTPUT,
    type=FILE,
    help="Draw latency over length: a .png, .svg or .pdf file.",
)
@force_option
@json_option
def bench(
    model: str,
    times: tuple[int, ...],
    batches: tuple[int, ...],
    pairs: tuple[Shape, ...],
    seconds: float | None,
    count: int | None,
    warmup: int,
    rate: float | None,
    *,
    stream: bool,
    beside: tuple[str, ...],
    source: str | None,
    device: Any,
    threads: int | None,
    baseline: str | None,
    plot: str | None,
    force: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure how long MODEL takes over batch and length.

    Threads are 1 on every side unless --threads says otherwise. What is measured next to MODEL is
    compared with it first, and timed only where it answers the same.
    """
    from rnnedge.measuring.baseline import read_baseline
    from rnnedge.measuring.measuring import bench_shapes
    from rnnedge.measuring.plot import check_plot_path, write_plot
    from rnnedge.measuring.streaming import bench_stream
    from rnnedge.measuring.tables import bench_lines, bench_tables

    if count is not None and seconds is not None:
        raise click.UsageError("--count cannot be combined with --seconds")
    options = session_options_of(given)
    sourced = source is not None or any(value is not None for value in given.values())
    if stream and (beside or sourced or times or pairs or plot):
        raise click.UsageError(
            "--stream cannot be combined with --time, --shape, --against, --beside or --plot"
        )
    if not sourced and any(name in PEER_NAMES for name in beside):
        raise click.UsageError(
            "--beside torch, torchscript and openvino run a source: --against SOURCE, or the "
            "options of a layer"
        )
    shapes = () if stream else shapes_of(times, batches, pairs)
    streams = (batches or (1,)) if stream else ()
    read = [model, source, baseline, *beside]
    if plot is not None:
        check_plot_path(plot, protected=read, force=force)
    earlier = read_baseline(baseline) if baseline else None
    if earlier:
        earlier.check([*((s.time, s.batch) for s in shapes), *((None, b) for b in streams)])
    settings: dict[str, Any] = {
        "device": device,
        "threads": threads or 1,
        "seconds": seconds or 0.5,
        "count": count,
        "warmup": warmup,
        "rate": rate,
        **options,
    }
    with progress_bar("measuring") as settings["progress"]:
        if stream:
            found = bench_stream(model, streams, **settings)
        else:
            loaded = source_of(source, given, model) if sourced else None
            peers = beside or (("torch",) if sourced else ())
            is_asked = bool(times or batches or pairs)
            settings["only_fitting"] = not is_asked
            found = bench_shapes(model, shapes, source=loaded, against=peers, **settings)
    speeds = earlier.compare(found) if earlier else {}
    changes = earlier.changes(found) if earlier else []
    if plot is not None:
        write_plot(found, plot, protected=read, force=force)
    if as_json:
        rows = [{"time": time, "batch": batch, "speed": v} for (time, batch), v in speeds.items()]
        compared = {"baseline": baseline, "speeds": rows, "changes": changes} if earlier else None
        print_json({**found.to_dict(), "compared": compared})
        return
    print_lines(*bench_tables(found, speeds), *bench_lines(found))
    print_lines(*(f"baseline: {change}" for change in changes))
    if plot:
        print_lines(f"wrote {plot}")


def _peers(given: str | None) -> tuple[str, ...]:
    names = [name.strip() for name in given.split(",")] if given else []
    for name in names:
        if name not in PEER_NAMES and not name.endswith(".onnx"):
            raise click.BadParameter(
                f"expected a .onnx file or some of {', '.join(PEER_NAMES)}, got {name!r}; what "
                "those run is --against"
            )
    return tuple(dict.fromkeys(names))


def _old_spelling(arguments: list[str]) -> list[str]:
    """Take `--source` for `--against`, and `--against` with what runs a model for `--beside`."""
    words = list(arguments)
    for number, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name != "--against":
            continue
        value = value if equals else "".join(arguments[number + 1 : number + 2])
        others = [part.strip() for part in value.split(",")]
        if value and all(part in PEER_NAMES or part.endswith(".onnx") for part in others):
            advise(f"what is measured next to MODEL is called --beside {value} now")
            words[number] = f"--beside{equals}{value if equals else ''}"
    return renamed(words, {"--source": "--against"})
