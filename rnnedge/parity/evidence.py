"""What a report is checked by later: when it was made, of which files, by which command."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch
from torch import nn

_BLOCK = 1 << 20
"""Bytes of a file that are read at once."""
_command: ContextVar[str] = ContextVar("command", default="")


@dataclass(frozen=True, slots=True)
class Evidence:
    """When a comparison was made, and of what.

    Attributes:
        date: When it began, in UTC, as ISO 8601 writes it.
        model_sha256: Digest of the file that was compared; empty where it cannot be read.
        source_sha256: Digests by name: of each file that the source was read from, and of the
            `parameters and buffers` of a module.
        command: The command line, or the call in Python, that makes the report again.
    """

    date: str
    model_sha256: str
    source_sha256: Mapping[str, str]
    command: str

    def facts(self) -> dict[str, str]:
        """Return each fact by its name."""
        digests = {f"sha256 of {name}": digest for name, digest in self.source_sha256.items()}
        model = self.model_sha256 or "not read"
        return {
            "date": self.date,
            "sha256 of the model": model,
            **digests,
            "command": self.command,
        }

    def lines(self) -> list[str]:
        """Return one line for each fact."""
        return [f"{name}: {text}" for name, text in self.facts().items()]


@contextmanager
def made_by(command: str) -> Iterator[None]:
    """Let what is gathered meanwhile name a command line.

    Args:
        command: The command line that is being run.
    """
    token = _command.set(command)
    try:
        yield
    finally:
        _command.reset(token)


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def gather(
    model: str,
    source: str,
    *,
    date: str,
    files: Iterable[str | os.PathLike[str]] = (),
    module: nn.Module | None = None,
) -> Evidence:
    """Digest what was compared.

    Args:
        model: The file.
        source: What the source is called.
        date: When the comparison began.
        files: What the source was read from.
        module: The source as a module, with the weights as they were given.
    """
    digests = {os.fspath(path): file_digest(path) for path in files}
    if module is not None:
        digests["parameters and buffers"] = module_digest(module)
    command = _command.get() or shlex.join(["rnnedge", "validate", model, "--against", source])
    known = {name: digest for name, digest in digests.items() if digest}
    return Evidence(date, file_digest(model), known, command)


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal digits; empty where it cannot be read."""
    try:
        digest = hashlib.sha256()
        with Path(path).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()
    except OSError:
        return ""


def module_digest(module: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers: their names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict(keep_vars=False).items()):
        if not hasattr(tensor, "detach"):
            continue  # extra state of a module's own
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
        if array.numel():
            digest.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
