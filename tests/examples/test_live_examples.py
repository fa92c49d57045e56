import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from running import EXAMPLES, output_of, run, without

import rnnedge

MANY = "07_many_streams"


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
        r"^  (pool|alone) +[\d,]+ frames/s, .* batches of (\d+)", output, re.MULTILINE
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
    assert re.search(r"NaN +E stream \d+: input: expected finite numbers, got nan", output)
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


def test_clients_without_a_model_say_so(tmp_path: Path) -> None:
    done = run(tmp_path, f"{MANY}/clients.py", "nowhere.onnx")
    assert done.returncode == 1
    assert "nowhere.onnx" in done.stderr


def test_the_server_imports_nothing_but_numpy_and_the_runtime() -> None:
    done = without(("torch", "onnx", "rnnedge", "rnnedge_exporters"), f"{MANY}/server.py")
    assert "ModelError: nowhere" in done.stderr
