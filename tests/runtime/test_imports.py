"""What importing the runtime loads, and the names that it exports."""

import sys
from types import ModuleType

import pytest
from tiny_models import Tiny

import rnnedge_runtime

ALLOWED = {"rnnedge_runtime", "numpy"} | set(sys.stdlib_module_names)
EXPORTED = {
    "Contract",
    "ContractError",
    "Decoded",
    "DeviceError",
    "EngineError",
    "Generated",
    "GoldenError",
    "Hypothesis",
    "InputError",
    "Interface",
    "MissingPackageError",
    "ModelError",
    "OptionError",
    "PlanError",
    "RnnEdgeError",
    "RunResult",
    "Session",
    "SessionInfo",
    "StateError",
    "Stream",
    "StreamError",
    "StreamPool",
    "WriteError",
}


def loaded_by(python, statement):
    """Return the top-level modules that `statement` adds to those of a bare interpreter."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    names = {name.partition(".")[0] for name in done.stdout.split()}
    # The compiled modules of numpy 1 register Cython's own: `cython_runtime`, `_cython_3_0_8`.
    return {name for name in names if not name.lstrip("_").startswith("cython_")}


def test_importing_the_runtime_loads_numpy_and_the_standard_library_only(python):
    loaded = loaded_by(python, "import rnnedge_runtime")
    assert "rnnedge_runtime" in loaded
    assert loaded <= ALLOWED


def test_so_do_its_commands(python):
    assert loaded_by(python, "import rnnedge_runtime.__main__") <= ALLOWED


def test_the_guard_can_fail(python, tmp_path):
    (tmp_path / "heavy.py").write_text("import pytest\n")
    assert "pytest" in loaded_by(python, "import heavy") - ALLOWED


def test_the_guard_sees_an_import_that_comes_late(python, tmp_path):
    (tmp_path / "heavy.py").write_text("def f():\n    import pytest\nf()\n")
    assert "pytest" in loaded_by(python, "import heavy") - ALLOWED


def test_exported_names():
    public = {
        name
        for name in dir(rnnedge_runtime)
        if not name.startswith("_") and not isinstance(getattr(rnnedge_runtime, name), ModuleType)
    }
    assert public - {"Any", "TYPE_CHECKING"} == EXPORTED


def test_a_name_that_is_not_exported():
    with pytest.raises(AttributeError, match="'rnnedge_runtime' has no attribute 'Sesion'"):
        rnnedge_runtime.Sesion  # noqa: B018


@pytest.mark.parametrize("module", ["difflib", "mmap", "pathlib", "numpy.typing"])
def test_opening_and_running_a_model_needs_no(python, tmp_path, module):
    """Each of these takes a part of what a fresh process takes in all."""
    (tmp_path / "model.onnx").write_bytes(Tiny("lstm").content)
    code = (
        "import sys, onnxruntime, numpy as np; before = set(sys.modules)\n"
        "from rnnedge_runtime import Session\n"
        "Session('model.onnx').run(np.zeros((5, 1, 2), np.float32))\n"
        "print(*set(sys.modules) - before)"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert module not in done.stdout.split()


def test_a_first_step_loads_nothing_that_only_files_need(python, tmp_path):
    (tmp_path / "model.onnx").write_bytes(Tiny("gru").content)
    code = (
        "import sys; import numpy as np; before = set(sys.modules); import rnnedge_runtime; "
        "stream = rnnedge_runtime.Session('model.onnx', engine='onnxruntime').stream(1); "
        f"stream.step(np.zeros((1, 1, {Tiny('gru').input_size}), np.float32)); "
        "print(*set(sys.modules) - before)"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "rnnedge_runtime.streaming.stream" in loaded
    assert not loaded & {"rnnedge_runtime.atomic_file", "secrets", "shutil", "zipfile"}


def test_exported_names_say_where_they_come_from():
    for name in EXPORTED:
        assert getattr(rnnedge_runtime, name).__module__.startswith("rnnedge_runtime.")
