"""C programs on a Cortex-M: golden vectors in QEMU, and sizes as the README says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from torch import nn

ARM = Path(__file__).parents[3] / "examples/10_digits_on_a_microcontroller/cortex_m"
GCC = "arm-none-eabi-gcc"
BOARDS = {
    "mps2-an386": ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"],
    "mps3-an547": ["-mcpu=cortex-m55", "-mfloat-abi=hard"],
}
STRICT = ["-mthumb", "-Os", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
PROGRAMS = {
    "rnn": (nn.RNN(5, 7, 3), {}),
    "gru": (nn.GRU(10, 32), {}),
    "gru_int8": (nn.GRU(10, 32, 2), {"quantize": "int8"}),
    "gru_integers": (nn.GRU(10, 32), {"quantize": "int8:all"}),
    "lstm_integers": (nn.LSTM(6, 9, 2, proj_size=5), {"quantize": "int8:all"}),
    "lstm_float16": (nn.LSTM(8, 16, 2), {"dtype": "float16"}),
    "lstm_both": (nn.LSTM(6, 10, 3, bidirectional=True), {"quantize": "int8", "max_steps": 6}),
    "gru_both": (nn.GRU(6, 10, 2, bidirectional=True), {"max_steps": 6}),
}
pytestmark = pytest.mark.skipif(shutil.which(GCC) is None, reason=f"no {GCC}")


def run(*command, folder):
    done = subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="no qemu-system-arm")
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_golden_vectors_pass_on_a_cortex_m(name, board, write):
    module, options = PROGRAMS[name]
    folder = write(module, **options).folder
    flags = [*BOARDS[board], *STRICT]
    sources = ["kws.c", "kws_weights.c", "kws_test.c"]
    linked = ["--specs=rdimon.specs", "-nostartfiles", "-T", ARM / "memory.ld", "startup.o"]
    run(GCC, *flags, "-Wno-pedantic", "-c", ARM / "startup.c", folder=folder)
    run(GCC, *flags, *linked, *sources, "-o", "kws.elf", folder=folder)
    emulator = ["qemu-system-arm", "-M", board, "-nographic", "-kernel", "kws.elf"]
    emulator += ["-semihosting-config", "enable=on,target=native"]
    assert run(*emulator, folder=folder).splitlines()[-1] == "PASS"


def test_two_integers_are_multiplied_at_once(write):
    folder = write(nn.GRU(10, 32), quantize="int8:all").folder
    run(GCC, *BOARDS["mps2-an386"], *STRICT, "-c", "kws.c", folder=folder)
    assert "smlad" in run("arm-none-eabi-objdump", "-d", "kws.o", folder=folder)


@pytest.mark.parametrize("name", PROGRAMS)
def test_sizes_are_those_of_the_readme(name, write):
    module, options = PROGRAMS[name]
    program = write(module, **options)
    folder, sizes = program.folder, program.sizes
    flags = [*BOARDS["mps2-an386"], *STRICT, "-fstack-usage"]
    (folder / "check.c").write_text(
        f'#include "kws.h"\nextern char check[sizeof(kws_state) == {sizes.state} ? 1 : -1];\n'
    )
    run(GCC, *flags, "-c", "kws.c", "kws_weights.c", "check.c", folder=folder)
    code, zeros = sections(folder, "kws.o")
    weights, _ = sections(folder, "kws_weights.o")
    assert weights + zeros == sizes.weights
    assert abs(code - zeros - sizes.code) <= 0.15 * sizes.code
    frames = re.findall(r"\t(\d+)\tstatic", (folder / "kws.su").read_text())
    assert sizes.stack / 4 < sum(map(int, frames)) <= sizes.stack
    readme = (folder / "README.md").read_text()
    assert f"| {sizes.weights:,} bytes (" in readme
    assert f"| RAM: one `kws_state` | {sizes.state:,} bytes |" in readme


def sections(folder, file):
    """Return the bytes of code and constants, and those of the array of zeros."""
    printed = run("arm-none-eabi-nm", "-S", file, folder=folder)
    zeros = re.search(r"^\w+ (\w+) \w zeros$", printed, re.MULTILINE)
    (line,) = run("arm-none-eabi-size", file, folder=folder).splitlines()[1:]
    text, data, variables = map(int, line.split()[:3])
    assert data == variables == 0
    return text, int(zeros[1], 16) if zeros else 0


def test_a_small_gru_fits(write):
    program = write(nn.GRU(10, 32))
    flags = [*BOARDS["mps2-an386"], *STRICT]
    run(GCC, *flags, "-c", "kws.c", folder=program.folder)
    assert sections(program.folder, "kws.o")[0] < 2048
    assert program.sizes.state + program.sizes.stack < 1024


def test_no_function_of_a_library_is_called(write):
    program = write(nn.LSTM(8, 16), quantize="int8")
    run(GCC, *BOARDS["mps2-an386"], *STRICT, "-c", "kws.c", folder=program.folder)
    undefined = run("arm-none-eabi-nm", "-u", "kws.o", folder=program.folder).split()[1::2]
    others = {name for name in undefined if not name.startswith("kws_")}
    assert others <= {"memcpy", "memset"}, others  # what GCC makes of a loop
