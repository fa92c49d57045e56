"""Packed sequences while a module is traced.

PyTorch sorts the rows of a packed sequence and stores their steps one after the other. The ONNX
form of a layer takes padded rows in any order, so a packed sequence keeps the padded tensor that it
was made from, with its rows as they are, and their lengths. Layers and `pad_packed_sequence`
take these, and the states of a layer belong to the rows of the module's input.

What PyTorch has in a `PackedSequence` is computed where the module looks at it: `data` is gathered
from the padded tensor, time by time and in the sorted order of the rows, and what was made of it is
scattered into a padded tensor where a layer takes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, SupportsIndex

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn.utils.rnn import PackedSequence

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.lengths import as_lengths

DOMAIN = "rnnedge"
STEPS = "Steps"
"""Counts the entries of an input's first axis; ours, so as not to be taken for the user's."""
POSITIONS = "PackedPositions"
"""Time and row of each step of a packed sequence in the order of its data, int64 [packed, 2]."""
PACK = "Pack"
"""Takes the steps at such positions out of a padded tensor."""
UNPACK = "Unpack"
"""Puts steps at such positions into a padded tensor of zeros."""

LONGEST = "longest"
"""Name of the axis that ends at the longest row of a packed sequence."""
PACKED = "packed"
"""Name of the first axis of a packed sequence's data, the steps of all rows."""

RowIndices = tuple[Tensor | None, Tensor | None]
"""`sorted_indices` and `unsorted_indices` that a module gave to a `PackedSequence` itself."""


class Packing:
    """How the steps of some rows lie in a packed sequence.

    Attributes:
        lengths: int64 [batch], in the order of the rows.
        source: The padded tensor that was packed first, [time, batch, ...].
    """

    def __init__(self, lengths: Tensor, source: Tensor, *, in_order: bool) -> None:
        """Take rows; `in_order` says that the longest comes first, so that none is moved."""
        self.lengths, self.source = lengths, source
        self._in_order = in_order

    @cached_property
    def order(self) -> Tensor | None:
        """The row at each place of the sorted order, int64 [batch]; None where none is moved."""
        return None if self._in_order else torch.sort(self.lengths, descending=True)[1]

    @cached_property
    def ranks(self) -> Tensor | None:
        """The place of each row in the sorted order, int64 [batch]."""
        if self.order is None:
            return None
        places = torch.arange(self.order.numel(), device=self.order.device)
        return torch.empty_like(self.order).scatter_(0, self.order, places)

    @cached_property
    def longest(self) -> Any:
        """Steps of the longest row."""
        longest = self.lengths.max().item()
        assume(longest >= 1)
        assume(longest <= self.source.shape[0])
        return longest

    @cached_property
    def packed(self) -> Any:
        """Steps of all rows."""
        packed = self.lengths.sum().item()
        assume(packed >= 1)
        return packed

    @cached_property
    def batch_sizes(self) -> Tensor:
        """Rows that have each step, int64 [longest]."""
        steps = count_steps(self.source.narrow(0, 0, self.longest))
        inside = self.lengths.unsqueeze(0) > steps.unsqueeze(1)  # [longest, batch]
        return inside.to(torch.int64).sum(1)

    @cached_property
    def positions(self) -> Tensor:
        """Time and row of each step, int64 [packed, 2]."""
        order = [] if self.order is None else [self.order]
        inputs = [self.source, self.lengths, *order]
        return _opaque(POSITIONS, inputs, torch.int64, [self.packed, 2])

    def gathered(self, padded: Tensor) -> Tensor:
        """Return the data [packed, ...] of a padded tensor [time, batch, ...]."""
        shape = [self.packed, *padded.shape[2:]]
        return _opaque(PACK, [padded, self.positions], padded.dtype, shape)

    def scattered(self, data: Tensor) -> Tensor:
        """Return the padded tensor [time, batch, ...] of some data, zero past each row's end."""
        assume(data.shape[0] == self.packed)
        shape = [*self.source.shape[:2], *data.shape[1:]]
        return _opaque(UNPACK, [data, self.positions, self.source], data.dtype, shape)

    def into_rows(self, given: Tensor, indices: RowIndices | None, axis: int = 1) -> Tensor:
        """Return what PyTorch would sort by `indices` and run in the sorted order, by rows."""
        if indices is None:
            return given
        return _picked(_picked(given, indices[0], axis), self.ranks, axis)

    def out_of_rows(self, rows: Tensor, indices: RowIndices | None, axis: int = 1) -> Tensor:
        """Return what PyTorch would have in the sorted order, with its `indices` undone."""
        if indices is None:
            return rows
        return _picked(_picked(rows, self.order, axis), indices[1], axis)


