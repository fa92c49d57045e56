"""A table of verdicts: right, refused for which reason, and wrong, by piece of the grammar."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

Verdict = dict[str, Any]


def summarize(verdicts: Sequence[Verdict]) -> str:
    """Return the table as text."""
    outcomes = Counter(verdict["outcome"] for verdict in verdicts)
    streamed = sum(bool(verdict.get("streamed")) for verdict in verdicts)
    fixed = sum(bool(verdict.get("fixed")) for verdict in verdicts)
    chaotic = sum(bool(verdict.get("chaotic")) for verdict in verdicts)
    lines = [
        f"{len(verdicts)} modules: "
        + ", ".join(f"{n} {name}" for name, n in outcomes.most_common()),
        f"{streamed} streamed, {fixed} with an axis that was reported as fixed, {chaotic} chaotic",
        "",
        "refused:",
        *_counted(reason_class(v["reason"]) for v in verdicts if v["outcome"] == "refused"),
        "",
        "wrong:",
        *_counted(
            fault_class(v["faults"][0]) for v in verdicts if v["outcome"] in ("wrong", "tool")
        ),
        "",
        f"{'piece':36} {'right':>7} {'refused':>8} {'wrong':>7} {'invalid':>8}",
    ]
    pieces: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        for piece in verdict["contains"]:
            pieces.setdefault(piece, Counter())[verdict["outcome"]] += 1
    for piece, count in sorted(pieces.items()):
        wrong = count["wrong"] + count["tool"]
        lines.append(
            f"{piece:36} {count['right']:7} {count['refused']:8} {wrong:7} {count['invalid']:8}"
        )
    return "\n".join(lines)


def _counted(texts: Any) -> list[str]:
    return [f"{count:6}  {text}" for text, count in Counter(texts).most_common()] or ["     0"]


def reason_class(reason: str) -> str:
    """Return a refusal without the names, numbers and lines of one module."""
    text = re.sub(r" (at|by) line \d+ of .*?\.py( \(.*\))?", "", reason.split("\n")[0])
    text = re.sub(r"\(line \d+ of [^)]*\)", "", text)
    text = re.sub(r"\bself\.\w+|'[^']*'", "'…'", text)
    text = re.sub(r"\b(rnn|cell|x|tokens|signal|h|y)\d*(_\d+)?\b", "…", text)
    return re.sub(r"\d+", "N", text)[:170]


def fault_class(fault: str) -> str:
    """Return a fault without its numbers."""
    return re.sub(r"-?\d+(\.\d+)?(e[+-]?\d+)?|\{[^}]*\}|\[[^\]]*\]", "N", fault)[:120]
