"""Whatever catches every exception says why, and swallows none that a signal handler raised."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "rnnedge",
    "exporters/rnnedge_exporters",
    "runtime/rnnedge_runtime",
    "native/rnnedge_native",
)
BROAD = {"Exception", "BaseException"}


def faults(source: str) -> Iterator[str]:
    """Yield what is wrong with each handler that catches everything."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _suppressed(node) & BROAD:
            yield f"line {node.lineno}: suppress takes everything: write try and except"
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if not BROAD & {"BaseException" if one is None else ast.unparse(one) for one in caught}:
            continue
        if "#" not in lines[node.lineno - 1] and "#" not in lines[node.lineno]:
            yield f"line {node.lineno}: say why everything is caught"
        last = node.body[-1]
        raised_again = isinstance(last, ast.Raise) and last.exc is None
        passed_on = ast.unparse(node.body[0]) == f"pass_on_interruption({node.name})"
        if not raised_again and not passed_on and "BaseException" not in lines[node.lineno - 1]:
            yield f"line {node.lineno}: begin with pass_on_interruption({node.name or 'error'})"


def _suppressed(call: ast.Call) -> set[str]:
    is_suppress = ast.unparse(call.func).endswith("suppress")
    return set(map(ast.unparse, call.args)) if is_suppress else set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_handlers_of_everything(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {fault}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for fault in faults(path.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("handler", "fault"),
    [
        ("except Exception:  # why\n    pass", "begin with pass_on_interruption(error)"),
        ("except (Exception, SystemExit) as e:  # why\n    print(e)", "pass_on_interruption(e)"),
        ("except Exception as e:\n    pass_on_interruption(e)", "say why"),
        ("except:  # why\n    print(1)", "begin with"),
        ("except BaseException:\n    raise", "say why"),
        ("except OSError:\n    pass", ""),
        ("except Exception as e:  # why\n    pass_on_interruption(e)", ""),
        ("except Exception:  # why\n    print(1)\n    raise", ""),
    ],
)
def test_faults_are_found(handler: str, fault: str) -> None:
    (found,) = list(faults(f"try:\n    f()\n{handler}\n")) or [""]
    assert fault in found
    assert bool(found) == bool(fault)


def test_suppressing_everything_is_found() -> None:
    assert list(faults("with contextlib.suppress(Exception):\n    f()\n"))
    assert not list(faults("with contextlib.suppress(OSError):\n    f()\n"))
