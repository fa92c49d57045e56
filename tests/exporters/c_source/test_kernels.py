"""The functions of C programs, against float64."""

import ctypes
import math
import subprocess

import numpy as np
import pytest

from rnnedge_exporters.c_source.element_kernels import KERNELS
from rnnedge_exporters.c_source.kernels import definitions
from tests.exporters.c_source.conftest import needs_compiler

pytestmark = needs_compiler
FUNCTIONS = ("tanh_f", "sigmoid", "exp_f", "expm1_f", "log_f", "sqrt_f", "softplus", "erf_f")


@pytest.fixture(scope="module")
def apply(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    text = "#include <stddef.h>\n#include <stdint.h>\n" + definitions(KERNELS, (), (), rows=False)
    for name in FUNCTIONS:
        text += f"""
void all_{name}(const float *x, float *y, size_t count) {{
  size_t i;
  for (i = 0; i < count; i++) y[i] = {name}(x[i]);
}}
"""
    text += """
void all_half(const uint16_t *x, float *y, size_t count) {
  size_t i;
  for (i = 0; i < count; i++) y[i] = half_to_float(x[i]);
}
"""
    (folder / "all.c").write_text(text)
    command = ["cc", "-std=c99", "-O1", "-shared", "-fPIC", "-w", "all.c", "-o", "all.so"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    library = ctypes.CDLL(str(folder / "all.so"))

    def applied(name, x):
        x, y = np.ascontiguousarray(x), np.empty(len(x), np.float32)
        function = getattr(library, f"all_{name}")
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        function(x.ctypes.data, y.ctypes.data, len(x))
        return y

    return applied


def spread(low, high):
    return np.linspace(low, high, 100_001, dtype=np.float32)


erf = np.vectorize(math.erf, otypes=[float])


@pytest.mark.parametrize(
    ("name", "exact", "x", "absolute", "relative"),
    [
        ("tanh_f", np.tanh, spread(-12, 12), 2e-7, 2.5e-7),
        ("tanh_f", np.tanh, spread(-1e-3, 1e-3), 1e-9, 2.5e-7),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), spread(-87, 87), 2e-7, 2e-7),
        ("exp_f", np.exp, spread(-87, 88.7), None, 2.5e-7),
        ("expm1_f", np.expm1, spread(-20, 0), 1.2e-7, 2.5e-7),
        ("log_f", np.log, spread(1e-6, 100), None, 2.5e-7),
        ("log_f", np.log, spread(1e-38, 1e-37), None, 2.5e-7),
        ("sqrt_f", np.sqrt, spread(0, 1e4), None, 1.2e-7),
        ("sqrt_f", np.sqrt, spread(1e-38, 1e-28), None, 1.2e-7),
        ("softplus", lambda x: np.logaddexp(0, x), spread(-80, 80), None, 4e-7),
        ("erf_f", erf, spread(-5, 5)[::10], 4e-7, None),
        ("erf_f", erf, spread(-1e-2, 1e-2)[::10], None, 2.5e-7),
    ],
)
def test_errors_are_small(name, exact, x, absolute, relative, apply):
    wanted = exact(x.astype(np.float64))
    error = np.abs(apply(name, x) - wanted)
    if absolute is not None:
        assert error.max() <= absolute
    if relative is not None:
        assert (error[wanted != 0] / np.abs(wanted[wanted != 0])).max() <= relative


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_stays(name, apply):
    assert np.isnan(apply(name, np.array([np.nan], np.float32)))[0]


def test_infinities(apply):
    x = np.array([np.inf, -np.inf], np.float32)
    assert apply("tanh_f", x).tolist() == [1, -1]
    assert apply("exp_f", x).tolist() == [np.inf, 0]
    assert apply("sigmoid", x) == pytest.approx([1, 0], abs=1e-37)
    assert apply("softplus", x).tolist() == [np.inf, 0]


def test_every_half_is_widened_exactly(apply):
    bits = np.arange(2**16, dtype=np.uint16)
    halves = bits.view(np.float16)
    finite = np.isfinite(halves)
    assert np.array_equal(
        apply("half", np.ascontiguousarray(bits[finite])), halves[finite].astype(np.float32)
    )
