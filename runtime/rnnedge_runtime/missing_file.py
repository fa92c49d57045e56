"""The end of an error about a missing file: the file that was probably meant."""

from __future__ import annotations

import os
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path


def no_such_file(
    path: str | os.PathLike[str],
    suffixes: tuple[str, ...] = (),
    *,
    what: str = "file",
    meant: Callable[[Path], bool] = lambda path: True,
) -> str:
    """Say that a file is missing, and name one in its folder that was probably meant.

    Args:
        path: The path as it was given.
        suffixes: What the names of files of this kind end with, in lower case; of any without.
        what: What is missing, such as `folder`.
        meant: Whether a path that is there may be meant.

    Returns:
        The end of a sentence, such as `found no such file; there is model.onnx`.
    """
    wanted = Path(path)
    with_slashes = Path(os.fspath(path).replace("\\", "/"))
    if with_slashes != wanted and with_slashes.exists():
        return f"found no such {what}; there is {with_slashes}"
    if not wanted.parent.is_dir():
        return f"found no such {what}, nor its folder {wanted.parent}"
    names = [
        name
        for name in os.listdir(wanted.parent)
        if name.lower().endswith(suffixes or ("",)) and meant(wanted.parent / name)
    ]
    close = get_close_matches(wanted.name, names, n=1)
    return f"found no such {what}" + (f"; there is {wanted.parent / close[0]}" if close else "")
