"""The page as text: what it says, that it loads nothing, that it escapes, that it is accessible."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rnnedge import Report
from rnnedge.parity import Case
from rnnedge.parity.report import PYTORCH

_VOID = {"meta", "link", "br", "hr", "img", "input", "col"}


class Reader(HTMLParser):
    """Reads a page into its elements and the text that is seen.

    Attributes:
        elements: Name and attributes, in order.
        text: All text but the style sheet.
        style: The style sheet.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.style = "", ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], "elements left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["style"]:
            self.style += data
        else:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


Read = Callable[[Report], Reader]


@pytest.fixture
def read(page: Callable[[Report], str]) -> Read:
    return lambda report: Reader(page(report))


def words(text: str) -> str:
    return " ".join(text.split())


def test_verdict_comes_first(report: Report, read: Read) -> None:
    text = words(read(report).text)
    word = "✓ PASS" if report else "✕ FAIL"
    with_what = f"parity with {report.against.name} Parity with {report.against.name}"
    assert re.match(rf"(PASS|FAIL): .*, {with_what} {word} ", text)


def test_another_file_is_not_called_pytorch(beside_file: Report, read: Read) -> None:
    text = words(read(beside_file).text)
    assert "vs the original, weights rounded" in text
    assert "PyTorch" not in text


def test_sentence_of_the_verdict(failing: Report, read: Read) -> None:
    assert failing.verdict.removeprefix("FAIL: ") in words(read(failing).text)


def test_diagnosis(failing: Report, read: Read) -> None:
    found, text = failing.diagnosis, words(read(failing).text)
    assert found is not None
    assert f"Cause: {found.cause} in {found.place}" in text
    for said in (found.evidence, found.first, str(found.smallest), f"What to do: {found.remedy}"):
        assert said in text


def test_no_diagnosis_when_it_passes(passing: Report, read: Read) -> None:
    assert "Cause:" not in read(passing).text


def test_numbers_of_each_output(passing: Report, read: Read) -> None:
    text = words(read(passing).text)
    for output in passing.outputs:
        numbers = f"{output.max_abs:.1e} {output.tolerance:.1e}"
        assert f"{output.name}✓ pass{output.cases} of {output.cases} pass {numbers}" in text


def test_every_case_is_there(report: Report, read: Read) -> None:
    rows = Counter(attributes.get("class") for attributes in read(report).named("tr"))
    failed = sum(not result for result in report.results) + sum(not o for o in report.outputs)
    assert rows["failed"] == failed
    assert sum(rows.values()) > len(report.results)


def test_contract_machine_and_versions(passing: Report, read: Read) -> None:
    text = words(read(passing).text)
    assert passing.contract is not None
    assert passing.contract.weights_digest in text
    assert f"Platform {passing.machine['platform']}" in text
    assert f"pip install rnnedge=={passing.machine['rnnedge']} torch==" in text


def test_build_of_torch_is_not_asked_of_pip(passing: Report, read: Read) -> None:
    local = replace(passing, machine={**passing.machine, "torch": "2.13.0+cpu"})
    assert re.search(r"torch==2\.13\.0 ", read(local).text)


def test_digest_of_the_file(passing: Report, read: Read) -> None:
    digest = hashlib.sha256(Path(passing.model).read_bytes()).hexdigest()
    assert f"echo '{digest}  {passing.model}' | sha256sum --check" in read(passing).text


def test_file_that_is_gone(passing: Report, read: Read) -> None:
    digest = hashlib.sha256(Path(passing.model).read_bytes()).hexdigest()
    assert digest in read(replace(passing, model="gone.onnx")).text  # it was there at the time


def test_command(passing: Report, read: Read) -> None:
    assert "rnnedge validate model.onnx --against 'a <b>.toml'" in read(passing).text


def test_latency(awkward: Report, read: Read) -> None:
    assert "1 1 0.012 0.087 7.08× 50 32 3.200 2.900 0.91×" in words(read(awkward).text)


def test_sections_without_data_are_left_out(passing: Report, read: Read) -> None:
    bare = replace(passing, results=(), curves=(), contract=None, machine={}, notes=())
    bare = replace(bare, coverage=None, evidence=None)
    ids = {attributes.get("id") for attributes in read(bare).named("h2")}
    assert ids == {"outputs", "ulps", "not-run", "reproduce"}


def test_text_is_escaped(awkward: Report, read: Read) -> None:
    reader = read(awkward)
    assert not reader.named("script")
    assert all(words(str(attributes.get("class"))) != "" for attributes in reader.named("b"))
    assert reader.text.count("a <b>&\"ö'状\ufffd\ufffd[1m") > 20


