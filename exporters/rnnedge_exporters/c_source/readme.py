"""The `README.md` of a C program, and the sizes in it."""

from __future__ import annotations

from dataclasses import dataclass

from rnnedge_exporters.c_source.program import Program
from rnnedge_exporters.c_source.sources import Sources, signature


@dataclass(frozen=True, slots=True)
class ProgramSizes:
    """What a program takes.

    Attributes:
        weights: Bytes of constants in flash, exactly.
        code: Bytes of code in flash that a Cortex-M4F takes at most, compiled with `-Os`.
        state: Bytes of RAM of one state, exactly; the caller places it.
        stack: Bytes of stack that a call takes at most, compiled with `-Os` for a Cortex-M4F.
        macs: Multiply-accumulates of one step, or of a run where there is no step.
    """

    weights: int
    code: int
    state: int
    stack: int
    macs: int


def sizes_of(program: Program, sources: Sources) -> ProgramSizes:
    """Return what a program takes."""
    places = sources.places
    return ProgramSizes(
        weights=places.flash_bytes,
        code=sources.code_bytes,
        state=places.struct_bytes,
        stack=sources.stack_bytes,
        macs=program.macs,
    )


def readme(program: Program, sources: Sources, sizes: ProgramSizes, title: str) -> str:
    """Return the text of the README."""
    places = sources.places
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
| flash: code | at most {sizes.code:,} bytes |
| RAM: one `{prefix}_state` | {sizes.state:,} bytes |
| stack | at most {sizes.stack:,} bytes |
| multiply-accumulates of {once} | {sizes.macs:,} |""",
        "Code and stack are those of a Cortex-M4F compiled with `-Os`; `make size` prints them for\n"
        "your compiler. The program allocates nothing, has no variables outside the state, calls\n"
        "no function of a library, and needs no more than a C99 compiler.",
        "## Use",
        _example(program, sources, verb),
        "## Proof",
        f"`make test` compiles the program with `-std=c99 -Wall -Wextra -Werror -pedantic`, runs\n"
        f"golden vectors, and prints `PASS` last: `{prefix}_test.c` holds random inputs and what ONNX\n"
        "Runtime answered to them. An error of 1e-5, and of 1e-5 of the expected number, is allowed.",
    ]
    return "\n\n".join(parts) + "\n"


def _about(program: Program, sources: Sources) -> str:
    prefix, batch = sources.places.prefix, program.batch
    rows = f" Each call computes {batch} rows." if batch != 1 else ""
    if program.steps is not None:
        return (
            f"A recurrent network that runs whole sequences of {program.steps} steps. `{prefix}_run`\n"
            f"starts from zeros each time.{rows}"
        )
    return (
        f"A recurrent network that runs step by step: `{prefix}_step` takes one frame and keeps the\n"
        f"state of the stream in a `{prefix}_state`. Several streams are several states.{rows}"
    )


def _example(program: Program, sources: Sources, verb: str) -> str:
    prefix, function = sources.places.prefix, sources.function
    declared = signature(program, sources.places, function, verb)
    arguments = ["&state", *function.inputs]
    arguments += [str(program.steps)] if program.steps is not None else []
    call = f"{prefix}_{verb}({', '.join([*arguments, *function.outputs])});"
    lines = ["```c", declared + ";", "", f"static {prefix}_state state;", f"{prefix}_init(&state);"]
    comment = " /* for every frame */" if program.steps is None else ""
    return "\n".join([*lines, call + comment, "```"])
