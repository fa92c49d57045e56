"""Whether two commits write the same files and the same JSON.

    python -m benchmarks.same_bytes OLD NEW [--output results/same_bytes.md]

Each commit is checked out into a separate worktree, and exports there the same layers, modules
and ONNX files by the same options, and runs the same commands with `--json`. A file is compared as
three parts: its graph, its contract, and all of its bytes. Whatever a rewrite of the code was not
meant to change is the same in all three.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

Records: TypeAlias = dict[str, dict[str, Any]]
"""For each file and each command, what it was."""
ROOT = Path(__file__).parents[1]
SHOWN = 4
"""Cases named for each difference."""
ADDED, GONE = "only in the new one", "only in the old one"


def main() -> None:
    """Write the files of both commits, compare them, and print a Markdown report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", help="The commit before.")
    parser.add_argument("new", help="The commit after.")
    parser.add_argument("--output", type=Path, help="A Markdown file for the report.")
    parser.add_argument("--time-limit", type=float, default=1800, help="Seconds for each commit.")
    given = parser.parse_args()
    old, new = (written_at(commit, given.time_limit) for commit in (given.old, given.new))
    report = compare(old, new, (_name(given.old), _name(given.new)))
    print(report)
    if given.output is not None:
        given.output.write_text(f"{report}\n")


def _name(commit: str) -> str:
    return _git("rev-parse", "--short", commit).strip()


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def written_at(commit: str, time_limit: float) -> Records:
    """Return what a commit writes, in a checkout that is removed again.

    Args:
        commit: Any name that git knows.
        time_limit: Seconds.
    """
    with tempfile.TemporaryDirectory(prefix="same-bytes-") as folder:
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--detach", "--quiet", str(tree), commit)
        try:
            packages = [str(tree / part) for part in ("", "exporters", "runtime")]
            answer = Path(folder) / "records.json"
            writer = Path(__file__).with_name("same_bytes_writer.py")
            subprocess.run(
                # -P: the folder of the writer, which has a cuda.py, hides no package.
                [sys.executable, "-P", str(writer), str(answer), str(tree)],
                check=True,
                cwd=folder,
                timeout=time_limit,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(packages)},
            )
            records: Records = json.loads(answer.read_text())
            return records
        finally:
            _git("worktree", "remove", "--force", str(tree))


def compare(old: Records, new: Records, names: tuple[str, str]) -> str:
    """Return a Markdown report of what is the same, and of each kind of difference.

    Args:
        old: What the old commit wrote.
        new: What the new commit wrote.
        names: What to call the commits.
    """
    kinds: dict[str, list[str]] = {}
    groups: dict[str, Counter[str]] = {}
    for case in sorted(old | new):
        before, after = old.get(case, {}), new.get(case, {})
        found = list(differences(old.get(case), new.get(case)))
        count = groups.setdefault(case.partition("/")[0], Counter())
        count["compared"] += 1
        count["refused by both"] += "error" in before and before.get("error") == after.get("error")
        count["the same"] += not found
        count["the same but for what is added"] += all(ADDED in kind for kind in found)
        count["the same graph"] += "graph" in before and before["graph"] == after.get("graph")
        for kind in found:
            kinds.setdefault(kind, []).append(case)
    heads = list(next(iter(groups.values())))
    lines = [f"# {names[0]} and {names[1]}", "", f"| | {' | '.join(heads)} |"]
    lines.append("|---" * (len(heads) + 1) + "|")
    for group, count in groups.items():
        lines.append(f"| {group} | {' | '.join(str(count[head]) for head in heads)} |")
    lines += ["", "## Differences", ""] if kinds else ["", "No difference."]
    for kind, cases in sorted(kinds.items(), key=lambda item: -len(item[1])):
        more = f" and {len(cases) - SHOWN} more" if len(cases) > SHOWN else ""
        lines.append(f"- {kind}: {', '.join(cases[:SHOWN])}{more}")
    return "\n".join(lines)


def differences(old: dict[str, Any] | None, new: dict[str, Any] | None) -> Iterator[str]:
    """Yield each kind of difference between what two commits made of one case."""
    if old is None or new is None:
        yield f"the case is {ADDED if old is None else GONE}"
        return
    if "error" in old or "error" in new:
        if old.get("error") != new.get("error"):
            yield f"refused: {old.get('error', 'written')!r} is now {new.get('error', 'written')!r}"
        return
    if "graph" in old and old["graph"] != new["graph"]:
        yield f"graph: {_operators(old, new)}"
    for part in ("contract", "json"):
        yield from _json_differences(old.get(part), new.get(part), part)
    if "bytes" in old and old["bytes"] != new["bytes"] and _parts(old) == _parts(new):
        yield "bytes, and neither graph nor contract"


def _parts(record: dict[str, Any]) -> tuple[Any, ...]:
    return record["graph"], record["contract"]


def _operators(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Say which operators there are more or fewer of."""
    before, after = old["operators"], new["operators"]
    changed = [
        f"{after.get(name, 0) - before.get(name, 0):+} {name}"
        for name in sorted(before | after)
        if before.get(name, 0) != after.get(name, 0)
    ]
    return ", ".join(changed) or "other numbers, names or shapes"


def _json_differences(old: Any, new: Any, path: str) -> Iterator[str]:
    """Yield the paths at which two JSON values differ; an item of a list has no number."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old | new):
            if key not in new:
                yield f"{path}.{key}: {GONE}"
            elif key not in old:
                yield f"{path}.{key}: {ADDED}"
            else:
                yield from _json_differences(old[key], new[key], f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{path}: {len(old)} items are now {len(new)}"
        found = [
            kind
            for one, other in zip(old, new, strict=False)
            for kind in _json_differences(one, other, f"{path}[]")
        ]
        yield from dict.fromkeys(found)
    elif old != new:
        yield f"{path}: {json.dumps(old)[:80]} is now {json.dumps(new)[:80]}"


if __name__ == "__main__":
    main()
