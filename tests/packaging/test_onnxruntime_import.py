"""ONNX Runtime is imported in one place, which turns its telemetry off first."""

import ast
from collections.abc import Iterator

import pytest

LIBRARY = "rnnedge_runtime.engine.library"
FOLDERS = ("rnnedge", "exporters", "runtime", "benchmarks", "examples")


def wrong_imports(source: str) -> list[int]:
    """Return the lines that import ONNX Runtime directly.

    Type checkers may do so, and a part of it such as `onnxruntime.quantization` may be imported in
    a function of a file that has imported the one place above.
    """
    tree = ast.parse(source)
    has_library = any(
        isinstance(node, ast.ImportFrom) and node.module in (LIBRARY, LIBRARY.rpartition(".")[0])
        for node in tree.body
    )
    return [
        node.lineno
        for node, name in _imported(tree)
        if name == "onnxruntime" or (name.startswith("onnxruntime.") and not has_library)
    ]


def _imported(node: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from ((node, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield node, node.module or ""
    for child in ast.iter_child_nodes(node):
        yield from _imported(child)


def test_no_module_but_one_imports_it(root):
    found = {
        path.relative_to(root).as_posix(): lines
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*.py"))
        if (lines := wrong_imports(path.read_text(encoding="utf-8")))
    }
    assert list(found) == ["runtime/rnnedge_runtime/engine/library.py"]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import onnxruntime\n", [1]),
        ("import numpy, onnxruntime as ort\n", [1]),
        ("from onnxruntime import InferenceSession\n", [1]),
        ("def f():\n    import onnxruntime\n", [2]),
        ("def f():\n    from onnxruntime.quantization import QuantType\n", [2]),
        (f"from {LIBRARY} import onnxruntime\n", []),
        (f"from {LIBRARY} import onnxruntime\nimport onnxruntime.quantization\n", []),
        (f"from {LIBRARY} import onnxruntime\nimport onnxruntime\n", [2]),
        ("if TYPE_CHECKING:\n    import onnxruntime\n", []),
        ("import onnxruntime_extensions\n", []),
    ],
)
def test_a_direct_import_is_found(source, lines):
    assert wrong_imports(source) == lines
