"""What the names of inputs and outputs say of states, where a graph leaves it open."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rnnedge_runtime.contract import TensorSpec

# The parts of a name that differ between an initial and a final state: `h_0`/`h_n`, `hx`/`hy`,
# `state`/`stateN`, `h_in`/`h_out`, `initial_h`/`Y_h`, `past_…`/`present_…`. The rest is equal.
_MARKS = {
    *("0", "n", "in", "out", "input", "output", "initial", "init", "final", "new", "next"),
    *("prev", "previous", "last", "past", "present", "x", "y"),
}
_GLUED = re.compile(r"^(h|c|state|hidden|cell)(?:0|n|x|y)$")
_STATE = re.compile(
    r"state|hidden|cell|cache|buf|mem|carry|rnn|gru|lstm|ctx|context|past|present"
    r"|(?:^|[_.:/\-])[hc](?:0|n|x|y|\d*)(?:$|[_.:/\-])"
)


def agree(out: TensorSpec, spec: TensorSpec) -> bool:
    """Whether an output is called as what an input is on the next call."""
    stem = _stem(spec.name)
    return bool(stem) and stem == _stem(out.name) and out.name != spec.name


def says_state(spec: TensorSpec) -> bool:
    """Whether an input is called what states are called, as signals are not."""
    return bool(_STATE.search(spec.name.lower()))


def may_feed(out: TensorSpec, spec: TensorSpec) -> bool:
    """Whether an output may have the shape of an input."""
    same_rank = out.dtype == spec.dtype and len(out.axes) == len(spec.axes) >= 2
    sizes = zip(out.axes, spec.axes, strict=False)
    return same_rank and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in sizes)


def pairs_by_name(
    ins: Sequence[TensorSpec], outs: Sequence[TensorSpec]
) -> Iterator[tuple[TensorSpec, TensorSpec]]:
    """Yield inputs with the only output that is called as their next value."""
    for spec in ins:
        matches = [out for out in outs if agree(out, spec) and may_feed(out, spec)]
        if len(matches) == 1:
            yield spec, matches[0]


def _stem(name: str) -> tuple[str, ...]:
    tokens = [token for token in re.split(r"[_.:/\-]+", name.lower()) if token]
    tokens = [_GLUED.sub(r"\1", token) for token in tokens]
    return tuple(token for token in tokens if token not in _MARKS)
