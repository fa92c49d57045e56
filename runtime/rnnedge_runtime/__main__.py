"""`python -m rnnedge_runtime info|check|bench|score model.onnx`, for a device without PyTorch."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

import rnnedge_runtime
from rnnedge_runtime.engine.trial_opening import check_that_it_opens
from rnnedge_runtime.errors import InputError, RnnEdgeError
from rnnedge_runtime.latency import measure, random_inputs
from rnnedge_runtime.machine import cpu_name, describe
from rnnedge_runtime.printable import printable_line
from rnnedge_runtime.proof.golden import read_golden
from rnnedge_runtime.proof.golden_check import check_golden
from rnnedge_runtime.proof.self_check import CheckResult, check
from rnnedge_runtime.scoring.command import add_arguments, from_arguments, summary, to_json
from rnnedge_runtime.session import Session


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Returns:
        0 done, 1 an error, 3 a check that failed, 4 rows of a corpus that have errors.
    """
    options = _parser().parse_args(arguments)
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
            spinning=not options.no_spinning,
            arena=not options.no_arena,
            memory_pattern=options.memory_pattern,
            tf32=options.tf32,
            options=dict(options.session_option),
        )
        answer, lines = _COMMANDS[options.command](session, options)
    except RnnEdgeError as error:
        print(f"rnnedge_runtime: {error}", file=sys.stderr)
        return error.exit_code
    answer["machine"] = _machine(session)
    print(json.dumps(answer) if options.json else "\n".join(map(printable_line, lines)))
    return 3 if answer.get("passed") is False else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rnnedge_runtime", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {
        "info": "inputs, outputs, states and contract of the model",
        "check": "check the model on this device, without PyTorch; with golden vectors too",
        "bench": "latency over batch and length",
    }
    for name, text in helps.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("model", help="an .onnx file")
        if name == "check":
            command.add_argument(
                "vectors", nargs="?", help="a folder with test_data_set_0 and golden.json"
            )
        command.add_argument("--device", default="cpu", choices=("cpu", "cuda", "auto"))
        command.add_argument(
            "--engine",
            default="auto",
            choices=("auto", "native", "onnxruntime"),
            help="what runs the model; auto takes the native engine where it was no slower",
        )
        command.add_argument("--threads", type=_count, help="threads inside one operator")
        command.add_argument("--no-spinning", action="store_true", help="waiting threads sleep")
        command.add_argument("--no-arena", action="store_true", help="free memory after each call")
        command.add_argument("--memory-pattern", action="store_true", help="plan memory by shape")
        command.add_argument("--tf32", action="store_true", help="CUDA may multiply in TF32")
        command.add_argument(
            "--session-option",
            type=_entry,
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="an entry of ONNX Runtime's session configuration; may be repeated",
        )
        command.add_argument("--json", action="store_true", help="print one JSON object")
        if name == "bench":
            command.add_argument("--time", type=_count, nargs="+", default=[1, 10, 100])
            command.add_argument("--batch", type=_count, nargs="+", default=[1, 8])
            command.add_argument("--seconds", type=float, default=0.5, help="for each shape")
    text = "score every sequence of some files; needs pyarrow"
    command = commands.add_parser("score", help=text, description=text)
    command.add_argument("model", help="an .onnx file")
    add_arguments(command)
    return parser


def _score(options: argparse.Namespace) -> int:
    result, code = from_arguments(options)
    print(to_json(result) if options.json else "\n".join(map(printable_line, summary(result))))
    return code


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
    lines += [f"stream   not possible: {why}" for why in info.hindrances]
    if info.delay is not None:
        size = "depends on the call" if info.state_bytes is None else f"{info.state_bytes:,}"
        lines.append(f"stream   bytes of state for a row: {size}")
        lines.append(f"stream   delay {info.delay} step(s)" + _UNKNOWN * (contract is None))
    lines += [f"nodes    {count} on {name}" for name, count in info.nodes_by_provider.items()]
    lines += [f"on CPU   {node.operator} {node.name}" for node in info.fell_back]
    lines += [f"note     {remark}" for remark in info.remarks]
    if session.contract is None:
        lines.append("contract none: rnnedge did not export this model")
    else:
        for layer in session.contract.layers:
            words = [layer.name] if layer.name else []
            words += [layer.cell, f"{layer.input_size}->{layer.hidden_size}"]
            words += [f"{layer.num_layers} layer(s)"] + ["bidirectional"] * layer.bidirectional
            lines.append(f"layer    {' '.join(words)}, lowering {layer.lowering}")
        lines.append(f"weights  {session.contract.dtype}, {session.contract.weights_digest}")
        lines.append(f"opset    {session.contract.opset}")
        lines += [f"made by  {name} {v}" for name, v in session.contract.versions.items()]
    return {"interface": asdict(interface), "contract": contract, "session": info.to_dict()}, lines


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
    for batch in options.batch:
        for time in options.time:
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


_UNKNOWN = ", if it does not read ahead: there is no contract that says so"
_COMMANDS = {"info": _info, "check": _check, "bench": _bench}

if __name__ == "__main__":
    sys.exit(main())