def test_nothing_is_loaded(report: Report, read: Read) -> None:
    reader = read(report)
    loads = [
        value or ""
        for _, attributes in reader.elements
        for name, value in attributes.items()
        if name.rpartition(":")[2] in ("src", "href", "data", "srcset", "poster", "action")
    ]
    assert all(value.startswith(("#", "data:")) for value in loads)
    assert {"script", "iframe", "object", "embed", "base"}.isdisjoint(n for n, _ in reader.elements)
    assert "@import" not in reader.style
    assert "url(" not in reader.style


def test_no_address_in_the_page(passing: Report, page: Callable[[Report], str]) -> None:
    assert "://" not in page(passing)


def test_pictures_refer_to_themselves(report: Report, page: Callable[[Report], str]) -> None:
    text = page(report)
    known = set(re.findall(r'\bid="([^"]+)"', text))
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    assert used
    assert used <= known


def test_ids_are_unique(report: Report, read: Read) -> None:
    ids = Counter(a["id"] for _, a in read(report).elements if "id" in a)
    assert [name for name, count in ids.items() if count > 1] == []


def test_labels_exist(report: Report, read: Read) -> None:
    reader = read(report)
    ids = {a["id"] for _, a in reader.elements if "id" in a}
    labels = {a["aria-labelledby"] for _, a in reader.elements if "aria-labelledby" in a}
    assert labels <= ids


def test_pictures_say_what_they_show(report: Report, read: Read) -> None:
    reader = read(report)
    pictures = reader.named("svg")
    assert len(pictures) > (5 if report.against == PYTORCH else 1)
    assert all(picture["role"] == "img" for picture in pictures)
    assert len(reader.named("title")) == len(pictures) + 1  # that of the page


def test_tables_have_captions_and_headings(report: Report, read: Read) -> None:
    reader = read(report)
    assert len(reader.named("caption")) == len(reader.named("table"))
    assert {heading.get("scope") for heading in reader.named("th")} == {"col", "row"}


def test_headings_skip_no_level(report: Report, read: Read) -> None:
    levels = [int(name[1]) for name, _ in read(report).elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_many_pictures_are_folded(awkward: Report, read: Read) -> None:
    assert "3 more" in read(awkward).text


def test_no_colour_of_matplotlib_is_left(report: Report, page: Callable[[Report], str]) -> None:
    pictures = "".join(re.findall(r"<svg.*?</svg>", page(report), re.DOTALL))
    assert re.findall(r"#[0-9a-f]{6}\b", pictures) == []
    assert "font-family" not in pictures


def test_time_chart_marks_what_is_not_a_number(awkward: Report, page: Callable) -> None:
    assert page(awkward).count("var(--alarm)") > page(replace(awkward, curves=())).count(
        "var(--alarm)"
    )


@pytest.mark.parametrize("word", ["shape", "error", "NaN"])
def test_map_says_what_cannot_be_compared(word: str, awkward: Report, page: Callable) -> None:
    assert word in _letters(page(awkward))


def test_map_marks_what_failed(failing: Report, page: Callable) -> None:
    worst = _worst(failing, time=300, batch=2)
    assert worst > 1000
    mantissa, exponent = f"{worst:.0e}".split("e")
    assert f"✕{mantissa}e{int(exponent)}" in _letters(page(failing))


def test_map_of_what_passed_has_no_mark(passing: Report, page: Callable) -> None:
    letters = _letters(page(passing))
    assert not [one for one in letters if "✕" in one]
    assert f"{_worst(passing, time=300, batch=2):.1g}" in letters


def test_map_of_many_shapes_has_marks_and_no_numbers(failing: Report, page: Callable) -> None:
    first = failing.results[0]
    results = [
        replace(first, case=Case(time, batch), error=(time == 7) * 1e9 * first.allowed)
        for time, batch in itertools.product(range(1, 41), range(1, 31))
    ]
    letters = _letters(page(replace(failing, results=tuple(results))))
    assert letters.count("✕") == 30
    assert {"1", "39"} <= set(letters)
    assert "✕1e9" not in letters


def _letters(text: str) -> list[str]:
    """Return the texts of the map of shapes."""
    (picture,) = re.findall(r'<svg[^>]*aria-labelledby="shapes-map-title".*?</svg>', text, re.S)
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture)


def _worst(report: Report, time: int, batch: int) -> float:
    return max(
        result.badness
        for result in report.results
        if (result.case.time, result.case.batch) == (time, batch)
    )
