"""`python -m rnnedge_runtime info|check|bench|score model.onnx`, for a device without PyTorch."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from io import TextIOWrapper
from typing import Any

import numpy as np

import rnnedge_runtime
from rnnedge_runtime.engine.trial_opening import check_that_it_opens
from rnnedge_runtime.errors import InputError, RnnEdgeError, one_line
from rnnedge_runtime.info_lines import contract_lines, run_lines
from rnnedge_runtime.latency import measure, random_inputs
from rnnedge_runtime.machine import cpu_name, describe
from rnnedge_runtime.printable import printable_line
from rnnedge_runtime.proof.golden import read_golden
from rnnedge_runtime.proof.golden_check import check_golden
from rnnedge_runtime.proof.self_check import CheckResult, check
from rnnedge_runtime.scoring.command import add_arguments, from_arguments, summary, to_json
from rnnedge_runtime.session import Session
from rnnedge_runtime.user_metadata import metadata_lines

_HELPS = {
    "info": (
        "inputs, outputs, states and contract of the model",
        ["python -m rnnedge_runtime info model.onnx"],
    ),
    "check": (
        "check the model on this device, without PyTorch; with golden vectors too",
        [
            "python -m rnnedge_runtime check model.onnx",
            "python -m rnnedge_runtime check model.onnx vectors",
        ],
    ),
    "bench": (
        "latency over batch and length",
        [
            "python -m rnnedge_runtime bench model.onnx",
            "python -m rnnedge_runtime bench model.onnx --time 100 --batch 1 --threads 1",
        ],
    ),
}
"""What each command does, and examples."""
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
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that a pipe cannot spell is no reason to die
            stream.reconfigure(errors="backslashreplace")
    try:
        if options.command == "score":
            return _score(options)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rnnedge_runtime", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (text, examples) in _HELPS.items():
        command = commands.add_parser(
            name,
            aliases=["inspect"] if name == "info" else [],  # as the toolkit calls it
            help=text,
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog="\n".join(["examples:", *(f"  {line}" for line in examples)]),
        )
        command.set_defaults(command=name)
        command.add_argument("model", help="an .onnx file")
        if name == "check":
            command.add_argument(
                "vectors", nargs="?", help="a folder with test_data_set_0 and golden.json"
            )
        if name == "bench":
            _add_sizes(command.add_argument_group("sizes that are measured"))
        _add_opening(command.add_argument_group("how the model is opened"))
        printed = command.add_argument_group("what is printed")
        printed.add_argument("--json", action="store_true", help="print one JSON object")
    text = "score every sequence of some files; needs pyarrow"
    command = commands.add_parser("score", help=text, description=text)
    command.add_argument("model", help="an .onnx file")
    add_arguments(command)
    return parser


def _score(options: argparse.Namespace) -> int:
    try:
        result, code = from_arguments(options)
    except KeyboardInterrupt:  # what is written stays, and the same command goes on
        print("rnnedge_runtime: interrupted", file=sys.stderr)
        return 130
    print(to_json(result) if options.json else "\n".join(map(printable_line, summary(result))))
    return code


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
        "--seconds", type=float, default=0.5, metavar="S", help="for each shape [default: 0.5]"
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


def _bench(session: Session, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    rows, lines = [], ["  time  batch    p50 ms    p90 ms    p99 ms   us/step"]
    for batch in options.batch or (1, 8):
        for time in options.time or (1, 10, 100):
            inputs = random_inputs(session, time, batch)
            latency = measure(partial(session.run, inputs), seconds=options.seconds)
            rows.append({"time": time, "batch": batch, **asdict(latency)})
            lines.append(
                f"{time:6} {batch:6} {latency.p50:9.3f} {latency.p90:9.3f} {latency.p99:9.3f} "
                f"{latency.p50 * 1e3 / time:9.1f}"
            )
    if session.info.options.changed:
        lines.append(f"opened with {', '.join(session.info.options.changed)}")
    lines += [f"note: {remark}" for remark in session.info.remarks]
    return {"latency_ms": rows, "options": asdict(session.info.options)}, lines


_COMMANDS = {"info": _info, "check": _check, "bench": _bench}

if __name__ == "__main__":
    sys.exit(main())
