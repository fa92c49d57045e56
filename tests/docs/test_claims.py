"""What the documents claim of other tools is what the scripts print with these versions."""

import re

import pytest
from doc_blocks import ROOT

from benchmarks.claims import activations, empty_batch, nan_input, sequence_lens, zero_length
from benchmarks.claims.cases import cases

PAGE = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
SCRIPTS = [activations, empty_batch, nan_input, sequence_lens, zero_length]
TABLES = sorted((ROOT / "benchmarks" / "results" / "claims").glob("*.md"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__.split(".")[-1])
def test_sentences(script):
    sentences = list(script.claims())
    assert sentences
    for sentence in sentences:
        versioned = re.match(r".*? \d[\d.]*\d ", sentence)[0]
        if versioned in PAGE:  # with another version, it may be otherwise
            assert f"- {sentence}\n" in PAGE


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_page_has_the_sentence_of_each_table(table):
    sentence = table.read_text(encoding="utf-8").split("\n")[2]
    assert sentence in " ".join(PAGE.split())


def test_a_hundred_different_modules():
    found = cases()
    assert len({(case.group, case.name) for case in found}) == 100
    assert [case.make() for case in found]
