"""Examine many random modules, and print what came of them.

    python tests/exporters/modules/random_modules/hunt.py --seeds 0:5000 --jobs 2 -o hunt.jsonl

Verdicts are lines of JSON. Seeds that the file has a verdict on are left out, so that a run can be
stopped and gone on with. `--show SEED` prints a module and examines it here.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from random_modules.summary import summarize
from random_modules.workers import Verdict, examine_all


def main() -> int:
    """Run; the exit code is 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--seeds", default="0:200", help="first:end, or seeds with commas")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--time-limit", type=float, default=600, help="seconds for one seed")
    parser.add_argument("-o", "--out", type=Path, default=Path("random_modules.jsonl"))
    parser.add_argument("--again", choices=["wrong", "refused"], help="repeat these of the file")
    parser.add_argument("--summary", action="store_true", help="print what the file has, and stop")
    parser.add_argument("--show", type=int, metavar="SEED", help="print a module, and examine it")
    options = parser.parse_args()
    if options.show is not None:
        return _show(options.show)
    known = _read(options.out)
    if not options.summary:
        _examine(options, known)
    print(summarize(list(known.values())))
    return 1 if any(verdict["outcome"] in ("wrong", "tool") for verdict in known.values()) else 0


def _examine(options: argparse.Namespace, known: dict[int, Verdict]) -> None:
    seeds = _seeds(options.seeds)
    if options.again:
        wanted = [s for s in seeds if s in known and known[s]["outcome"] in (options.again, "tool")]
    else:
        wanted = [seed for seed in seeds if seed not in known]
    with options.out.open("a", encoding="utf-8") as file:
        verdicts = examine_all(wanted, jobs=options.jobs, time_limit=options.time_limit)
        for count, verdict in enumerate(verdicts, 1):
            known[verdict["seed"]] = verdict
            print(json.dumps(verdict), file=file, flush=True)
            if verdict["outcome"] in ("wrong", "tool"):
                print(f"{count}/{len(wanted)} seed {verdict['seed']}: {verdict['faults'][0][:300]}")


def _show(seed: int) -> int:
    from random_modules.generate import generate
    from random_modules.oracle import examine

    generated = generate(seed)
    print(generated.source, generated.sizes, sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        verdict = examine(generated, Path(folder)).as_dict()
    print(json.dumps(verdict, indent=1))
    return int(verdict["outcome"] == "wrong")


def _read(path: Path) -> dict[int, Verdict]:
    """Return the last verdict on each seed."""
    if not path.exists():
        return {}
    verdicts = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {verdict["seed"]: verdict for verdict in verdicts}


def _seeds(text: str) -> list[int]:
    if ":" in text:
        first, end = text.split(":")
        return list(range(int(first), int(end)))
    return [int(seed) for seed in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
