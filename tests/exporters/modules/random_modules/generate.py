"""`generate(seed)`: one random module with recurrent layers inside, as source text."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import random_modules.front_inputs
import random_modules.front_windows  # noqa: F401 - adds its pieces to FRONT_ENDS
from random_modules.draft import Draft, InputSpec
from random_modules.front_ends import FRONT_ENDS
from random_modules.heads import POOLING, RESULTS, STEPWISE, head_linear, write_results
from random_modules.packed_parts import PACKED
from random_modules.recurrent_parts import RECURRENT


@dataclass(frozen=True)
class Generated:
    """A random module.

    Attributes:
        seed: What it was made of.
        source: Text of a Python file with a class `Net`.
        inputs: Arguments of its forward, in order.
        sizes: `batch`, `time` and `time_1` of the example.
        contains: Names of the pieces in it.
        groups: Names of tuples among the arguments, and of their members.
    """

    seed: int
    source: str
    inputs: dict[str, InputSpec]
    sizes: dict[str, int]
    contains: tuple[str, ...]
    groups: dict[str, list[str]] = field(default_factory=dict)


def generate(seed: int) -> Generated:
    """Make the module of a seed; the same seed makes the same text."""
    source = random.Random(seed)
    draft = Draft(source, batch_first=source.random() < 0.6, features=source.randint(3, 6))
    draft.keeps_time = packed = draft.chance(0.3)
    draft.streams = draft.chance(0.4)
    sizes = {
        "batch": draft.pick([1, 2, 2, 3, 3, 4]),
        "time": draft.random.randint(6, 10),
        "time_1": draft.random.randint(5, 9),
    }
    _signal(draft)
    for _ in range(draft.pick([0, 1, 1, 1, 2])):
        FRONT_ENDS.add(draft)
    (PACKED if packed else RECURRENT).add(draft)
    if not packed and draft.chance(0.25):
        draft.tag("between_layers")
        FRONT_ENDS.add(draft)
        draft.final = ""  # it may be of another size now
        RECURRENT.add(draft)
    for _ in range(draft.pick([0, 0, 1, 1, 2])):
        STEPWISE.add(draft)
    if draft.chance(0.4):
        POOLING.add(draft)
        if draft.chance(0.5):
            head_linear(draft)
    if draft.chance(0.3):
        RESULTS.add(draft)
    results = write_results(draft)
    return Generated(
        seed,
        draft.source(seed, results),
        dict(draft.inputs),
        sizes,
        tuple(draft.contains),
        draft.groups,
    )


def _signal(draft: Draft) -> None:
    """Write the first argument: frames of numbers, or ids."""
    batch, time = ("batch", "time") if draft.batch_first else ("time", "batch")
    if draft.chance(0.15):
        draft.tag("embedding")
        width = draft.size()
        table = draft.attribute("embed", f"nn.Embedding(20, {width})")
        draft.inputs["tokens"] = InputSpec((batch, time), "ids")
        draft.x(f"{table}(tokens)")
        draft.features = width
    elif draft.chance(0.05):
        draft.tag("channels_first_input")
        draft.inputs["signal"] = InputSpec(("batch", draft.features, "time"))
        draft.x(draft.channels_last("signal"))
    else:
        draft.inputs["x"] = InputSpec((batch, time, draft.features))


def all_names() -> set[str]:
    """Return the names of the pieces that a generator may choose from."""
    parts = (FRONT_ENDS, RECURRENT, PACKED, STEPWISE, POOLING, RESULTS)
    return {option.name for part in parts for option in part.options}


def covering(count: int, among: range) -> list[int]:
    """Return seeds whose modules have as many pieces among them as `count` modules can.

    Args:
        count: How many seeds.
        among: The seeds to choose from.
    """
    contents = {seed: set(generate(seed).contains) for seed in among}
    wanted = all_names()
    seen: set[str] = set()

    def gain(seed: int) -> tuple[int, int]:
        new = contents[seed] - seen
        return len(new & wanted) * 2 + len(new), -seed

    chosen: list[int] = []
    while len(chosen) < count:
        best = max(contents, key=gain)
        seen |= contents.pop(best)
        chosen.append(best)
    return chosen
