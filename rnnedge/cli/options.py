"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from click.core import ParameterSource

from rnnedge.cli.command import FILE, option
from rnnedge_exporters.option_values import DTYPES, QUANTIZE
from rnnedge_runtime.engine.options import Device, EngineName

if TYPE_CHECKING:
    from rnnedge.sources.load import Source

F = TypeVar("F", bound=Callable[..., Any])

LAYER, CHOICE, INTERFACE, WEIGHTS, SIZES, OPENED, OUTPUT, PROOF = (
    "The layer to build, or what a checkpoint does not say",
    "Which weights of SOURCE",
    "Inputs and states",
    "Form and weights in the file",
    "Sizes that are measured",
    "How the model is opened",
    "What is written and printed",
    "The proof",
)
"""Headings of the help."""

_layer = partial(option, group=LAYER)
_LAYER = (
    _layer("--cell", type=click.Choice(["rnn", "lstm", "gru"]), shown="rnn", help="Kind of layer."),
    _layer("--input-size", type=int, help="Features of the input."),
    _layer("--hidden-size", type=int, help="Features of the hidden state."),
    _layer("--num-layers", type=int, shown="1", help="Layers stacked."),
    _layer("--nonlinearity", type=click.Choice(["tanh", "relu"]), shown="tanh", help="Of an rnn."),
    _layer("--bias/--no-bias", default=None, shown="bias", help="Whether the layers have biases."),
    _layer(
        "--batch-first/--time-first",
        default=None,
        shown="time-first",
        help="Order of the first two axes.",
    ),
    _layer("--dropout", type=float, shown="0", help="While training, between layers."),
    _layer(
        "--bidirectional/--unidirectional",
        default=None,
        shown="unidirectional",
        help="Directions.",
    ),
    _layer("--proj-size", type=int, shown="none", help="Features an lstm projects its state to."),
)
_LAYER_NAMES = (
    *("cell", "input_size", "hidden_size", "num_layers", "nonlinearity"),
    *("bias", "batch_first", "dropout", "bidirectional", "proj_size"),
)
_choice = partial(option, group=CHOICE)
_CHOICE = (
    _choice(
        "--key",
        metavar="NAME",
        help="Dictionary inside a training checkpoint, such as model_state.",
    ),
    _choice(
        "--prefix",
        metavar="NAME",
        help="What the names of the layer, with --weights of the module, begin with in a "
        "checkpoint.",
    ),
    _choice(
        "--layer-only",
        is_flag=True,
        default=None,
        help="Take the layer alone of a checkpoint that holds more.",
    ),
    _choice(
        "--arg",
        "arguments",
        multiple=True,
        metavar="NAME=VALUE",
        callback=lambda context, option, given: _arguments(given),
        help="Of a class package.module:Class, such as hidden_size=20; may be given again.",
    ),
    _choice("--weights", type=FILE, help="Checkpoint of the whole module that a class makes."),
    _choice(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        shown="0",
        help="Of the weights where none are given.",
    ),
)
_CHOICE_NAMES = ("key", "prefix", "layer_only", "arguments", "weights", "seed")
_INTERFACE = (
    option(
        "--input",
        "inputs",
        group=INTERFACE,
        multiple=True,
        metavar="NAME=DTYPE[AXES]",
        help="Of a module: name=dtype[axes], such as 'x=float32[batch,time,40]'; named axes are "
        "dynamic; may be given again.",
    ),
    option(
        "--lengths",
        group=INTERFACE,
        is_flag=True,
        help="Take the length of each row as an input.",
    ),
    option(
        "--states/--no-states",
        group=INTERFACE,
        default=None,
        shown="states; of a module, where streaming is exact",
        help="Take initial states as inputs.",
    ),
)

_WEIGHTS = (
    option(
        "--quantize",
        group=WEIGHTS,
        type=click.Choice(QUANTIZE),
        help="Write weights in int8, and compute in it where that is faster, or in all layers.",
    ),
    option(
        "--dtype",
        group=WEIGHTS,
        type=click.Choice(DTYPES),
        default="float32",
        help="What weights are written in.",
    ),
)


def calibrate_option(command: F) -> F:
    """Add `--calibrate`."""
    return option(
        "--calibrate",
        group=PROOF,
        type=FILE,
        help="Your own sequences: the error is measured on them, export --quantize rounds by them; "
        "a .npz of arrays by input name, with lengths for ragged rows; a folder of .npy or "
        ".npz files; or package.module:function.",
    )(command)


def weight_options(command: F) -> F:
    """Add the options that say what weights are written in."""
    for decorate in reversed(_WEIGHTS):
        command = decorate(command)
    return command


def interface_options(command: F) -> F:
    """Add the options that say what an exported file takes."""
    for decorate in reversed(_INTERFACE):
        command = decorate(command)
    return command


def layer_options(command: F) -> F:
    """Add the options that describe a layer, or choose one in a checkpoint."""
    for decorate in reversed(_LAYER + _CHOICE):
        command = decorate(command)
    return command


