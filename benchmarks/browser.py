"""rnnedge's own engine against onnxruntime-web, in the same page of Chromium.

    python -m benchmarks.browser [--print-only]

Needs Chromium, and `npm ci` in `javascript/`. Steps of a stream and whole sequences, one thread;
both sides take turns, and the least disturbed block of each counts: a page does not know the time
that its processor spent. Its clock is coarse, so that a few milliseconds are timed as one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import rnnedge
from benchmarks.machine import describe

ROOT = Path(__file__).resolve().parents[1]
JAVASCRIPT = ROOT / "javascript"
MODULES = JAVASCRIPT / "node_modules" / "onnxruntime-web" / "dist"
CELLS = ("rnn", "lstm", "gru")
SIZES = ((10, 32), (40, 64), (40, 128), (40, 256))
"""Input size and hidden size."""
BATCHES = (1, 8, 32)
TIME = 100
PAGE = """
<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<script type="module">
import { Session, Tensor, onnxruntime } from "/src/index.js";
import * as ort from "/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

/** Microseconds of one call each, both sides by turns: those of the least disturbed block. */
async function compare(calls, milliseconds) {
  const times = calls.map(() => []);
  const counts = calls.map(() => 1);
  for (let turn = 0; turn < 40; turn++) {
    for (const [side, call] of calls.entries()) {
      const start = performance.now();
      for (let index = 0; index < counts[side]; index++) await call();
      const took = performance.now() - start;
      if (turn > 2 && took > 1) times[side].push((took / counts[side]) * 1000);
      else counts[side] = Math.ceil((counts[side] * milliseconds) / Math.max(took, 0.1));
    }
  }
  return times.map((all) => Math.min(...all));
}

window.measure = async (address, features, batches, time) => {
  const own = await Session.open(address, { engine: "wasm" });
  const other = await Session.open(address, { engine: onnxruntime(ort), threads: 1 });
  const frame = Float32Array.from({ length: features }, (_, index) => Math.sin(index));
  const [a, b] = [own.stream(), other.stream()];
  let difference = 0;
  for (let step = 0; step < 200; step++) {
    frame[0] = Math.sin(step);
    const [x, y] = [a.stepSync(frame), await b.step(frame)];
    x.data.forEach((value, index) => {
      difference = Math.max(difference, Math.abs(value - y.data[index]));
    });
  }
  const output = new Float32Array(a.stepSync(frame).size);
  const burst = () => { for (let step = 0; step < 32; step++) a.stepSync(frame); };
  const into = () => { for (let step = 0; step < 32; step++) a.stepInto(frame, output); };
  const [bursts, intos, step] = await compare([burst, into, () => b.step(frame)], 3);
  const whole = {};
  for (const batch of batches) {
    const data = Float32Array.from({ length: time * batch * features }, (_, i) => Math.sin(i));
    const x = new Tensor("float32", data, [time, batch, features]);
    whole[batch] = await compare([() => own.runSync(x), () => other.run(x)], 3);
  }
  return { difference, step: [bursts / 32, intos / 32, step], whole };
};
window.ready = true;
</script>
"""


class _Handler(SimpleHTTPRequestHandler):
    """Serves the JavaScript package, and what lies in another folder below `/bench/`."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *arguments: Any, bench: Path, **options: Any) -> None:
        self._bench = bench
        super().__init__(*arguments, **options)

    def translate_path(self, path: str) -> str:
        """Return the file of a path."""
        if path.startswith("/bench/"):
            return str(self._bench / Path(path).name)
        return super().translate_path(path)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def _served(bench: Path) -> Iterator[str]:
    handler = partial(_Handler, directory=str(JAVASCRIPT), bench=bench)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def measure() -> list[str]:
    """Return the lines of the report."""
    sys.path.append(str(ROOT / "tests" / "helpers"))
    from browser import Browser, find_browser

    program = find_browser()
    if program is None or not (MODULES / "ort.wasm.min.mjs").is_file():
        sys.exit("needs Chromium, and npm ci in javascript/")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Path(folder, "bench")
        bench.mkdir()
        (bench / "index.html").write_text(PAGE, "utf-8")
        with (
            _served(bench) as address,
            Browser(program, Path(folder, "profile")) as browser,
            browser.open(f"{address}/bench/index.html", width=800, height=600) as page,
        ):
            while not page.evaluate("window.ready === true"):
                assert not page.complaints, page.complaints
            for cell in CELLS:
                for features, hidden in SIZES:
                    spec = rnnedge.RNNSpec(cell=cell, input_size=features, hidden_size=hidden)
                    name = f"{cell}{hidden}.onnx"
                    rnnedge.export(rnnedge.build(spec, seed=0), bench / name, validate=False)
                    call = f"measure('/bench/{name}', {features}, {list(BATCHES)}, {TIME})"
                    answer = page.command(
                        "Runtime.evaluate", expression=call, awaitPromise=True, returnByValue=True
                    )
                    rows.append(_row(cell, features, hidden, answer["result"]["value"]))
                    print(rows[-1], flush=True)
    return [
        "# rnnedge's own engine against onnxruntime-web, in one page",
        "",
        describe(),
        "",
        "Microseconds. A step of a stream by `stepSync`, which gives a new tensor, and by "
        f"`stepInto`, which writes into the caller's array; then {TIME} steps in one call: the "
        "time of rnnedge's engine over that of onnxruntime-web, at batches of "
        f"{', '.join(map(str, BATCHES))}.",
        "",
        "| | stepSync | stepInto | onnxruntime-web | times as fast | "
        + " | ".join(f"batch {batch}" for batch in BATCHES)
        + " | largest difference |",
        "|---|" + "---|" * (5 + len(BATCHES)),
        *rows,
    ]


def _row(cell: str, features: int, hidden: int, found: dict[str, Any]) -> str:
    own, into, other = found["step"]
    ratios = [mine / theirs for mine, theirs in found["whole"].values()]
    cells = [
        f"{cell} {features}→{hidden}",
        f"{own:.2f}",
        f"{into:.2f}",
        f"{other:.0f}",
        f"{other / own:.0f}, {other / into:.0f}",
        *(f"{ratio:.2f}" for ratio in ratios),
        f"{found['difference']:.1e}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, and write the report unless it is only printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print-only", action="store_true")
    lines = measure()
    if not parser.parse_args().print_only:
        report = Path(__file__).parent / "results" / "browser.md"
        report.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
