"""Train a recurrent actor-critic on a task that needs memory, and write what a device needs.

The task: step 0 of an episode shows a cue, left or right. Steps of noise follow. At the last step
a signal says "go", and the side that the cue showed must be chosen.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import rnnedge

SHORTEST, LONGEST = 4, 9  # steps of an episode; the go signal is its last one
FEATURES, ACTIONS, HIDDEN = 3, 2, 32  # cue, go signal, noise; left or right
ENVIRONMENTS, STEPS, LEARNING_RATE = 64, 32, 5e-3
VALUE_WEIGHT, ENTROPY_WEIGHT, CLIP = 0.5, 0.01, 0.5


class Policy(nn.Module):
    """An actor-critic with an LSTM cell, one step at a time, as it acts in an environment."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.Tanh())
        self.lstm = nn.LSTMCell(HIDDEN, HIDDEN)
        self.actor = nn.Linear(HIDDEN, ACTIONS)
        self.critic = nn.Linear(HIDDEN, 1)

    def forward(
        self, obs: Tensor, h: Tensor, c: Tensor, done: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return action logits [batch, actions], value [batch], and the next h and c.

        Takes obs [batch, features], h and c [batch, hidden], and done [batch]: 1.0 in the rows
        whose obs is the first of an episode, which must not remember the last one; 0.0 elsewhere.
        """
        keep = (1.0 - done).unsqueeze(-1)  # [batch, 1]
        h_out, c_out = self.lstm(self.encoder(obs), (keep * h, keep * c))
        logits, value = self.actor(h_out), self.critic(h_out).squeeze(-1)
        return logits, value, h_out, c_out  # the outputs of the file have these names


class Environments:
    """Many environments side by side, each at its own step of an episode of its own length."""

    def __init__(self, number: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.step = np.zeros(number, np.int64)
        self.length = np.zeros(number, np.int64)  # so that every one begins an episode
        self.side = np.zeros(number, np.int64)  # what the cue showed: 0 left, 1 right

    def observe(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Go one step on: obs [batch, features], done [batch], and go [batch], as a bool."""
        done = self.step >= self.length
        number = len(done)
        self.step[done] = 0
        self.length[done] = self.random.integers(SHORTEST, LONGEST + 1, number)[done]
        self.side[done] = self.random.integers(0, 2, number)[done]
        go = self.step == self.length - 1
        cue = np.where(self.step == 0, 2 * self.side - 1, 0)
        obs = np.stack([cue, go, self.random.standard_normal(number)], axis=-1)
        self.step += 1
        return obs.astype(np.float32), done.astype(np.float32), go


def zero_state(rows: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(rows, HIDDEN), torch.zeros(rows, HIDDEN)


def train(policy: Policy, updates: int) -> None:
    """Train in place: advantage actor-critic, a reward of 1 or -1 at each go signal."""
    optimizer = torch.optim.Adam(policy.parameters(), lr=LEARNING_RATE)
    environments = Environments(ENVIRONMENTS, seed=0)
    h, c = zero_state(ENVIRONMENTS)
    for update in range(1, updates + 1):
        h, c = h.detach(), c.detach()
        steps = []
        for _ in range(STEPS):
            obs, done, go = environments.observe()
            logits, value, h, c = policy(torch.from_numpy(obs), h, c, torch.from_numpy(done))
            action = torch.distributions.Categorical(logits=logits).sample()
            right = action == torch.from_numpy(environments.side)
            reward = torch.where(torch.from_numpy(go), 2.0 * right - 1.0, 0.0)
            steps.append((logits, value, action, reward, torch.from_numpy(go)))
        logits, values, actions, rewards, goes = map(torch.stack, zip(*steps, strict=True))

        # Return of each step: the reward at the end of its episode, beyond the last step guessed.
        returns = torch.empty_like(values)  # [time, batch]
        following = values[-1].detach()
        for t in reversed(range(STEPS)):
            following = torch.where(goes[t], rewards[t], following)
            returns[t] = following
        policies = torch.distributions.Categorical(logits=logits)
        gain = (policies.log_prob(actions) * (returns - values.detach())).mean()
        loss = VALUE_WEIGHT * F.mse_loss(values, returns) - gain
        optimizer.zero_grad()
        (loss - ENTROPY_WEIGHT * policies.entropy().mean()).backward()
        nn.utils.clip_grad_norm_(policy.parameters(), CLIP)
        optimizer.step()
        if update == 1 or update % max(1, updates // 5) == 0:
            success = (rewards[goes] > 0).double().mean()
            print(f"update {update:3}  {success:.1%} of {int(goes.sum())} episodes right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/policy"), help="Where files go.")
    parser.add_argument("--updates", type=int, default=150, help="Steps of the optimizer.")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # faster than several for a cell this small

    policy = Policy()
    print(f"training: {ENVIRONMENTS} environments, episodes of {SHORTEST} to {LONGEST} steps")
    train(policy, options.updates)
    policy.eval()

    rows, steps = 16, 500
    environments = Environments(rows, seed=1)  # new episodes
    h, c = zero_state(rows)
    record: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("obs", "done", "go", "side", "actions")
    }
    for _ in range(steps):
        obs, done, go = environments.observe()
        with torch.no_grad():
            logits, _, h, c = policy(torch.from_numpy(obs), h, c, torch.from_numpy(done))
        values = (obs, done, go, environments.side.copy(), logits.argmax(dim=-1).numpy())
        for name, value in zip(record, values, strict=True):
            record[name].append(value)
    episodes = {name: np.stack(values) for name, values in record.items()}  # [time, batch, ...]
    go = episodes["go"]
    success = np.mean(episodes["actions"][go] == episodes["side"][go])
    print(f"new episodes: {success:.1%} of {go.sum()} right, always the likeliest action\n")

    path = out / "policy.onnx"
    example = {
        "obs": torch.zeros(2, FEATURES),
        "h": torch.zeros(2, HIDDEN),
        "c": torch.zeros(2, HIDDEN),
        "done": torch.zeros(2),
    }
    states = {"h_out": "h", "c_out": "c"}  # what feeds what at the next step
    print(f"wrote {rnnedge.export(policy, path, example_inputs=example, states=states)}")
    report = rnnedge.validate(path, against=policy)
    print(report)
    if not report:
        sys.exit(3)
    np.savez(out / "episodes.npz", success=success, **episodes)


if __name__ == "__main__":
    main()
