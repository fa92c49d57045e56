"""A command line whose usage errors are one line that says what to type."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from rnnedge_runtime.printable import printable_line


class Parser(argparse.ArgumentParser):
    """A parser of commands, or of the options of one.

    Args:
        examples: Command lines, which the help ends with; the first is the shortest that works.
        extra: What to say of an argument too many, which is `{extra}`.
    """

    def __init__(
        self, *arguments: Any, examples: Sequence[str] = (), extra: str = "", **options: Any
    ) -> None:
        super().__init__(
            *arguments,
            **{
                "formatter_class": argparse.RawDescriptionHelpFormatter,
                "allow_abbrev": False,
                "epilog": "\n".join(["examples:", *(f"  {line}" for line in examples)]),
                **options,
            },
        )
        self.examples, self.extra = tuple(examples), extra
        self.commands: dict[str, Parser] = {}

    def add_command(self, name: str, *aliases: str, group: Any, **options: Any) -> Parser:
        """Add a command.

        Args:
            name: Of the command.
            aliases: Other names of it.
            group: What `add_subparsers` returned.
            options: Those of `add_parser`, and of `Parser`.

        Returns:
            The parser of its options.
        """
        command: Parser = group.add_parser(name, aliases=aliases, **options)
        command.set_defaults(command=name)
        self.commands |= dict.fromkeys((name, *aliases), command)
        return command

    def read(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse a command line whose first word is a command; exit with one line if it is wrong."""
        words = list(sys.argv[1:] if arguments is None else arguments)
        if not words:
            self.print_help(sys.stderr)
            sys.exit(2)
        if not words[0].startswith("-") and words[0] not in self.commands:
            close = get_close_matches(words[0], self.commands, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            self.error(f"no such command {words[0]}: there are {', '.join(self.commands)}{meant}")
        options, left = self.parse_known_args(words)
        if left:
            self.commands[words[0]].refuse(left[0])
        return options

    def refuse(self, word: str) -> NoReturn:
        """Exit for a word that is not an option, or one argument too many."""
        if not word.startswith("-"):
            advice = f": {self.extra.format(extra=word)}" if self.extra else ""
            self.error(f"one argument too many: {word}{advice}")
        known = re.findall(r"--[a-z][a-z0-9-]*", self.format_usage())
        close = get_close_matches(word.partition("=")[0], known, n=1, cutoff=0.8)
        self.error(f"no such option {word}" + (f"; did you mean {close[0]}?" if close else ""))

    def error(self, message: str) -> NoReturn:
        """Print one line on stderr, and exit with 2."""
        if self.examples and "required" in message:
            message += f", such as: {self.examples[0]}"
        line = printable_line(f"rnnedge_runtime: {message} (see {self.prog} --help)")
        print(line, file=sys.stderr)
        sys.exit(2)
