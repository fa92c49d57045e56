"""A one-directional RNN: build, export, prove, run, and compare the shapes with PyTorch's."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

import rnnedge
from rnnedge_runtime import Session

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", type=Path, default=Path("build/unidirectional"))
path = parser.parse_args().out / "model.onnx"
path.parent.mkdir(parents=True, exist_ok=True)

spec = rnnedge.RNNSpec(cell="rnn", input_size=10, hidden_size=20)
model = rnnedge.build(spec, seed=0)  # a plain nn.RNN(10, 20)
print(rnnedge.export(model, path))
report = rnnedge.validate(path, against=model)
print(report)
if not report:
    sys.exit(3)

x = torch.randn(5, 3, 10, generator=torch.Generator().manual_seed(0))  # [time, batch, features]
with torch.no_grad():
    output, h_n = model(x)

session = Session(path)
result = session.run(x.numpy())
print(f"\ninput  {list(x.shape)}")
for name, expected in (("output", output), ("h_n", h_n)):
    ours = result.outputs[name]
    error = np.abs(ours - expected.numpy()).max()
    print(f"{name:7}{list(ours.shape)}, PyTorch {list(expected.shape)}, differ by {error:.1e}")

# In one direction, the last step of the output is the last layer's final state.
assert np.array_equal(result.output[-1], result.outputs["h_n"][-1])

# Batch and time are free: the same file takes another shape.
other = np.zeros((7, 2, 10), np.float32)
print(f"\ninput  {list(other.shape)}\noutput {list(session.run(other).output.shape)}")
