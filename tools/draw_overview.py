"""Draw the README's picture from a run of what the README shows: `python tools/draw_overview.py`.

The module of the README is exported, proven in every case of `rnnedge validate`, and stepped in a
process that imports numpy and the runtime alone. Its figures are in `docs/pictures/overview.svg`.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "overview.svg"
WIDTH, HEIGHT = 880, 248

_STEP = """
import json, resource, sys, time
import numpy as np
from rnnedge_runtime import Session
from rnnedge_runtime.machine import cpu_name
assert "torch" not in sys.modules
frame = np.random.default_rng(0).standard_normal((1, 160)).astype(np.float32)
session = Session("listener.onnx", engine=sys.argv[1], threads=1)
stream = session.stream()
blocks = []
for _ in range(40):
    start = time.process_time_ns()
    for _ in range(500):
        stream.step(frame)
    blocks.append((time.process_time_ns() - start) / 500e3)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"us": sorted(blocks)[20], "megabytes": memory, "machine": cpu_name()}))
"""


def program(name: str) -> str:
    """Return the README's program that it calls `name`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(.*?)```python\n(.*?)```", text, re.DOTALL)
    (found,) = (code for before, code in blocks if re.findall(r"`(\w+\.py)`", before)[-1] == name)
    return found


def run(folder: Path, *words: str) -> str:
    """Run Python in `folder` and return what it printed."""
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def measure(folder: Path) -> dict[str, Any]:
    """Return the figures of the picture."""
    (folder / "listener.py").write_text(program("listener.py"), encoding="utf-8")
    run(folder, "listener.py")
    source = ("listener:Listener", "--weights", "trained.pt")
    shape = ("--input", "audio=float32[batch,time,160]", "-o", "listener.onnx")
    run(folder, "-m", "rnnedge", "export", *source, *shape)
    against = ("listener.onnx", "--against", *source, "--json")
    report = json.loads(run(folder, "-m", "rnnedge", "validate", *against))
    file = (folder / "listener.onnx").stat()
    return {
        "bytes": file.st_size,
        "weights": (folder / "trained.pt").stat().st_size,
        "report": report,
        "engines": {
            name: json.loads(run(folder, "-c", _STEP, name)) for name in ("onnxruntime", "native")
        },
    }


class Drawing:
    """Collects elements of an SVG; classes carry the colours of light and dark pages."""

    def __init__(self) -> None:
        self._elements: list[str] = []

    def text(
        self, x: float, y: float, text: str, kind: str = "plain", anchor: str = "start"
    ) -> None:
        """Write a line at its baseline."""
        self._elements.append(
            f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float) -> None:
        """Draw a panel."""
        self._elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" class="box"/>'
        )

    def arrow(self, x: float, y: float, length: float) -> None:
        """Draw an arrow to the right."""
        end = x + length
        self._elements.append(f'<path d="M{x:g} {y:g}H{end - 2:g}m-6 -6l7 6l-7 6" class="arrow"/>')

    def line(self, x: float, y: float, to: float, kind: str) -> None:
        """Draw a horizontal line."""
        self._elements.append(f'<path d="M{x:g} {y:g}H{to:g}" class="{kind}"/>')

    def dot(self, x: float, y: float, kind: str) -> None:
        """Draw one case."""
        self._elements.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" class="{kind}"/>')

    def save(self, path: Path, title: str) -> None:
        """Write the file."""
        style = """
text { font: 13px system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px } .small { font-size: 11.5px; fill: #59636e }
.figure { font-weight: 600; font-size: 20px } .code { font: 12px ui-monospace, Menlo, monospace }
.page { fill: #ffffff } .box { fill: #f6f8fa; stroke: #d1d9e0 }
.arrow { fill: none; stroke: #59636e; stroke-width: 1.6 }
.limit { stroke: #bc4c00; stroke-width: 1.4; stroke-dasharray: 5 3 } .axis { stroke: #d1d9e0 }
.limit-label { font-size: 11.5px; fill: #bc4c00 } .case { fill: #0969da; fill-opacity: .75 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .small { fill: #9198a1 } .page { fill: #0d1117 }
.box { fill: #151b23; stroke: #3d444d } .arrow { stroke: #9198a1 } .axis { stroke: #3d444d }
.limit { stroke: #f0883e } .limit-label { fill: #f0883e } .case { fill: #4493f8 }
}"""
        body = "\n".join(self._elements)
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" role="img">\n<title>{escape(title)}</title>\n'
            f"<style>{style}\n</style>\n"
            f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" class="page"/>\n{body}\n</svg>\n',
            encoding="utf-8",
        )


