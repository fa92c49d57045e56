"""Act with the recurrent policy as a device does: numpy and rnnedge_runtime, no PyTorch."""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rnnedge_runtime import Session

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/policy")
session = Session(folder / "policy.onnx", threads=1)
data = np.load(folder / "episodes.npz")
obs, done, go, side = (data[name] for name in ("obs", "done", "go", "side"))  # [time, batch, ...]


def act(done: np.ndarray) -> np.ndarray:
    """Return the actions [time, batch] of environments side by side, one row of a stream each."""
    stream = session.stream(batch=obs.shape[1])
    actions = np.zeros_like(data["actions"])
    for t in range(len(obs)):
        # h and c stay in the stream; the model itself forgets them in the rows that are done.
        outputs = stream.step({"obs": obs[t], "done": done[t]})
        actions[t] = outputs["logits"].argmax(axis=-1)
    return actions


def success(actions: np.ndarray) -> float:
    """Return the share of episodes whose action at the go signal is the side of the cue."""
    return np.mean(actions[go] == side[go])


started = time.perf_counter()
actions = act(done)
each = (time.perf_counter() - started) / len(obs)
forgetful = act(np.ones_like(done))  # every step is an episode's first: no memory

assert "torch" not in sys.modules, "torch is imported: this is not a test of a device"
installed = "installed here, and not imported" if find_spec("torch") else "not installed here"
same = int((actions == data["actions"]).sum())
print(f"model     {folder / 'policy.onnx'} on {session.device}; torch is {installed}")
print(f"success   {success(actions):.1%} of {go.sum()} new episodes", end="")
print(f" (PyTorch: {data['success']:.1%})")
print(f"forgetful {success(forgetful):.1%}, when the state is reset at each step")
print(f"time      {each * 1e6:.0f} microseconds a step of {obs.shape[1]} environments, one thread")
print(f"agreement {same} of {actions.size} actions are the same as PyTorch's")
sys.exit(same < actions.size or bool(success(actions) != data["success"]))
