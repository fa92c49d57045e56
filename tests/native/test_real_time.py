"""A step allocates no memory, takes no lock and makes no system call: a child counts them."""

import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip(
    "rnnedge_native",
    reason="rnnedge-native is not built, which takes a C compiler",
    exc_type=ImportError,
)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the counting is that of Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
    pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="another library counts already"),
]
COUNTING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
long allocations, locks;
void *malloc(size_t n) { allocations++; return __libc_malloc(n); }
void *calloc(size_t n, size_t size) { allocations++; return __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { allocations++; return __libc_realloc(p, n); }
int pthread_mutex_lock(pthread_mutex_t *m) {
  static int (*real)(pthread_mutex_t *);
  if (!real) real = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_lock");
  locks++;
  return real(m);
}
"""
CHILD = """
import ctypes, os, sys
import numpy as np
from rnnedge_runtime import Session

stream = Session(sys.argv[1], engine="native").stream()
step, frame = stream.step, np.ones((1, 5), np.float32)
out, rows = step(frame), range(3000)
counts = [ctypes.c_long.in_dll(ctypes.CDLL(None), name) for name in ("allocations", "locks")]
for _ in rows:
    step(frame, out=out)
before = [count.value for count in counts]
for _ in rows:
    step(frame, out=out)
made = [count.value - start for count, start in zip(counts, before)]
large = np.empty(200_000, np.float32)
made.append(counts[0].value - before[0])
libc, leave = ctypes.CDLL(None), 60 if os.uname().machine == "x86_64" else 93
answer = f"{made[0]} {made[1]} {made[2]}\\n".encode()
if libc.prctl(22, 1, 0, 0, 0):  # from here on, anything but read, write and exit ends the process
    os.write(1, b"no seccomp\\n")
    os._exit(0)
for _ in rows:
    step(frame, out=out)
if sys.argv[2] == "call":
    os.getppid()
os.write(1, answer)
libc.syscall(leave, 0)
"""


@pytest.fixture(scope="module")
def run_child(tmp_path_factory, exported):
    """Return a function that runs the child, which makes a system call of its own or none."""
    folder = tmp_path_factory.mktemp("counting")
    (folder / "counting.c").write_text(COUNTING)
    command = ["cc", "-O1", "-shared", "-fPIC", "counting.c", "-o", "counting.so", "-ldl"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    (folder / "model.onnx").write_bytes(exported(cell="lstm", hidden_size=37, num_layers=2)[1])

    def run(call):
        command = [sys.executable, "-c", CHILD, folder / "model.onnx", call]
        # The exit that seccomp leaves ends one thread: the process ends where there is no other.
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment = os.environ | one | {"LD_PRELOAD": str(folder / "counting.so")}
        return subprocess.run(
            list(map(str, command)),
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_a_step_allocates_nothing_and_takes_no_lock_and_makes_no_system_call(run_child):
    done = run_child("none")
    assert done.returncode == 0, done.stderr
    if done.stdout == "no seccomp\n":
        pytest.skip("the kernel has no seccomp here")
    allocations, locks, with_an_array = map(int, done.stdout.split())
    assert (allocations, locks) == (0, 0)
    assert with_an_array > 0, "what the test itself allocates is counted"


def test_a_system_call_would_be_seen(run_child):
    done = run_child("call")
    assert done.stdout in ("", "no seccomp\n")
    assert done.returncode < 0 or done.stdout
