"""What the runtime costs, and what limits it: `python -m benchmarks.runtime`.

Four parts, each a separate module: a call of `Session.run` against a bare one, a fresh process
against one without rnnedge, growth over time and layers, and the least time that the machine's own
speed allows. All on one thread, sides in turns, medians; under five minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter

import torch

from benchmarks.machine import describe
from benchmarks.runtime import call_cost, fresh_process, growth, roofline
from benchmarks.runtime.picture import draw

PARTS = {
    "call": call_cost.report,
    "process": fresh_process.report,
    "growth": growth.report,
    "roofline": roofline.report,
}


def main() -> None:
    """Measure, print, and keep the tables and a picture under `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--print-only", action="store_true", help="leave the results as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines, drawn = ["# Cost of the runtime", "", describe(), ""], {}
    print(*lines, sep="\n")
    for name in options.parts:
        start = perf_counter()
        more, drawn[name] = PARTS[name]()
        lines += more
        print(*more, sep="\n", flush=True)
        print(f"({name}: {perf_counter() - start:.0f} s)", file=sys.stderr)
    if not options.print_only:
        if options.parts != list(PARTS):
            raise SystemExit("nothing written: the results are those of all parts together")
        results = Path(__file__).parents[1] / "results"
        results.joinpath("runtime.md").write_text("\n".join(lines), encoding="utf-8")
        draw(drawn["growth"], drawn["roofline"], results / "runtime.png")


if __name__ == "__main__":
    main()
