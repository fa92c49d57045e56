"""Writes C programs, and compiles them where there is a compiler."""

import shutil
import subprocess
import warnings

import pytest
import torch
from torch import nn

import rnnedge

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("make") is None, reason="no C compiler, or no make"
)
STRICTER = "-O0 -Wconversion -Wshadow -Wdouble-promotion -Wstrict-prototypes"


@pytest.fixture
def write(tmp_path):
    """Return a function that exports a module as C, and returns what was written."""

    def written(module, *, folder="kws", **options):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return rnnedge.export(
                module, tmp_path / folder, target="c", validate=False, **options
            ).program

    return written


class Headed(nn.Module):
    """A layer with two wide products behind it, and what is between them."""

    def __init__(self, between):
        super().__init__()
        self.gru, self.between = nn.GRU(3, 4, batch_first=True), between
        self.wide, self.head = nn.Linear(4, 512), nn.Linear(512, 512)

    def forward(self, x):
        return self.head(self.between(self.wide(self.gru(x)[0])))


@pytest.fixture
def headed():
    return Headed


@pytest.fixture
def prove():
    """Return a function that runs the golden vectors of a program, and returns what it prints."""

    def proved(program, *, compiler="cc", flags=STRICTER, passes=True):
        command = ["make", "-s", "-C", program.folder, "clean", "test"]
        command += [f"CC={compiler}", f"CFLAGS={flags}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode == 0) is passes, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == ("PASS" if passes else "FAIL"), done.stdout
        return done.stdout

    return proved
