import os
import re
import socket
import struct
import subprocess
import sys
import time
import wave
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from running import EXAMPLES, output_of, run, without

import rnnedge

AUDIO = "06_live_audio"
MANY = "07_many_streams"
RATE = 16_000
needs_silero = pytest.mark.skipif(find_spec("silero_vad") is None, reason="needs silero-vad")


def vowels(seconds: float) -> NDArray[np.float64]:
    """Four vowels a second: overtones of a voice, as three resonances let them through."""
    t = np.arange(int(seconds * RATE)) / RATE
    resonances = np.array([[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240]])
    now = resonances[(t * 4).astype(int) % 3]  # [time, 3]
    pitch = 120 + 15 * np.sin(2 * np.pi * 2.1 * t)
    samples = np.zeros(len(t))
    for overtone in range(1, 30):
        far = (overtone * pitch[:, None] - now) / [80, 100, 140]
        loud = ([1, 0.6, 0.3] / (1 + far**2)).sum(axis=1)
        samples += loud / overtone**0.3 * np.sin(2 * np.pi * overtone * np.cumsum(pitch) / RATE)
    return samples * np.sqrt(np.sin(np.pi * (t * 4 % 1)).clip(0)) / np.abs(samples).max() / 5


def write_wav(path: Path, samples: NDArray[np.float64], rate: int = RATE) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def heard(output: str) -> list[tuple[float, float]]:
    found = re.findall(r"^ +([\d.]+) to +([\d.]+) s  speech$", output, re.MULTILINE)
    return [(float(begin), float(end)) for begin, end in found]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that 06's preparation wrote into, and what it printed: 1.5 s of voice in noise."""
    folder = tmp_path_factory.mktemp("live")
    samples = np.random.default_rng(0).standard_normal(4 * RATE) / 1000
    samples[RATE : RATE * 5 // 2] += vowels(1.5)
    write_wav(folder / "voice.wav", samples)
    output = output_of(folder, f"{AUDIO}/prepare.py", "--out", "built", "--wav", "voice.wav")
    return folder, output


@needs_silero
def test_the_rebuilt_detector_is_the_published_one(live: tuple[Path, str]) -> None:
    assert "PASS: rebuilt.onnx computes what VoiceDetector computes in PyTorch" in live[1]
    assert "fetching" not in live[1]
    assert float(live[1].split("they differ by ")[1].split()[0]) < 1e-5


@needs_silero
@pytest.mark.parametrize("options", [(), ("--published",)], ids=["rebuilt", "published"])
def test_a_voice_is_heard_where_it_is(live: tuple[Path, str], options: tuple[str, ...]) -> None:
    output = output_of(live[0], f"{AUDIO}/listen.py", "built", "--fast", *options)
    ((begin, end),) = heard(output)
    assert begin == pytest.approx(1.0, abs=0.2)
    assert 1.5 < end < 3
    assert "real-time factor 0." in output
    assert "late     0 of 125 frames" in output
    assert "\r" not in output


@needs_silero
def test_a_microphone_gives_no_more_than_real_time(live: tuple[Path, str], tmp_path: Path) -> None:
    write_wav(tmp_path / "short.wav", np.zeros(RATE))
    started = time.perf_counter()
    output = output_of(tmp_path, f"{AUDIO}/listen.py", str(live[0] / "built"), "--wav", "short.wav")
    assert time.perf_counter() - started >= 31 * 0.032
    assert heard(output) == []


@needs_silero
def test_a_terminal_has_its_line_redrawn(live: tuple[Path, str]) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = [sys.executable, EXAMPLES / AUDIO / "listen.py", "built", "--fast"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"}
    shown = b""
    with subprocess.Popen(command, cwd=live[0], env=environment, stdout=theirs):
        os.close(theirs)
        with suppress(OSError):  # how a terminal on Linux says that it is over
            while chunk := os.read(ours, 4096):
                shown += chunk
    os.close(ours)
    drawn = re.findall(r"\r( *[\d.]+ s  [█░]+ [^\r]* late)\x1b\[K", shown.decode())
    assert drawn
    assert max(map(len, drawn)) < 80


@needs_silero
def test_48_khz_is_heard_as_16(live: tuple[Path, str], tmp_path: Path) -> None:
    with wave.open(str(live[0] / "voice.wav")) as file:
        samples = np.frombuffer(file.readframes(4 * RATE), "<i2") / 32767
    write_wav(tmp_path / "three.wav", samples.repeat(3), 3 * RATE)
    folder = str(live[0] / "built")
    output = output_of(tmp_path, f"{AUDIO}/listen.py", folder, "--fast", "--wav", "three.wav")
    assert heard(output) == heard(output_of(live[0], f"{AUDIO}/listen.py", "built", "--fast"))


@needs_silero
@pytest.mark.parametrize(
    ("samples", "rate", "said"),
    [
        (1000, 44_100, "expected 16 bits at 16 kHz or a multiple of it, got 16 bits at 44100 Hz"),
        (100, RATE, "expected 512 samples or more, got 100"),
    ],
    ids=["44.1 kHz", "short"],
)
def test_a_file_that_does_not_fit_is_refused(
    live: tuple[Path, str], tmp_path: Path, samples: int, rate: int, said: str
) -> None:
    write_wav(tmp_path / "wrong.wav", np.zeros(samples), rate)
    done = run(tmp_path, f"{AUDIO}/listen.py", str(live[0] / "built"), "--wav", "wrong.wav")
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.network
def test_a_conversation_is_heard_as_it_is_annotated(tmp_path: Path) -> None:
    done = run(tmp_path, f"{AUDIO}/prepare.py")
    if "(from versions: none)" in done.stderr:  # an index would list some version
        pytest.skip("pip reaches no package index, and this example fetches a recording from one")
    assert done.returncode == 0, done.stdout + done.stderr
    output = output_of(tmp_path, f"{AUDIO}/listen.py", "--fast")
    assert len(heard(output)) == 4
    assert float(re.search(r"([\d.]+)% agreement", output)[1]) > 97  # type: ignore[index]


def test_listening_imports_nothing_but_numpy_and_the_runtime() -> None:
    done = without(("torch", "onnx", "rnnedge", "rnnedge_exporters"), f"{AUDIO}/listen.py")
    assert "ModelError: nowhere/rebuilt.onnx" in done.stderr


@pytest.fixture(scope="module")
def gru(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small GRU in it, model.onnx."""
    folder = tmp_path_factory.mktemp("many")
    spec = rnnedge.RNNSpec(cell="gru", input_size=8, hidden_size=16)
    rnnedge.export(rnnedge.build(spec, seed=0), folder / "model.onnx")
    return folder


def test_many_clients_are_answered_as_alone(gru: Path) -> None:
    output = output_of(gru, f"{MANY}/clients.py", "model.onnx", "--clients", "30", "--visits", "60")
    rates = re.findall(
        r"^  (pool|alone) +[\d,]+ frames/s, .* the largest (\d+)", output, re.MULTILINE
    )
    assert [name for name, _ in rates] == ["pool", "alone"]
    assert int(rates[0][1]) > 1
    assert int(rates[1][1]) == 1
    errors = re.findall(
        r"^  (?:pool|alone) +60 clients, off by (\S+) at most", output, re.MULTILINE
    )
    assert len(errors) == 2
    assert max(map(float, errors)) <= 1e-6


def test_a_client_that_misbehaves_is_told_why(gru: Path) -> None:
    output = output_of(gru, f"{MANY}/clients.py", "model.onnx", "--clients", "2", "--visits", "4")
    assert re.search(r"NaN +E stream \d+: input: expected finite values, got nan", output)
    assert re.search(r"too short +E stream \d+: input: expected float32\[8\] or", output)
    assert "no float32 E expected float32 numbers, got 5 bytes" in output
    assert re.search(r"afterwards +its stream goes on, off by \d", output)


def test_who_finds_the_server_full_is_told(gru: Path) -> None:
    command = [sys.executable, EXAMPLES / MANY / "server.py", "model.onnx", "--port", "0"]
    with subprocess.Popen(
        [*command, "--capacity", "1"], cwd=gru, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as first:
            first.sendall(struct.pack("<cI", b"F", 32) + np.zeros(8, np.float32).tobytes())
            assert first.recv(1) == b"A"
            with socket.create_connection(("127.0.0.1", port)) as second:
                assert b"E" in (told := second.recv(200))
                assert b"the pool is full with 1 stream(s)" in told
        server.terminate()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")
def test_streams_are_found_again_on_their_workers(gru: Path) -> None:
    """Connections are lost, and one of three workers is killed."""
    done = run(gru, f"{MANY}/wander.py", "model.onnx", "--clients", "20", "--workers", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 named streams, " in done.stdout
    for what in ("connections lost", "sent to the worker", "begun again, since a worker was"):
        assert what in done.stdout
    assert "compared with a run of its sequence alone: off by " in done.stdout


def test_clients_without_a_model_say_so(tmp_path: Path) -> None:
    done = run(tmp_path, f"{MANY}/clients.py", "nowhere.onnx")
    assert done.returncode == 1
    assert "nowhere.onnx" in done.stderr


def test_the_server_imports_nothing_but_numpy_and_the_runtime() -> None:
    done = without(("torch", "onnx", "rnnedge", "rnnedge_exporters"), f"{MANY}/server.py")
    assert "ModelError: nowhere" in done.stderr
