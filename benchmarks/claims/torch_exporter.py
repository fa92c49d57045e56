"""How many of a hundred recurrent modules PyTorch's own exporters get right.

    python -m benchmarks.claims.torch_exporter [--exporter dynamo|torchscript|rnnedge]

Each is exported in a fresh process with batch and time dynamic, and run at five sizes in ONNX
Runtime; it is right when every output has PyTorch's shape and values there. The table goes to
`benchmarks/results/claims/`, one file for each exporter and version of torch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import torch
from torch import nn

import rnnedge
from benchmarks.claims.cases import EXPORTED, SIZES, ExportCase, cases
from rnnedge_runtime.engine.library import onnxruntime

RESULTS = Path(__file__).resolve().parents[1] / "results" / "claims"
TIME_LIMIT = 120
"""Seconds that one case may take, of processor time."""


def dynamo(module: nn.Module, case: ExportCase, path: str) -> None:
    """Export as `torch.onnx.export` does by default."""
    torch.onnx.export(
        module, case.inputs(*EXPORTED), path, dynamo=True, dynamic_shapes=case.axes, verbose=False
    )


def torchscript(module: nn.Module, case: ExportCase, path: str) -> None:
    """Export with the deprecated exporter."""
    torch.onnx.export(
        module,
        case.inputs(*EXPORTED),
        path,
        dynamo=False,
        input_names=list(case.axes),
        dynamic_axes=case.axes,
    )


def ours(module: nn.Module, case: ExportCase, path: str) -> None:
    """Export with rnnedge, as the module is written: no state is lifted."""
    rnnedge.export(
        module, path, example_inputs=case.inputs(*EXPORTED), dynamic_axes=case.axes, states=False
    )


EXPORTERS: dict[str, Callable[[nn.Module, ExportCase, str], None]] = {
    "dynamo": dynamo,
    "torchscript": torchscript,
    "rnnedge": ours,
}
CALLS = {
    "dynamo": "torch.onnx.export",
    "torchscript": "torch.onnx.export(dynamo=False)",
    "rnnedge": "rnnedge.export",
}


def outcome(case: ExportCase, export: Callable[[nn.Module, ExportCase, str], None]) -> str:
    """Return `right`, or in a few words what is wrong."""
    torch.manual_seed(0)
    module = case.make().eval()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.onnx"
        try:
            export(module, case, path)
        except Exception:
            return "raises"
        try:
            session = onnxruntime.InferenceSession(path)
        except Exception:
            return "writes an invalid file"
        return _compare(module, case, session)


def _compare(module: nn.Module, case: ExportCase, session: Any) -> str:
    names = [given.name for given in session.get_inputs()]
    for steps, rows in SIZES:
        inputs = case.inputs(steps, rows)
        with torch.no_grad():
            expected = _flat(module(*inputs))
        feeds = {name: value.numpy() for name, value in zip(case.axes, inputs, strict=True)}
        try:
            answers = session.run(None, {name: feeds[name] for name in names})
        except Exception:
            return "refuses other sizes"
        if [answer.shape for answer in answers] != [value.shape for value in expected]:
            return "answers in wrong shapes"
        for answer, value in zip(answers, expected, strict=True):
            if not np.allclose(answer, value, rtol=1e-4, atol=1e-5):
                return "answers wrong values"
    return "right"


def _flat(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value.numpy()]
    return [array for part in value for array in _flat(part)]


def in_fresh_process(case: ExportCase, exporter: str) -> tuple[str, float]:
    """Run one case in a fork of a process that has only imported torch; returns CPU seconds too."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT))
        started = time.process_time()
        found = outcome(case, EXPORTERS[exporter])
        with os.fdopen(writing, "w") as pipe:
            json.dump([found, time.process_time() - started], pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if status or not text:
        return "ends the process", 0.0
    found, seconds = json.loads(text)
    return str(found), float(seconds)


def warm_up(exporter: str) -> None:
    """Load what the exporter loads on first use; torch's remembers layers, so it gets none."""
    linear = ExportCase(
        *("", "", lambda: nn.Linear(3, 2), lambda time, batch: (torch.ones(time, 3),)),
        {"input": {0: "time"}},
    )
    outcome(cases()[-1] if exporter == "rnnedge" else linear, EXPORTERS[exporter])


OTHERS = {
    "raises": "raise an error",
    "writes an invalid file": "become invalid files",
    "refuses other sizes": "become files that refuse other sizes",
    "answers in wrong shapes": "become files that answer in wrong shapes",
    "answers wrong values": "become files that answer wrong values",
    "ends the process": "end the process",
}
"""What happens to those that are not right, in a sentence."""


def sentence(exporter: str, found: dict[str, str]) -> str:
    """Return the claim."""
    counts = Counter(found.values())
    right = counts.pop("right", 0)
    rest = ", ".join(f"{number} {OTHERS[kind]}" for kind, number in counts.most_common())
    return (
        f"{CALLS[exporter]} with torch {torch.__version__.partition('+')[0]} gets {right} of "
        f"{len(found)} recurrent modules right, with batch and time dynamic"
        + (f"; of the others, {rest}." if rest else ".")
    )


def main() -> None:
    """Measure one exporter, and write its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exporter", choices=EXPORTERS, default="dynamo")
    parser.add_argument("--every", type=int, default=1, help="take one case of so many")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    warm_up(options.exporter)
    chosen = cases()[:: options.every]
    found, seconds = {}, 0.0
    for number, case in enumerate(chosen):
        key = f"{case.group}: {case.name}"
        found[key], took = in_fresh_process(case, options.exporter)
        seconds += took
        print(f"{number + 1:3} {found[key]:24} {took:5.1f} s  {key}", file=sys.stderr, flush=True)
    claim = sentence(options.exporter, found)
    print(claim)
    if options.every == 1:
        write_table(options.exporter, claim, found, seconds)


def write_table(exporter: str, claim: str, found: dict[str, str], seconds: float) -> None:
    """Write counts by group, and each case that is not right."""
    groups: dict[str, Counter[str]] = {}
    for key, kind in found.items():
        groups.setdefault(key.partition(": ")[0], Counter())[kind] += 1
    kinds = sorted(set(found.values()) - {"right"})
    version = torch.__version__.partition("+")[0]
    lines = [
        f"# {CALLS[exporter]}, torch {version}\n\n{claim}\n",
        f"onnxscript and onnx as installed; ONNX Runtime {onnxruntime.__version__}; run at "
        f"(time, batch) {', '.join(map(str, SIZES))}, exported at {EXPORTED}; "
        f"{seconds / len(found):.1f} s of processor time a case.\n",
        f"| kind | right | {' | '.join(kinds)} |".replace("|  |", "|"),
        "|---" * (2 + len(kinds)) + "|",
    ]
    for group, counts in groups.items():
        cells = [f"{counts['right']} of {counts.total()}", *(str(counts[k] or "-") for k in kinds)]
        lines.append(f"| {group} | {' | '.join(cells)} |")
    wrong = [f"| {key} | {kind} |" for key, kind in found.items() if kind != "right"]
    if wrong:
        lines += ["\n| case | what happens |", "|---|---|", *wrong]
    RESULTS.mkdir(exist_ok=True)
    name = f"{exporter}_torch_{version}.md"
    (RESULTS / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
