"""Example inputs from a line such as `x=float32[batch,time,40]`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnedge.errors import InputError

_SPEC = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<dtype>\w+)\[(?P<axes>[\w\s,]*)\]")
_DTYPES = {
    "float32": torch.float32,
    "int64": torch.int64,
    "int32": torch.int32,
    "bool": torch.bool,
}
_MOST = 2**28
"""Numbers in one example input; a gigabyte in float32."""
_SIZES = {"batch": 3, "time": 11}
_OTHER_SIZES = (5, 7, 13, 17, 19, 23)
"""Example sizes of axes with other names; all differ, so that no two axes look like one."""


@dataclass(frozen=True, slots=True)
class ExampleInputs:
    """Example inputs of a module.

    Attributes:
        tensors: By name: random numbers, ones for integers, False for bool.
        dynamic_axes: Input name to axis to the name of the axis.
    """

    tensors: dict[str, Tensor]
    dynamic_axes: dict[str, dict[int, str]]

    @property
    def notes(self) -> list[str]:
        """What should be said of inputs of which no axis is dynamic."""
        if any(self.dynamic_axes.values()):
            return []
        shapes = (f"{n}={_name(t.dtype)}{list(t.shape)}" for n, t in self.tensors.items())
        return [
            f"every size is fixed in the file, as in --input {' --input '.join(shapes)}: write "
            "batch and time in place of the numbers that vary"
        ]


def _name(dtype: torch.dtype) -> str:
    return next(name for name, known in _DTYPES.items() if known is dtype)


def parse_inputs(lines: Sequence[str]) -> ExampleInputs:
    """Read lines such as `x=float32[batch,time,40]`; a named axis is dynamic, a number is fixed.

    Raises:
        InputError: For a line that is not of that form, an input that is there twice, or one of
            more than a gigabyte.
    """
    tensors: dict[str, Tensor] = {}
    dynamic: dict[str, dict[int, str]] = {}
    sizes = dict(_SIZES)
    generator = torch.Generator().manual_seed(0)
    for line in lines:
        match = _SPEC.fullmatch(line.strip())
        if not match or match["dtype"] not in _DTYPES:
            raise InputError(
                f"--input {line}: expected name=dtype[axis,axis,...], such as "
                f"'x=float32[batch,time,40]', with a dtype of {', '.join(_DTYPES)}"
            )
        name, shape = match["name"], []
        if name in tensors:
            raise InputError(f"--input {line}: {name} is already specified; name each input once")
        dynamic[name] = {}
        for position, axis in enumerate(filter(None, map(str.strip, match["axes"].split(",")))):
            if axis.isdigit():
                shape.append(int(axis))
                continue
            if axis not in sizes:
                sizes[axis] = _OTHER_SIZES[(len(sizes) - len(_SIZES)) % len(_OTHER_SIZES)]
            shape.append(sizes[axis])
            dynamic[name][position] = axis
        if math.prod(shape) > _MOST:
            raise InputError(
                f"--input {line}: expected at most {_MOST:,} numbers, got {math.prod(shape):,}; "
                "name the axes that are dynamic, which are short in the example"
            )
        dtype = _DTYPES[match["dtype"]]
        if dtype is torch.float32:
            tensors[name] = torch.randn(shape, generator=generator)
        else:
            tensors[name] = torch.full(shape, dtype is not torch.bool, dtype=dtype)
    return ExampleInputs(tensors, dynamic)
