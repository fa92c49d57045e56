"""The toolkit and the processes that it starts leave the user's home folder empty."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import rnnedge
from rnnedge.doctor import examine

model = rnnedge.build(rnnedge.RNNSpec(cell="gru", input_size=2, hidden_size=3), seed=0)
rnnedge.export(model, "model.onnx")
assert rnnedge.validate("model.onnx", against=model)
print(examine("model.onnx"))
"""


def test_an_export_its_proof_and_the_doctor_leave_the_home_folder_empty(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    own = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    kept = {name: text for name, text in os.environ.items() if name not in own}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        env=kept | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "model.onnx" in done.stdout
    assert [path for path in home.rglob("*") if path.is_file()] == []
