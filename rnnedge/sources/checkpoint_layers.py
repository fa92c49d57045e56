"""The recurrent layer of a checkpoint: what it is, what is left out, what nothing determines."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rnnedge.errors import SourceError, SpecError
from rnnedge.sources.checkpoints import Checkpoint, read_checkpoint
from rnnedge.sources.reparametrized import compute_weight, parts_of, whole_names
from rnnedge.sources.spec import RNNSpec
from rnnedge.sources.weight_names import NamedWeights, find_layer, find_layers, without_wrappers

Choose = Callable[[list[NamedWeights[Tensor]]], str | None]
"""From several layers to the prefix of the one that is meant, or None."""

_TOLD = ("batch_first", "nonlinearity", "dropout")
"""What the shapes of weights do not determine."""
_SAY = {
    "batch_first": "--batch-first or --time-first",
    "nonlinearity": "--nonlinearity",
    "dropout": "--dropout",
}
_LAYERS = tuple(f"torch.nn.modules.rnn.{name}" for name in ("RNN", "LSTM", "GRU"))
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class CheckpointLayer:
    """A recurrent layer out of a checkpoint.

    Attributes:
        spec: What it is.
        weights: By the names of `nn.RNN`.
        origin: What to call it in a report.
        untold: Attributes of `spec` that neither the file nor the caller tells.
        remarks: What the caller should know: tensors left out, weights computed.
    """

    spec: RNNSpec
    weights: dict[str, Tensor]
    origin: str
    untold: tuple[str, ...]
    remarks: tuple[str, ...]


def layer_of(
    path: str | os.PathLike[str],
    options: Mapping[str, Any],
    *,
    key: str | None = None,
    prefix: str | None = None,
    layer_only: bool = False,
    choose: Choose | None = None,
) -> CheckpointLayer:
    """Read the recurrent layer of a checkpoint.

    Args:
        path: The file.
        options: Attributes of `RNNSpec`: what shapes do not determine, or must agree with.
        key: The dictionary inside a training checkpoint.
        prefix: What the names of the layer begin with.
        layer_only: Whether tensors that are not part of the layer may be left out; `prefix` and
            `choose` say so too.
        choose: Chooses one of several layers, when `prefix` does not.

    Raises:
        SourceError: When the file cannot be read, holds more than the layer, or an option differs.
        SpecError: When shapes fit no layer.
    """
    checkpoint = read_checkpoint(path, key=key)
    try:
        if prefix is None and choose is not None:
            prefix = _chosen(checkpoint, choose)
        layer = _find(whole_names(checkpoint.weights), prefix)
        part = _Part(str(path), key, checkpoint, layer)
        if prefix is None and choose is None and not layer_only:
            part.check_complete()
        return part.read(options)
    except (SourceError, SpecError) as error:
        raise type(error)(f"{path}: {error}") from None


def _find(weights: Mapping[str, Tensor], prefix: str | None) -> NamedWeights[Tensor]:
    """Find a layer, whose prefix may be written with a wrapper in it, as the file has it."""
    prefixes = [layer.prefix for layer in find_layers(weights)]
    if prefix and not any(prefix in (known, known[:-1]) for known in prefixes):
        prefix = next(iter(without_wrappers({f"{prefix}*": None}))).removesuffix("*")
    return find_layer(weights, prefix)


def _chosen(checkpoint: Checkpoint, choose: Choose) -> str | None:
    """Ask `choose`, where there are several layers."""
    weights = whole_names(checkpoint.weights)
    for name, parts in parts_of(checkpoint.weights).items():
        with suppress(SourceError):  # it is raised of the layer that is chosen
            given = {part: checkpoint.weights[own] for part, own in parts.items()}
            weights[name], _ = compute_weight(name, given)
    layers = find_layers(weights)
    return choose(layers) if len(layers) > 1 else None


class _Part:
    """A layer and the rest of the checkpoint that it is in."""

    def __init__(
        self, path: str, key: str | None, checkpoint: Checkpoint, layer: NamedWeights[Tensor]
    ) -> None:
        self._path, self._key, self._checkpoint, self._layer = path, key, checkpoint, layer
        parts = parts_of(checkpoint.weights)
        self._parts = {name: parts[name] for name in layer.names.values() if name in parts}
        inside = {p for named in self._parts.values() for p in named.values()}
        inside |= set(layer.names.values())
        self._left = [name for name in checkpoint.weights if name not in inside]
        self._left += checkpoint.beside
        self._total = len(checkpoint.weights) + len(checkpoint.beside)

    @property
    def _share(self) -> str:
        return f"{self._total - len(self._left)} of {self._total} tensors"

    @property
    def _called(self) -> str:
        return f"the layer {self._layer.prefix!r}" if self._layer.prefix else "the layer"

    def check_complete(self) -> None:
        """Refuse a layer that is a part of something larger.

        Raises:
            SourceError: Naming what would be left out, and what to type instead.
        """
        module = self._checkpoint.module
        if not self._left and (not module or module in _LAYERS):
            return
        if self._left:
            why = (
                f"{self._called} is {self._share}; exported alone, it would leave out "
                f"{listed(self._left)}"
            )
        else:
            why = f"is a pickled {module}, which may compute more than {self._called} in it"
        key = f" --key {shlex.quote(self._key)}" if self._key else ""
        prefix = f"--prefix {self._layer.prefix}" if self._layer.prefix else "--layer-only"
        raise SourceError(
            f"{why}. Export the whole module: rnnedge export '{_place(module)}(...)' --weights "
            f"{shlex.quote(self._path)}{key} --input 'x=float32[batch,time,40]' (in Python: "
            "model.load_state_dict(...), rnnedge.export(model, ...)); or the layer alone: "
            f"{prefix}"
        )

    def read(self, options: Mapping[str, Any]) -> CheckpointLayer:
        """Compute the weights, and find what the layer is.

        Raises:
            SourceError: When a weight cannot be computed, or an option differs.
            SpecError: When shapes fit no layer.
        """
        layer, remarks = self._layer, list(self._left_notes())
        weights = dict(layer.weights)
        for own, name in layer.names.items():
            if not weights[own].is_floating_point():
                raise SourceError(f"{name}: expected float numbers, got {weights[own].dtype}")
            if name in self._parts:
                parts = {p: self._checkpoint.weights[n] for p, n in self._parts[name].items()}
                weights[own], how = compute_weight(name, parts)
                remarks.append(f"{name} is computed from {' and '.join(parts)}, as {how} does")
        known = self._known()
        told = known | {name: options[name] for name in _TOLD if name in options}
        spec = RNNSpec.from_state_dict(
            {f"{layer.prefix}{own}": weight for own, weight in weights.items()},
            prefix=layer.prefix,
            **told,
        )
        for name, given in options.items():
            said = known.get(name, getattr(spec, name))
            if said != given:
                raise SourceError(
                    f"--{name.replace('_', '-')} is {given!r}, and its weights say {said!r}"
                )
        untold = tuple(name for name in _TOLD if name not in told)
        origin = " ".join(filter(None, [self._path, layer.prefix.rstrip("._/:-"), str(spec)]))
        origin += f" ({self._share})" if self._left else ""
        return CheckpointLayer(spec, weights, origin, untold, tuple(remarks))

    def _left_notes(self) -> Iterable[str]:
        prefix = self._layer.prefix
        if self._left:
            yield f"{self._called} is {self._share}; left out: {listed(self._left)}"
        elif prefix:
            yield (
                f"the names begin with {prefix!r}: what a module around the layer computes without "
                "weights is not in a checkpoint"
            )

    def _known(self) -> dict[str, Any]:
        """Return what a layer that was pickled whole says of itself."""
        attributes = self._checkpoint.attributes.get(self._layer.prefix, {})
        if attributes.get("class") not in _LAYERS:
            return {}
        known = {}
        if isinstance(attributes.get("batch_first"), bool):
            known["batch_first"] = attributes["batch_first"]
        if isinstance(attributes.get("dropout"), int | float):
            known["dropout"] = float(attributes["dropout"])
        if isinstance(attributes.get("mode"), str):
            known["nonlinearity"] = "relu" if attributes["mode"] == "RNN_RELU" else "tanh"
        return known


def untold_notes(spec: RNNSpec, untold: Iterable[str]) -> Iterable[str]:
    """Say which defaults stand for what the shapes of weights do not determine.

    Args:
        spec: The layer.
        untold: Attributes that nobody specified.
    """
    names = [name for name in untold if name != "nonlinearity" or spec.cell == "rnn"]
    if names:
        taken = ", ".join(f"{name}={getattr(spec, name)!r}" for name in names)
        yield (
            f"a checkpoint does not say {', '.join(names)}: taken as {taken}, as PyTorch's "
            f"defaults are; set with {', '.join(_SAY[name] for name in names)}"
        )


def _place(module: str) -> str:
    """Return how the command line spells a class, or an example where it is not known."""
    package, _, name = module.rpartition(".")
    known = package and package != "__main__" and not package.startswith("torch.")
    return f"{package}:{name}" if known else "package.module:Class"


def listed(names: Sequence[str]) -> str:
    """Name tensors: each one, or where there are many the modules that they are in."""
    if len(names) <= _SHOWN:
        return ", ".join(names)
    for depth in (3, 2, 1):
        counts: dict[str, int] = {}
        for name in names:
            module = ".".join(name.split(".")[:-1][:depth]) or name
            counts[module] = counts.get(module, 0) + 1
        if len(counts) <= _SHOWN:
            break
    some = [f"{module} ({count})" for module, count in list(counts.items())[:_SHOWN]]
    more = len(counts) - len(some)
    return ", ".join(some) + (f" and {more} more" if more else "")
