"""No retired phrase is left, and the list finds what it is meant to find."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# `tools` is not an installed package.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tools.wording import Phrase, findings, main, phrases

LIST = phrases()
every = pytest.mark.parametrize("phrase", LIST, ids=[phrase.example for phrase in LIST])


@every
def test_example_is_found(phrase: Phrase) -> None:
    assert phrase.pattern.search(phrase.example)


@every
def test_what_is_fine_is_left_alone(phrase: Phrase) -> None:
    assert not phrase.fine or not phrase.pattern.search(phrase.fine)


@every
def test_what_to_write_instead_is_not_retired(phrase: Phrase) -> None:
    assert [one for one in LIST if one.pattern.search(phrase.instead)] == []


PLANTED = "the path does not serve"
FILES = {
    "docstring.py": f'"""About a file.\n\n    Here {PLANTED}.\n"""\n',
    "message.py": 'raise ValueError(f"{path}: the path does "\n    "not serve")\n',
    "comment.py": "x = 1  # the path does\n# not serve\n",
    "guide.md": "# Title\n\nIn such cases the path does\nnot serve, and it is refused.\n",
    "loop.c": "/* In such cases the path\n * does not serve. */\n",
    "settings.toml": "# the path does\n# not serve\n",
}


@pytest.mark.parametrize(("name", "content"), FILES.items(), ids=FILES)
def test_planted_phrase_is_found(name: str, content: str) -> None:
    (found,) = findings(name, content, LIST)
    assert PLANTED.removeprefix("the path ") in found.found
    assert str(found).startswith(f"{name}:{found.line}: ")
    assert '"is not usable"' in found.instead


def test_names_in_code_are_no_prose() -> None:
    assert list(findings("code.py", "beside = told(goes_with)\n", LIST)) == []


def test_command_names_the_file_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.md").write_text(PLANTED)
    assert main([str(tmp_path / "bad.md")]) == 1
    assert "bad.md:1: " in capsys.readouterr().out
