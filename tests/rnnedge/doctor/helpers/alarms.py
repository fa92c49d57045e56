"""Does the doctor call right files sick? Prints the counts, and each false alarm.

    python tests/rnnedge/doctor/helpers/alarms.py --files 300
    python tests/rnnedge/doctor/helpers/alarms.py theirs.onnx …

Every file was compared with its module by `rnnedge.export` before it was written, so that an error
or a warning is a false alarm. The one exception is said by `domain`: int8 operators are ONNX
Runtime's own, which is so.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from right_files import right_file

from rnnedge.doctor import Finding, examine

TRUE = ("domain",)


def alarms(path: Path) -> list[Finding]:
    """Examine a right file.

    Args:
        path: The `.onnx` file.

    Returns:
        The errors and warnings that are not true.
    """
    found = examine(path).general
    return [f for f in found if f.severity != "note" and f.kind not in TRUE]


def main() -> int:
    """Run; the exit code is 1 where there was a false alarm."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("given", nargs="*", type=Path, help="files instead of random ones")
    parser.add_argument("--files", type=int, default=300, help="how many random files")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    examined = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        queue: list[Path | int] = list(options.given)
        seed = options.first
        while examined < (len(queue) or options.files):
            if queue:
                path = Path(queue[examined])
                what: str | None = str(path)
            else:
                what, seed = right_file(seed, path), seed + 1
            if what is None:
                continue
            examined += 1
            for finding in alarms(path):
                counts[finding.kind] += 1
                print(f"{what}\n  {finding.severity} {finding.kind}: {finding.problem}", flush=True)
    print(f"{examined} files, {sum(counts.values())} alarms: {dict(counts)}")
    return 1 if counts and not options.given else 0


if __name__ == "__main__":
    raise SystemExit(main())
