"""Count syllables as a device does: numpy and rnnedge_runtime, no PyTorch."""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rnnedge_runtime import Session

ALPHABET = "abcdefghijklmnopqrstuvwxyz"  # letter 0 is padding, 1 is a

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/syllables")
typed = sys.argv[2:] or ["banana", "strength", "idea"]
for word in typed:
    if not word or set(word) - set(ALPHABET):
        sys.exit(f"type_words.py: expected words of the letters a to z, got {word!r}")
session = Session(folder / "model.onnx", threads=1)
data = np.load(folder / "held_back.npz")
letters, lengths, counts = data["letters"], data["lengths"], data["counts"]  # [words, time], ...
words = range(len(letters))

# Whole words, in one batch: scores [words, time, classes].
whole = session.run(letters).output.argmax(axis=-1)

# Letter by letter, as a keyboard sends them: the stream keeps what it has read so far.
stream = session.stream()
streamed = np.zeros_like(whole)
started = time.perf_counter()
for word in words:
    stream.reset()
    for position in range(lengths[word]):
        scores = stream.step(letters[word, position : position + 1])  # one letter [1], 0 padding
        streamed[word, position] = scores.argmax()
each = (time.perf_counter() - started) / lengths.sum()

inside = np.arange(letters.shape[1]) < lengths[:, None]  # [words, time], False in the padding
same = {
    "whole, as PyTorch": np.sum(((whole == data["answers"]) | ~inside).all(axis=1)),
    "letter by letter, as whole": np.sum(((streamed == whole) | ~inside).all(axis=1)),
}
accuracies = [np.mean(answers[words, lengths - 1] == counts) for answers in (whole, streamed)]

assert "torch" not in sys.modules, "torch is imported: this is not a test of a device"
installed = "installed here, and not imported" if find_spec("torch") else "not installed here"
print(f"model     {folder / 'model.onnx'} on {session.device}; torch is {installed}")
print(f"accuracy  whole {accuracies[0]:.2%}, letter by letter {accuracies[1]:.2%}", end="")
print(f" of {len(letters)} held-back words (PyTorch: {data['accuracy']:.2%})")
print(f"time      {each * 1e6:.0f} microseconds a letter, one at a time, one thread")
for what, number in same.items():
    print(f"agreement {what}: {number} of {len(letters)} words, at every letter")

for word in typed:
    stream.reset()
    running = [stream.step(np.array([ALPHABET.index(x) + 1])).argmax() for x in word]
    print(f"\n  {'  '.join(word)}\n  {'  '.join(map(str, running))}")

agree = all(number == len(letters) for number in same.values())
sys.exit(not (agree and all(accuracy == data["accuracy"] for accuracy in accuracies)))
