"""What each wheel holds: nothing is missing, and nothing came along by accident."""

import ast
import re
import sys

import pytest

RUNTIME = {
    "rnnedge_runtime/__init__.py",
    "rnnedge_runtime/__main__.py",
    "rnnedge_runtime/argument.py",
    "rnnedge_runtime/array_file.py",
    "rnnedge_runtime/atomic_file.py",
    "rnnedge_runtime/axis_sizes.py",
    "rnnedge_runtime/binding.py",
    "rnnedge_runtime/chunking.py",
    "rnnedge_runtime/contract.py",
    "rnnedge_runtime/decoding/__init__.py",
    "rnnedge_runtime/decoding/decode.py",
    "rnnedge_runtime/decoding/generate.py",
    "rnnedge_runtime/decoding/ports.py",
    "rnnedge_runtime/decoding/search.py",
    "rnnedge_runtime/decoding/transduce.py",
    "rnnedge_runtime/engine/__init__.py",
    "rnnedge_runtime/engine/constant_sizes.py",
    "rnnedge_runtime/engine/constant_values.py",
    "rnnedge_runtime/engine/function_calls.py",
    "rnnedge_runtime/engine/inference_session.py",
    "rnnedge_runtime/engine/info.py",
    "rnnedge_runtime/engine/integer_cost.py",
    "rnnedge_runtime/engine/known_constant.py",
    "rnnedge_runtime/engine/library.py",
    "rnnedge_runtime/engine/native.py",
    "rnnedge_runtime/engine/native_rows.py",
    "rnnedge_runtime/engine/node.py",
    "rnnedge_runtime/engine/onnx_runtime.py",
    "rnnedge_runtime/engine/open.py",
    "rnnedge_runtime/engine/opening_cost.py",
    "rnnedge_runtime/engine/options.py",
    "rnnedge_runtime/engine/protocol.py",
    "rnnedge_runtime/engine/tensor_info.py",
    "rnnedge_runtime/engine/trial_opening.py",
    "rnnedge_runtime/errors.py",
    "rnnedge_runtime/foreign/__init__.py",
    "rnnedge_runtime/foreign/axis_roles.py",
    "rnnedge_runtime/foreign/example_inputs.py",
    "rnnedge_runtime/foreign/gates.py",
    "rnnedge_runtime/onnx_file.py",
    "rnnedge_runtime/foreign/input_values.py",
    "rnnedge_runtime/foreign/probe_axes.py",
    "rnnedge_runtime/foreign/scope.py",
    "rnnedge_runtime/foreign/state_names.py",
    "rnnedge_runtime/foreign/state_pairs.py",
    "rnnedge_runtime/foreign/value_sources.py",
    "rnnedge_runtime/foreign/axis_names.py",
    "rnnedge_runtime/foreign/read_interface.py",
    "rnnedge_runtime/foreign/loses_state.py",
    "rnnedge_runtime/foreign/reads_future.py",
    "rnnedge_runtime/golden.py",
    "rnnedge_runtime/golden_check.py",
    "rnnedge_runtime/json_record.py",
    "rnnedge_runtime/info_lines.py",
    "rnnedge_runtime/latency.py",
    "rnnedge_runtime/benchmark.py",
    "rnnedge_runtime/missing_file.py",
    "rnnedge_runtime/one_line_parser.py",
    "rnnedge_runtime/run_files.py",
    "rnnedge_runtime/not_a_model.py",
    "rnnedge_runtime/notebook.py",
    "rnnedge_runtime/lazy_tensor.py",
    "rnnedge_runtime/loaded_model.py",
    "rnnedge_runtime/machine.py",
    "rnnedge_runtime/plan/__init__.py",
    "rnnedge_runtime/plan/known.py",
    "rnnedge_runtime/plan/model_file.py",
    "rnnedge_runtime/plan/operators/__init__.py",
    "rnnedge_runtime/plan/operators/arithmetic.py",
    "rnnedge_runtime/plan/operators/cell_pattern.py",
    "rnnedge_runtime/plan/operators/control.py",
    "rnnedge_runtime/plan/operators/convolution.py",
    "rnnedge_runtime/plan/operators/folding.py",
    "rnnedge_runtime/plan/operators/integers.py",
    "rnnedge_runtime/plan/operators/movement.py",
    "rnnedge_runtime/plan/operators/products.py",
    "rnnedge_runtime/plan/operators/recurrent.py",
    "rnnedge_runtime/plan/operators/reductions.py",
    "rnnedge_runtime/plan/operators/scan.py",
    "rnnedge_runtime/plan/packing.py",
    "rnnedge_runtime/plan/placing.py",
    "rnnedge_runtime/plan/tracer.py",
    "rnnedge_runtime/plan/values.py",
    "rnnedge_runtime/pool/__init__.py",
    "rnnedge_runtime/pool/batch_step.py",
    "rnnedge_runtime/pool/batching.py",
    "rnnedge_runtime/pool/frame_queue.py",
    "rnnedge_runtime/pool/pool.py",
    "rnnedge_runtime/pool/process_ends.py",
    "rnnedge_runtime/pool/slots.py",
    "rnnedge_runtime/proof/__init__.py",
    "rnnedge_runtime/proof/golden.py",
    "rnnedge_runtime/proof/golden_check.py",
    "rnnedge_runtime/proof/self_check.py",
    "rnnedge_runtime/tensor_file.py",
    "rnnedge_runtime/printable.py",
    "rnnedge_runtime/protobuf_wire.py",
    "rnnedge_runtime/py.typed",
    "rnnedge_runtime/scoring/__init__.py",
    "rnnedge_runtime/scoring/array_rows.py",
    "rnnedge_runtime/scoring/array_source.py",
    "rnnedge_runtime/scoring/arrow_package.py",
    "rnnedge_runtime/scoring/collecting.py",
    "rnnedge_runtime/scoring/command.py",
    "rnnedge_runtime/scoring/engines.py",
    "rnnedge_runtime/scoring/job.py",
    "rnnedge_runtime/scoring/keeping.py",
    "rnnedge_runtime/scoring/packing.py",
    "rnnedge_runtime/scoring/plan.py",
    "rnnedge_runtime/scoring/progress.py",
    "rnnedge_runtime/scoring/proving.py",
    "rnnedge_runtime/scoring/python_function.py",
    "rnnedge_runtime/scoring/ray_engine.py",
    "rnnedge_runtime/scoring/row_layout.py",
    "rnnedge_runtime/scoring/rows.py",
    "rnnedge_runtime/scoring/corpus.py",
    "rnnedge_runtime/scoring/scorer.py",
    "rnnedge_runtime/scoring/sizes.py",
    "rnnedge_runtime/scoring/sources.py",
    "rnnedge_runtime/scoring/table_source.py",
    "rnnedge_runtime/scoring/windows.py",
    "rnnedge_runtime/scoring/worker_process.py",
    "rnnedge_runtime/session.py",
    "rnnedge_runtime/streaming/__init__.py",
    "rnnedge_runtime/streaming/bound_step.py",
    "rnnedge_runtime/streaming/constant_inputs.py",
    "rnnedge_runtime/streaming/frames.py",
    "rnnedge_runtime/streaming/one_row.py",
    "rnnedge_runtime/streaming/silence_and_nan.py",
    "rnnedge_runtime/streaming/state_file.py",
    "rnnedge_runtime/streaming/step_output.py",
    "rnnedge_runtime/streaming/stream.py",
    "rnnedge_runtime/streaming/stream_state.py",
    "rnnedge_runtime/user_metadata.py",
    "rnnedge_runtime/version.py",
    "rnnedge_runtime/write_target.py",
}
"""What a device receives; a new file is added here on purpose."""
INFO = {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE"}
MAY_IMPORT = {"numpy", "onnxruntime", "pyarrow", "rnnedge_native", "rnnedge_runtime"}
MAY_IMPORT |= set(sys.stdlib_module_names)


def imported(source):
    """Return the top-level packages that `source` imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or ".")
    return {name.partition(".")[0] for name in names}


def test_files_of_the_runtime(runtime):
    assert set(runtime.files) == RUNTIME | {f"{runtime.info}/{name}" for name in INFO}


DATA = ("py.typed", "runtimes.json")


def test_files_of_the_toolkit(toolkit, root):
    """It has the two source folders, with their pages, and the JavaScript package for the pages."""
    package = root / "javascript" / "src"
    scripts = {
        f"rnnedge/app/javascript/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.suffix in (".js", ".gz", ".ts", ".json")
    }
    sources = {
        path.relative_to(folder.parent).as_posix()
        for folder in (root / "rnnedge", root / "exporters" / "rnnedge_exporters")
        for path in folder.rglob("*")
        if path.suffix in (".py", ".css", ".html", ".js") or path.name in DATA
    }
    info = {f"{toolkit.info}/{name}" for name in {*INFO, "entry_points.txt"}}
    assert set(toolkit.files) == sources | scripts | info


@pytest.mark.parametrize("package", ["rnnedge", "rnnedge_exporters"])
def test_each_package_of_the_toolkit_is_typed(toolkit, package):
    assert f"{package}/py.typed" in toolkit.files


def test_the_two_wheels_share_no_file(toolkit, runtime):
    assert not set(toolkit.files) & set(runtime.files)


def test_the_command_of_the_toolkit(toolkit):
    text = toolkit.files[f"{toolkit.info}/entry_points.txt"].decode()
    assert text.split("\n")[:2] == ["[console_scripts]", "rnnedge = rnnedge.cli:main"]


@pytest.mark.parametrize("name", sorted(n for n in RUNTIME if n.endswith(".py")))
def test_a_module_of_the_runtime_imports_what_a_device_has(runtime, name):
    assert imported(runtime.files[name].decode()) <= MAY_IMPORT


@pytest.mark.parametrize(
    "line", ["import torch", "from onnx import helper", "import click.core as c", "import rnnedge"]
)
def test_the_guard_on_imports_can_fail(line):
    source = f"def later():\n    if True:\n        {line}\n"
    assert not imported(source) <= MAY_IMPORT


def test_the_runtime_needs_numpy_only(runtime):
    needs = runtime.metadata.get_all("Requires-Dist")
    assert [need for need in needs if "extra ==" not in need] == ["numpy>=1.26"]


def test_engines_are_extras_of_the_runtime(runtime):
    needs = [re.split("[>=]", need)[0] for need in runtime.metadata.get_all("Requires-Dist")]
    assert runtime.metadata.get_all("Provides-Extra") == ["cpu", "gpu", "native", "ray", "score"]
    assert needs[1:] == ["onnxruntime", "onnxruntime-gpu", "rnnedge-native", "ray", "pyarrow"]


def test_each_wheel_shows_its_own_readme(toolkit, runtime, root):
    assert runtime.metadata.get_payload() == (root / "runtime" / "README.md").read_text(
        encoding="utf-8"
    )
    assert toolkit.metadata.get_payload() == (root / "README.md").read_text(encoding="utf-8")


def test_both_licenses_are_one_text(root):
    assert (root / "runtime" / "LICENSE").read_bytes() == (root / "LICENSE").read_bytes()
