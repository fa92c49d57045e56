"""The C program that runs golden vectors, `kws_test.c`."""

from __future__ import annotations

from rnnedge_exporters.c_source.places import C_TYPES
from rnnedge_exporters.c_source.program import Port, SizedProgram
from rnnedge_exporters.c_source.sources import CSources, size_macro
from rnnedge_exporters.c_source.text import array, wrapped
from rnnedge_exporters.c_source.vectors import Vectors
from rnnedge_runtime.plan.values import Dtype

_COMPARE_FLOAT = """\
/* Prints the largest error of `count` numbers, and returns 1 where one is too large or NaN. */
static int compare_float(const char *name, const float *got, const float *expected,
                         size_t count) {{
  float largest = 0.0f;
  int failed = 0;
  size_t i;
  for (i = 0; i < count; i++) {{
    const float error = got[i] < expected[i] ? expected[i] - got[i] : got[i] - expected[i];
    const float size = expected[i] < 0.0f ? -expected[i] : expected[i];
    if (!(error <= {tolerance:g}f * (1.0f + size))) failed = 1;
    if (error > largest) largest = error;
  }}
  printf("%s: largest error %g%s\\n", name, (double)largest, failed ? ", FAILED" : "");
  return failed;
}}"""
_COMPARE = """\
/* Returns 1 where one of `count` numbers is not the expected one. */
static int compare_{type}(const char *name, const {type} *got, const {type} *expected,
                          size_t count) {{
  int failed = 0;
  size_t i;
  for (i = 0; i < count; i++)
    if (got[i] != expected[i]) failed = 1;
  printf("%s: %s\\n", name, failed ? "FAILED" : "equal");
  return failed;
}}"""


def check_source(program: SizedProgram, sources: CSources, vectors: Vectors, title: str) -> str:
    """Return the text of the C program."""
    prefix = sources.places.prefix
    comment = f"/*\n * {title}\n * Runs {prefix} on golden vectors, and prints PASS last.\n */"
    parts = [comment, f'#include <stdio.h>\n\n#include "{prefix}.h"']
    parts.append(f"#define STEPS {vectors.steps} /* in the vectors */")
    ports = [*program.inputs, *program.outputs]
    values = [*vectors.inputs, *vectors.outputs]
    names = _names(program, sources)
    parts += [
        array(f"static const {C_TYPES[port.dtype]} {name}[{len(own)}]", own)
        for port, name, own in zip(ports, names, values, strict=True)
    ]
    dtypes = sorted({port.dtype for port in program.outputs})
    parts += [_compare(dtype, vectors.tolerance) for dtype in dtypes]
    parts.append(
        _whole(program, sources) if program.steps is not None else _steps(program, sources)
    )
    parts.append(_MAIN.format(tests=" + ".join(f"{test}()" for test in _tests(program))))
    return "\n\n".join(parts) + "\n"


_MAIN = """\
int main(void) {{
  const int failed = {tests};
  puts(failed ? "FAIL" : "PASS");
  return failed != 0;
}}"""


def _tests(program: SizedProgram) -> list[str]:
    return ["test_run"] if program.steps is not None else ["test_steps", "test_run"]


def _compare(dtype: Dtype, tolerance: float) -> str:
    kind = C_TYPES[dtype]
    if kind == "float":
        return _COMPARE_FLOAT.format(tolerance=tolerance)
    return _COMPARE.format(type=kind)


def _names(program: SizedProgram, sources: CSources) -> list[str]:
    """Return the names of the arrays of the vectors."""
    inputs = [f"given_{name}" for name in sources.function.inputs]
    return inputs + [f"expected_{name}" for name in sources.function.outputs]


def _size(sources: CSources, port: Port, name: str, *, steps: bool) -> str:
    return (
        f"STEPS * {size_macro(sources.places, name)}"
        if steps and port.in_time
        else size_macro(sources.places, name)
    )


