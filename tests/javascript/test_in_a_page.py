"""The package's tests in browsers, over modules and models of a server on this machine alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from browser import NAMES, WEBGPU, Browser, find_browser

FILES = ("axis-sizes", "refused", "pools", "decoding", "onnxruntime", "wasm", "page")
"""Those of `javascript/tests` that need no files of Node."""
QUERY = "&".join(f"file={name}.test.js" for name in FILES)
LIMIT = 120
"""Seconds for all tests of a page."""
PREFERENCES = """
user_pref("app.normandy.enabled", false);
user_pref("app.update.disabledForTesting", true);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
user_pref("network.proxy.no_proxies_on", "127.0.0.1");
user_pref("toolkit.telemetry.enabled", false);
"""
"""For Firefox: nothing leaves the machine, its own requests neither."""


class Handler(SimpleHTTPRequestHandler):
    """Serves the package, and a folder of models below `/models/`; takes the outcome of a page."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(
        self, *arguments: Any, models: Path, outcomes: Queue[dict[str, Any]], **options: Any
    ) -> None:
        self._models, self._outcomes = models, outcomes
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

    def do_POST(self) -> None:
        """Take the outcome."""
        self._outcomes.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def outcomes() -> Queue[dict[str, Any]]:
    """What pages report."""
    return Queue()


@pytest.fixture(scope="module")
def address(
    package: Path, models: Path, modules: Path, outcomes: Queue[dict[str, Any]]
) -> Iterator[str]:
    """Where the package and its models are served."""
    handler = partial(Handler, directory=str(package), models=models, outcomes=outcomes)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def program() -> str:
    found = find_browser()
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is on PATH")
    return found


def check(outcome: dict[str, Any], address: str) -> None:
    """Check that all tests passed, and asked this machine alone."""
    assert outcome["failures"] == []
    assert outcome["passed"] > 100
    assert f"{address}/src/index.js" in outcome["requests"]
    assert not [url for url in outcome["requests"] if not url.startswith(f"{address}/")]


def test_in_chromium(
    address: str, program: str, outcomes: Queue[dict[str, Any]], tmp_path: Path
) -> None:
    page_address = f"{address}/tests/page/index.html?{QUERY}"
    with (
        Browser(program, tmp_path / "profile") as browser,
        browser.open(page_address, width=800, height=600) as page,
    ):
        end = time.monotonic() + LIMIT
        while not page.evaluate("window.outcome !== undefined"):
            assert time.monotonic() < end, page.complaints
            time.sleep(0.1)
        check(outcomes.get(timeout=LIMIT), address)
        # A test asks for a URL that is not there, and another for WebGPU.
        expected = ("(File not found)", "No available adapters.")
        assert [text for text in page.complaints if not text.endswith(expected)] == []
        own = (f"{address}/", "data:", "blob:")
        assert [request for request in page.requests if not request.startswith(own)] == []


@pytest.mark.full
def test_on_webgpu_in_chromium(
    address: str, program: str, outcomes: Queue[dict[str, Any]], tmp_path: Path
) -> None:
    page_address = f"{address}/tests/page/index.html?device=webgpu&file=onnxruntime.test.js"
    with (
        Browser(program, tmp_path / "profile", WEBGPU) as browser,
        browser.open(page_address, width=800, height=600) as page,
    ):
        end = time.monotonic() + LIMIT
        while not page.evaluate("window.outcome !== undefined"):
            assert time.monotonic() < end, page.complaints
            time.sleep(0.1)
        outcome = outcomes.get(timeout=LIMIT)
    assert outcome["failures"] == []
    assert outcome["passed"] > 20


def test_in_firefox(address: str, outcomes: Queue[dict[str, Any]], tmp_path: Path) -> None:
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    if firefox is None:
        pytest.skip("firefox is not on PATH")
    (tmp_path / "user.js").write_text(PREFERENCES, encoding="utf-8")
    page_address = f"{address}/tests/page/index.html?{QUERY}"
    with (tmp_path / "firefox.log").open("wb") as log:
        process = subprocess.Popen(
            [firefox, "--headless", "--no-remote", "--profile", str(tmp_path), page_address],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            check(outcomes.get(timeout=LIMIT), address)
        finally:
            process.kill()  # its own children end with it
            process.wait()
