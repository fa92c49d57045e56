"""The `README.md` of a C program."""

from __future__ import annotations

from rnnedge_exporters.c_source.program import SizedProgram
from rnnedge_exporters.c_source.sources import CSources, signature


def readme(program: SizedProgram, sources: CSources, title: str) -> str:
    """Return the text of the README."""
    places, sizes = sources.places, sources.sizes
    prefix = places.prefix
    verb = "run" if program.steps is not None else "step"
    storages = ", ".join(sorted(places.stored)) or "no matrices"
    once = f"a run of {program.steps} steps" if program.steps is not None else "a step"
    parts = [
        f"<!-- {title} -->",
        f"# {prefix}",
        _about(program, sources),
        f"""\
| | |
|---|---|
| flash: weights and other constants | {sizes.weights:,} bytes ({storages}) |
| flash: code | about {sizes.code:,} bytes |
| RAM: one `{prefix}_state` | {sizes.state:,} bytes |
| stack | about {sizes.stack:,} bytes |
| multiply-accumulates of {once} | {sizes.macs:,} |""",
        "Weights and RAM are exact. Code and stack are those of a Cortex-M4F with GCC and `-Os`;\n"
        "`make size` prints the code of your compiler, `-fstack-usage` writes the stack. The\n"
        "program allocates nothing, has no variables outside the state, and calls no function of\n"
        "a library; a compiler may make `memset` or `memcpy` of a loop.",
        "## Use",
        _example(program, sources, verb),
        "## Proof",
        "`make test` compiles the program with `-std=c99 -Wall -Wextra -Werror -pedantic`, runs\n"
        f"golden vectors and prints `PASS` last: `{prefix}_test.c` holds random inputs and the\n"
        "outputs of ONNX Runtime. The allowed error is 1e-5 * (1 + |expected|). `build/` is\n"
        "deleted when the model is exported to this folder again.",
    ]
    return "\n\n".join(parts) + "\n"


def _about(program: SizedProgram, sources: CSources) -> str:
    prefix, batch = sources.places.prefix, program.batch
    rows = f" Each call computes {batch} rows." if batch != 1 else ""
    if program.steps is not None:
        return (
            f"A recurrent network that runs whole sequences of {program.steps} steps.\n"
            f"`{prefix}_run` starts from zeros each time.{rows}"
        )
    return (
        f"A recurrent network that runs step by step: `{prefix}_step` takes one frame, and\n"
        f"keeps the state of the stream in a `{prefix}_state`. Several streams are several\n"
        f"states.{rows}"
    )


def _example(program: SizedProgram, sources: CSources, verb: str) -> str:
    prefix, function = sources.places.prefix, sources.function
    declared = signature(program, sources.places, function, verb)
    arguments = ["&state", *function.inputs]
    arguments += [str(program.steps)] if program.steps is not None else []
    call = f"{prefix}_{verb}({', '.join([*arguments, *function.outputs])});"
    lines = ["```c", declared + ";", "", f"static {prefix}_state state;", f"{prefix}_init(&state);"]
    comment = " /* for every frame */" if program.steps is None else ""
    return "\n".join([*lines, call + comment, "```"])
