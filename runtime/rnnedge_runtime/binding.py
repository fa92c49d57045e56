"""`Binder`: the inputs of a call, checked against what the graph declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rnnedge_runtime.contract import BATCH, TIME, Interface, TensorSpec
from rnnedge_runtime.errors import InputError, StateError, one_line, pass_on_interruption

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Array: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[Any]]
State: TypeAlias = "Sequence[ArrayLike] | Mapping[str, ArrayLike] | Array"
"""(h,) or (h, c) in the order of `Interface.states`, a mapping by input name, or the only one."""

_vdot = np.vdot
_MOST_SEEN = 64
"""How many shapes of calls are remembered, each with zeros for the states that it left out."""
_MOST_ZEROS = 1 << 16
"""Bytes of such zeros. A call with more takes so long that its checks do not matter."""


class Binder:
    """Checks the inputs of a call against an interface, and returns what the engine is fed.

    Attributes:
        takes_nan: Whether a state may hold NaN, for who compares what becomes of it.
    """

    def __init__(self, interface: Interface, *, takes_nan: bool = False) -> None:
        """Work out once what every call needs: streams call it for every step of a signal."""
        self.takes_nan = takes_nan
        self._inputs, self._states = interface.data_inputs, interface.state_inputs
        self._lengths = interface.lengths
        self._lengths_dtype = next(
            (spec.dtype for spec in interface.inputs if spec.name == interface.lengths), ""
        )
        self._names = tuple(spec.name for spec in self._inputs)
        self._expected = tuple(
            (spec.name, dtype_of(spec.dtype)) for spec in (*self._inputs, *self._states)
        )
        self._seen: dict[tuple[tuple[int, ...], ...], dict[str, Array]] = {}

    def seen_before(self, data: object, state: object) -> dict[str, Array] | None:
        """Return the feeds if arrays of these shapes and dtypes passed every check before.

        The checks look at shapes and dtypes only, and take longer than a step of a small layer.

        Args:
            data: The data inputs of a call without lengths, of any type.
            state: The state, or None for zeros.

        Returns:
            None for anything else, which may still pass the checks.
        """
        if type(data) is np.ndarray and len(self._names) == 1:
            arrays: tuple[Any, ...] = (data,)
        elif type(data) is dict and tuple(data) == self._names:
            arrays = tuple(data.values())
        else:
            return None
        if state is not None:
            if type(state) is not tuple or not state:
                return None
            arrays += state
            if len(arrays) != len(self._expected):
                return None
        feeds: dict[str, Array] = {}
        shapes = []
        for array, (name, dtype) in zip(arrays, self._expected):  # noqa: B905 - or without states
            if (
                type(array) is not np.ndarray
                or array.dtype is not dtype
                or not array.flags.c_contiguous
            ):
                return None
            feeds[name] = array
            shapes.append(array.shape)
        rest = self._seen.get(tuple(shapes))
        if rest is None or (state is not None and not self.takes_nan and has_nan(state)):
            return None
        if rest:
            feeds.update(rest)
        return feeds

    def remember(self, feeds: Mapping[str, Array], *, with_state: bool) -> None:
        """Remember the shapes of a call that passed, and the zeros that were added to it.

        Args:
            feeds: Everything that the engine is fed, by name.
            with_state: Whether the caller passed the state.
        """
        given = [name for name, _ in self._expected if with_state or name in self._names]
        rest = {name: feeds[name] for name in feeds if name not in given}
        if sum(array.nbytes for array in rest.values()) > _MOST_ZEROS:
            return
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[tuple([feeds[name].shape for name in given])] = rest

    def data(
        self, data: ArrayLike | Mapping[str, ArrayLike]
    ) -> tuple[dict[str, Array], dict[str, int]]:
        """Check the data inputs.

        Returns:
            The inputs by name, and the sizes of their named axes.

        Raises:
            InputError: If a name, dtype or shape does not fit.
        """
        specs = self._inputs
        if isinstance(data, Mapping) and not specs:
            raise InputError("the model has no data inputs")
        data = by_name(specs, data)
        given, expected = set(map(str, data)), {spec.name for spec in specs}
        if given != expected:
            wrong = sorted(given - expected) or sorted(expected - given)
            raise InputError(
                f"expected the inputs {', '.join(s.name for s in specs)}; "
                f"{'unknown' if given - expected else 'missing'}: {', '.join(wrong)}"
            )
        sizes: dict[str, int] = {}
        return {spec.name: bound(spec, data[spec.name], sizes, InputError) for spec in specs}, sizes

    def state(self, state: State | None, sizes: dict[str, int]) -> dict[str, Array]:
        """Check a state, or make zeros if it is None.

        Args:
            state: The state as the caller passed it.
            sizes: The sizes of named axes; those of the state are added.

        Returns:
            The initial states by input name, in the order of `Interface.states`.

        Raises:
            StateError: If it does not fit, or the model has no state.
        """
        specs = self._states
        if state is None:
            return {spec.name: zeros(spec, sizes) for spec in specs}
        if not specs:
            raise StateError("the model takes no state: export it with states (--states)")
        values = self._in_order(state)
        arrays = {
            spec.name: bound(spec, value, sizes, StateError)
            for spec, value in zip(specs, values, strict=True)
        }
        for name, array in arrays.items():
            if not self.takes_nan and has_nan([array]):
                raise StateError(
                    f"{name}: expected a state without NaN, got {int(np.isnan(array).sum())} of "
                    f"{array.size} value(s): NaN would stay in the state"
                )
        return arrays

    def lengths(self, lengths: ArrayLike | None, sizes: Mapping[str, int]) -> dict[str, Array]:
        """Check the lengths of the rows, or make full ones if they are None.

        Args:
            lengths: Integers [batch] from 0 to time.
            sizes: The sizes of the named axes of the inputs.

        Returns:
            The lengths by input name; empty for a model without lengths.

        Raises:
            InputError: If they do not fit, or the model takes none.
        """
        name = self._lengths
        if name is None:
            if lengths is not None:
                raise InputError(
                    "the model takes no lengths: export it with lengths=True (--lengths)"
                )
            return {}
        batch, time = sizes.get(BATCH), sizes.get(TIME)
        if lengths is None:
            if batch is None or time is None:
                raise InputError(f"{name}: expected the steps of each row, got none")
            return {name: np.full(batch, time, self._lengths_dtype)}
        checked = bound_lengths(name, lengths, batch, time)
        return {name: checked.astype(self._lengths_dtype, copy=False)}

    def _in_order(self, state: State) -> list[ArrayLike]:
        """Return the arrays of a state in the order of `Interface.states`."""
        names = [spec.name for spec in self._states]
        if isinstance(state, Mapping):
            if set(state) != set(names):
                raise StateError(
                    f"expected the states {', '.join(names)}, got {', '.join(map(str, state))}"
                )
            return [state[name] for name in names]
        try:
            values: list[ArrayLike] = [state] if isinstance(state, np.ndarray) else list(state)
        except TypeError as error:
            raise StateError(
                f"expected the states {', '.join(names)}, got {type(state).__name__}"
            ) from error
        if len(values) != len(names):
            raise StateError(
                f"expected {len(names)} state(s) ({', '.join(names)}), got {len(values)} array(s)"
            )
        return values


def as_array(name: str, value: ArrayLike, error: type[InputError | StateError]) -> Array:
    """Return `value` as an array; raise `error` if numpy cannot convert it, or drops a mask."""
    try:
        array = np.asarray(value)
    except Exception as raised:  # what an object raises that numpy asks to convert itself
        pass_on_interruption(raised)
        raise error(
            f"{name}: expected an array, got {type(value).__name__}: {one_line(raised)}"
        ) from raised
    if array is not value and isinstance(value, np.ndarray) and _is_masked(value):
        raise error(
            f"{name}: expected an array, got a masked array whose masked values mean nothing to a "
            "model: replace them with .filled(0), for example"
        )
    return array


def has_nan(arrays: Iterable[Array]) -> bool:
    """Whether one of the arrays holds NaN.

    A sum of squares is NaN if and only if one of them is, and takes a third of the time of a check
    of each number.
    """
    for array in arrays:
        if array.dtype.kind == "f":
            energy = _vdot(array, array)
            if energy != energy:
                return True
    return False


def _is_masked(array: Array) -> bool:
    from numpy.ma import is_masked  # few programs import it

    return bool(is_masked(array))


def by_name(
    specs: Sequence[TensorSpec], data: ArrayLike | Mapping[str, ArrayLike]
) -> Mapping[str, ArrayLike]:
    """Return the inputs of a call by name; a single array is the only input.

    Raises:
        InputError: If it is a single array, and the model has several inputs or none.
    """
    if isinstance(data, Mapping):
        return data
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise InputError(f"expected a mapping with the inputs {names}, got one array")
    return {specs[0].name: data}


def bound(
    spec: TensorSpec, value: ArrayLike, sizes: dict[str, int], error: type[InputError | StateError]
) -> Array:
    """Check `value` against `spec`, and record the sizes of its named axes in `sizes`."""
    array = value if type(value) is np.ndarray else as_array(spec.name, value, error)
    fits = array.dtype == dtype_of(spec.dtype) and array.ndim == len(spec.axes)
    if fits:
        for axis, size in zip(spec.axes, array.shape, strict=True):
            expected = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
            fits = fits and size == expected
    if not fits:
        raise error(_mismatch(spec, array, sizes, is_array=hasattr(value, "astype")))
    if array.flags.c_contiguous:
        return array
    return np.asarray(array, order="C")  # np.ascontiguousarray would give a scalar an axis


def bound_lengths(name: str, lengths: ArrayLike, batch: int | None, time: int | None) -> Array:
    """Check the lengths of rows, integers [batch] from 0 to time; None is an unknown size."""
    values = as_array(name, lengths, InputError)
    if values.dtype.kind not in "iu" and values.size:
        raise InputError(
            f"{name}: expected integers, got {values.dtype}; convert them with .astype('int64')"
        )
    if values.ndim != 1 or (batch is not None and len(values) != batch):
        rows = "row" if batch is None else f"of the {batch} row(s)"
        exchanged = values.ndim == 1 and len(values) == time
        raise InputError(
            f"{name}: expected one length for each {rows} of the batch, "
            f"got shape {list(values.shape)}{EXCHANGED * exchanged}"
        )
    longest = time if time is not None else np.inf
    if values.size and (values.min() < 0 or values.max() > longest):
        row = int(np.argmax((values < 0) | (values > longest)))
        allowed = "of 0 or more" if time is None else f"from 0 to {time}, the number of steps"
        raise InputError(f"{name}: expected lengths {allowed}, got {values[row]} at row {row}")
    return values


@cache
def dtype_of(name: str) -> np.dtype[Any]:
    """Return the numpy dtype of that name; an empty void dtype if there is none, as for strings."""
    try:
        return np.dtype(name)
    except TypeError:
        return np.dtype("V")


EXCHANGED = "; time and batch of the input seem to be exchanged: x.swapaxes(0, 1)"
"""Advice, as the end of a sentence."""


def _mismatch(spec: TensorSpec, array: Array, sizes: dict[str, int], *, is_array: bool) -> str:
    message = f"{spec.name}: expected {spec.dtype}{_axes(spec, {})}"
    if array.ndim == len(spec.axes) and any(axis in sizes for axis in spec.axes):
        message += f" with {', '.join(f'{a}={sizes[a]}' for a in spec.axes if a in sizes)}"
    message += f", got {array.dtype}{list(array.shape)}"
    if str(array.dtype) != spec.dtype and array.dtype.kind in "fiu":
        message += f"; {conversion(spec.dtype, is_array=is_array)}"
    elif array.ndim == len(spec.axes) - 1 and BATCH in spec.axes:
        message += f"; one sequence is a batch of 1: x[{_new_batch_axis(spec)}]"
    elif array.ndim == len(spec.axes):
        message += _moved(spec, array, sizes)
    return message


def conversion(dtype: str, *, is_array: bool) -> str:
    """Say how a value of another dtype becomes an array of `dtype`."""
    if is_array:
        return f"convert it with .astype('{dtype}')"
    return f"make an array of it with np.asarray(x, '{dtype}')"


def _moved(spec: TensorSpec, array: Array, sizes: Mapping[str, int]) -> str:
    """Say how the axes would fit in another order, as the end of a sentence, or nothing."""
    fixed = [n for n, axis in enumerate(spec.axes) if isinstance(axis, int)]
    wrong = [n for n in fixed if spec.axes[n] != array.shape[n]]
    if not wrong:  # a state, or a second input, of another batch than the first
        rows = [size for axis, size in zip(spec.axes, array.shape, strict=True) if axis == BATCH]
        return EXCHANGED * (TIME in sizes and rows == [sizes[TIME]] != [sizes.get(BATCH)])
    to = wrong[0]
    places = [n for n, size in enumerate(array.shape) if size == spec.axes[to] and n not in fixed]
    if len(wrong) > 1 or not places:
        return ""
    return f"; to move its axis of {spec.axes[to]} there: np.moveaxis(x, {places[0]}, {to})"


def _axes(spec: TensorSpec, sizes: Mapping[str, int]) -> str:
    return "[" + ", ".join(str(sizes.get(str(a), a)) for a in spec.axes) + "]"


def _new_batch_axis(spec: TensorSpec) -> str:
    return ", ".join(["None" if axis == BATCH else ":" for axis in spec.axes])


def zeros(spec: TensorSpec, sizes: Mapping[str, int]) -> Array:
    """Return zeros with the axes of `spec`; `sizes` has the sizes of named axes."""
    try:
        shape = [axis if isinstance(axis, int) else sizes[axis] for axis in spec.axes]
    except KeyError as missing:
        raise StateError(
            f"{spec.name}: the size of its axis {missing} does not follow from the inputs: "
            "pass the state"
        ) from missing
    try:
        return np.zeros(shape, spec.dtype)
    except (MemoryError, ValueError, OverflowError) as error:  # ValueError: past what numpy counts
        raise StateError(
            f"{spec.name}: zeros of {spec.dtype}{shape} do not fit in memory"
        ) from error
