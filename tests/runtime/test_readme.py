"""The README's Python and commands give what it shows."""

import doctest
import fnmatch
import re
from pathlib import Path

import pytest
from golden_files import write_vectors
from tiny_models import Tiny

README = Path(__file__).parents[2] / "runtime" / "README.md"


@pytest.fixture(autouse=True)
def _beside_the_model(tmp_path, monkeypatch):
    tiny = Tiny("lstm", input_size=40, hidden_size=64, lengths=True)
    (tmp_path / "model.onnx").write_bytes(tiny.content)
    write_vectors(tmp_path / "vectors", tiny)
    monkeypatch.chdir(tmp_path)


def test_python():
    text = README.read_text(encoding="utf-8").replace("```", "")
    test = doctest.DocTestParser().get_doctest(text, {}, "README", str(README), 0)
    report = []
    doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert test.examples
    assert not report, "".join(report)


@pytest.mark.parametrize(
    "command", ["info model.onnx", "check model.onnx", "check model.onnx vectors"]
)
def test_command(python, command):
    text = README.read_text(encoding="utf-8")
    shown = re.search(rf"\$ (python -m rnnedge_runtime {command})\n((?:    [^$\n].*\n)+)", text)
    expected = re.sub(r"(?m)^    ", "", shown[2])
    done = python(*shown[1].split()[1:])
    # "..." in the README stands for anything; brackets are not pattern.
    pattern = expected.replace("[", "[[]").replace("...", "*")
    assert fnmatch.fnmatchcase(done.stdout, pattern), done.stdout