class TracedSequence(PackedSequence):
    """A `PackedSequence` whose fields are computed when somebody looks at them.

    Attributes:
        packing: How its steps lie.
        padded: The padded tensor [time, batch, ...] that it stands for, its rows unsorted.
        clean: Whether `padded` is zero past each row's end.
        indices: What the module itself gave as indices; None for those of `packing`.
    """

    packing: Packing
    padded: Tensor
    clean: bool
    indices: RowIndices | None
    seen: PackedSequences

    def __new__(cls, *fields: Any, **named: Any) -> PackedSequence:  # type: ignore[misc]
        """Make an ordinary one, as `type(sequence)(data, batch_sizes)` in torch wants it."""
        return PackedSequence(*fields, **named)

    @classmethod
    def over(
        cls,
        seen: PackedSequences,
        packing: Packing,
        padded: Tensor,
        *,
        clean: bool,
        indices: RowIndices | None = None,
    ) -> TracedSequence:
        """Stand for a padded tensor."""
        made = tuple.__new__(cls, (None,) * len(PackedSequence._fields))
        made.packing, made.padded, made.clean, made.indices = packing, padded, clean, indices
        made.seen = seen
        return made

    def replaced(self, padded: Tensor, *, clean: bool) -> TracedSequence:
        """Return a sequence of the same rows, and the same indices, over another tensor."""
        return TracedSequence.over(
            self.seen, self.packing, padded, clean=clean, indices=self.indices
        )

    @property
    def data(self) -> Tensor:
        """The steps of all rows, [packed, ...]."""
        return self.seen.data_of(self)

    @property
    def batch_sizes(self) -> Tensor:
        """Rows that have each step, int64 [longest]."""
        return self.seen.batch_sizes_of(self.packing)

    @property
    def sorted_indices(self) -> Tensor | None:
        """The row at each place of the sorted order."""
        return self.packing.order if self.indices is None else self.indices[0]

    @property
    def unsorted_indices(self) -> Tensor | None:
        """The place of each row in the sorted order."""
        return self.packing.ranks if self.indices is None else self.indices[1]

    def __iter__(self) -> Iterator[Any]:
        """Yield the fields."""
        return iter((self.data, self.batch_sizes, self.sorted_indices, self.unsorted_indices))

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        """Return a field, or some."""
        return tuple(self)[index]

    @classmethod
    def _make(cls, fields: Iterable[Any]) -> PackedSequence:  # type: ignore[override]
        """Make an ordinary one, as `sequence._replace(data=data)` wants it."""
        return PackedSequence._make(fields)

    def to(self, *args: Any, **kwargs: Any) -> TracedSequence:
        """Convert the padded tensor instead of the data."""
        return self.replaced(self.padded.to(*args, **kwargs), clean=self.clean)


