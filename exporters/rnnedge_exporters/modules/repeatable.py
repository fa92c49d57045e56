"""Whether a module is a function of its inputs: run twice on the same, it must answer the same.

Random numbers that are drawn in eval mode (functional dropout that was left on, noise), and state
that a forward keeps for its next call, make a module something that no file can answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rnnedge_exporters.modules.arguments import flatten_result
from rnnedge_exporters.modules.attributes import unchanged
from rnnedge_exporters.modules.source_lines import running_lines, running_module, shown_line
from rnnedge_runtime.errors import pass_on_interruption

_SEEDS = (1, 2)
_SOURCES = ("torch", "Python's random", "numpy.random")


@dataclass(slots=True)
class Draws:
    """What a run drew.

    Attributes:
        sources: Whose random numbers were drawn, of `_SOURCES`.
        lines: Where the user's code drew numbers of torch, when that was asked for.
        operators: What drew them.
        written: Weights and buffers that a run changes, where it draws nothing.
        statistics: Where batch statistics were taken although there are running ones.
    """

    sources: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    operators: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    statistics: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Say what was drawn, and where."""
        if self.lines:
            return f"draws random numbers at {self.lines[0]}" + (
                f" and {len(self.lines) - 1} more" if len(self.lines) > 1 else ""
            )
        if self.sources:
            return f"draws random numbers of {' and '.join(self.sources)}"
        said = "answers differently each time it runs on the same inputs"
        return said + (f", and changes {', '.join(self.written)}" if self.written else "")

    @property
    def remedy(self) -> str:
        """What to do about it."""
        if any("dropout" in line.lower() for line in self.lines) or "bernoulli_" in self.operators:
            return "F.dropout(x, p, training=self.training) is off in eval mode"
        if not self.sources and not self.lines:
            return "let forward compute from its arguments and weights alone"
        return "take them as an argument of forward, or draw them in training mode only"


@contextmanager
def seeded(seed: int) -> Iterator[Draws]:
    """Seed the generators of torch, Python and numpy for the block, and put them back after it.

    Args:
        seed: The seed of all three.

    Yields:
        Whose numbers were drawn, known after the block.
    """
    kept = _states()
    try:
        torch.default_generator.manual_seed(seed)  # the CPU's alone
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # the generator that a forward may use
        before, draws = _states(), Draws()
        yield draws
        for source, one, other in zip(_SOURCES, before, _states(), strict=True):
            if not _alike(one, other):
                draws.sources.append(source)
    finally:
        torch.set_rng_state(kept[0])
        random.setstate(kept[1])
        np.random.set_state(kept[2])  # noqa: NPY002


def _states() -> tuple[Any, Any, Any]:
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002
    return torch.get_rng_state(), random.getstate(), numpy


def same_answers(one: Any, other: Any) -> bool:
    """Whether two results hold the same tensors, but for the rounding of floats."""
    first, second = ([_array(t) for t in flatten_result(result)] for result in (one, other))
    return len(first) == len(second) and all(map(same_arrays, first, second))


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
    return array


def same_arrays(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays hold the same, but for the rounding of floats."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    finite = np.abs(one[np.isfinite(one)]).max(initial=1.0)
    allowed = 8 * float(np.finfo(one.dtype).eps) * float(finite)
    return np.allclose(one, other, rtol=0, atol=allowed, equal_nan=True)


def differing_draws(module: nn.Module, run: Callable[[], Any]) -> Draws | None:
    """Run a module under two seeds, and say what it drew where the answers differ.

    Args:
        module: What `run` runs, a private copy; the drawing layer is named by its path in it.
        run: Runs it from its first state on, always on the same inputs.

    Returns:
        None where both runs answer the same.
    """
    results = []
    for seed in _SEEDS:
        with seeded(seed):
            results.append(run())
    return None if same_answers(*results) else drawn(module, run)


def drawn(module: nn.Module, run: Callable[[], Any]) -> Draws:
    """Run a module once, and say what it draws and where."""
    weights = [(n, w) for n, w in module.state_dict().items() if isinstance(w, Tensor)]
    before = [weight.clone() for _, weight in weights]
    with seeded(_SEEDS[0]) as draws:
        try:
            with _Watch(module, draws):
                run()
        except Exception as error:  # what does not run while it is watched has run before
            pass_on_interruption(error)
    if not draws.sources and not draws.lines:
        pairs = zip(weights, before, strict=True)
        draws.written += [name for (name, now), old in pairs if not torch.equal(now, old)]
    return draws


def kept_state(
    module: nn.Module, run: Callable[[], Any], reset: Callable[[], None]
) -> dict[str, bool] | None:
    """Run a module twice without putting its attributes back, and name those that matter.

    Args:
        module: What `run` runs, a private copy.
        run: Runs it on the same inputs.
        reset: Puts back, between the two runs, state that is known of.

    Returns:
        The attributes and buffers that the first run changed, where the second answers otherwise,
        and whether each is a tensor; None where both answer the same.
    """
    with unchanged(module):
        before = dict(_held(module))
        with seeded(_SEEDS[0]):
            first = [tensor.clone() for tensor in flatten_result(run())]
        reset()
        changed = {
            path: isinstance(held, Tensor)
            for path, held in _held(module)
            if not _alike(before.get(path), held)
        }
        with seeded(_SEEDS[0]):
            second = flatten_result(run())
    return None if same_answers(first, second) else changed


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the line of the user's code at each operator that draws random numbers."""

    def __init__(self, module: nn.Module, draws: Draws) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._paths = {inner: path for path, inner in module.named_modules()}
        self._draws = draws

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _is_training_norm(func, args, kwargs):
            self._note(self._draws.statistics)
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        generator = kwargs.get("generator") or torch.default_generator
        before = generator.get_state()
        result = func(*args, **kwargs)
        if not torch.equal(before, generator.get_state()):  # dropout of 0 draws nothing
            self._draws.operators.append(func.overloadpacket.__name__)
            self._note(self._draws.lines)
        return result

    def _note(self, places: list[str]) -> None:
        lines, layer = running_lines(), running_module()
        path = self._paths.get(layer, "") if layer is not None else ""
        where = shown_line(*lines[-1]) if lines else ""
        where += f" in {path}" if path else ""
        if where and where not in places:
            places.append(where)


def _is_training_norm(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operator normalizes by its batch, and has running statistics all the same."""
    names = [argument.name for argument in func._schema.arguments]
    if "training" not in names or "running_mean" not in names:
        return False
    given = dict(zip(names, args, strict=False)) | kwargs
    return bool(given.get("training")) and given.get("running_mean") is not None


def _held(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield what the attributes and buffers of a module hold, by path; tensors as copies."""
    for path, inner in module.named_modules():
        for name, value in (*vars(inner).items(), *inner._buffers.items()):
            if not name.startswith("_") and name != "training":
                yield (f"{path}.{name}" if path else name), _copied(value)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    try:
        return one is other or bool(one == other)
    except Exception as error:  # an object whose comparison may raise anything
        pass_on_interruption(error)
        return False
