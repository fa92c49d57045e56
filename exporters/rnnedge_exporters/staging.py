"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnnedge_exporters.errors import ExportError


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path`, renamed to `path` when the block ends without an error.

    On an error the temporary file is removed, and what was at `path` before stays.

    Raises:
        ExportError: When the folder does not exist or cannot be written.
    """
    if not path.parent.is_dir():
        raise ExportError(
            f"{path}: expected an existing folder, found no folder {path.parent}: create it"
        )
    if path.is_dir():
        raise ExportError(f"{path}: expected the name of a file to write, found a folder")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from error
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes the file private; a model is as readable as any file its maker writes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
