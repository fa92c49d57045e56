"""Where the buffers of a plan lie, and which of its calls are needed at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rnnedge_runtime.plan.values import Buffer, Call

ALIGNMENT = 64


def without_unused(calls: Sequence[Call]) -> list[Call]:
    """Leave out calls whose results nothing reads."""
    needed: set[Buffer] = set()
    kept = []
    for call in reversed(calls):
        written = {buffer.root()[0] for buffer in call.written()}
        if not any(buffer.home == "output" or buffer in needed for buffer in written):
            continue
        needed.update(buffer.root()[0] for buffer in call.read())
        kept.append(call)
    return kept[::-1]


def place_in_arena(
    calls: Sequence[Call],
    alignment: int = ALIGNMENT,
    belongs: Callable[[Buffer], bool] = lambda buffer: True,
) -> int:
    """Give each buffer of the arena a place where no other one lies while it is in use.

    Args:
        calls: The calls in their order.
        alignment: Bytes that each place is a multiple of.
        belongs: Which buffers lie in this arena.

    Returns:
        Bytes of the arena.
    """
    spans: dict[Buffer, tuple[int, int]] = {}
    for index, call in enumerate(calls):
        for place in call.places:
            if place is None:
                continue
            buffer = place[0].root()[0]
            if buffer.home == "arena" and belongs(buffer):
                spans[buffer] = (spans.get(buffer, (index, index))[0], index)
    placed: list[tuple[int, int, Buffer]] = []  # (start, end, buffer), sorted
    whole = 0
    for buffer in sorted(spans, key=lambda buffer: (-buffer.size, spans[buffer])):
        first, last = spans[buffer]
        size = max(-(-buffer.size // alignment), 1) * alignment
        at = 0
        for start, end, other in placed:
            if spans[other][0] > last or spans[other][1] < first:
                continue
            if at + size <= start:
                break
            at = max(at, end)
        buffer.index = at
        placed.append((at, at + size, buffer))
        placed.sort(key=lambda item: item[:2])
        whole = max(whole, at + size)
    return whole
