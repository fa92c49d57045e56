"""What the user brings (options, a specification, a checkpoint, Python code) as a live module."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from rnnedge.errors import SourceError
from rnnedge.sources.builder import build
from rnnedge.sources.checkpoint_layers import Choose, layer_of, untold_notes
from rnnedge.sources.checkpoints import SUFFIXES
from rnnedge.sources.module_weights import load_weights
from rnnedge.sources.spec import RNNSpec, read_spec_file
from rnnedge.sources.unknown_source import python_file, unknown_source
from rnnedge_exporters.layers.weights import is_bare_layer
from rnnedge_exporters.modules.wrappers import unwrapped
from rnnedge_exporters.python_object import PythonObject, call_object, find_object, parse_object

_Kind: TypeAlias = Literal["options", "specification", "checkpoint", "Python object"]
_REQUIRED = {"checkpoint": "a checkpoint", "Python object": "package.module:name"}


@dataclass(frozen=True, slots=True)
class Source:
    """A live module and where it came from.

    Attributes:
        module: The module, with its weights.
        origin: What to call it in a report.
        untold: Attributes of `RNNSpec` that neither the shapes of weights nor the caller specify.
        remarks: What is special about the source: tensors of a checkpoint that are left out,
            weights that are computed or drawn at random.
        files: What it was read from: a checkpoint, a specification.
    """

    module: nn.Module
    origin: str
    untold: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the caller should know: the remarks, and defaults taken for what is unspecified."""
        if not self.untold or not is_bare_layer(self.module):
            return self.remarks
        return (*self.remarks, *untold_notes(RNNSpec.from_layer(self.module), self.untold))


def load_source(  # noqa: PLR0913 - each is an option, given by name
    source: str | os.PathLike[str] | None,
    *,
    options: Mapping[str, Any] | None = None,
    key: str | None = None,
    prefix: str | None = None,
    layer_only: bool = False,
    arguments: Mapping[str, Any] | None = None,
    weights: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    choose: Choose | None = None,
) -> Source:
    """Turn what the user brings into a live module.

    Args:
        source: A specification (`.toml`, `.json`), a checkpoint (a safetensors file, an npz
            archive, or what `torch.save` wrote, whatever its name), `package.module:name`,
            `package.module:Class(10, 20)`, or None to build from `options` alone.
        options: Attributes of `RNNSpec`. They override a specification and say what the shapes of
            a checkpoint cannot; `package.module:name` takes none.
        key: The dictionary inside a training checkpoint.
        prefix: What the names of the layer begin with in a checkpoint. It exports the layer alone;
            with `weights`, what the names of the module begin with there.
        layer_only: Whether the layer of a checkpoint is exported alone, where the checkpoint holds
            other tensors too. False refuses such a checkpoint, since the model would lack them.
        arguments: What a class or function of `package.module:name` is called with, by name.
        weights: A checkpoint of the whole module that `package.module:name` makes.
        seed: Seed of the initial weights where none are given; None is 0.
        choose: Returns the prefix of the layer that is meant among several in a checkpoint, when
            `prefix` does not say; None when it does not know. It is compared with a file that says
            which layer is meant: further tensors are not an error then.

    Returns:
        The module with its weights, and what could not be learned from the source.

    Raises:
        SourceError: When the source cannot be read, holds more than would be exported, or an
            argument requires another source.
        SpecError: When the options or the specification are wrong, or weights do not fit.
    """
    options = dict(options or {})
    name = None if source is None else os.fspath(source)
    kind, wanted = _kind(name, arguments)
    _check_arguments(
        "no SOURCE" if name is None else name,
        kind,
        {
            "--key": (key, "checkpoint" if weights is None else "Python object"),
            "--prefix": (prefix, "checkpoint" if weights is None else "Python object"),
            "--layer-only": (layer_only or None, "checkpoint"),
            "--arg": (next(iter(arguments or ()), None), "Python object"),
            "--weights": (weights, "Python object"),
        },
    )
    if wanted is not None:
        if options or seed is not None:
            raise _has_its_own(wanted, options, seed)
        return _from_python(wanted, weights, key, prefix)
    if name is not None and kind == "checkpoint":
        if seed is not None:
            raise SourceError(f"--seed {seed}: {name} has its own weights")
        layer = layer_of(
            name, options, key=key, prefix=prefix, layer_only=layer_only, choose=choose
        )
        module = build(layer.spec, seed=0)
        module.load_state_dict(layer.weights)
        return Source(module, layer.origin, layer.untold, layer.remarks, (name,))
    return _from_spec(name, options, seed or 0)


