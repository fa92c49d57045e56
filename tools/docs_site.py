"""The hook of `mkdocs.yml`: what the site has besides `docs/`.

Pages outside `docs/` (the README, examples, results of benchmarks) are shown as they are, and links
between files of the repository become links between pages. The reference is generated: the command
line from click, Python from the public names of both packages, the JSON of each command from its
schema.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import json
import os
import posixpath
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "exporters"), str(ROOT / "runtime")]

OUTSIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "native/README.md",
    "runtime/README.md",
    "examples/**/README.md",
    "benchmarks/results/*.*",
    "benchmarks/results/claims/*.md",
)
"""What is part of the site, and does not lie in `docs/`."""
_LINK = re.compile(r"(?<!\\)\[([^\[\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_SETUP = re.compile(r"^<!-- (?:setup\n.*?^|not run: [^\n]*)-->\n", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)


def site_path(path: str) -> str:
    """Return where a file of the repository is in the site."""
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside `docs/`, and the generated ones."""
    paths = [Path("README.md")]
    paths += sorted(path.relative_to(ROOT) for name in OUTSIDE for path in ROOT.glob(name))
    for path in paths:
        uri = site_path(path.as_posix())
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for uri, text in generated_pages():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make a page of the repository one of the site."""
    text = _SETUP.sub("", markdown)
    text = re.sub(r"^> \[!(\w+)\]\n((?:>.*\n?)+)", _admonition, text, flags=re.MULTILINE)
    source = _repository_path(page.file)
    if source is None:  # generated: its links are those of the site
        return text
    pieces: list[str] = []
    end = 0
    for code in _CODE.finditer(text):
        pieces += [_links(text[end : code.start()], source, page.file, files), code[0]]
        end = code.end()
    return "".join([*pieces, _links(text[end:], source, page.file, files)])


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Take the one script that the theme fetches, for a search in files, from this repository."""
    return _offline(output, posixpath.dirname(page.file.dest_uri))


def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """Do the same for pages that are not documents, such as 404.html."""
    return _offline(output, "")


def _offline(html: str, folder: str) -> str:
    local = posixpath.relpath("search_in_files.js", folder or ".")
    return html.replace("https://unpkg.com/iframe-worker/shim", local)


def _repository_path(file: File) -> str | None:
    if file.abs_src_path is None:
        return None
    return Path(file.abs_src_path).relative_to(ROOT).as_posix()