def draw_cases(drawing: Drawing, report: dict[str, Any], left: float, right: float) -> None:
    """Draw the error of `output` in each case, and what is allowed, on a logarithmic axis."""
    results = [result for result in report["results"] if result["output"] == "output"]
    top, bottom = 72.0, 188.0
    lowest, highest = 1e-9, 1e-4

    def height(value: float) -> float:
        share = math.log(max(value, lowest) / lowest) / math.log(highest / lowest)
        return bottom - share * (bottom - top)

    for power in (-8, -6, -4):
        drawing.line(left, height(10.0**power), right, "axis")
        drawing.text(left - 6, height(10.0**power) + 4, f"1e{power}", "small", "end")
    allowed = min(result["allowed"] for result in results)
    drawing.line(left, height(allowed), right, "limit")
    drawing.text(right, height(allowed) - 5, f"allowed {allowed:.1e}", "limit-label", "end")
    for n, result in enumerate(results):
        x = left + (n + 0.5) / len(results) * (right - left)
        drawing.dot(x, height(result["error"]), "case")


def draw(figures: dict[str, Any]) -> None:
    """Draw the three panels."""
    report, drawing = figures["report"], Drawing()
    cases = re.search(r"\d+ of \d+ cases", report["verdict"])
    assert cases is not None
    worst = max(output["max_abs"] for output in report["outputs"][:1])

    drawing.box(12, 34, 200, 178)
    drawing.text(24, 24, "PyTorch", "title")
    drawing.text(24, 60, "class Listener(nn.Module)", "code")
    drawing.text(24, 82, "GRU 160 → 64, Linear 64 → 2", "small")
    drawing.text(24, 118, "one command", "small")
    drawing.text(24, 138, "rnnedge export", "code")
    drawing.text(24, 174, f"{figures['bytes']:,} bytes", "figure")
    drawing.text(24, 194, "batch and time are open", "small")

    drawing.arrow(217, 124, 28)

    drawing.box(250, 34, 350, 178)
    drawing.text(262, 24, "proven against PyTorch in float64", "title")
    drawing.text(262, 54, "largest error of each case, and what rounding explains", "small")
    draw_cases(drawing, report, 304, 588)
    drawing.text(262, 204, f"PASS in {cases[0]}, worst {worst:.1e}", "plain")

    drawing.arrow(605, 124, 28)

    engines = figures["engines"]
    one, native = engines["onnxruntime"], engines["native"]
    drawing.box(638, 34, 230, 178)
    drawing.text(650, 24, "device without PyTorch", "title")
    drawing.text(650, 60, "stream.step(frame)", "code")
    drawing.text(650, 78, "10 ms of sound a step", "small")
    for y, name, engine in ((112, "ONNX Runtime", one), (160, "native engine", native)):
        drawing.text(650, y, f"{engine['us']:.1f} µs", "figure")
        drawing.text(748, y, f"{engine['megabytes']:.0f} MB", "figure")
        drawing.text(650, y + 18, f"{name}: a step, the process", "small")
    drawing.text(650, 202, "numpy and one of the two engines", "small")

    machine, versions = one["machine"], report["machine"]
    drawing.text(
        12,
        236,
        f"Measured on {machine}, one thread; torch {versions['torch']}, "
        f"ONNX Runtime {versions['onnxruntime']}, Python {versions['python']}.",
        "small",
    )
    drawing.save(
        PICTURE, f"A module exported to ONNX, proven in {cases[0]}, and stepped on a device"
    )


def main() -> None:
    """Measure and draw."""
    with tempfile.TemporaryDirectory() as folder:
        draw(measure(Path(folder)))
    print(f"wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
