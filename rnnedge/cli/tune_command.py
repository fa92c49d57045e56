"""`rnnedge tune SOURCE -o best.onnx`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from rnnedge.cli.bench_options import shape_options, shapes_of
from rnnedge.cli.command import FILE, Command, option, renamed
from rnnedge.cli.options import (
    CHOICE,
    OUTPUT,
    SIZES,
    WEIGHTS,
    force_option,
    interface_options,
    json_option,
    layer_options,
    source_of,
)
from rnnedge.cli.output import print_json, print_lines, progress_bar
from rnnedge_exporters.option_values import QUANTIZE

if TYPE_CHECKING:
    from rnnedge.measuring.shapes import Shape


@click.command(
    cls=Command,
    short_help="Write the fastest form of SOURCE on this machine.",
    examples=(
        "rnnedge tune weights.pt -o best.onnx",
        "rnnedge tune weights.pt -o best.onnx --shape 100x1 --shape 1x8 --threads 1",
        "rnnedge tune model.onnx --against weights.pt -o best.onnx",
    ),
    extra="the file to write is -o {extra}; the source of a MODEL is --against {extra}",
    update=lambda arguments: renamed(arguments, {"--source": "--against"}),
)
@click.argument("subject", metavar="[SOURCE|MODEL]", required=False, type=FILE)
@option("-o", "--output", group=OUTPUT, type=FILE, required=True, help="The .onnx file to write.")
@option(
    "--against",
    "source",
    group=CHOICE,
    type=FILE,
    metavar="SOURCE",
    help="The SOURCE of a MODEL, which determines how it is exported.",
)
@shape_options
@layer_options
@interface_options
@option(
    "--quantize",
    group=WEIGHTS,
    type=click.Choice(QUANTIZE),
    help="Write weights in int8, and measure the forms that compute in it too, or those alone.",
)
@option(
    "--opset", group=WEIGHTS, type=int, shown="the lowest that works", help="ONNX operator set."
)
@option(
    "--threads",
    group=SIZES,
    type=click.IntRange(min=1),
    multiple=True,
    shown="1, 2, ... up to the cores",
    help="Threads inside one operator; may be given again.",
)
@option(
    "--seconds",
    group=SIZES,
    type=click.FloatRange(min=0, min_open=True),
    default=0.2,
    help="Of each form and number of threads, for each shape.",
)
@force_option
@json_option
def tune(
    subject: str | None,
    output: str,
    source: str | None,
    times: tuple[int, ...],
    batches: tuple[int, ...],
    pairs: tuple[Shape, ...],
    inputs: tuple[str, ...],
    *,
    lengths: bool,
    states: bool | None,
    quantize: str | None,
    opset: int | None,
    threads: tuple[int, ...],
    seconds: float,
    force: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Write the form of SOURCE that is the fastest on this machine, for shapes that you name.

    Every ONNX form that its layers have is measured with several numbers of threads, in turns. Name
    a MODEL and its source, with --against, to keep the options that it was exported with.
    """
    shapes = shapes_of(times, batches, pairs)
    model = subject if subject and subject.endswith(".onnx") else None
    if model is None and source is not None:
        raise click.UsageError("--against requires a MODEL.onnx; without one, SOURCE comes first")
    told = (inputs, lengths, states is not None, quantize, opset is not None)
    if model and any(told):
        raise click.UsageError(f"{model} determines how it is exported: leave those options out")
    from rnnedge_runtime.write_target import ONNX, check_target

    check_target(output, ONNX, protected=[subject, source], force=force)
    from rnnedge.measuring.tuning import tune as tune_source
    from rnnedge.measuring.tuning_table import tuning_lines, tuning_table

    loaded = source_of(source if model else subject, given, model)
    options: dict[str, Any] = {
        "lengths": lengths,
        "states": states,
        "quantize": quantize,
        "opset": opset,
    }
    if inputs:
        from rnnedge.sources.input_specs import parse_inputs

        examples = parse_inputs(inputs)
        options |= {"example_inputs": examples.tensors, "dynamic_axes": examples.dynamic_axes}
    if model:
        from rnnedge.measuring.model_options import options_of
        from rnnedge.measuring.torch_outputs import open_beside

        opened, reference = open_beside(model, loaded)
        loaded = replace(loaded, module=reference.module)
        options = options_of(model, opened.contract, reference.module)
        options["digest"] = opened.contract.weights_digest if opened.contract else None
    with progress_bar("measuring") as progress:
        found = tune_source(
            loaded,
            output,
            shapes,
            threads=threads,
            seconds=seconds,
            force=force,
            progress=progress,
            **options,
        )
    if as_json:
        print_json({**found.to_dict(), "notes": loaded.notes})
        return
    notes = (f"note: {note}" for note in loaded.notes)
    print_lines(tuning_table(found), *notes, *tuning_lines(found))