def _links(text: str, source: str, file: File, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""

    def replaced(found: re.Match[str]) -> str:
        label, link, anchor = found[1], found[2], found[3] or ""
        if re.match(r"[a-z]+:", link):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        if (ROOT / path / "README.md").is_file():
            path = f"{path}/README.md"
        target = site_path(path)
        if files.get_file_from_path(target) is not None:
            here = posixpath.dirname(file.src_uri)
            return f"[{label}]({posixpath.relpath(target, here or '.')}{anchor})"
        # A link to a file that is not a page becomes text; a dead link is left to the strict build.
        return label if (ROOT / path).exists() else found[0]

    return _LINK.sub(replaced, text)


def _admonition(found: re.Match[str]) -> str:
    body = re.sub(r"^> ?", "    ", found[2], flags=re.MULTILINE)
    return f'!!! warning "{found[1].capitalize()}"\n\n{body}'


def generated_pages() -> Iterator[tuple[str, str]]:
    """Return the pages of the reference, each with its place in the site."""
    yield "reference/command_line.md", "\n".join(command_line())
    yield "reference/json.md", "\n".join(json_reference())
    runtime, toolkit = public_names("rnnedge_runtime"), public_names("rnnedge._api")
    yield "reference/rnnedge_runtime.md", "\n".join(python_reference("rnnedge_runtime", runtime))
    shared = sorted(name for name, place in toolkit.items() if place in runtime.values())
    own = {name: place for name, place in toolkit.items() if name not in shared}
    lines = [*python_reference("rnnedge", own), "## Of the runtime\n"]
    links = (f"[{name}](rnnedge_runtime.md#{toolkit[name]})" for name in shared)
    yield "reference/rnnedge.md", "\n".join([*lines, ", ".join(links)])


def command_line() -> Iterator[str]:
    """Write the help of each command, as it is printed at 80 columns."""
    from rnnedge.cli import commands, main
    from rnnedge_runtime.__main__ import main as runtime
    from rnnedge_runtime.__main__ import parser as device_commands

    yield "# Command line\n"
    yield "What `rnnedge COMMAND --help` prints, of the version that this site was built from.\n"
    yield from _help("rnnedge", _printed(main))
    for name in commands.list_commands(click.Context(commands)):
        yield from _help(f"rnnedge {name}", _printed(main, name))
    yield "## On the device\n"
    yield "`python -m rnnedge_runtime` needs neither PyTorch nor click.\n"
    for name in device_commands().commands:
        yield from _help(f"python -m rnnedge_runtime {name}", _printed(runtime, name))


def _printed(main: Callable[[list[str]], object], *words: str) -> str:
    """Return what a command prints for `--help` in a terminal of 80 columns."""
    os.environ["COLUMNS"] = "80"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return printed.getvalue()


def _help(name: str, text: str) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"```text\n{text.rstrip()}\n```\n"


def public_names(module: str) -> dict[str, str]:
    """Return each public name of a module and where it is defined, by following its imports."""
    names = [alias.name for alias in _imports(module) if alias.asname == alias.name]
    return {name: _definition(module, name) for name in names}


def _definition(module: str, name: str) -> str:
    for alias in _imports(module):
        if name in (alias.asname, alias.name):
            return _definition(alias.module, alias.name)
    return f"{module}.{name}"


@dataclass(frozen=True)
class _Import:
    module: str
    name: str
    asname: str | None


def _imports(module: str) -> Iterator[_Import]:
    """Return what a module imports from the packages of this repository."""
    found = importlib.util.find_spec(module)  # of a package without torch at import
    assert found is not None, module
    for node in ast.walk(ast.parse(Path(str(found.origin)).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rnnedge"):
            yield from (_Import(str(node.module), name.name, name.asname) for name in node.names)


def python_reference(package: str, names: dict[str, str]) -> Iterator[str]:
    """Write what mkdocstrings makes of the docstring of each public name."""
    yield f"# {package}\n"
    errors = {name for name in names if name.endswith(("Error", "Warning"))}
    parts = {
        "Functions": [name for name in names if name[0].islower()],
        "Classes": [name for name in names if name[0].isupper() and name not in errors],
        "Errors": sorted(errors),
    }
    for title, members in parts.items():
        if members:
            yield f"## {title}\n"
        for name in members:
            yield f"::: {names[name]}"
            yield f"    options: {{heading: {package}.{name}, toc_label: {name}}}\n"


def json_reference() -> Iterator[str]:
    """Write tables of what `docs/schemas/` says: each command, then what several of them print."""
    yield "# JSON of each command\n"
    yield "With `--json` a command prints one object on one line; NaN and infinity are null."
    yield "Errors stay one line on standard error, and the exit code says what happened.\n"
    definitions: dict[str, Any] = {}
    for path in sorted((ROOT / "docs" / "schemas").glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        definitions |= schema["$defs"]
        yield f"## {schema['title']} {{#{path.stem}}}\n"
        yield f"Schema: [{path.name}](../schemas/{path.name})\n"
        choices = schema.get("oneOf") or schema.get("anyOf") or [schema]
        for choice in choices:
            if "$ref" in choice:
                yield f"{_type(choice)}\n"
                continue
            if len(choices) > 1:
                yield f"**{choice['title']}**\n"
            yield from _fields(choice)
    yield "## Objects\n"
    for name, definition in sorted(definitions.items()):
        yield f"### {name} {{#{name.lower()}}}\n"
        yield f"{_cell(definition['description'])}\n"
        yield from _fields(definition)


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    yield "| field | type | meaning |\n|---|---|---|"
    required = schema["required"]
    for name, field in schema["properties"].items():
        missing = "" if name in required else " (may be missing)"
        meaning = _cell(field.get("description", ""))
        yield f"| `{name}` | {_cell(_type(field))}{missing} | {meaning} |"
        for inner in (field, field.get("items"), field.get("additionalProperties")):
            if isinstance(inner, dict) and "properties" in inner:
                for key, value in inner["properties"].items():
                    text = _cell(value.get("description", ""))
                    yield f"| `{name}.{key}` | {_cell(_type(value))} | {text} |"
    yield ""


def _type(schema: dict[str, Any]) -> str:
    """Return a type in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {_type(schema.get('items') or {})}" if schema.get("items") else "list"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        inner = schema["additionalProperties"]
        return "by name: an object" if "properties" in inner else f"by name: {_type(inner)}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
