"""`rnnedge completion bash`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from rnnedge.cli.command import Command

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_RNNEDGE_COMPLETE"
"""What the shell sets when it asks for completions."""


@click.command(
    cls=Command,
    short_help="Print what makes a shell complete commands and options.",
    examples=(
        'eval "$(rnnedge completion bash)"',
        "rnnedge completion fish > ~/.config/fish/completions/rnnedge.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete commands, options, their values and files.

    In bash, add the first example to ~/.bashrc. In zsh, add it to ~/.zshrc after compinit, with
    zsh instead of bash.
    """
    kind = get_completion_class(shell)
    assert kind is not None, f"click completes in {shell}"
    group = context.find_root().command
    source = kind(group, {}, "rnnedge", VARIABLE)
    # `source` of bash would start one to ask for its version; whoever reads this has it.
    click.echo(source.source_template % source.source_vars())
