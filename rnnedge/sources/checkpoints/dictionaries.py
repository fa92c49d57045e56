"""Which of the dictionaries in a training checkpoint holds the weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from torch import Tensor

from rnnedge.errors import SourceError
from rnnedge.sources.checkpoints.stored import Leaf, StoredTensor
from rnnedge.sources.checkpoints.unpickling import Stub, entries_of
from rnnedge.sources.reparametrized import whole_names
from rnnedge.sources.weight_names import find_layers

_WRAPPERS = ("DataParallel", "DistributedDataParallel", "OptimizedModule")
_MOST = 100_000
_SHOWN = 8
_DEEPEST = 100
"""How deep dictionaries with weights may lie: names grow with each step down."""


@dataclass(frozen=True, slots=True)
class Dictionary:
    """One dictionary of a checkpoint that holds tensors.

    Attributes:
        name: Its keys from the outermost one, with dots between; empty for the outermost one.
        tensors: The tensors in it, by name.
        module: The class of the module that was pickled here, such as `app.Net`; empty for weights
            by name alone.
        attributes: Of a pickled module, the attributes of the modules inside by path.
    """

    name: str
    tensors: dict[str, Leaf]
    module: str = ""
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def is_recurrent(self) -> bool:
        """Whether weights of a recurrent layer are in it."""
        return bool(find_layers(whole_names(self.tensors)))


def choose(content: Any, key: str | None) -> tuple[Dictionary, tuple[str, ...]]:
    """Choose the dictionary of weights.

    Args:
        content: What a file holds.
        key: Its name, or that of a dictionary around it; None takes the only one there is.

    Returns:
        The dictionary, and the names of other tensors in the file that a model may need; none with
        a key, and none of an optimizer.

    Raises:
        SourceError: When there is no such dictionary, or several.
    """
    if _entries(content) is None:
        kind = content.path if isinstance(content, Stub) else type(content).__name__
        kind = "Tensor" if isinstance(content, StoredTensor) else kind
        raise SourceError(f"expected weights by name, got a {kind}")
    found = list(_dictionaries(content))
    holding = [one for one in found if one.is_recurrent]
    if key is not None:
        return _named(key, found, holding), ()
    if not holding:
        if isinstance(content, list | tuple):
            raise SourceError(f"expected weights by name, got a {type(content).__name__}")
        entries = list(entries_of(content) or {})
        raise SourceError(
            "expected weights named like weight_ih_l0 and weight_hh_l0, found "
            f"{', '.join(entries[:4]) or 'nothing'}{', ...' if len(entries) > 4 else ''}"
        )
    if len(holding) > 1:
        raise SourceError(
            f"{len(holding)} dictionaries hold recurrent weights: {_names(holding)}: choose one "
            "with key= (--key)"
        )
    chosen = holding[0]
    beside = [
        f"{one.name}.{name}" if one.name else name
        for one in found
        if one is not chosen
        for name, tensor in one.tensors.items()
        if tensor.dtype.is_floating_point and len(tensor.shape) > 0
    ]
    return chosen, tuple(beside)


def _named(key: str, found: list[Dictionary], holding: list[Dictionary]) -> Dictionary:
    exact = [one for one in found if one.name == key]
    inside = [one for one in holding if one.name.startswith(f"{key}.")]
    for some in ([one for one in exact if one in holding], inside, exact):
        if len(some) == 1:
            return some[0]
    if inside:
        raise SourceError(
            f"{len(inside)} dictionaries in {key!r} hold recurrent weights: {_names(inside)}: "
            "choose one with key= (--key)"
        )
    there = [one for one in holding or found if one.name]
    raise SourceError(
        f"no dictionary {key!r} (--key) of tensors inside; there are: {_names(there) or 'none'}"
    )


def _names(some: list[Dictionary]) -> str:
    names = ", ".join(repr(one.name) for one in some[:_SHOWN])
    return names + (f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else "")


def _dictionaries(content: Any) -> Iterator[Dictionary]:
    """Yield the dictionaries that hold tensors, the outermost one first; none of an optimizer."""
    waiting = deque([("", content)])
    seen: dict[int, dict[str, Leaf]] = {}
    while waiting:
        name, value = waiting.popleft()
        if id(value) in seen:  # a pickle may hold one thing in many places, and in itself
            if seen[id(value)]:
                yield Dictionary(name, seen[id(value)])
            continue
        entries = _entries(value)
        seen[id(value)] = {}
        if entries is None or (name and "param_groups" in entries):
            continue
        if isinstance(value, Stub) and "_modules" in entries and "_parameters" in entries:
            yield _pickled_module(name, value)
            continue
        if not isinstance(value, list | tuple):  # as averages and random states are kept
            seen[id(value)] = {n: leaf for n, leaf in entries.items() if _is_tensor(leaf)}
        if seen[id(value)]:
            yield Dictionary(name, seen[id(value)])
        waiting.extend(_inside(name, entries))


def _inside(name: str, entries: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what may hold dictionaries, with its name; nothing that lies too deep."""
    if name.count(".") < _DEEPEST:
        for own, item in entries.items():
            if isinstance(item, dict | Stub | list | tuple):
                yield f"{name}.{own}" if name else own, item


def _pickled_module(name: str, module: Stub) -> Dictionary:
    """Return the weights of a pickled module by the names that its `state_dict()` would give."""
    around: list[Stub] = []
    while module.path.rpartition(".")[2] in _WRAPPERS and module not in around:
        inner = [m for m in _part(module, "_modules").values() if isinstance(m, Stub)]
        if len(inner) != 1:
            break
        around.append(module)
        module = inner[0]
    tensors: dict[str, Leaf] = {}
    attributes: dict[str, dict[str, Any]] = {}
    waiting: deque[tuple[str, Stub, tuple[int, ...]]] = deque([("", module, (id(module),))])
    while waiting:
        path, one, above = waiting.popleft()
        if len(attributes) > _MOST:
            raise SourceError(f"holds a pickled {module.path} of more than {_MOST:,} modules")
        attributes[path] = {**one.attributes, "class": one.path}
        skipped = one.attributes.get("_non_persistent_buffers_set")
        skipped = skipped if isinstance(skipped, set) else set()
        for own, leaf in (_part(one, "_parameters") | _part(one, "_buffers")).items():
            if _is_tensor(leaf) and own not in skipped:
                tensors[f"{path}{own}"] = leaf
        for own, inner_one in _part(one, "_modules").items():
            if isinstance(inner_one, Stub) and id(inner_one) not in above:
                waiting.append((f"{path}{own}.", inner_one, (*above, id(inner_one))))
    return Dictionary(name, tensors, module.path, attributes)


def _entries(value: Any) -> dict[str, Any] | None:
    if isinstance(value, list | tuple):
        return {str(number): item for number, item in enumerate(value)}
    return entries_of(value)


def _is_tensor(value: Any) -> TypeGuard[Leaf]:
    return isinstance(value, Tensor | StoredTensor)


def _part(module: Stub, kind: str) -> dict[str, Any]:
    return entries_of(module.attributes.get(kind)) or {}
