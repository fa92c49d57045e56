"""Text from a model or a file as a terminal may show it."""

from __future__ import annotations


def printable_line(text: str) -> str:
    r"""Return text with every control character spelled out: `\x1b` and `\n` among them.

    A name in a model file is anything that its author put there; shown as it is, it could move the
    cursor, recolour the screen, or pass for a line of ours.

    Args:
        text: Any text.

    Returns:
        Text that `str.isprintable` holds of.
    """
    return text if text.isprintable() else "".join(map(_spelled, text))


def printable_lines(text: str) -> str:
    """Return text as `printable_line` does, with the ends of its lines kept.

    Args:
        text: Any text.

    Returns:
        Lines of printable text.
    """
    return "\n".join(map(printable_line, text.split("\n")))


def _spelled(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]
