"""Fuzzes every reader of files: `python -m tests.fuzz --minutes 60`."""

import argparse
import random
import sys
from pathlib import Path

from tests.fuzz.kinds import KINDS, NEED_TORCH, suffix_of
from tests.fuzz.watch import content_of, fuzz


def main() -> int:
    """Fuzz; the exit code is 1 if a fault was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; or all")
    parser.add_argument("--minutes", type=float, help="how long, shared by the kinds")
    parser.add_argument("--count", type=int, default=1 << 40, help="files of each kind, at most")
    parser.add_argument("--seed", type=int, help="the same changes as another time")
    parser.add_argument("--faults", type=Path, help="a folder for the files that are faults")
    given = parser.parse_args()
    if given.minutes is None and given.count == 1 << 40:
        given.minutes = 1.0
    seed = random.randrange(1 << 32) if given.seed is None else given.seed
    kinds = given.kinds or list(KINDS)
    unknown = set(kinds) - set(KINDS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: expected kinds of {', '.join(KINDS)}")
    seconds = 1e9 if given.minutes is None else given.minutes * 60 / len(kinds)
    print(f"seed {seed}", flush=True)
    if set(kinds) & NEED_TORCH:
        import rnnedge.sources.load  # noqa: F401 - the children have it then
    faults = 0
    for kind in kinds:
        found = fuzz(kind, seed, count=given.count, seconds=seconds)
        print(
            f"{kind:12} {found.accepted:8} accepted {found.refused:8} refused "
            f"{len(found.faults):5} faults",
            flush=True,
        )
        for number, how in found.faults:
            print(f"    {number}: {how}", flush=True)
            if given.faults is not None:
                given.faults.mkdir(parents=True, exist_ok=True)
                path = given.faults / f"{kind}-{seed}-{number}{suffix_of(kind)}"
                path.write_bytes(content_of(kind, seed, number))
        faults += len(found.faults)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
