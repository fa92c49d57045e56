"""Which input a decoder reads its last symbol from, and which output holds the logits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rnnedge_runtime.contract import BATCH, TIME, Interface, TensorSpec
from rnnedge_runtime.errors import InputError

_SYMBOL = ("symbol", "integer[batch] input")
_LOGITS = ("logits", "float[batch, symbols] output")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where symbols enter a model and logits leave it.

    Attributes:
        symbol: An integer input [batch], or [batch, time].
        logits: A float output [batch, symbols], or [batch, time, symbols].
    """

    symbol: TensorSpec
    logits: TensorSpec


def find_ports(
    interface: Interface, given: Collection[str], symbol: str | None, logits: str | None
) -> Ports:
    """Find both by their dtype and axes, unless the caller names them.

    Args:
        interface: The inputs and outputs of the model.
        given: Names of the inputs that keep one value.
        symbol: The name of the input, or None.
        logits: The name of the output, or None.

    Raises:
        InputError: If none or several fit, or the named one does not.
    """
    free = [spec for spec in interface.data_inputs if spec.name not in given]
    found = _only(_SYMBOL, [spec for spec in free if _takes_symbols(spec)], free, symbol)
    refuse_others(free, found)
    outputs = interface.data_outputs
    fitting = [spec for spec in outputs if _gives_logits(spec)]
    if logits is None:  # a fixed number of symbols; attention weights have one for each place
        fitting = [spec for spec in fitting if isinstance(spec.axes[-1], int)] or fitting
    return Ports(found, _only(_LOGITS, fitting, outputs, logits))


def symbol_shape(spec: TensorSpec, rows: int) -> tuple[int, ...]:
    """Return the shape of a step's symbols, without a time axis of any size."""
    return tuple(rows if axis == BATCH else 1 for axis in spec.axes if axis != TIME)


def _only(
    wanted: tuple[str, str],
    fitting: Sequence[TensorSpec],
    specs: Sequence[TensorSpec],
    name: str | None,
) -> TensorSpec:
    option, kind = wanted
    there = "; ".join(map(str, specs)) or "none"
    return only_one(
        option,
        fitting,
        name,
        misnamed=f"expected {kind}, got {name!r}: the model has {there}",
        none=f"expected a model with an {kind}, got {there}: export the step with its embedding "
        "and its last layer inside",
    )


def only_one(
    option: str, fitting: Sequence[TensorSpec], name: str | None, *, misnamed: str, none: str
) -> TensorSpec:
    """Return the input or output that fits, or the one of that name.

    Args:
        option: What names it in a call.
        fitting: Those that fit.
        name: What the caller has named, or None.
        misnamed: What to say where the named one does not fit.
        none: What to say where none fits.

    Raises:
        InputError: If none or several fit, or the named one does not.
    """
    named = [spec for spec in fitting if name in (None, spec.name)]
    if len(named) == 1:
        return named[0]
    if name is not None:
        raise InputError(f"{option}: {misnamed}")
    if named:
        choices = " or ".join(f"{option}={spec.name!r}" for spec in named)
        raise InputError(f"{option}: several of the model fit: pass {choices}")
    raise InputError(f"{option}: {none}")


def refuse_others(free: Sequence[TensorSpec], fed: TensorSpec) -> None:
    """Check that no input is left without a value.

    Args:
        free: The inputs that keep no value from step to step.
        fed: The one that takes the last output.

    Raises:
        InputError: If there is another.
    """
    missing = [spec.name for spec in free if spec is not fed]
    if missing:
        raise InputError(
            f"inputs: expected a value for {', '.join(missing)}, which the model takes at every "
            f"step as well as {fed.name}: pass inputs={{{missing[0]!r}: array}}"
        )


def _takes_symbols(spec: TensorSpec) -> bool:
    return spec.dtype.startswith(("int", "uint")) and _one_number_a_row(spec.axes)


def _gives_logits(spec: TensorSpec) -> bool:
    return (
        spec.dtype.startswith("float")
        and _one_number_a_row(spec.axes[:-1])
        and spec.axes[-1] not in (BATCH, TIME)
    )


def _one_number_a_row(axes: Sequence[int | str]) -> bool:
    return list(axes).count(BATCH) == 1 and all(axis in (BATCH, TIME, 1) for axis in axes)
