"""What a loop carries, in the user's own names, and what to write instead of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from rnnedge_exporters.errors import LoopError
from rnnedge_exporters.modules.loops.marks import Site, parsed
from rnnedge_exporters.modules.source_lines import shown_line


def carried_names(site: Site) -> list[str]:
    """Return the variables that a turn of a loop reads before it writes them, in order.

    Lists that a turn only adds to are left out, and so are counters.
    """
    loop = next(
        (
            node
            for node in ast.walk(parsed(site))
            if isinstance(node, ast.For | ast.While) and node.lineno == site[1]
        ),
        None,
    )
    if loop is None:
        return []
    targets = set(_stored(loop.target)) if isinstance(loop, ast.For) else set()
    written: set[str] = set()
    read: dict[str, None] = {}
    counted: set[str] = set()
    for statement in loop.body:
        for node in _in_order(statement):
            if isinstance(node, ast.AugAssign) and isinstance(node.value, ast.Constant):
                counted.update(_stored(node.target))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                if node.id not in written and node.id not in targets:
                    read[node.id] = None
            elif isinstance(node, ast.Name):
                written.add(node.id)
    return [name for name in read if name in written - counted - targets]


def refusal(site: Site | None, why: str, line: str = "") -> LoopError:
    """Return the error for a loop that cannot be rolled, with the rewrite in the user's names.

    Args:
        site: Where the loop is.
        why: What keeps it from being rolled.
        line: The line of it at which that shows.
    """
    if site is None:
        return LoopError(f"a Python loop over an axis of the inputs cannot become a Scan: {why}")
    names = carried_names(site)
    shown = ", ".join(names) or "state"
    carries = f"; it carries {' and '.join(names)}" if names else ""
    at = f" at {line}" if line and line not in shown_line(*site) else ""
    return LoopError(
        f"the loop at {shown_line(*site)} cannot become a Scan: {why}{at}{carries}. Write its body "
        f"as a module with state_sizes whose forward(x_t, {shown}) returns (y_t, {shown}), and run "
        "it with rnnedge.Recurrent(cell), or use nn.RNN, nn.LSTM or nn.GRU"
    )


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a statement in the order in which Python runs them."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        parts = [node.value, *(node.targets if isinstance(node, ast.Assign) else [node.target])]
    elif isinstance(node, ast.AugAssign):
        for name in _stored(node.target):
            yield ast.Name(name, ast.Load())
        yield node
        parts = [node.value, node.target]
    elif isinstance(node, ast.For):
        parts = [node.iter, node.target, *node.body, *node.orelse]
    else:
        yield node
        parts = list(ast.iter_child_nodes(node))
    for part in parts:
        if part is not None:
            yield from _in_order(part)


def _stored(target: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]
