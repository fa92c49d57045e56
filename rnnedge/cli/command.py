"""Commands and options with help in groups, examples, and advice for what is typed otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path()
"""A path that a shell completes; whether it is there is the command's own question."""
_OTHERS = "Options"


class Option(click.Option):
    """An option that stands in a group of the help, with its default in one style.

    Args:
        group: Heading in the help.
        shown: What the help says of the default, where that is not the value itself.
    """

    def __init__(
        self, *arguments: Any, group: str = _OTHERS, shown: str | None = None, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.group, self.shown = group, shown

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return what stands in brackets after the help: the default, and the range."""
        extra = super().get_help_extra(ctx)
        extra.pop("default", None)
        if self.shown is not None:
            extra["default"] = self.shown
        elif not self.is_flag and isinstance(self.default, str | int | float):
            number = isinstance(self.default, float)
            extra["default"] = f"{self.default:g}" if number else str(self.default)
        return extra


def option(*names: str, **attributes: Any) -> Callable[[F], F]:
    """Return `click.option` of an `Option`.

    Args:
        names: As in `click.option`.
        attributes: Those of `Option`.
    """
    return click.option(*names, cls=Option, **attributes)


class Command(click.Command):
    """A command whose help has groups and examples.

    Args:
        examples: Command lines, shown at the end of the help; the first is the shortest that works.
        extra: What to say about an argument too many: `{extra}` is that argument, `{given}` those
            before it.
        update: Returns the arguments of a command line in the spelling of today.
    """

    def __init__(
        self,
        *arguments: Any,
        examples: Sequence[str] = (),
        extra: str = "",
        update: Callable[[list[str]], list[str]] = list,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.examples, self.extra, self.update = tuple(examples), extra, update

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, a section for each group in the order in which they come."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                groups.setdefault(getattr(parameter, "group", _OTHERS), []).append(record)
        last = groups.pop(_OTHERS, [])
        for heading, records in (*groups.items(), (_OTHERS, last)):
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, a line each, which are never folded."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and say where an argument belongs that is one too many."""
        allowed, ctx.allow_extra_args = ctx.allow_extra_args, True
        try:
            left = super().parse_args(ctx, args if ctx.resilient_parsing else self.update(args))
        except click.MissingParameter as error:
            if self.examples and error.param is not None:
                example = self.examples[0]
                message = f"{error.format_message()} Such as: {example}"
                raise click.UsageError(message, ctx) from None
            raise
        finally:
            ctx.allow_extra_args = allowed
        if left and not allowed and not ctx.resilient_parsing:
            names = [p.name for p in self.params if isinstance(p, click.Argument) and p.name]
            given = " ".join(str(ctx.params[name]) for name in names if ctx.params.get(name))
            advice = self.extra.format(extra=left[0], given=given)
            raise click.UsageError(
                f"one argument too many: {left[0]}" + f": {advice}" * bool(advice), ctx
            )
        return left


def renamed(arguments: Sequence[str], old: Mapping[str, str]) -> list[str]:
    """Return arguments with their options under the names of today; says so on stderr.

    Args:
        arguments: What follows the name of the command.
        old: The options of today by their old names.
    """
    words: list[str] = []
    for number, word in enumerate(arguments):
        if word == "--":
            return [*words, *arguments[number:]]
        name, equals, value = word.partition("=")
        if name in old:
            advise(f"{name} is called {old[name]} now")
            word = f"{old[name]}{equals}{value}"
        words.append(word)
    return words


def advise(line: str) -> None:
    """Print a line of advice on stderr; the command goes on."""
    click.echo(f"rnnedge: {line}", err=True)
