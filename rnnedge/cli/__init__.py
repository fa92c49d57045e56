"""The command line. Each command is one module, and imports PyTorch only if it needs it."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from copy import copy
from io import TextIOWrapper
from typing import Any, NoReturn

import click

import rnnedge
from rnnedge.cli.app_command import app
from rnnedge.cli.bench_command import bench
from rnnedge.cli.compare_command import compare
from rnnedge.cli.completion_command import VARIABLE, completion
from rnnedge.cli.doctor_command import doctor
from rnnedge.cli.export_command import export
from rnnedge.cli.inspect_command import inspect
from rnnedge.cli.run_command import run
from rnnedge.cli.score_command import score
from rnnedge.cli.sign_of_life import sign_of_life
from rnnedge.cli.slim_command import slim
from rnnedge.cli.triton_command import triton
from rnnedge.cli.tune_command import tune
from rnnedge.cli.validate_command import validate
from rnnedge_runtime.errors import RnnEdgeError
from rnnedge_runtime.printable import printable_line

_START = """\b
From a module in net.py and its trained weights to a file, a proof and a device:
  rnnedge export net:Net --weights best.pt --input 'x=float32[batch,time,40]'
  rnnedge validate net.onnx --against net:Net --weights best.pt
  python -m rnnedge_runtime check net.onnx
"""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_START,
)
@click.version_option(rnnedge.__version__, prog_name="rnnedge")
def commands() -> None:
    """Take a PyTorch recurrent network to a device.

    \b
    SOURCE is one of
      a specification          layer.toml, layer.json
      a checkpoint             weights.safetensors, .npz, .pt, .pth, .ckpt, .bin
      a module, class, factory package.module:name
      an ONNX file             model.onnx, for export --quantize and what that wrote
      nothing                  --cell, --input-size, --hidden-size, ... build a layer

    Exit codes: 0 done, 1 an error, 2 wrong usage, 3 parity outside tolerance, or a sick model,
    4 some rows of a corpus failed.
    """  # noqa: D301  # \b is click's own mark


for command in (
    *(export, validate, inspect, run, bench, tune, doctor, score, compare, triton, app),
    *(slim, completion),
):
    commands.add_command(command)
_info = copy(inspect)  # as `python -m rnnedge_runtime info`
_info.short_help = "The same as inspect."
commands.add_command(_info, "info")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; an error is one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given and VARIABLE not in os.environ:
        context = click.Context(commands, info_name="rnnedge", **commands.context_settings)
        click.echo(commands.get_help(context), err=True)
        sys.exit(2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that a pipe cannot spell is no reason to die
            stream.reconfigure(errors="backslashreplace")
    # onnx-ir logs what is wrong with a damaged file; the error that follows says it too.
    logging.getLogger("onnx_ir").addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        said: set[str] = set()  # what is exported and then validated is read twice

        def show(message: Warning | str, *_where: Any, **_more: Any) -> None:
            line = printable_line(f"rnnedge: warning: {' '.join(str(message).split())}")
            if line not in said:
                said.add(line)
                click.echo(line, err=True)

        warnings.showwarning = show
        with sign_of_life():
            _run(given)


def _run(arguments: list[str]) -> NoReturn:
    try:
        code = commands.main(arguments, prog_name="rnnedge", standalone_mode=False)
    except RnnEdgeError as error:
        _stop(str(error), error.exit_code)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "rnnedge"
        _stop(f"{error.format_message()} (see {path} --help)", error.exit_code)
    except click.ClickException as error:
        _stop(error.format_message(), error.exit_code)
    except click.Abort:
        _stop("interrupted", 130)
    except MemoryError as error:
        _stop(f"not enough memory: {str(error) or 'the system gives no more'}", 1)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # such as a disk that is full by now
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        _stop(f"{name}{error.strerror or error}", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _stop(message: str, code: int) -> NoReturn:
    click.echo(printable_line(f"rnnedge: {' '.join(message.split())}"), err=True)
    sys.exit(code)
