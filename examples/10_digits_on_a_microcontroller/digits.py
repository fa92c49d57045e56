"""Train a GRU to read digits row by row, and write it as C with a program that reads them."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import rnnedge

HIDDEN, BATCH, LEARNING_RATE, SHOWN = 32, 64, 5e-3, 100
MAIN = """\
/* Reads digits row by row, as a sensor would deliver them. */
#include <stdio.h>

#include "digits/digits.h"

#define DIGITS {count}

static const unsigned char pixels[DIGITS * 64] = {{
{pixels}}};
static const unsigned char labels[DIGITS] = {{
{labels}}};

int main(void) {{
  static digits_state state;
  int right = 0;
  for (int digit = 0; digit < DIGITS; digit++) {{
    float logits[DIGITS_LOGITS_SIZE];
    int best = 0;
    digits_init(&state);
    for (int row = 0; row < 8; row++) {{
      float frame[DIGITS_ROWS_SIZE];
      for (int i = 0; i < 8; i++) frame[i] = (float)pixels[digit * 64 + row * 8 + i] / 16.0f;
      digits_step(&state, frame, logits);
    }}
    for (int i = 1; i < 10; i++)
      if (logits[i] > logits[best]) best = i;
    right += best == labels[digit];
  }}
  printf("%d of %d digits are right\\n", right, DIGITS);
  return 0;
}}
"""


class Reader(nn.Module):
    """A GRU, and a linear head on every step: a guess after each row."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 10)

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits [batch, time, 10] for rows [batch, time, 8]."""
        logits: Tensor = self.head(self.gru(rows)[0])
        return logits


def train(model: Reader, x: Tensor, y: Tensor, epochs: int) -> None:
    """Train in place, on the guess after the last row."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(BATCH):
            loss = F.cross_entropy(model(x[batch])[:, -1], y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def listed(numbers: np.ndarray) -> str:
    """Return whole numbers as an initializer in C, 32 a line."""
    lines = np.array_split(numbers.reshape(-1), range(32, numbers.size, 32))
    return "".join(f"    {', '.join(map(str, line))},\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/digits_in_c"))
    parser.add_argument("--epochs", type=int, default=20, help="Passes over the digits.")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)

    pixels, labels = load_digits(return_X_y=True)  # on disk with scikit-learn: no download
    rows = pixels.reshape(-1, 8, 8).astype(np.float32)
    x, x_held, y, y_held = train_test_split(rows, labels, test_size=SHOWN, random_state=0)
    model = Reader()
    train(model, torch.from_numpy(x / 16), torch.from_numpy(y), options.epochs)
    with torch.no_grad():
        guesses = model(torch.from_numpy(x_held / 16))[:, -1].argmax(-1).numpy()
    print(f"PyTorch: {int((guesses == y_held).sum())} of {SHOWN} digits are right")

    for folder, quantize in (("float32", None), ("int8", "int8")):
        (out / folder).mkdir(exist_ok=True)
        result = rnnedge.export(
            model,
            out / folder / "digits",
            target="c",
            example_inputs={"rows": torch.from_numpy(x_held[:2] / 16)},
            quantize=quantize,
        )
        assert result.program is not None
        sizes = result.program.sizes
        print(
            f"{folder:7}: {sizes.weights:,} bytes of weights, about {sizes.code:,} of code, "
            f"{sizes.state:,} of RAM, {sizes.macs:,} multiply-accumulates a row"
        )
        text = MAIN.format(
            count=SHOWN,
            pixels=listed(x_held.astype(int)),
            labels=listed(y_held),
        )
        (out / folder / "main.c").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
