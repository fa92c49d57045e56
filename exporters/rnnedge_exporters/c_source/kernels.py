"""The C of a program's functions: those that are used, each after those that it calls."""

from __future__ import annotations

from collections.abc import Iterable

from rnnedge_exporters.c_source.cell_kernels import BIAS_N, CELLS, LAYER, has_gru
from rnnedge_exporters.c_source.element_kernels import KERNELS
from rnnedge_exporters.c_source.integer_kernels import (
    INTEGER_PRODUCTS,
)
from rnnedge_exporters.c_source.packing import Kind


def _products(kinds: tuple[Kind, ...]) -> str:
    """Return the C of `row_product` for matrices of these storages."""
    types = {"float32": "float", "float16": "uint16_t", "int8": "int8_t"}
    wide = {"float32": "{}", "float16": "half_to_float({})", "int8": "(float){}"}
    parts = []
    for kind in kinds:
        terms = [f"{wide[kind].format(f'row[k + {i}]')} * x[k + {i}]" for i in range(4)]
        last = f"{wide[kind].format('row[k]')} * x[k]"
        parts.append(
            f"""\
/* The sum of row[k] * x[k], as four sums that a processor adds up side by side. */
static float product_{kind}(const {types[kind]} *row, const float *x, size_t count) {{
  float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
  size_t k = 0;
  for (; k + 4 <= count; k += 4) {{
    a += {terms[0]};
    b += {terms[1]};
    c += {terms[2]};
    d += {terms[3]};
  }}
  for (; k < count; k++) a += {last};
  return (a + b) + (c + d);
}}"""
        )
    return "\n\n".join(parts)


def _part_product(kinds: tuple[Kind, ...]) -> str:
    types = {"float32": "float", "float16": "uint16_t", "int8": "int8_t"}
    cases = []
    for kind in kinds:
        row = f"(const {types[kind]} *)m->weights + at"
        call = f"product_{kind}({row}, x, count)"
        call += " * m->scales[row]" if kind == "int8" else ""
        cases.append((kind, f"return {call};"))
    body = "\n".join(f"  if (m->kind == {kind.upper()}) {text}" for kind, text in cases[:-1])
    body += ("\n" if body else "") + f"  {cases[-1][1]}"
    return f"""\
/* Row `row` of a matrix times x; only the `count` columns that start at `from`. */
static float part_product(const struct matrix *m, size_t row, size_t from, const float *x,
                          size_t count) {{
  const size_t at = row * m->inputs + from;
{body}
}}"""


_WHOLE_ROW = """\
/* Row `row` of a matrix times x. */
static float row_product(const struct matrix *m, size_t row, const float *x) {
  return part_product(m, row, 0, x, m->inputs);
}"""


def _matrix(kinds: tuple[Kind, ...]) -> str:
    names = ", ".join(kind.upper() for kind in kinds)
    several = len(kinds) > 1
    kind = "  enum kind kind;      /* of its elements */\n" if several else ""
    scales = "  const float *scales; /* [units], of int8 */\n" if "int8" in kinds else ""
    return (
        (f"enum kind {{ {names} }};\n\n" if several else "")
        + "/* A matrix [units, inputs] of weights. */\nstruct matrix {\n"
        + kind
        + "  const void *weights;\n"
        + scales
        + "  size_t inputs;\n};"
    )


def needed(used: Iterable[str], cells: Iterable[str]) -> list[str]:
    """Return the kernels that are used, each after those that it calls."""
    order: dict[str, None] = {}

    def add(name: str) -> None:
        for other in KERNELS[name].needs:
            add(other)
        order.setdefault(name)

    for name in [
        *sorted(set(used)),
        *(need for cell in sorted(cells) for need in CELLS[cell].needs),
    ]:
        add(name)
    return list(order)


def definitions(
    used: Iterable[str],
    cells: Iterable[str],
    kinds: tuple[Kind, ...],
    *,
    widened: tuple[Kind, ...] = (),
    rows: bool = False,
    integers: bool = False,
) -> str:
    """Return the C of all functions that are used, each after those that it calls.

    Args:
        used: Names of kernels.
        cells: Names of cells.
        kinds: How matrices are stored; empty where there are none.
        widened: How those are stored that are multiplied in float32.
        rows: Whether whole rows of these are multiplied.
        integers: Whether others are multiplied as integers.
    """
    cells = sorted(set(cells))
    parts = [KERNELS[name].text for name in needed(used, cells)]
    if kinds:
        parts.append(_matrix(kinds))
    if widened:
        parts += [_products(widened), _part_product(widened)]
        parts += [_WHOLE_ROW] if rows else []
    if integers:
        parts.append(INTEGER_PRODUCTS)
    if cells:
        parts.append(LAYER + (BIAS_N if has_gru(cells) else "") + "};")
        parts += [CELLS[cell].text for cell in cells]
    return "\n\n".join(parts)
