"""Spell English words in phonemes with a published GRU, and compare with its own package.

g2p-en 2.1.0 is an encoder that reads letters and a decoder that writes phonemes. The encoder is
exported by the command line, straight from the checkpoint; the decoder is a module with its
embedding and its last layer inside: `Session.decode` writes whole words with it, without PyTorch.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import rnnedge
from rnnedge_runtime import Session

sys.path.append(str(Path(__file__).parents[1]))  # for what examples share
from shared_data import G2P, fetch_speller, words_from_a_to_z

LONGEST = 20  # where the package's own decoder gives up
START, STOP = 2, 3  # <s> and </s>
Array = NDArray[np.float32]


def export(checkpoint: Path, model: Path, *options: str) -> Session:
    """Run `rnnedge export`, which also proves the file against PyTorch, and open the file."""
    command = ["rnnedge", "export", str(checkpoint), *options, "--batch-first", "-o", str(model)]
    print(f"\n$ {shlex.join(command)}", flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)
    return Session(model)


class Decoder(nn.Module):
    """Scores the next phoneme by the last one, int64 [batch, time], and its own state."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__()
        weights = {name: torch.from_numpy(array) for name, array in np.load(checkpoint).items()}
        phonemes, hidden = weights["fc_w"].shape
        self.embedding = nn.Embedding.from_pretrained(weights["dec_emb"])
        self.rnn = nn.GRU(self.embedding.embedding_dim, hidden, batch_first=True)
        self.head = nn.Linear(hidden, phonemes)
        parts = ("w_ih", "w_hh", "b_ih", "b_hh")
        named = zip(self.rnn.state_dict(), (weights[f"dec_{part}"] for part in parts), strict=True)
        self.rnn.load_state_dict(dict(named))
        self.head.load_state_dict({"weight": weights["fc_w"], "bias": weights["fc_b"]})

    def forward(self, symbol: Tensor) -> Tensor:
        """Return scores [batch, time, phonemes]."""
        output, _ = self.rnn(self.embedding(symbol))
        return self.head(output)


def export_decoder(checkpoint: Path, model: Path) -> Session:
    """Export the decoder, prove the file against PyTorch, and open it."""
    module = Decoder(checkpoint).eval()
    rnnedge.export(module, model, example_inputs=(torch.full((2, 3), START),))
    report = rnnedge.validate(model, against=module, quick=True)
    print(f"\n{report.verdict}")
    if not report:
        sys.exit(report.verdict)
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
    """What an application would ship: two models and the embedding of the letters."""

    def __init__(self, checkpoint: Path, encoder: Session, decoder: Session) -> None:
        self.letters: Array = np.load(checkpoint)["enc_emb"]  # [letters, features]
        self.encoder, self.decoder = encoder, decoder

    def embed(self, word: str) -> Array:
        """Return [time, features]; letters are rows 3 to 28, and row 2 ends a word."""
        return self.letters[[*(ord(letter) - ord("a") + 3 for letter in word), 2]]

    def encode(self, word: str) -> Array:
        """Read one word; returns the final state [1, 1, hidden]."""
        return self.encoder.run(self.embed(word)[None]).state[0]

    def decode(self, state: Array, beam: int = 1) -> list[list[int]]:
        """Write phonemes from a state [1, batch, hidden], all rows side by side."""
        return self.decoder.decode(
            start=START, stop=STOP, max_steps=LONGEST, state=state, beam=beam
        ).tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/spell"), help="Where files go.")
    parser.add_argument("--words", type=int, default=500, help="How many words to spell.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    folder = options.out / "g2p-en"
    checkpoint = fetch_speller(folder)
    encoder = export(checkpoint, options.out / "encoder.onnx", "--prefix", "enc_")
    decoder = export_decoder(checkpoint, options.out / "decoder.onnx")
    speller = Speller(checkpoint, encoder, decoder)

    words, known = words_from_a_to_z(options.words)

    reference = published_speller(folder)
    agreed = 0
    print(f"\nspelling {len(words)} of the {known:,} words a-z in cmudict, one by one")
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
    beams = speller.decode(state, beam=5)
    changed = [
        index for index, pair in enumerate(zip(beams, spelled, strict=True)) if pair[0] != pair[1]
    ]
    print(f"a beam of 5 spells {len(changed)} of them otherwise")
    for index in changed[:3]:
        print(f"  {words[index]:16}{' '.join(reference.idx2p[symbol] for symbol in beams[index])}")
    print(f"{agreed} of {len(words)} words agree with {G2P}")
    sys.exit(agreed < len(words) or same < len(words))


if __name__ == "__main__":
    main()