class PackedSequences:
    """The packed sequences of one trace: what `torch.nn.utils.rnn` does, without sorting."""

    def __init__(self) -> None:
        """Start without any."""
        # A PackedSequence has no room for lengths: these find what it was made from. The tensors
        # are kept, so that no other gets the number of one that is gone.
        self._by_lengths: dict[tuple[int, bool], Packing] = {}
        self._copies: dict[int, tuple[Tensor, int, Tensor]] = {}
        self._by_batch_sizes: dict[int, Packing] = {}
        self._gathered: dict[int, tuple[Tensor, int, TracedSequence]] = {}
        self._data: dict[tuple[int, int], Tensor] = {}

    def pack(
        self, input: Tensor, lengths: Any, *, batch_first: bool, enforce_sorted: bool
    ) -> PackedSequence:
        """Do what `pack_padded_sequence` does."""
        # A copy, as PyTorch makes one: what is done to a tensor in place later is not seen. Copies
        # leave nothing in the file.
        padded = (input.transpose(0, 1) if batch_first else input).clone()
        taken = self._copied(as_lengths(lengths, padded.shape[1], padded.shape[0]))
        assume(taken.shape[0] == padded.shape[1])
        key = id(taken), enforce_sorted
        if key not in self._by_lengths:
            self._by_lengths[key] = Packing(taken, padded, in_order=enforce_sorted)
        return TracedSequence.over(self, self._by_lengths[key], padded, clean=False)

    def _copied(self, lengths: Tensor) -> Tensor:
        """Return a copy of lengths, the same one as long as nothing is done to them in place."""
        known, version, copy = self._copies.get(id(lengths), (None, 0, lengths))
        if known is None or lengths._version != version:
            copy = lengths.clone()
            self._copies[id(lengths)] = lengths, lengths._version, copy
        return copy

    def pad(
        self,
        sequence: PackedSequence,
        *,
        batch_first: bool,
        padding_value: float,
        total_length: int | torch.SymInt | None,
    ) -> tuple[Tensor, Tensor]:
        """Do what `pad_packed_sequence` does."""
        taken = self.taken(sequence)
        packing, padded = taken.packing, taken.padded  # [time, batch, ...]
        if not taken.clean or padding_value != 0:
            padded = _filled(padded, packing.lengths, padding_value)
        padded = _ending_at(padded, packing, padding_value, total_length)
        padded = packing.out_of_rows(padded, taken.indices)
        lengths = packing.out_of_rows(packing.lengths, taken.indices, 0)
        if lengths is packing.lengths:
            lengths = lengths.clone()
            self._copies[id(lengths)] = lengths, lengths._version, packing.lengths
        return (padded.transpose(0, 1) if batch_first else padded).clone(), lengths

    def taken(self, sequence: PackedSequence) -> TracedSequence:
        """Return a packed sequence as the padded tensor that it stands for.

        Raises:
            ExportError: When it was not made from one that `pack_padded_sequence` gave.
        """
        if isinstance(sequence, TracedSequence):
            if not self._is_changed(sequence):
                return sequence
            return sequence.replaced(sequence.packing.scattered(sequence.data), clean=True)
        data, batch_sizes, *indices = sequence
        packing = self._by_batch_sizes.get(id(batch_sizes))
        if packing is None:
            raise ExportError(
                "a PackedSequence was made by hand: make it with pack_padded_sequence, and take "
                "its lengths as an input"
            )
        known = indices[0] is packing.order and indices[1] is packing.ranks
        own = None if known else (indices[0], indices[1])
        _, _, whole = self._gathered.get(id(data), (None, 0, None))
        if whole is not None and whole.packing is packing and not self._is_changed(whole):
            return TracedSequence.over(self, packing, whole.padded, clean=whole.clean, indices=own)
        return TracedSequence.over(self, packing, packing.scattered(data), clean=True, indices=own)

    def packed_sizes(self) -> list[int | torch.SymInt]:
        """Return the sizes that stand for the steps of all rows."""
        return [vars(one)["packed"] for one in self._by_lengths.values() if "packed" in vars(one)]

    def inverse(self, order: Tensor | None) -> Tensor | None:
        """Return the inverse of a sorted order that is known, or None."""
        known = (one for one in self._by_lengths.values() if vars(one).get("order") is order)
        return None if order is None else next((packing.ranks for packing in known), None)

    def is_data(self, tensor: object) -> bool:
        """Whether a tensor is the data of a packed sequence."""
        return id(tensor) in self._gathered

    def _is_changed(self, sequence: TracedSequence) -> bool:
        """Whether something was done in place to the data of a sequence."""
        data = self._data.get((id(sequence.padded), id(sequence.packing)))
        return data is not None and data._version != self._gathered[id(data)][1]

    def data_of(self, sequence: TracedSequence) -> Tensor:
        """Return the data of a sequence, the same tensor each time."""
        key = id(sequence.padded), id(sequence.packing)
        if key not in self._data:
            data = sequence.packing.gathered(sequence.padded)
            self._data[key] = data
            self._gathered[id(data)] = data, data._version, sequence
        return self._data[key]

    def batch_sizes_of(self, packing: Packing) -> Tensor:
        """Return the batch sizes of a packing, the same tensor each time."""
        self._by_batch_sizes[id(packing.batch_sizes)] = packing
        return packing.batch_sizes


def _filled(padded: Tensor, lengths: Tensor, padding_value: float) -> Tensor:
    """Set what lies past each row's end."""
    steps = count_steps(padded).unsqueeze(1)  # [time, 1]
    shape = [*padded.shape[:2]] + [1] * (padded.dim() - 2)
    inside = (steps < lengths).reshape(shape)
    if padded.dtype is torch.bool:  # ONNX Runtime has no Where of these
        return padded | ~inside if padding_value else padded & inside
    return torch.where(inside, padded, padded.new_full((), padding_value))


def _ending_at(
    padded: Tensor, packing: Packing, padding_value: float, total_length: int | torch.SymInt | None
) -> Tensor:
    """Cut or fill the time axis as `pad_packed_sequence` does."""
    time = padded.shape[0]
    if total_length is None:
        return padded.narrow(0, 0, packing.longest)
    if statically_known_true(total_length == time):
        return padded
    if not statically_known_true(total_length >= time):
        padded, time = padded.narrow(0, 0, packing.longest), packing.longest
    assume(total_length >= time)
    rest = padded.new_full([total_length - time, *padded.shape[1:]], padding_value)
    return torch.cat([padded, rest])


def _picked(given: Tensor, indices: Tensor | None, axis: int) -> Tensor:
    return given if indices is None else given.index_select(axis, indices)


def count_steps(data: Tensor) -> Tensor:
    """Return int64 [time], 0 to time - 1."""
    return _opaque(STEPS, [data], torch.int64, [data.shape[0]])


def assume(condition: Any) -> None:
    """Let torch know what holds of its symbolic sizes."""
    torch._check(condition)  # type: ignore[no-untyped-call]


def _opaque(operator: str, inputs: list[Tensor], dtype: torch.dtype, shape: list[Any]) -> Tensor:
    made: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{operator}", inputs, dtype=dtype, shape=shape, version=1
    )
    return made
