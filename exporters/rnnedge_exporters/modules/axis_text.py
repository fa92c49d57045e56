"""The size of an axis as text: Python arithmetic on the names of axes."""

from __future__ import annotations

import ast


def tidy(expression: str) -> str:
    """Write a size as Python does: `(((time - 1)//2)) + 1` loses torch's parentheses."""
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:
        return expression
    text = ast.unparse(_PythonArithmetic().visit(tree))
    return text.replace(" // ", "//").replace(" * ", "*")


class _PythonArithmetic(ast.NodeTransformer):
    """Turns torch's functions of sizes back into operators: `PythonMod(a, b)` is `a % b`."""

    def visit_Call(self, node: ast.Call) -> ast.AST:  # ast's own name
        self.generic_visit(node)
        operator = {"PythonMod": ast.Mod, "Mod": ast.Mod, "FloorDiv": ast.FloorDiv}.get(
            getattr(node.func, "id", "")
        )
        return node if operator is None else ast.BinOp(node.args[0], operator(), node.args[1])

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        match node:  # (a - a % b)//b, which is how a division is rounded down, is a//b
            case ast.BinOp(ast.BinOp(a, ast.Sub(), ast.BinOp(c, ast.Mod(), d)), ast.FloorDiv(), b):
                if ast.dump(a) == ast.dump(c) and ast.dump(b) == ast.dump(d):
                    return ast.BinOp(a, ast.FloorDiv(), b)
        return node
