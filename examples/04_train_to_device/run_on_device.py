"""Read the held-back digits as a device does: numpy and rnnedge_runtime, no PyTorch."""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rnnedge_runtime import Session

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo")
session = Session(folder / "model.onnx", threads=1)
data = np.load(folder / "held_back.npz")
rows, labels = data["rows"], data["labels"]  # [digits, 8, 8], [digits]

h_n = session.run(rows).outputs["h_n"]  # [layers*directions, digits, hidden]
logits = np.concatenate(h_n[-2:], axis=-1) @ data["head_weight"].T + data["head_bias"]
predictions = logits.argmax(axis=-1)

started = time.perf_counter()
for digit in rows:
    session.run(digit[None])
each = (time.perf_counter() - started) / len(rows)

assert "torch" not in sys.modules, "torch is imported: this is not a test of a device"
installed = "installed here, and not imported" if find_spec("torch") else "not installed here"
same = int((predictions == data["predictions"]).sum())
print(f"model     {folder / 'model.onnx'} on {session.device}; torch is {installed}")
print(f"accuracy  {np.mean(predictions == labels):.1%} of {len(rows)} held-back digits", end="")
print(f" (PyTorch: {data['accuracy']:.1%})")
print(f"time      {each * 1e6:.0f} microseconds a digit, one at a time, one thread")
print(f"agreement {same} of {len(rows)} predictions are the same as PyTorch's")
sys.exit(same < len(rows))
