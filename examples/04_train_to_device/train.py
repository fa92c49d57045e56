"""Train a small bidirectional RNN to read digits, and write what a device needs.

Each 8 × 8 picture is a sequence: 8 rows, from top to bottom, of 8 pixels.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import rnnedge

matplotlib.use("Agg")  # draw into a file, also where there is no screen
import matplotlib.pyplot as plt

SPEC = rnnedge.RNNSpec(
    cell="rnn", input_size=8, hidden_size=32, batch_first=True, bidirectional=True
)
BATCH, LEARNING_RATE = 64, 5e-3
CLIP = 1.0  # largest L2 norm of the whole gradient
L2, L1 = 1e-4, 1e-5

History = dict[str, list[float]]


class Reader(nn.Module):
    """The recurrent layer, and a linear head on the final states of both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = rnnedge.build(SPEC, seed=0)
        self.head = nn.Linear(2 * SPEC.hidden_size, 10)

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits [batch, 10] for rows [batch, time, features]."""
        _, h_n = self.layer(rows)  # [layers*directions, batch, hidden]
        logits: Tensor = self.head(torch.cat(tuple(h_n[-2:]), dim=-1))  # the last layer's two
        return logits


def load() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training and held-back pictures, float32 [digits, 8, 8] from 0 to 1, and labels."""
    pixels, labels = load_digits(return_X_y=True)  # on disk with scikit-learn: no download
    rows = (pixels / 16).reshape(-1, 8, 8).astype(np.float32)
    parts = train_test_split(rows, labels, test_size=0.2, random_state=0, stratify=labels)
    x_train, x_held, y_train, y_held = map(torch.from_numpy, parts)
    return x_train, y_train, x_held, y_held


def train(
    model: Reader, x: Tensor, y: Tensor, x_held: Tensor, y_held: Tensor, epochs: int
) -> History:
    """Train in place; returns the losses of each epoch and the gradient norms of each update."""
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, weight_decay=L2)
    history: History = {"training": [], "held-back": [], "before": [], "after": []}
    for epoch in range(1, epochs + 1):
        losses = []
        for batch in torch.randperm(len(x)).split(BATCH):
            loss = F.cross_entropy(model(x[batch]), y[batch])
            penalty = L1 * nn.utils.parameters_to_vector(parameters).abs().sum()
            optimizer.zero_grad()
            (loss + penalty).backward()
            history["before"].append(nn.utils.clip_grad_norm_(parameters, CLIP).item())
            gradients = [p.grad for p in parameters if p.grad is not None]
            history["after"].append(nn.utils.get_total_norm(gradients).item())
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            logits = model(x_held)
        history["training"].append(sum(losses) / len(losses))
        history["held-back"].append(F.cross_entropy(logits, y_held).item())
        if epoch == 1 or epoch % 10 == 0:
            accuracy = (logits.argmax(dim=-1) == y_held).float().mean()
            print(
                f"epoch {epoch:2}  loss {history['training'][-1]:.3f}  "
                f"held back {history['held-back'][-1]:.3f}, {accuracy:.1%} right"
            )
    return history


def draw(history: History, path: Path) -> None:
    """Draw the loss of each epoch, and the gradient norm of each update."""
    figure, (top, bottom) = plt.subplots(2, figsize=(8, 7), layout="constrained")
    epochs = range(1, len(history["training"]) + 1)
    for part in ("training", "held-back"):
        top.plot(epochs, history[part], label=f"{part} digits")
    top.set(xlabel="epoch", ylabel="cross-entropy (nats per digit)", yscale="log")
    top.set_title(f"{SPEC} on 8 × 8 digits, row by row")
    top.legend()
    bottom.set_title("gradient of each update")
    bottom.plot(history["before"], linewidth=0.8, label="before clipping")
    bottom.plot(history["after"], linewidth=0.8, label="after clipping")
    bottom.axhline(CLIP, color="black", linestyle=":", label=f"limit {CLIP:g}")
    bottom.set(xlabel="update", ylabel="gradient norm (L2, no unit)", yscale="log")
    bottom.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="Where files go.")
    parser.add_argument("--epochs", type=int, default=40, help="Passes over the digits.")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # faster than several for a layer this small

    x, y, x_held, y_held = load()
    model = Reader()
    print(f"training {SPEC} on {len(x)} digits, {len(x_held)} held back")
    draw(train(model, x, y, x_held, y_held, options.epochs), out / "training.png")
    print(f"drew {out / 'training.png'}\n")

    print(f"wrote {rnnedge.export(model.layer, out / 'model.onnx')}")
    report = rnnedge.validate(out / "model.onnx", against=model.layer)
    print(report)
    if not report:
        sys.exit(3)

    # The head stays two numpy lines on the device; these are its weights, and what to compare with.
    with torch.no_grad():
        predictions = model(x_held).argmax(dim=-1)
    np.savez(
        out / "held_back.npz",
        rows=x_held.numpy(),
        labels=y_held.numpy(),
        predictions=predictions.numpy(),
        accuracy=(predictions == y_held).double().mean().numpy(),
        head_weight=model.head.weight.detach().numpy(),
        head_bias=model.head.bias.detach().numpy(),
    )


if __name__ == "__main__":
    main()
