"""A bidirectional RNN: where the two directions are in `output` and in `h_n`."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

import rnnedge
from rnnedge_runtime import Session

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", type=Path, default=Path("build/bidirectional"))
path = parser.parse_args().out / "model.onnx"
path.parent.mkdir(parents=True, exist_ok=True)

spec = rnnedge.RNNSpec(cell="rnn", input_size=10, hidden_size=20, bidirectional=True)
model = rnnedge.build(spec, seed=0)  # a plain nn.RNN(10, 20, bidirectional=True)
print(rnnedge.export(model, path))
report = rnnedge.validate(path, against=model)
print(report)
if not report:
    sys.exit(3)

x = torch.randn(5, 3, 10, generator=torch.Generator().manual_seed(0))  # [time, batch, features]
with torch.no_grad():
    output, h_n = model(x)

result = Session(path).run(x.numpy())
print(f"\ninput  {list(x.shape)}")
for name, expected in (("output", output), ("h_n", h_n)):
    ours = result.outputs[name]
    error = np.abs(ours - expected.numpy()).max()
    print(f"{name:7}{list(ours.shape)}, PyTorch {list(expected.shape)}, differ by {error:.1e}")

# The features of `output` are the forward direction's, then the backward direction's.
forward, backward = np.split(result.output, 2, axis=-1)  # two of [time, batch, hidden]
print(f"\nforward  {list(forward.shape)}\nbackward {list(backward.shape)}")

# Each direction's final state is its output where it ends: forward at the last step, backward,
# which reads the sequence from its end, at the first.
final = result.outputs["h_n"]
assert np.array_equal(forward[-1], final[0])
assert np.array_equal(backward[0], final[1])
assert np.array_equal(np.concatenate([forward, backward], axis=-1), result.output)
print("forward's last step is h_n[0], backward's first step is h_n[1]")
print("forward and backward, concatenated, are the output again")
