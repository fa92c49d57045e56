"""`Draft`: the source text of a module while a generator writes it, piece by piece."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

HEAD = '''\
"""Module {seed}: {contains}."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import PackedSequence
from torch.nn.utils.rnn import pack_padded_sequence as pack
from torch.nn.utils.rnn import pad_packed_sequence as unpack

from rnnedge import Recurrent
'''


@dataclass(frozen=True)
class InputSpec:
    """One argument of the forward.

    Attributes:
        axes: A size, or the name of the number that is drawn for it: `batch`, `time`, `time_1`.
        kind: `float`, `ids` (below `below`), `padded_ids` (zeros behind each row's end), `mask`
            (true up to each row's end), `lengths` (1 to time) or `sorted_lengths`.
        below: Upper limit of ids.
    """

    axes: tuple[int | str, ...]
    kind: str = "float"
    below: int = 20


@dataclass
class Draft:
    """A forward under way: `x` is the current value, with a batch, a time and a feature axis.

    Attributes:
        random: The only source of chance.
        batch_first: Whether `x` is [batch, time, features]; else [time, batch, features].
        features: Size of the last axis of `x`.
        inputs: Arguments of the forward, in order.
        groups: Names of a tuple among them, and of its members.
        baked: Arguments with a default that no caller gives.
        has_lengths: Whether the forward has a variable `lengths`.
        keeps_time: Whether `x` has to stay as long as the input: there are lengths.
        streams: Whether most pieces are such that chunks give what the whole gives.
        timed: Whether `x` still has its time axis; else it is [batch, features].
        final: Expression for the last layer's final state [batch, final_size], or empty.
        results: Expressions that the forward returns besides `x`, by name.
        contains: Names of the pieces in it.
    """

    random: random.Random
    batch_first: bool
    features: int
    inputs: dict[str, InputSpec] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    baked: dict[str, str] = field(default_factory=dict)
    has_lengths: bool = False
    keeps_time: bool = False
    streams: bool = False
    timed: bool = True
    final: str = ""
    final_size: int = 0
    results: dict[str, str] = field(default_factory=dict)
    contains: list[str] = field(default_factory=list)
    init: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    _used: dict[str, int] = field(default_factory=dict)

    @property
    def b(self) -> int:
        """Number of the batch axis."""
        return 0 if self.batch_first else 1

    @property
    def t(self) -> int:
        """Number of the time axis."""
        return 1 if self.batch_first else 0

    def pick(self, options: Sequence[T]) -> T:
        return self.random.choice(options)

    def chance(self, part: float) -> bool:
        return self.random.random() < part

    def size(self) -> int:
        """Draw a number of features."""
        return self.random.randint(3, 7)

    def tag(self, *names: str) -> None:
        """Note what the module contains."""
        self.contains += [name for name in names if name not in self.contains]

    def name(self, stem: str) -> str:
        """Return a name that no other variable or attribute has."""
        self._used[stem] = self._used.get(stem, 0) + 1
        return stem if self._used[stem] == 1 else f"{stem}{self._used[stem]}"

    def attribute(self, stem: str, value: str) -> str:
        """Add an attribute to the module, and return the expression for it."""
        name = self.name(stem)
        self.init.append(f"self.{name} = {value}")
        return f"self.{name}"

    def line(self, *lines: str) -> None:
        """Add lines to the forward."""
        self.body += lines

    def x(self, value: str) -> None:
        """Make `value` the current value."""
        self.body.append(f"x = {value}")

    def along(self, index: str, value: str = "x") -> str:
        """Return `value` with an index on its time axis."""
        return f"{value}[:, {index}]" if self.batch_first else f"{value}[{index}]"

    def channels_first(self, value: str = "x") -> str:
        """Return `value` as [batch, features, time]."""
        return f"{value}.transpose(1, 2)" if self.batch_first else f"{value}.permute(1, 2, 0)"

    def channels_last(self, value: str) -> str:
        """Return `value`, [batch, features, time], in the layout of `x`."""
        return f"{value}.transpose(1, 2)" if self.batch_first else f"{value}.permute(2, 0, 1)"

    def shape(self, batch: str, time: str, *rest: str) -> str:
        """Return the sizes in the layout of `x`."""
        return ", ".join([*((batch, time) if self.batch_first else (time, batch)), *rest])

    def pad(self, before: str, after: str, value: str = "x", *rest: str) -> str:
        """Return `F.pad` over the time axis."""
        widths = (
            f"(0, 0, {before}, {after})" if self.batch_first else f"(0, 0, 0, 0, {before}, {after})"
        )
        return f"F.pad({', '.join([value, widths, *rest])})"

    def source(self, seed: int, result: list[str]) -> str:
        """Return the text of the whole file."""
        members = {name: group for group, names in self.groups.items() for name in names}
        parameters = dict.fromkeys(members.get(name, name) for name in self.inputs)
        forward = ", ".join(
            ["self", *parameters, *(f"{name}={value}" for name, value in self.baked.items())]
        )
        blocks = [
            HEAD.format(seed=seed, contains=", ".join(self.contains)),
            *self.before,
            "\n".join(
                [
                    "class Net(nn.Module):",
                    "    def __init__(self):",
                    "        super().__init__()",
                    *(f"        {line}" for line in self.init),
                    "",
                    f"    def forward({forward}):",
                    *(f"        {line}" for line in [*self.body, *result]),
                ]
            ),
        ]
        return "\n\n".join(blocks) + "\n"


Piece = Callable[[Draft], None]


@dataclass(frozen=True)
class Option:
    """A piece that a generator may take.

    Attributes:
        name: What `Draft.contains` calls it.
        write: Adds it to a draft.
        keeps_time: Whether `x` is as long after it as before.
        streams: Whether it looks at no step but the one at hand, or only back.
    """

    name: str
    write: Piece
    keeps_time: bool = True
    streams: bool = False


class Pieces:
    """The pieces of one part of the grammar."""

    def __init__(self) -> None:
        self.options: list[Option] = []

    def piece(self, *, keeps_time: bool = True, streams: bool = False) -> Callable[[Piece], Piece]:
        """Register a piece under its function's name."""

        def register(write: Piece) -> Piece:
            self.options.append(Option(write.__name__, write, keeps_time, streams))
            return write

        return register

    def add(self, draft: Draft) -> None:
        """Add one of the pieces that the draft can take."""
        fitting = [one for one in self.options if one.keeps_time or not draft.keeps_time]
        if draft.streams and draft.chance(0.85):
            fitting = [one for one in fitting if one.streams] or fitting
        option = draft.pick(fitting)
        draft.tag(option.name)
        option.write(draft)
