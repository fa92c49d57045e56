"""The tables of `docs/runtimes.md`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rnnedge.doctor.runtime_table import Form, Result, RuntimeTable

BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"


def write_page(page: Path, table: RuntimeTable) -> None:
    """Put the tables between the marks of a page.

    Args:
        page: The page.
        table: What to write.
    """
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    body = "\n".join([BEGIN, *page_lines(table), END])
    page.write_text(before + body + after, encoding="utf-8")


def page_lines(table: RuntimeTable) -> Iterator[str]:
    """Yield the lines between the marks.

    Args:
        table: What to write.

    Yields:
        Markdown.
    """
    versions = ", ".join(f"{name} {version}" for name, version in table.versions.items())
    yield f"Made on {table.date} with {versions}."
    for precision in dict.fromkeys(form.precision for form in table.results):
        rows = {form: r for form, r in table.results.items() if form.precision == precision}
        names = list(table.versions)
        yield ""
        yield f"### {precision}"
        yield ""
        yield "| layer | " + " | ".join(names) + " |"
        yield "|---" * (1 + len(names)) + "|"
        for form, results in rows.items():
            shown = [_shown(results.get(name)) for name in names]
            yield f"| {_layer(form)} | " + " | ".join(shown) + " |"


def _layer(form: Form) -> str:
    options = ["both directions"] * form.bidirectional + ["lengths"] * form.lengths
    return ", ".join([f"{form.cell}, `{form.lowering}`", *options])


def _shown(result: Result | None) -> str:
    if result is None:
        return "unknown"
    if result.status == "right":
        return f"{result.error:.0e}" if result.error else "0"
    if result.status == "wrong":
        return f"**wrong: {result.error:.1g}**"
    return result.status
