"""The package's tests in Chromium, over modules and models of a server on this machine alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from browser import NAMES, Browser, find_browser

FILES = ("axis-sizes", "refused", "pools", "onnxruntime", "wasm", "page")
"""Those of `javascript/tests` that need no files of Node."""


class Handler(SimpleHTTPRequestHandler):
    """Serves the package, and a folder of models below `/models/`."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *arguments: Any, models: Path, **options: Any) -> None:
        self._models = models
        super().__init__(*arguments, **options)

    def translate_path(self, path: str) -> str:
        """Return the file of a path."""
        if not path.startswith("/models/"):
            return super().translate_path(path)
        kept, self.directory = self.directory, str(self._models)
        try:
            return super().translate_path(path.removeprefix("/models"))
        finally:
            self.directory = kept

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(package: Path, models: Path, modules: Path) -> Iterator[str]:
    """Where the package and its models are served."""
    handler = partial(Handler, directory=str(package), models=models)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is on PATH")
    with Browser(program, tmp_path_factory.mktemp("chromium") / "profile") as browser:
        yield browser


def test_in_chromium(address: str, chromium: Browser) -> None:
    files = "&".join(f"file={name}.test.js" for name in FILES)
    page_address = f"{address}/tests/page/index.html?{files}"
    with chromium.open(page_address, width=800, height=600) as page:
        end = time.monotonic() + 120
        while not page.evaluate("window.outcome !== undefined"):
            assert time.monotonic() < end, page.complaints
            time.sleep(0.1)
        outcome = page.evaluate("window.outcome")
        assert outcome["failures"] == []
        assert outcome["passed"] > 100
        # A test asks for a URL that is not there, and another for WebGPU.
        expected = ("(File not found)", "No available adapters.")
        assert [text for text in page.complaints if not text.endswith(expected)] == []
        own = (f"{address}/", "data:", "blob:")
        assert [request for request in page.requests if not request.startswith(own)] == []
        assert f"{address}/src/index.js" in page.requests
