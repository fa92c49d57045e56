"""What the user brings (options, a specification, a checkpoint, Python code) as a live module."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rnnedge.builder import build
from rnnedge.checkpoints import SUFFIXES, read_weights
from rnnedge.errors import RnnEdgeError, SourceError, SpecError
from rnnedge.spec import RNNSpec, read_spec_file
from rnnedge.weight_names import LayerWeights, find_layer, find_layers

_OBJECT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_TOLD = ("nonlinearity", "batch_first", "dropout")
"""What the shapes of weights cannot tell."""


@dataclass(frozen=True, slots=True)
class Source:
    """A live module and where it came from.

    Attributes:
        module: The module, with its weights.
        origin: What to call it in a report.
        untold: Attributes of `RNNSpec` that the shapes of a checkpoint cannot tell and nobody told.
    """

    module: nn.Module
    origin: str
    untold: tuple[str, ...] = ()


def load_source(
    source: str | os.PathLike[str] | None,
    *,
    options: Mapping[str, Any] | None = None,
    key: str | None = None,
    prefix: str | None = None,
    seed: int | None = None,
    choose: Callable[[list[LayerWeights[Tensor]]], str | None] | None = None,
) -> Source:
    """Turn what the user brings into a live module.

    Args:
        source: A specification (`.toml`, `.json`), a checkpoint (`.safetensors`, `.npz`, `.pt`,
            `.pth`, `.ckpt`, `.bin`), `package.module:name`, or None to build from `options` alone.
        options: Attributes of `RNNSpec`. They override a specification, tell what the shapes of a
            checkpoint cannot, and do not go with `package.module:name`.
        key: The dictionary inside a training checkpoint.
        prefix: What the names of the layer begin with in a checkpoint.
        seed: Seed of the initial weights where none are given; None is 0.
        choose: Returns the prefix of the layer that is meant among several in a checkpoint, when
            `prefix` does not say; None when it cannot tell.

    Raises:
        SourceError: When the source cannot be read, or an argument does not go with it.
        SpecError: When the options or the specification are wrong, or weights do not fit.
    """
    options = dict(options or {})
    name = None if source is None else os.fspath(source)
    kind = "" if name is None else Path(name).suffix.lower()
    if kind not in SUFFIXES:
        for argument, value in (("--key", key), ("--prefix", prefix)):
            if value is not None:
                raise SourceError(
                    f"{argument} {value}: goes with a checkpoint, got {name or 'no SOURCE'}"
                )
    if name is None:
        missing = [f"--{_flag(n)}" for n in ("input_size", "hidden_size") if n not in options]
        if missing:
            raise SourceError(
                "expected a SOURCE (a specification, a checkpoint or package.module:name), or the "
                f"options of a layer to build; missing: {' and '.join(missing)}"
            )
        spec = RNNSpec.from_mapping(options, source="options")
        return Source(build(spec, seed or 0), str(spec))
    if kind in (".toml", ".json"):
        spec = RNNSpec.from_mapping({**read_spec_file(name), **options}, source=name)
        return Source(build(spec, seed or 0), f"{name} {spec}")
    if seed is not None:
        raise SourceError(f"--seed {seed}: {name} has its own weights")
    if kind in SUFFIXES:
        return _from_checkpoint(name, options, key, prefix, choose)
    if _OBJECT.fullmatch(name):
        if options:
            raise SourceError(f"--{_flag(next(iter(options)))}: {name} has its own options")
        return Source(_from_python(name), name)
    raise SourceError(
        f"{name}: expected a specification (.toml, .json), a checkpoint ({', '.join(SUFFIXES)}) or "
        "package.module:name"
    )


def _flag(option: str) -> str:
    return option.replace("_", "-")


def _from_checkpoint(
    path: str,
    options: dict[str, Any],
    key: str | None,
    prefix: str | None,
    choose: Callable[[list[LayerWeights[Tensor]]], str | None] | None,
) -> Source:
    weights = read_weights(path, key=key)
    if prefix is None and choose is not None:
        layers = find_layers(weights)
        prefix = choose(layers) if len(layers) > 1 else None
    try:
        layer = find_layer(weights, prefix)
        told = {name: options.pop(name) for name in _TOLD if name in options}
        spec = RNNSpec.from_state_dict(weights, prefix=layer.prefix, **told)
    except (SourceError, SpecError) as error:
        raise type(error)(f"{path}: {error}") from None
    for name, given in options.items():
        if getattr(spec, name) != given:
            raise SourceError(
                f"{path}: --{_flag(name)} is {given!r}, and its weights say {getattr(spec, name)!r}"
            )
    module = build(spec, seed=0)
    module.load_state_dict(layer.weights)
    origin = " ".join(filter(None, [path, layer.prefix.rstrip("._/:-"), str(spec)]))
    return Source(module, origin, tuple(name for name in _TOLD if name not in told))


def _from_python(name: str) -> nn.Module:
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does: the user's code is where they are
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a script without a main guard may exit
        raise SourceError(f"{name}: {module_name} does not import: {_said(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise SourceError(f"{name}: {module_name} has no {attribute}")
        found = getattr(found, part)
    if not isinstance(found, nn.Module) and callable(found):
        try:
            found = found()
        except RnnEdgeError:
            raise
        except Exception as error:
            raise SourceError(
                f"{name}: calling it without arguments raised {_said(error)}; "
                "name a function that takes none and returns the module"
            ) from error
    if not isinstance(found, nn.Module):
        raise SourceError(
            f"{name}: expected an nn.Module, or a class or function that makes one, "
            f"got {type(found).__name__}"
        )
    return found


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
