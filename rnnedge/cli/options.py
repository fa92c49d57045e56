"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from click.core import ParameterSource

from rnnedge_exporters.option_values import DTYPES, QUANTIZE
from rnnedge_runtime.engine.options import Device

if TYPE_CHECKING:
    from rnnedge.sources.load import Source

F = TypeVar("F", bound=Callable[..., Any])

_LAYER = (
    click.option("--cell", type=click.Choice(["rnn", "lstm", "gru"]), help="Kind of layer [rnn]."),
    click.option("--input-size", type=int, help="Features of the input."),
    click.option("--hidden-size", type=int, help="Features of the hidden state."),
    click.option("--num-layers", type=int, help="Layers stacked [1]."),
    click.option("--nonlinearity", type=click.Choice(["tanh", "relu"]), help="Of an rnn [tanh]."),
    click.option("--bias/--no-bias", default=None, help="Whether the layers have biases [yes]."),
    click.option(
        "--batch-first/--time-first", default=None, help="Order of the axes [time first]."
    ),
    click.option("--dropout", type=float, help="While training, between layers [0]."),
    click.option("--bidirectional/--unidirectional", default=None, help="Directions [one]."),
    click.option("--proj-size", type=int, help="Features an lstm projects its state to [none]."),
)
_LAYER_NAMES = (
    *("cell", "input_size", "hidden_size", "num_layers", "nonlinearity"),
    *("bias", "batch_first", "dropout", "bidirectional", "proj_size"),
)
_CHOICE = (
    click.option("--key", help="Dictionary inside a training checkpoint, such as model_state."),
    click.option("--prefix", help="What the layer's names begin with in a checkpoint."),
    click.option(
        "--layer-only",
        is_flag=True,
        default=None,
        help="Take the layer alone of a checkpoint that holds more.",
    ),
    click.option(
        "--arg",
        "arguments",
        multiple=True,
        callback=lambda context, option, given: _arguments(given),
        help="Of a class package.module:Class: NAME=VALUE, such as hidden_size=20; may be given "
        "again.",
    ),
    click.option("--weights", help="Checkpoint of the whole module that a class makes."),
    click.option(
        "--seed", type=click.IntRange(0, 2**63 - 1), help="Of the weights where none are given [0]."
    ),
)
_CHOICE_NAMES = ("key", "prefix", "layer_only", "arguments", "weights", "seed")
_INTERFACE = (
    click.option(
        "--input",
        "inputs",
        multiple=True,
        help="Of a module: name=dtype[axes], such as x=float32[batch,time,40]; named axes are "
        "dynamic.",
    ),
    click.option("--lengths", is_flag=True, help="Take the length of each row as an input."),
    click.option(
        "--states/--no-states",
        default=None,
        help="Take initial states as inputs [yes; of a module, where streaming is exact].",
    ),
)

_WEIGHTS = (
    click.option(
        "--quantize",
        type=click.Choice(QUANTIZE),
        help="Write weights in int8, and compute in it where that is faster, or in all layers.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="float32",
        show_default=True,
        help="What weights are written in.",
    ),
)


def calibrate_option(command: F) -> F:
    """Add `--calibrate`."""
    return click.option(
        "--calibrate",
        help="Your own sequences, to measure the error on, and with export --quantize to round by: "
        "a .npz of arrays by input name, with lengths for ragged rows; a folder of .npy or "
        ".npz files; or package.module:function.",
    )(command)


def weight_options(command: F) -> F:
    """Add the options that say what weights are written in."""
    for option in reversed(_WEIGHTS):
        command = option(command)
    return command


def interface_options(command: F) -> F:
    """Add the options that say what an exported file takes."""
    for option in reversed(_INTERFACE):
        command = option(command)
    return command


def layer_options(command: F) -> F:
    """Add the options that describe a layer, or choose one in a checkpoint."""
    for option in reversed(_LAYER + _CHOICE):
        command = option(command)
    return command


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def force_option(command: F) -> F:
    """Add `--force`."""
    return click.option(
        "--force",
        is_flag=True,
        help="Replace a file that holds something else than its name says.",
    )(command)


_SESSION = (
    click.option("--threads", type=click.IntRange(min=1), help="Threads inside one operator."),
    click.option(
        "--spinning/--no-spinning",
        default=True,
        help="Whether waiting threads look for work instead of sleeping [yes].",
    ),
    click.option(
        "--arena/--no-arena",
        default=True,
        help="Whether memory is kept for the next call [yes].",
    ),
    click.option(
        "--memory-pattern/--no-memory-pattern",
        default=False,
        help="Whether the memory of each shape is planned [no].",
    ),
    click.option("--tf32/--no-tf32", default=False, help="Whether CUDA may use TF32 [no]."),
    click.option(
        "--session-option",
        "options",
        multiple=True,
        callback=lambda context, option, given: _entries(given),
        help="An entry of ONNX Runtime's session configuration as NAME=VALUE, such as "
        "session.disable_prepacking=1; may be given again.",
    ),
)
_SESSION_NAMES = ("spinning", "arena", "memory_pattern", "tf32", "options")


def session_options(command: F) -> F:
    """Add `--device` and what else says how a model is opened."""
    for option in reversed(_SESSION):
        command = option(command)
    return device_option(command)


def device_option(command: F) -> F:
    """Add `--device`."""
    return click.option(
        "--device",
        type=click.Choice(get_args(Device)),
        default="cpu",
        show_default=True,
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


def source_of(source: str | None, given: dict[str, Any], model: str | None = None) -> Source:
    """Load SOURCE with the options that were given; takes them out of `given`.

    Args:
        source: SOURCE as it was given.
        given: What click passed on.
        model: A file that shows which of several layers in a checkpoint is meant.
    """
    from rnnedge.sources.load import load_source

    options = {name: given.pop(name) for name in _LAYER_NAMES}
    options = {name: value for name, value in options.items() if value is not None}
    choice = {name: given.pop(name) for name in _CHOICE_NAMES}
    choice["layer_only"] = bool(choice["layer_only"])
    if model is not None:
        from rnnedge.parity.from_checkpoint import layer_in_file

        choice["choose"] = partial(layer_in_file, model)
    return load_source(source, options=options, **choice)
