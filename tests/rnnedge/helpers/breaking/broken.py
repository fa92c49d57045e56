"""What a broken model is, and the three ways to make one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnx
from breaking.graphs import Edit
from breaking.handmade import HandMade
from torch import nn


@dataclass(frozen=True)
class Part:
    """The part of a layer that is wrong; None as layer or direction is every one."""

    layer: int | None = None
    direction: int | None = None

    def has(self, layer: int, direction: int) -> bool:
        return self.layer in (None, layer) and self.direction in (None, direction)

    @property
    def place(self) -> str | None:
        words = [] if self.layer is None else [f"layer {self.layer}"]
        if self.direction is not None:
            words.append("backward" if self.direction else "forward")
        return ", ".join(words) or None


ALL = Part()


class Source(Protocol):
    """A right model: a recurrent layer (`Original`), or a whole module (`WholeModule`)."""

    batch_first: bool
    lengths: bool
    input_size: int

    @property
    def layer(self) -> nn.Module: ...

    def state_shapes(self, batch: int) -> list[tuple[int, int, int]]: ...

    def model(self) -> onnx.ModelProto: ...


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A model file with one mistake.

    Attributes:
        name: Says what the file was made from, and the mistake.
        cause: The label of the mistake.
        layer: The PyTorch layer, or module, that the file claims to be.
        place: What part is wrong when not all is: a layer (`layer 1`), a direction (`backward`),
            both (`layer 1, backward`), or the path of a layer in its module (`decoder`).
        original: The right model of the same layer.
        make: Makes the broken model.
        keeps_contract: Whether the file keeps the metadata of the right one.
    """

    name: str
    cause: str
    layer: nn.Module
    place: str | None
    original: Source
    make: Callable[[], onnx.ModelProto]
    keeps_contract: bool = False

    def write(self, path: Path) -> None:
        model = self.make()
        if not self.keeps_contract:
            del model.metadata_props[:]
        path.write_bytes(model.SerializeToString())


def made(
    cause: str,
    mistake: str,
    original: Source,
    make: Callable[[], onnx.ModelProto],
    place: str | None = None,
    *,
    keeps_contract: bool = False,
) -> Broken:
    """Name a model that `make` makes wrong."""
    return Broken(
        name="-".join([str(original), cause.replace(" ", "_"), mistake]),
        cause=cause,
        layer=original.layer,
        place=place,
        original=original,
        make=make,
        keeps_contract=keeps_contract,
    )


def edited(
    cause: str,
    mistake: str,
    original: Source,
    change: Callable[[Edit], None],
    place: str | None = None,
    *,
    keeps_contract: bool = False,
) -> Broken:
    """Break the right file by changes in its graph."""

    def make() -> onnx.ModelProto:
        edit = Edit(original.model())
        change(edit)
        return edit.proto()

    return made(cause, mistake, original, make, place, keeps_contract=keeps_contract)


def by_hand(
    cause: str,
    mistake: str,
    original: Source,
    writer: type[HandMade],
    place: str | None = None,
) -> Broken:
    """Break the file by code that writes it wrong."""
    return made(cause, mistake, original, lambda: writer(original).model(), place)
