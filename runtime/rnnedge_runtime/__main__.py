"""`python -m rnnedge_runtime COMMAND model.onnx`, for a device without PyTorch."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import TextIOWrapper
from typing import Any

import numpy as np

import rnnedge_runtime
from rnnedge_runtime.benchmark import FrameLatency, bench_frames, bench_sequences
from rnnedge_runtime.engine.trial_opening import check_that_it_opens
from rnnedge_runtime.errors import InputError, RnnEdgeError, one_line
from rnnedge_runtime.info_lines import contract_lines, run_lines
from rnnedge_runtime.machine import cpu_name, describe
from rnnedge_runtime.one_line_parser import Parser
from rnnedge_runtime.printable import printable_line
from rnnedge_runtime.proof.golden import read_golden
from rnnedge_runtime.proof.golden_check import check_golden
from rnnedge_runtime.proof.self_check import CheckResult, check
from rnnedge_runtime.run_files import (
    check_output,
    files_read,
    output_lines,
    outputs_as_dict,
    run_files,
    write_outputs,
)
from rnnedge_runtime.scoring.command import add_arguments, from_arguments, summary, to_json
from rnnedge_runtime.session import Session
from rnnedge_runtime.user_metadata import metadata_lines

_HELPS = {
    "info": ("inputs, outputs, states and contract of the model", ["info model.onnx"], ""),
    "check": (
        "check the model on this device, without PyTorch; with golden vectors too",
        ["check model.onnx", "check model.onnx vectors"],
        "MODEL and the folder of golden vectors are one each",
    ),
    "run": (
        "run the model once on arrays in files",
        [
            "run model.onnx --input x.npy -o out.npz",
            "run model.onnx --input x.npy --state out.npz -o next.npz",
        ],
        "what the model is fed with is --input {extra}",
    ),
    "bench": (
        "latency over batch and length",
        ["bench model.onnx", "bench model.onnx --stream --rate 100 --threads 1"],
        "one model is measured",
    ),
}
"""What each command does, examples, and the advice for an argument too many."""
_PROGRAM = "python -m rnnedge_runtime"
_SWITCHES = (
    ("spinning", True, "waiting threads look for work instead of sleeping"),
    ("arena", True, "memory is kept for the next call"),
    ("memory-pattern", False, "the memory of each shape is planned"),
    ("tf32", False, "CUDA may multiply in TF32"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Returns:
        0 done, 1 an error, 3 a check that failed, 4 rows of a corpus that have errors.
    """
    options = parser().read(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that a pipe cannot spell is no reason to die
            stream.reconfigure(errors="backslashreplace")
    try:
        if options.command == "score":
            return _score(options)
        _check_order(options)
        if options.command == "info":
            check_that_it_opens(options.model, device=options.device, engine=options.engine)
        session = Session(
            options.model,
            device=options.device,
            engine=options.engine,
            threads=options.threads,
            spinning=options.spinning,
            arena=options.arena,
            memory_pattern=options.memory_pattern,
            tf32=options.tf32,
            options=dict(options.session_option),
        )
        answer, lines = _COMMANDS[options.command](session, options)
    except RnnEdgeError as error:
        print(f"rnnedge_runtime: {error}", file=sys.stderr)
        return error.exit_code
    except (MemoryError, OSError) as error:  # such as a disk that is full by now
        print(f"rnnedge_runtime: {printable_line(one_line(error))}", file=sys.stderr)
        return 1
    answer["machine"] = _machine(session)
    print(json.dumps(answer) if options.json else "\n".join(map(printable_line, lines)))
    return 3 if answer.get("passed") is False else 0


def parser() -> Parser:
    """Return the parser of the command line."""
    top = Parser(
        prog=_PROGRAM,
        description=__doc__,
        examples=[f"{_PROGRAM} {_HELPS[name][1][0]}" for name in ("info", "check", "run", "bench")],
    )
    top.add_argument("--version", action="version", version=rnnedge_runtime.__version__)
    group = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (text, examples, extra) in _HELPS.items():
        command = top.add_command(
            name,
            *(["inspect"] if name == "info" else []),  # as the toolkit calls it
            group=group,
            help=text,
            description=text,
            examples=[f"{_PROGRAM} {line}" for line in examples],
            extra=extra,
        )
        command.add_argument("model", help="an .onnx file")
        if name == "check":
            command.add_argument(
                "vectors", nargs="?", help="a folder with test_data_set_0 and golden.json"
            )
        if name == "run":
            _add_files(command.add_argument_group("inputs, states and outputs"))
        if name == "bench":
            _add_sizes(command.add_argument_group("sizes that are measured"))
        _add_opening(command.add_argument_group("how the model is opened"))
        printed = command.add_argument_group("what is printed")
        printed.add_argument("--json", action="store_true", help="print one JSON object")
    text = "score every sequence of some files; needs pyarrow"
    command = top.add_command(
        "score",
        group=group,
        help=text,
        description=text,
        examples=[
            f"{_PROGRAM} score model.onnx rows.npz -o scores",
            f"{_PROGRAM} score model.onnx corpus -o scores --column input=frames",
        ],
        extra="MODEL and DATA are one each; a folder is read whole",
    )
    command.add_argument("model", help="an .onnx file")
    add_arguments(command)
    return top


def _check_order(options: argparse.Namespace) -> None:
    """Refuse a model and golden vectors that are exchanged."""
    vectors = getattr(options, "vectors", None) or ""
    if vectors.endswith(".onnx") and os.path.isdir(options.model):
        raise InputError(
            "MODEL and the folder of golden vectors are exchanged: "
            f"{_PROGRAM} check {vectors} {options.model}"
        )


def _score(options: argparse.Namespace) -> int:
    try:
        result, code = from_arguments(options)
    except KeyboardInterrupt:  # what is written stays, and the same command goes on
        print("rnnedge_runtime: interrupted", file=sys.stderr)
        return 130
    print(to_json(result) if options.json else "\n".join(map(printable_line, summary(result))))
    return code


def _add_files(group: argparse._ArgumentGroup) -> None:
    """Add the options of `run`, spelled as the toolkit spells them."""
    group.add_argument(
        "--input",
        action="append",
        required=True,
        metavar="PATH",
        help="an .npy file, an .npz of arrays by input name, or name=file.npy; may be given again",
    )
    group.add_argument("--lengths", metavar="PATH", help="an .npy file with the length of each row")
    group.add_argument(
        "--state",
        metavar="PATH",
        help="an .npz with the initial state, as -o writes it [default: zeros]",
    )
    group.add_argument(
        "-o", "--output", metavar="PATH", help="the .npz file to write, with every output by name"
    )
    group.add_argument(
        "--force",
        action="store_true",
        help="replace a file that holds something else than its name says",
    )


def _add_sizes(group: argparse._ArgumentGroup) -> None:
    for name, default, text in (
        ("--time", "1, 10, 100", "steps of a sequence"),
        ("--batch", "1, 8", "sequences side by side"),
    ):
        group.add_argument(
            name,
            type=_count,
            nargs="+",
            action="extend",
            metavar="N",
            help=f"{text}; may be given again [default: {default}]",
        )
    group.add_argument(
        "--stream", action="store_true", help="measure steps of one frame through a stream"
    )
    group.add_argument(
        "--rate",
        type=_positive,
        metavar="HZ",
        help="with --stream, frames a second: the share that would be late is shown",
    )
    group.add_argument(
        "--seconds", type=_positive, default=0.5, metavar="S", help="for each shape [default: 0.5]"
    )


def _add_opening(group: argparse._ArgumentGroup) -> None:
    """Add the options of `Session`, spelled as the toolkit spells them."""
    group.add_argument(
        "--device",
        default="cpu",
        choices=("cpu", "cuda", "auto"),
        help="where the model runs [default: cpu]",
    )
    group.add_argument(
        "--engine",
        default="auto",
        choices=("auto", "native", "onnxruntime"),
        help="what runs the model; auto takes the native engine where it was no slower "
        "[default: auto]",
    )
    group.add_argument("--threads", type=_count, metavar="N", help="threads inside one operator")
    for name, default, text in _SWITCHES:
        shown = name if default else f"no-{name}"
        group.add_argument(
            f"--{name}",
            action=argparse.BooleanOptionalAction,
            default=default,
            help=f"{text} [default: {shown}]",
        )
    group.add_argument(
        "--session-option",
        type=_entry,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an entry of ONNX Runtime's session configuration; may be given again",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of 1 or more, got {text!r}")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _entry(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _machine(session: Session) -> dict[str, str | int | None]:
    version = None
    if session.engine.name == "onnxruntime":
        from rnnedge_runtime.engine.library import onnxruntime

        version = onnxruntime.__version__
    return {
        **describe(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "byte_order": sys.byteorder,
        "numpy": np.__version__,
        "engine": session.engine.name,
        "onnxruntime": version,
        "rnnedge_runtime": rnnedge_runtime.__version__,
        "device": session.device,
    }


def _engine(session: Session, machine: Mapping[str, object]) -> str:
    """Return the engine with its version, or the instructions that it uses."""
    if session.engine.name == "onnxruntime":
        return f"onnxruntime {machine['onnxruntime']}"
    return ", ".join(session.engine.providers)


def _info(session: Session, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    interface, info = session.interface, session.info
    contract = asdict(session.contract) if session.contract else None
    lines = [f"model    {options.model}"]
    lines.append(f"device   {', '.join((session.device, *info.options.changed))}")
    lines.append(f"engine   {session.engine.name}: {session.engine.reason}")
    lines += [f"input    {spec}" for spec in interface.inputs]
    lines += [f"output   {spec}" for spec in interface.outputs]
    lines += [f"state    {pair.output} -> {pair.input}" for pair in interface.states]
    lines += run_lines(info, session.contract)
    for layer in session.contract.layers if session.contract else ():
        words = [layer.name] if layer.name else []
        words += [layer.cell, f"{layer.input_size}->{layer.hidden_size}"]
        words += [f"{layer.num_layers} layer(s)"] + ["bidirectional"] * layer.bidirectional
        lines.append(f"layer    {' '.join(words)}, lowering {layer.lowering}")
    lines += contract_lines(session.contract)
    lines += metadata_lines(session.metadata)
    return {"interface": asdict(interface), "contract": contract, "session": info.to_dict()} | {
        "metadata": dict(session.metadata)
    }, lines


def _check(session: Session, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    golden = None if options.vectors is None else read_golden(options.vectors)
    try:
        findings = check(session)
    except InputError as error:
        if golden is None:
            raise
        findings = [CheckResult("checks of every recurrent network", None, str(error))]
    if golden is not None:
        findings += check_golden(session, golden, model=options.model)
    passed = all(finding.passed is not False for finding in findings)
    marks = {True: "pass", False: "FAIL", None: "  - "}
    lines = [f"{marks[f.passed]}  {f.name}: {f.detail}" for f in findings]
    machine = _machine(session)
    lines.append(
        f"{'PASS' if passed else 'FAIL'}: {options.model} on {machine['platform']}, "
        f"{machine['cpu']}, {machine['cores']} core(s), {machine['byte_order']}-endian, "
        f"{_engine(session, machine)}, {machine['device']}"
    )
    return {"passed": passed, "findings": [asdict(finding) for finding in findings]}, lines


def _run(session: Session, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    files = options.model, options.input, options.lengths, options.state
    read = files_read(*files)
    check_output(options.output, read, force=options.force)
    result = run_files(session, options.input, lengths=options.lengths, state=options.state)
    if options.output:
        write_outputs(options.output, result, session, read=read, force=options.force)
    answer = outputs_as_dict(result, session, options.output)
    return answer, output_lines(result, options.output)


def _bench(session: Session, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    rows: list[dict[str, object]] = []
    frames: list[FrameLatency] = []
    seconds = options.seconds
    if options.stream:
        frames, lines = bench_frames(
            session, options.batch or [1], seconds=seconds, rate=options.rate
        )
    else:
        times, batches = options.time or [1, 10, 100], options.batch or [1, 8]
        rows, lines = bench_sequences(session, times, batches, seconds=seconds)
    if session.info.options.changed:
        lines.append(f"opened with {', '.join(session.info.options.changed)}")
    lines += [f"note: {remark}" for remark in session.info.remarks]
    return {
        "latency_ms": rows,
        "streams": [asdict(frame) for frame in frames],
        "options": asdict(session.info.options),
    }, lines


_COMMANDS = {"info": _info, "check": _check, "run": _run, "bench": _bench}

if __name__ == "__main__":
    sys.exit(main())
