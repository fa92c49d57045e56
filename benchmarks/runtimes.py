"""What runtimes make of every form that is exported: `python -m benchmarks.runtimes`.

Each form of a recurrent layer (cell, lowering, precision, both directions, lengths) is exported,
validated against PyTorch in ONNX Runtime, and then run in every runtime that is installed, at two
sizes, with ragged lengths where it has them; answers are compared with ONNX Runtime's. The result
is `rnnedge/doctor/runtimes.json`, which `rnnedge doctor --for` reads, and the tables of
`docs/runtimes.md`. Where npm's packages are installed in `javascript/`, they run in Node.

`--only lstm` runs some forms and prints what differs from the table; nothing is written.
`--runtime ncnn` runs every form in one runtime and writes its column into the table that is there.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import rnnedge
from benchmarks.runtimes_page import write_page
from rnnedge.doctor.running.elsewhere import (
    LARGEST_DIFFERENCE,
    Elsewhere,
    RunCase,
    compare_runs,
)
from rnnedge.doctor.runtime_table import TABLE, Form, Result, RuntimeTable, Status, load_table
from rnnedge_exporters.c_source.target import write_program
from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_exporters.sandbox.onnx_runtime import Sandbox
from rnnedge_exporters.sandbox.other_runtimes import RUNNABLE, OtherRuntime
from rnnedge_runtime.axis_sizes import size_of

ROOT = Path(__file__).resolve().parent.parent
JAVASCRIPT = ROOT / "javascript"
CPU, C_TARGET = "onnxruntime", "rnnedge-c"
INPUT_SIZE, HIDDEN_SIZE, STEPS, BATCH = 5, 12, 6, 2
SIZES = ((STEPS, BATCH), (1, 1))
INT8_DIFFERENCE = 2e-2
"""Two engines may round an activation to neighbouring values: a step of int8."""
CELLS: dict[str, dict[str, Any]] = {
    "rnn": {"cell": "rnn"},
    "rnn relu": {"cell": "rnn", "nonlinearity": "relu"},
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "lstm projected": {"cell": "lstm", "proj_size": 4},
}
TIME_LIMIT = 60.0


def all_forms() -> Iterator[Form]:
    """Yield the rows of the table."""
    for cell in CELLS:
        lowerings = ["scan"] if cell == "lstm projected" else ["operator", "scan"]
        lowerings += ["switch"] if cell.startswith("rnn") else []
        for lowering in lowerings:
            for bidirectional in (False, True):
                for lengths in (False, True):
                    yield Form(cell, lowering, "float32", bidirectional, lengths)
            yield Form(cell, lowering, "float16")
            yield Form(cell, lowering, "int8 stored")
        for lowering in ["operator_int8"] * (cell == "lstm") + ["scan_int8", "scan_nbits"]:
            yield Form(cell, lowering, "int8 computed")


def export_form(form: Form, path: Path) -> nn.Module:
    """Write the file of a row.

    Args:
        form: The row.
        path: The `.onnx` file.

    Returns:
        The layer that was exported.
    """
    spec = rnnedge.RNNSpec(
        input_size=INPUT_SIZE,
        hidden_size=HIDDEN_SIZE,
        bidirectional=form.bidirectional,
        **CELLS[form.cell],
    )
    model = rnnedge.build(spec, seed=0)
    options: dict[str, Any] = {}
    if form.precision == "float16":
        options["dtype"] = "float16"
    elif form.precision != "float32":
        options["quantize"] = "int8"
    rnnedge.export(
        model, path, lengths=form.lengths, lowering=form.lowering, validate=False, **options
    )
    return model


def run_form(form: Form, folder: Path, sandbox: Sandbox) -> dict[str, Result]:
    """Run the file of a row in every runtime.

    Args:
        form: The row.
        folder: Where files may be written.
        sandbox: Where ONNX Runtime runs.

    Returns:
        What each made of it, by its name.
    """
    path = folder / "model.onnx"
    model = export_form(form, path)
    report = rnnedge.validate(path, against=model, quick=True, isolated=False)
    assert report, f"{form}: {report.verdict}"
    largest = max(result.error for result in report.results)
    results = {CPU: Result("right", largest, "", form)}
    cases = list(_cases(path, sandbox))
    for name, installed in RUNNABLE.items():
        version = installed.version()
        if version is not None:
            results[name] = run_in(name, version, form, path, cases)
    if shutil.which("cc") and shutil.which("make"):
        results[C_TARGET] = _run_in_c(form, path, folder)
    return results


def add_column(table: RuntimeTable, name: str) -> RuntimeTable:
    """Run every form in one runtime.

    Args:
        table: What the other runtimes made of the forms.
        name: The runtime, which is installed.

    Returns:
        The table with the column of that runtime made anew.
    """
    version = RUNNABLE[name].version()
    if version is None:
        raise SystemExit(f"{name} is not installed: {RUNNABLE[name].install}")
    results = {}
    with tempfile.TemporaryDirectory() as folder, Sandbox(TIME_LIMIT) as sandbox:
        path = Path(folder, "model.onnx")
        for form in all_forms():
            export_form(form, path)
            found = run_in(name, version, form, path, list(_cases(path, sandbox)))
            print(f"{form}: {found.status} {found.error:.0e} {found.said}", flush=True)
            results[form] = {**table.results.get(form, {}), name: found}
    return RuntimeTable(table.date, {**table.versions, name: version}, results)


def run_in(name: str, version: str, form: Form, path: Path, cases: Sequence[RunCase]) -> Result:
    """Run the file of a row in one runtime.

    Args:
        name: The runtime.
        version: Its version.
        form: The row.
        path: The file.
        cases: What it is run with.

    Returns:
        What the runtime made of it.
    """
    allowed = INT8_DIFFERENCE if form.precision == "int8 computed" else LARGEST_DIFFERENCE
    with OtherRuntime(name, TIME_LIMIT) as runtime:
        found = compare_runs(
            path, runtime, Elsewhere(name, version), cases, largest_difference=allowed
        )
    return _result(form, found)


def _cases(path: Path, sandbox: Sandbox) -> Iterator[RunCase]:
    numbers = np.random.default_rng(0)
    contract = OnnxFile(path).contract
    assert contract is not None
    interface = contract.interface
    for steps, rows in SIZES:
        feeds = {}
        for spec in interface.inputs:
            shape = [size_of(axis, {"time": steps, "batch": rows}) for axis in spec.axes]
            if spec.name == interface.lengths:
                feeds[spec.name] = np.maximum(steps - 2 * np.arange(rows), 1).astype(spec.dtype)
            else:
                feeds[spec.name] = numbers.standard_normal(shape).astype(spec.dtype)
        answer = sandbox.run(path, feeds)
        assert answer.ok, answer.trouble
        yield f"[{steps}, {rows}]", feeds, answer.outputs


def _result(form: Form, found: Elsewhere) -> Result:
    status: Status = "right"
    if found.wrong:
        status = "wrong"
    elif found.refusals:
        status = "refused" if found.refusals == found.runs else "some sizes refused"
    said = found.wrong or found.refused
    error = found.off if found.wrong else found.largest
    return Result(status, error, said.replace(os.fspath(ROOT), "."), form)


def _run_in_c(form: Form, path: Path, folder: Path) -> Result:
    """Compile the C of a model, and run its golden vectors, which ONNX Runtime has computed."""
    program = folder / "program"
    shutil.rmtree(program, ignore_errors=True)
    try:
        write_program(path.read_bytes(), program, batch=BATCH, max_steps=STEPS)
    except ExportError as error:
        return Result("refused", 0.0, str(error), form)
    command = ["make", "-s", "-C", os.fspath(program), "test"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    errors = [float(said) for said in re.findall(r": largest error ([^,\s]+)", done.stdout)]
    if done.returncode != 0 or not errors:
        return Result("wrong", max(errors, default=0.0), "its golden vectors fail", form)
    return Result("right", max(errors), "", form)


def make_table(forms: Sequence[Form]) -> RuntimeTable:
    """Run rows.

    Args:
        forms: The rows.

    Returns:
        The table of them.
    """
    home = Path.cwd()
    if (JAVASCRIPT / "node_modules").is_dir():
        os.chdir(JAVASCRIPT)  # where Node looks for packages
    try:
        versions = {CPU: metadata.version("onnxruntime")}
        for name, installed in RUNNABLE.items():
            version = installed.version()
            if version is not None:
                versions[name] = version
        if shutil.which("cc") and shutil.which("make"):
            versions[C_TARGET] = rnnedge.__version__
        results = {}
        with tempfile.TemporaryDirectory() as folder, Sandbox(TIME_LIMIT) as sandbox:
            for form in forms:
                print(form, flush=True)
                results[form] = run_form(form, Path(folder), sandbox)
                shown = ", ".join(
                    f"{n}: {r.status} {r.error:.0e}" for n, r in results[form].items()
                )
                print(f"  {shown}", flush=True)
    finally:
        os.chdir(home)
    return RuntimeTable(datetime.date.today().isoformat(), versions, results)


def differences(made: RuntimeTable, table: RuntimeTable) -> list[str]:
    """Return where a table differs from another in what is right, wrong or refused.

    Args:
        made: The table of some rows.
        table: The table that has them all.

    Returns:
        One line for each.
    """
    lines = []
    for form, results in made.results.items():
        for name, result in results.items():
            before = table.results.get(form, {}).get(name)
            if before is None or before.status != result.status:
                was = "not there" if before is None else before.status
                lines.append(f"{form}: {name}: {was}, now {result.status} {result.said}")
    return lines


def main() -> None:
    """Make the table, or compare some rows with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="forms that begin with this, such as 'lstm as scan'")
    parser.add_argument("--runtime", choices=list(RUNNABLE), help="the column to make anew")
    arguments = parser.parse_args()
    only = arguments.only
    forms = [form for form in all_forms() if str(form).startswith(only or "")]
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    table = add_column(load_table(), arguments.runtime) if arguments.runtime else make_table(forms)
    if only:
        print("\n".join(differences(table, load_table())) or "as in the table")
        return
    target = ROOT / "rnnedge" / "doctor" / TABLE
    target.write_text(json.dumps(table.to_dict(), indent=1) + "\n", encoding="utf-8")
    write_page(ROOT / "docs" / "runtimes.md", table)


if __name__ == "__main__":
    main()
