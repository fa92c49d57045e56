"""Running an example as a user would."""

import atexit
import os
import subprocess
import sys
from pathlib import Path

from forked import ForkServer

EXAMPLES = Path(__file__).parents[3] / "examples"
_AN_EXPORT = """
import tempfile, torch, rnnedge
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = torch.nn.GRU(2, 2), torch.nn.Linear(2, 2)
    def forward(self, x):
        return self.head(self.rnn(x)[0])
with tempfile.TemporaryDirectory() as folder:
    rnnedge.export(Net().eval(), folder + "/m.onnx", example_inputs=(torch.zeros(3, 1, 2),))
"""
_WITH_TORCH = ForkServer(
    ["torch", "rnnedge", "rnnedge.parity", "rnnedge.reports"], _AN_EXPORT, OMP_NUM_THREADS="1"
)
"""What has imported all that an export imports: seconds for each example that trains a network."""
atexit.register(_WITH_TORCH.close)


def run(folder: Path, script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run an example in an empty folder, as a user would."""
    command = [str(EXAMPLES / script), *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    if hasattr(os, "fork") and "\nimport torch" in (EXAMPLES / script).read_text():
        return _WITH_TORCH.run(command, environment=environment, folder=folder, timeout=600)
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        encoding="utf-8",
        capture_output=True,
        timeout=600,
    )


def output_of(folder: Path, script: str, *arguments: str) -> str:
    done = run(folder, script, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def without(banned: tuple[str, ...], script: str) -> "subprocess.CompletedProcess[str]":
    """Run an example for a folder that is not there, where some packages cannot be imported."""
    # None in sys.modules makes an import fail, wherever it is.
    hook = f"import sys, runpy; sys.modules.update(dict.fromkeys({banned!r})); "
    hook += "sys.argv = ['x', 'nowhere']; "
    hook += f"runpy.run_path({str(EXAMPLES / script)!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-c", hook], capture_output=True, text=True)