def source_of_module(module: nn.Module) -> Source:
    """Describe a live module of the user's, without `torch.compile` and the like around it.

    Args:
        module: A bare layer, or any module.

    Returns:
        The module, unwrapped, and how it is called in messages.
    """
    module = unwrapped(module)
    if is_bare_layer(module):
        return Source(module, str(RNNSpec.from_layer(module)))
    return Source(module, type(module).__name__)


def _kind(
    name: str | None, arguments: Mapping[str, Any] | None
) -> tuple[_Kind, PythonObject | None]:
    if name is None:
        return "options", None
    suffix = Path(name).suffix.lower()
    if suffix in (".toml", ".json"):
        return "specification", None
    code = python_file(name)
    if code is not None:
        raise code
    if suffix in SUFFIXES or (suffix != ".onnx" and _is_file(name)):
        return "checkpoint", None
    wanted = parse_object(name, arguments, error=SourceError)
    if wanted is not None:
        return "Python object", wanted
    raise unknown_source(name)


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a name that is too long for a file
        return False


def _check_arguments(got: str, kind: _Kind, given: Mapping[str, tuple[Any, _Kind]]) -> None:
    for argument, (value, wanted) in given.items():
        if value is not None and kind != wanted:
            shown = argument if value is True else f"{argument} {value}"
            raise SourceError(f"{shown}: requires {_REQUIRED[wanted]}, got {got}")


def _has_its_own(wanted: PythonObject, options: Mapping[str, Any], seed: int | None) -> SourceError:
    if not options:
        return SourceError(f"--seed {seed}: {wanted.text} has its own weights")
    name, value = next(iter(options.items()))
    return SourceError(
        f"--{name.replace('_', '-')}: {wanted.text} has its own options; what a class or function "
        f"takes is --arg {name}={value}"
    )


def _from_spec(name: str | None, options: dict[str, Any], seed: int) -> Source:
    if name is not None:
        spec = RNNSpec.from_mapping({**read_spec_file(name), **options}, source=name)
        return Source(build(spec, seed), f"{name} {spec}", files=(name,))
    missing = [
        f"--{n.replace('_', '-')}" for n in ("input_size", "hidden_size") if n not in options
    ]
    if missing:
        raise SourceError(
            "expected a SOURCE (a specification, a checkpoint or package.module:name), or the "
            f"options of a layer to build, which lack {' and '.join(missing)}"
        )
    spec = RNNSpec.from_mapping(options, source="options")
    return Source(build(spec, seed), str(spec))


def _from_python(
    wanted: PythonObject,
    weights: str | os.PathLike[str] | None,
    key: str | None,
    prefix: str | None,
) -> Source:
    found = find_object(wanted, error=SourceError)
    remarks: list[str] = []
    if not isinstance(found, nn.Module) and callable(found):
        made_by = found
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same source gives the same weights each time
            before = torch.get_rng_state()
            found = call_object(made_by, wanted, error=SourceError)
            drawn = not torch.equal(before, torch.get_rng_state())
        if drawn and weights is None and isinstance(made_by, type):
            remarks.append(
                f"{wanted} draws weights at random when it is built: unless it loads trained "
                "ones, --weights CHECKPOINT does"
            )
    elif wanted.arguments is not None or wanted.keywords:
        raise SourceError(
            f"{wanted.text}: {wanted.module}:{wanted.name} is a {type(found).__name__} already: "
            "leave its arguments out"
        )
    if not isinstance(found, nn.Module):
        raise SourceError(
            f"{wanted.text}: expected an nn.Module, or a class or function that makes one, "
            f"got {type(found).__name__}"
        )
    module = unwrapped(found)
    if weights is None:
        return Source(module, str(wanted), remarks=tuple(remarks))
    remarks += load_weights(module, str(wanted), weights, key=key, prefix=prefix)
    path = os.fspath(weights)
    return Source(module, f"{wanted} with {path}", remarks=tuple(remarks), files=(path,))