def json_option(command: F) -> F:
    """Add `--json`."""
    return option("--json", "as_json", group=OUTPUT, is_flag=True, help="Print one JSON object.")(
        command
    )


def force_option(command: F) -> F:
    """Add `--force`."""
    return option(
        "--force",
        group=OUTPUT,
        is_flag=True,
        help="Replace a file that holds something else than its name says.",
    )(command)


_opened = partial(option, group=OPENED)
_SESSION = (
    _opened(
        "--engine",
        type=click.Choice(get_args(EngineName)),
        default="auto",
        help="What runs the model; auto takes the native engine where it was no slower.",
    ),
    _opened("--threads", type=click.IntRange(min=1), help="Threads inside one operator."),
    _opened(
        "--spinning/--no-spinning",
        default=True,
        shown="spinning",
        help="Whether waiting threads look for work instead of sleeping.",
    ),
    _opened(
        "--arena/--no-arena",
        default=True,
        shown="arena",
        help="Whether memory is kept for the next call.",
    ),
    _opened(
        "--memory-pattern/--no-memory-pattern",
        default=False,
        shown="no-memory-pattern",
        help="Whether the memory of each shape is planned.",
    ),
    _opened("--tf32/--no-tf32", default=False, shown="no-tf32", help="Whether CUDA may use TF32."),
    _opened(
        "--session-option",
        "options",
        multiple=True,
        metavar="NAME=VALUE",
        callback=lambda context, option, given: _entries(given),
        help="An entry of ONNX Runtime's session configuration, such as "
        "session.disable_prepacking=1; may be given again.",
    ),
)
_SESSION_NAMES = ("engine", "spinning", "arena", "memory_pattern", "tf32", "options")


def session_options(command: F) -> F:
    """Add `--device` and what else says how a model is opened."""
    for decorate in reversed(_SESSION):
        command = decorate(command)
    return device_option(command)


def device_option(command: F) -> F:
    """Add `--device`."""
    return option(
        "--device",
        group=OPENED,
        type=click.Choice(get_args(Device)),
        default="cpu",
        help="Where the model runs.",
    )(command)


def session_options_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return what `Session` takes besides device and threads; takes it out of `given`."""
    return {name: given.pop(name) for name in _SESSION_NAMES}


def _entries(given: tuple[str, ...]) -> dict[str, str]:
    entries = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"expected NAME=VALUE, got {text!r}")
        entries[name] = value
    return entries


def _arguments(given: tuple[str, ...]) -> dict[str, Any] | None:
    if not given:
        return None
    from rnnedge_exporters.python_object import read_argument  # its package imports torch

    return {name: read_argument(text) for name, text in _entries(given).items()}


def refuse_others(source: str, *taken: str) -> None:
    """Refuse options that a SOURCE does not take that is an ONNX file.

    Args:
        source: The file.
        taken: Names of the parameters of the command that do.

    Raises:
        click.UsageError: For another one that was given.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and name not in taken:
            option = next((o for o in parameter.opts if o.startswith("--")), name)
            raise click.UsageError(f"{option}: requires a PyTorch source, got {source}")


_MODELS = ("model", "subject")
"""Parameters that name an .onnx file."""


def no_source(context: click.Context) -> click.UsageError:
    """Return the error for a command without a SOURCE: what to type instead."""
    command = context.command_path
    subject = next((str(context.params[n]) for n in _MODELS if context.params.get(n)), "")
    output = " ".join(f"-o {v}" for v in (context.params.get("output"),) if v)
    words = [command, subject, "--against weights.pt" if subject else "weights.pt", output]
    return click.UsageError(
        f"what PyTorch computes is missing: {' '.join(filter(None, words))}, where weights.pt is "
        "a SOURCE: a checkpoint, a specification, or package.module:name (or give the options of "
        "a layer, such as --cell gru --input-size 8 --hidden-size 16)",
        context,
    )


def check_source(source: str | None, given: dict[str, Any]) -> None:
    """Refuse a command line without a SOURCE, and without options that build a layer.

    Args:
        source: SOURCE as it was given.
        given: What click passed on.

    Raises:
        click.UsageError: When both are missing: what to type instead.
    """
    context = click.get_current_context(silent=True)
    if source is None and context is not None and not any(given[n] for n in _LAYER_NAMES):
        raise no_source(context)


def source_of(source: str | None, given: dict[str, Any], model: str | None = None) -> Source:
    """Load SOURCE with the options that were given; takes them out of `given`.

    Args:
        source: SOURCE as it was given.
        given: What click passed on.
        model: A file that shows which of several layers in a checkpoint is meant.
    """
    check_source(source, given)
    from rnnedge.sources.load import load_source

    options = {name: given.pop(name) for name in _LAYER_NAMES}
    options = {name: value for name, value in options.items() if value is not None}
    choice = {name: given.pop(name) for name in _CHOICE_NAMES}
    choice["layer_only"] = bool(choice["layer_only"])
    if model is not None:
        from rnnedge.parity.from_checkpoint import layer_in_file

        choice["choose"] = partial(layer_in_file, model)
    return load_source(source, options=options, **choice)
