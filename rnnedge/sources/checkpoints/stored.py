"""A tensor in a file: its type and shape are known before any of its numbers are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import NoReturn, Protocol, TypeAlias

import torch
from torch import Tensor

from rnnedge.errors import SourceError


class Sealed:
    """An object whose state no pickle can set."""

    def __setstate__(self, state: object) -> NoReturn:
        """Refuse the pickle instruction BUILD.

        Raises:
            UnpicklingError: Always.
        """
        raise UnpicklingError(f"it sets the state of a {type(self).__name__}")


class Storages(Protocol):
    """Where a file has its numbers."""

    def read(self, key: str, size: int, width: int) -> bytearray:
        """Return a storage in this machine's byte order.

        Args:
            key: Which one.
            size: Its bytes.
            width: Bytes of one number.

        Raises:
            SourceError: When the file holds fewer bytes.
        """
        ...


@dataclass(frozen=True)
class StoredStorage(Sealed):
    """The numbers that one or several tensors are made of.

    Attributes:
        dtype: What they are.
        key: Which of the file's storages.
        size: Bytes.
        storages: What reads them.
    """

    dtype: torch.dtype
    key: str
    size: int
    storages: Storages


@dataclass(frozen=True)
class StoredTensor(Sealed):
    """A tensor whose numbers are still in the file.

    Attributes:
        dtype: What its numbers are.
        shape: Sizes of its axes.
        storage: Where its numbers are; None when `problem` says why they cannot be read.
        offset: Its first number in the storage.
        stride: Numbers between neighbours on each axis.
        problem: What it is, such as `a sparse tensor`, where that is not read.
    """

    dtype: torch.dtype = torch.float32
    shape: tuple[int, ...] = ()
    storage: StoredStorage | None = None
    offset: int = 0
    stride: tuple[int, ...] = ()
    problem: str = ""

    def read(self) -> Tensor:
        """Read the numbers.

        Raises:
            SourceError: When the tensor is of a kind that is not read, or the file is cut short.
        """
        storage = self.storage
        if storage is None or self.problem:
            raise SourceError(f"is {self.problem or 'without numbers'}, expected a dense tensor")
        count = math.prod(self.shape)
        held = storage.size // self.dtype.itemsize
        steps = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((size - 1) * step for size, step in steps)
        if count and (last >= held or count > held):
            raise SourceError(
                f"is damaged: its shape is {list(self.shape)}, and its storage holds {held} numbers"
            )
        if not count:
            return torch.empty(self.shape, dtype=self.dtype)
        content = storage.storages.read(storage.key, storage.size, self.dtype.itemsize)
        numbers = torch.frombuffer(content, dtype=self.dtype)
        return numbers.as_strided(self.shape, self.stride, self.offset)


Leaf: TypeAlias = Tensor | StoredTensor
"""A tensor of a checkpoint, read or not."""


def read_tensors(tensors: Mapping[str, Leaf]) -> dict[str, Tensor]:
    """Read what is still in the file.

    Raises:
        SourceError: Naming the tensor that cannot be read.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        try:
            found[name] = tensor.read() if isinstance(tensor, StoredTensor) else tensor
        except SourceError as error:
            raise SourceError(f"{name} {error}") from None
    return found
