"""Functions that a user names as `package.module:function`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any

from rnnedge_runtime.errors import OptionError, one_line, pass_on_interruption

_PLACE = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_][\w.]*)")


def is_function(text: str) -> bool:
    """Whether a text has the form `package.module:function`."""
    return _PLACE.fullmatch(text) is not None


def find_function(option: str, text: str) -> Callable[..., Any]:
    """Import a function.

    Args:
        option: The option that names it, for messages.
        text: `package.module:function`.

    Raises:
        OptionError: If it cannot be imported, or cannot be called.
    """
    module, colon, name = text.partition(":")
    if module.endswith(".py") and colon:
        meant = module.removesuffix(".py").removeprefix("./").replace("/", ".")
        raise OptionError(
            f"{option}: {text} names a file: write it as Python imports it, {meant}:{name}"
        )
    match = _PLACE.fullmatch(text)
    if match is None:
        raise OptionError(f"{option}: expected package.module:function, got {text!r}")
    from importlib import import_module

    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does: the user's code is where they are
    try:
        found: Any = import_module(match["module"])
        for name in match["name"].split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:  # importing runs the user's code
        pass_on_interruption(error)
        raise OptionError(f"{option}: {text} cannot be imported: {one_line(error)}") from error
    if not callable(found):
        raise OptionError(f"{option}: expected a function, {text} is {type(found).__name__}")
    function: Callable[..., Any] = found
    return function
