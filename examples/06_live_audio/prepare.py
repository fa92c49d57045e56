"""Fetch a published voice detector and a recording, rebuild the detector, and prove it.

The detector is Silero VAD 6, the file of the package silero-vad (MIT). Its weights go into a module
of PyTorch that takes the context of a frame as a state, which rnnedge exports.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from listen import CONTEXT, FRAME, published, read_wav, rebuilt
from torch import Tensor, nn

import rnnedge

sys.path.append(str(Path(__file__).parents[1]))  # for what examples share
from shared_data import fetch

DETECTOR = ("silero-vad==6.2.3", "silero_vad", "data/silero_vad_16k_op15.onnx")
RECORDING = ("pyannote.audio==4.0.7", "pyannote", "audio/sample/sample")  # .wav, .rttm
ALLOWED = 1e-5


class VoiceDetector(nn.Module):
    """Silero VAD for 16 kHz: spectrum, convolutions, an LSTM, and the probability of speech."""

    def __init__(self) -> None:
        super().__init__()
        self.stft = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        widths = (129, 128, 64, 64, 128)
        strides = (1, 2, 2, 1)
        self.encoder = nn.ModuleList(
            nn.Conv1d(into, out, 3, stride, padding=1)
            for into, out, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.rnn = nn.LSTMCell(128, 128)
        self.head = nn.Conv1d(128, 1, 1)

    def forward(
        self, samples: Tensor, context: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the probability [batch] for a frame, and the states for the next.

        Takes samples [batch, 512], the last 64 of the frame before, and h and c [batch, 128].
        """
        x = torch.cat([context, samples], dim=1).unsqueeze(1)  # [batch, 1, samples]
        x = self.stft(F.pad(x, (0, CONTEXT), mode="reflect"))  # [batch, 2 * 129, 4]
        real, imaginary = x.chunk(2, dim=1)
        x = (real.square() + imaginary.square()).sqrt()
        for convolution in self.encoder:
            x = convolution(x).relu()  # at last [batch, 128, 1]
        h_n, c_n = self.rnn(x.squeeze(2), (h, c))
        probability = self.head(h_n.relu().unsqueeze(2)).sigmoid().flatten()
        context_n = samples[:, -CONTEXT:]
        return probability, context_n, h_n, c_n  # the outputs of the file have these names


def with_weights_of(path: Path) -> VoiceDetector:
    """Return the module with the weights of the published file."""
    renamed = {
        "model.stft.forward_basis_buffer": "stft.weight",
        "model.decoder.decoder.2": "head",
        "model.decoder.": "",
        "model.": "",
        "reparam_conv.": "",
    }
    weights = {}
    for tensor in onnx.load(path).graph.initializer:
        name = tensor.name
        for theirs, ours in renamed.items():
            name = name.replace(theirs, ours)
        weights[name] = torch.tensor(onnx.numpy_helper.to_array(tensor))
    model = VoiceDetector().eval()
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/live"), help="Where files go.")
    parser.add_argument("--wav", type=Path, help="A recording of yours; none is fetched then.")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)

    package, module, file = DETECTOR
    original = out / "silero_vad.onnx"
    shutil.copyfile(fetch(package, module, out / "packages") / file, original)
    wav = out / "conversation.wav"
    if options.wav is not None:
        shutil.copyfile(options.wav, wav)
        wav.with_suffix(".rttm").unlink(missing_ok=True)  # of another recording
    else:
        package, module, file = RECORDING
        sample = fetch(package, module, out / "packages") / file
        for suffix in (".wav", ".rttm"):
            shutil.copyfile(sample.with_suffix(suffix), wav.with_suffix(suffix))

    model = with_weights_of(original)
    example = {
        "samples": torch.zeros(2, FRAME),
        "context": torch.zeros(2, CONTEXT),
        "h": torch.zeros(2, 128),
        "c": torch.zeros(2, 128),
    }
    states = {"context_n": "context", "h_n": "h", "c_n": "c"}  # what feeds what at the next frame
    path = out / "rebuilt.onnx"
    print(f"wrote {rnnedge.export(model, path, example_inputs=example, states=states)}")
    report = rnnedge.validate(path, against=model)
    print(report)
    if not report:
        sys.exit(3)

    samples = read_wav(wav)
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    detectors = {"published": published(original), "rebuilt": rebuilt(path)}
    answers: dict[str, list[float]] = {name: [] for name in detectors}
    spent: dict[str, list[float]] = {name: [] for name in detectors}
    for frame in frames:
        for name, detector in detectors.items():  # in turns, so that both have the same machine
            started = time.perf_counter()
            answers[name].append(detector(frame))
            spent[name].append(time.perf_counter() - started)
    for name, each in spent.items():
        print(f"{name:9} {np.median(each) * 1e6:.0f} microseconds a frame")
    error = np.abs(np.subtract(*answers.values())).max()
    print(f"they differ by {error:.1e} at most over the {len(frames)} frames of {wav}")
    sys.exit(not error <= ALLOWED)


if __name__ == "__main__":
    main()