def _buffers(program: SizedProgram, sources: CSources, *, steps: bool) -> list[str]:
    return [
        f"  static {C_TYPES[port.dtype]} {name}[{_size(sources, port, name, steps=steps)}];"
        for port, name in zip(program.outputs, sources.function.outputs, strict=True)
    ]


def _comparisons(program: SizedProgram, sources: CSources, what: str, *, steps: bool) -> list[str]:
    lines = []
    for port, name in zip(program.outputs, sources.function.outputs, strict=True):
        size = _size(sources, port, name, steps=steps)
        kind = C_TYPES[port.dtype]
        lines.append(
            f'  failed += compare_{kind}("{what} {name}", {name}, expected_{name}, {size});'
        )
    return lines


def _steps(program: SizedProgram, sources: CSources) -> str:
    return "\n\n".join([_one_by_one(program, sources), _in_one_call(program, sources)])


def _one_by_one(program: SizedProgram, sources: CSources) -> str:
    """Two streams, one a step behind the other, which must not disturb each other."""
    prefix, may_fail = sources.places.prefix, sources.function.may_fail
    given = [
        f"given_{name} + step * {size_macro(sources.places, name)}" if port.in_time
        else f"given_{name}"
        for port, name in zip(program.inputs, sources.function.inputs, strict=True)
    ]  # fmt: skip
    last_alone = [port.in_time for port in program.outputs]

    def call(state: str) -> str:
        targets = [
            f"{name} + step * {size_macro(sources.places, name)}" if timed else name
            for name, timed in zip(sources.function.outputs, last_alone, strict=True)
        ]
        text = f"{prefix}_step({', '.join([f'&{state}', *given, *targets])})"
        return f"failed += {text} != 0;" if may_fail else f"{text};"

    lines = [
        "/* Two streams: the second starts when the first is done with its first step. */",
        "static int test_steps(void) {",
        f"  static {prefix}_state first, second;",
        *_buffers(program, sources, steps=True),
        "  int failed = 0;",
        "  size_t turn;",
        f"  {prefix}_init(&first);",
        f"  {prefix}_init(&second);",
        "  for (turn = 0; turn <= STEPS; turn++) {",
        "    size_t step = turn;",
        "    if (turn < STEPS) {",
        *wrapped(f"      {call('first')}"),
        "    }",
        "    if (turn == 0) continue;",
        "    step = turn - 1;",
        *wrapped(f"    {call('second')}"),
        "  }",
        *_comparisons(program, sources, "step", steps=True),
        "  return failed;",
        "}",
    ]
    return "\n".join(lines)


def _in_one_call(program: SizedProgram, sources: CSources) -> str:
    given = [f"given_{name}" for name in sources.function.inputs]
    prefix = sources.places.prefix
    call = f"{prefix}_run({', '.join(['&state', *given, 'STEPS', *sources.function.outputs])})"
    lines = [
        "/* All steps in one call. */",
        "static int test_run(void) {",
        f"  static {prefix}_state state;",
        *_buffers(program, sources, steps=True),
        "  int failed = 0;",
        f"  {prefix}_init(&state);",
        f"  failed += {call} != 0;" if sources.function.may_fail else f"  {call};",
        *_comparisons(program, sources, "run", steps=True),
        "  return failed;",
        "}",
    ]
    return "\n".join(lines)


def _whole(program: SizedProgram, sources: CSources) -> str:
    given = [f"given_{name}" for name in sources.function.inputs]
    prefix, outputs = sources.places.prefix, sources.function.outputs

    def call(steps: str) -> str:
        return f"{prefix}_run({', '.join(['&state', *given, steps, *outputs])})"

    lines = [
        "/* A whole sequence; another number of steps is refused. */",
        "static int test_run(void) {",
        f"  static {prefix}_state state;",
        *_buffers(program, sources, steps=False),
        "  int failed = 0;",
        f"  {prefix}_init(&state);",
        f"  failed += {call('STEPS + 1')} != -1;",
        f"  failed += {call('STEPS')} != 0;",
        *_comparisons(program, sources, "run", steps=False),
        "  return failed;",
        "}",
    ]
    return "\n".join(lines)
