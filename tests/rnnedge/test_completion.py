"""Tab completion, typed into the shells themselves through a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import Done

LIMIT = 60.0
"""Seconds until a shell that does not answer is given up; nothing depends on how fast it is."""
START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
READY = {
    "bash": ["bind 'set bell-style none'", 'eval "$(rnnedge completion bash)"'],
    "zsh": ["autoload -U compinit && compinit -u -D", 'eval "$(rnnedge completion zsh)"'],
}


class Shell:
    """A shell in a pseudo-terminal, with `rnnedge` on its path."""

    def __init__(self, name: str, folder: Path) -> None:
        program = folder / "bin" / "rnnedge"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rnnedge "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        environment = {
            **os.environ,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "TERM": "dumb",
            "PS1": "> ",
            "HOME": str(folder),
        }
        self.process, self.terminal = pty.fork()
        if not self.process:
            os.chdir(folder)
            os.execvpe(START[name][0], START[name], environment)

    def type(self, keys: str, until: str) -> str:
        """Type, and read until the screen shows something."""
        os.write(self.terminal, keys.encode())
        read, end = "", time.monotonic() + LIMIT
        while until not in read:
            ready, _, _ = select.select([self.terminal], [], [], max(0, end - time.monotonic()))
            assert ready, f"{until!r} did not come after {keys!r}: {read!r}"
            read += os.read(self.terminal, 4096).decode(errors="replace")
        return read

    def close(self) -> None:
        os.close(self.terminal)
        os.waitpid(self.process, 0)


@pytest.fixture(scope="module", params=START)
def shell(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "a_model_of_mine.onnx").touch()
    opened = Shell(request.param, folder)
    for line in READY[request.param]:
        opened.type(f"{line}\n", "> ")
    opened.type("echo rea''dy\n", "ready")
    yield opened
    opened.close()


CLEAR = "\x15"
CASES = {
    "command": ("rnnedge vali\t", "validate "),
    "option": ("rnnedge validate --strict\t", "--strict-coverage "),
    "option after a file": ("rnnedge bench m.onnx --besi\t", "--beside "),
    "value": ("rnnedge export --cell ls\t", "lstm "),
    "file": ("rnnedge inspect a_mod\t", "a_model_of_mine.onnx"),
    "file of an option": ("rnnedge validate --against a_mod\t", "a_model_of_mine.onnx"),
    "shell": ("rnnedge completion fi\t", "fish "),
}


@pytest.mark.parametrize(("typed", "shown"), CASES.values(), ids=CASES)
def test_the_shell_completes(typed: str, shown: str, shell: Shell) -> None:
    shell.type(CLEAR + typed, shown)


def test_fish_has_a_script(rnn: Callable[..., Done]) -> None:
    out = rnn("completion", "fish").out
    assert "complete --no-files --command rnnedge" in out
    assert "_RNNEDGE_COMPLETE=fish_complete" in out


def test_another_shell_is_refused(rnn: Callable[..., Done]) -> None:
    done = rnn("completion", "tcsh")
    assert done.code == 2
    assert "'bash', 'zsh', 'fish'" in done.err
