"""The page of `rnnedge app` in Chromium: its verdict, its stream, its width, its requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from browser import Browser, Page
from torch import nn

import rnnedge
from rnnedge.app import write_site

Serve = Callable[[Path], str]
LIMIT = 60


class TwoInputs(nn.Module):
    """A signal, and a gain that is the same at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(2, 4)

    def forward(self, signal: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layer(signal * gain)[0]
        return output


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sites")
    for name, options in {
        "gru": {"cell": "gru", "input_size": 10, "hidden_size": 32},
        "both": {"cell": "lstm", "input_size": 3, "hidden_size": 4, "bidirectional": True},
    }.items():
        module = rnnedge.build(rnnedge.RNNSpec(**options), seed=0)
        rnnedge.export(module, folder / f"{name}.onnx", validate=False)
    torch.manual_seed(0)
    rnnedge.export(
        TwoInputs(),
        folder / "two.onnx",
        example_inputs=(torch.rand(5, 1, 2), torch.rand(1)),
        dynamic_axes={"signal": {0: "time", 1: "batch"}},
        validate=False,
    )
    for name in ("gru", "both", "two"):
        write_site(folder / f"{name}.onnx", folder / name)
    write_site(folder / "gru.onnx", folder / "damaged")
    model = folder / "damaged" / "model.onnx"
    content = bytearray(model.read_bytes())
    middle = len(content) // 2  # of a weight
    content[middle : middle + 4] = bytes([0, 0, 0x40, 0x40])
    model.write_bytes(content)
    return {name: folder / name for name in ("gru", "both", "two", "damaged")}


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Return the function that puts a folder on a server of this machine and gives its address."""
    with ExitStack() as stack:

        def start(folder: Path) -> str:
            handler = partial(_Quiet, directory=str(folder))
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_address[1]}/"

        yield start


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


def until(page: Page, condition: str) -> None:
    end = time.monotonic() + LIMIT
    while not page.evaluate(condition):
        assert time.monotonic() < end, (condition, text(page, "sentence"), page.complaints)
        time.sleep(0.05)


def text(page: Page, name: str) -> str:
    found: str = page.evaluate(f"document.getElementById('{name}').textContent")
    return found


VERDICT = "['PASS', 'FAIL'].includes(document.getElementById('word').textContent)"
STEPPED = "Number(document.getElementById('steps').textContent.replace(',', '')) > 20"
MEASURED = "document.getElementById('median').textContent.endsWith('s')"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_stream(
    sites: dict[str, Path], serve: Serve, chromium: Browser, width: int, scheme: str
) -> None:
    address = serve(sites["gru"])
    with chromium.open(address, width=width, height=844, scheme=scheme) as page:
        until(page, VERDICT)
        assert text(page, "word") == "PASS", text(page, "sentence")
        until(page, f"{STEPPED} && {MEASURED}")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.complaints == []
        outside = [request for request in page.requests if not request.startswith(address)]
        assert [request for request in outside if not request.startswith("data:")] == []
        ink = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(ink) == "rgb(255, 255, 255)"
        assert light == (scheme == "light")


def test_a_model_that_was_damaged(sites: dict[str, Path], serve: Serve, chromium: Browser) -> None:
    with chromium.open(serve(sites["damaged"]), width=390, height=844) as page:
        until(page, VERDICT)
        assert text(page, "word") == "FAIL"
        assert "checks failed in this browser" in text(page, "sentence")
        assert "failed" in text(page, "findings")


def test_a_model_that_cannot_be_stepped_runs_whole(
    sites: dict[str, Path], serve: Serve, chromium: Browser
) -> None:
    with chromium.open(serve(sites["both"]), width=390, height=844) as page:
        until(page, VERDICT)
        assert text(page, "word") == "PASS", text(page, "sentence")
        until(page, MEASURED)
        assert "the layer is bidirectional" in text(page, "about-signal")
        assert page.evaluate("document.getElementById('rate').offsetParent === null")
        assert page.complaints == []


def test_several_inputs_are_stepped_through_the_vectors(
    sites: dict[str, Path], serve: Serve, chromium: Browser
) -> None:
    with chromium.open(serve(sites["two"]), width=390, height=844) as page:
        until(page, VERDICT)
        assert text(page, "word") == "PASS", text(page, "sentence")
        until(page, STEPPED)
        assert text(page, "source") == "the vectors' inputs"
        assert page.complaints == []


def test_stop_and_reset(sites: dict[str, Path], serve: Serve, chromium: Browser) -> None:
    with chromium.open(serve(sites["gru"]), width=1280, height=900) as page:
        until(page, f"{VERDICT} && {STEPPED}")
        page.evaluate("document.getElementById('start').click()")
        until(page, "document.getElementById('start').textContent === 'Start'")
        time.sleep(0.2)
        steps = text(page, "steps")
        time.sleep(0.2)
        assert text(page, "steps") == steps
        page.evaluate(
            "document.getElementById('reset').click(); document.getElementById('start').click()"
        )
        until(page, STEPPED)


@pytest.mark.parametrize("setting", ["granted", "denied"])
def test_the_microphone(
    sites: dict[str, Path], serve: Serve, chromium: Browser, setting: str
) -> None:
    address = serve(sites["gru"])
    permission = {"permission": {"name": "microphone"}, "origin": address}
    chromium.command("Browser.setPermission", **permission, setting=setting)
    with chromium.open(address, width=1280, height=900) as page:
        until(page, VERDICT)
        page.evaluate(
            "const source = document.getElementById('source');"
            "source.value = 'microphone'; source.dispatchEvent(new Event('change'))"
        )
        if setting == "denied":
            until(page, "document.getElementById('remark').textContent !== ''")
            assert "The microphone cannot be used" in text(page, "remark")
            assert page.evaluate("document.getElementById('source').value") == "waves"
            until(page, STEPPED)
            return
        until(page, "document.getElementById('about-signal').textContent.includes(' Hz, ')")
        before = "Number(document.getElementById('steps').textContent.replace(',', ''))"
        steps = page.evaluate(before)
        until(page, f"{before} > {steps} + 500")  # 4,800 a second
        assert page.complaints == []
