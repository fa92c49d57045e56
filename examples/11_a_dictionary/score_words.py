"""Score a whole dictionary with a published network, in float32 and in int8, and compare.

The encoder of g2p-en 2.1.0 reads the letters of a word; the answer to a word is its state behind
the last letter. All words of cmudict become one Parquet file with a list of letters in each row.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge.corpus.compare import compare
from rnnedge.corpus.page import write_comparison
from rnnedge_runtime import Session
from rnnedge_runtime.scoring import score

sys.path.append(str(Path(__file__).parents[1]))  # for what examples share
from shared_data import fetch_speller, words_from_a_to_z

END_OF_WORD = 2
TIMED = 2000  # words that are run one by one, for comparison
MOST = 0.02  # of the words may have another largest number in their state in int8


class Encoder(nn.Module):
    """Reads letters, int64 [batch, time]; gives the state behind each, [batch, time, hidden]."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__()
        weights = {name: torch.from_numpy(array) for name, array in np.load(checkpoint).items()}
        self.embedding = nn.Embedding.from_pretrained(weights["enc_emb"])
        hidden = weights["enc_w_hh"].shape[1]
        self.rnn = nn.GRU(self.embedding.embedding_dim, hidden, batch_first=True)
        parts = ("w_ih", "w_hh", "b_ih", "b_hh")
        named = zip(self.rnn.state_dict(), (weights[f"enc_{part}"] for part in parts), strict=True)
        self.rnn.load_state_dict(dict(named))

    def forward(self, letters: Tensor) -> Tensor:
        """Return the states of words that share a batch."""
        states, _ = self.rnn(self.embedding(letters))
        return states


def letters_of(word: str) -> list[int]:
    """Return a word as the network reads it: rows 3 to 28 are letters, row 2 ends a word."""
    return [*(ord(letter) - ord("a") + 3 for letter in word), END_OF_WORD]


def one_by_one(model: Path, words: list[str]) -> float:
    """Return the seconds that words take in ONNX Runtime on one core, one after another."""
    session = Session(model, threads=1, engine="onnxruntime")
    rows = [np.array([letters_of(word)]) for word in words]
    session.run(rows[0])
    began = time.perf_counter()
    for row in rows:
        session.run(row)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/words"), help="Where files go.")
    parser.add_argument("--words", type=int, help="How many words to score [all].")
    parser.add_argument("--workers", type=int, default=1, help="Processes.")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)

    module = Encoder(fetch_speller(out / "g2p-en")).eval()
    models = {name: out / f"{name}.onnx" for name in ("float32", "int8")}
    for name, path in models.items():
        how = {"quantize": "int8"} if name == "int8" else {}
        rnnedge.export(module, path, example_inputs=(torch.zeros(2, 5).long(),), **how)
        print(f"{path.name}: {path.stat().st_size:,} bytes, compared with PyTorch by its export")

    words, known = words_from_a_to_z(options.words)
    corpus = out / "words.parquet"
    rows = pa.array([letters_of(word) for word in words], pa.list_(pa.int64()))
    pq.write_table(pa.table({"word": words, "letters": rows}), corpus)
    print(f"\n{len(words):,} of the {known:,} words a-z in cmudict, {options.workers} worker(s)")

    for name, path in models.items():
        answers = out / f"{name}-answers"
        result = score(path, corpus, answers, id="word", workers=options.workers)
        some = words[:: max(1, len(words) // TIMED)]
        rate, alone = result.rows / result.seconds, len(some) / one_by_one(path, some)
        print(
            f"{name:8} {result.rows:,} words in {result.seconds:.1f} s, {result.failed_rows} "
            f"failed: {rate:,.0f} a second, one by one {alone:,.0f}"
        )

    found = compare(*models.values(), corpus, id="word", max_disagreement=MOST)
    write_comparison(found, out / "int8.html", command=" ".join(sys.argv))
    print(f"\n{found}\n\nwrote {out / 'int8.html'}")
    sys.exit(0 if found else 3)


if __name__ == "__main__":
    main()
