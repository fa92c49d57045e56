import re
import shutil
import subprocess
from pathlib import Path

import pytest
from running import EXAMPLES, output_of

SOURCES = ["main.c", "digits/digits.c", "digits/digits_weights.c"]
CORTEX_M4F = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-Os"]


def printed(folder: Path, *command: str | Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_digits_are_read_in_c_as_in_pytorch(tmp_path: Path) -> None:
    output = output_of(
        tmp_path, "10_digits_on_a_microcontroller/digits.py", "--out", "built", "--epochs", "6"
    )
    (right,) = re.findall(r"PyTorch: (\d+) of 100 digits are right", output)
    assert int(right) > 85
    expected = f"{right} of 100 digits are right\n"
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    folder = tmp_path / "built" / "float32"
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    printed(folder, "cc", *strict, *SOURCES, "-o", "main")
    assert printed(folder, "./main") == expected
    if shutil.which("arm-none-eabi-gcc") is None or shutil.which("qemu-system-arm") is None:
        pytest.skip("no arm-none-eabi-gcc, or no qemu-system-arm")
    board = EXAMPLES / "10_digits_on_a_microcontroller" / "cortex_m"
    linked = ["--specs=rdimon.specs", "-nostartfiles", "-T", board / "memory.ld"]
    linked += [board / "startup.c", *SOURCES, "-o", "main.elf"]
    printed(folder, "arm-none-eabi-gcc", *CORTEX_M4F, "-std=c99", *linked)
    emulator = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-kernel", "main.elf"]
    emulator += ["-semihosting-config", "enable=on,target=native"]
    assert printed(folder, *emulator) == expected
