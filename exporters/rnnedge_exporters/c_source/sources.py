"""The C files of a program: header, functions and weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rnnedge_exporters.c_source.calls import statements
from rnnedge_exporters.c_source.cell_kernels import has_gru
from rnnedge_exporters.c_source.emitter import Emitter
from rnnedge_exporters.c_source.kernels import definitions
from rnnedge_exporters.c_source.packing import BYTES, Kind
from rnnedge_exporters.c_source.places import C_TYPES, SCRATCH, Places
from rnnedge_exporters.c_source.program import Port, SizedProgram
from rnnedge_exporters.c_source.sizes import ProgramSizes, sizes_of
from rnnedge_exporters.c_source.text import array, in_comment
from rnnedge_runtime.plan.values import ITEM, Dtype


@dataclass(frozen=True, slots=True)
class Function:
    """What calls of a generated program look like.

    Attributes:
        may_fail: Whether the functions return an int: 0, or -1 for an index out of range.
        inputs: Name of each input in C.
        outputs: Name of each output.
    """

    may_fail: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CSources:
    """Generated C.

    Attributes:
        header: `kws.h`.
        code: `kws.c`.
        weights: `kws_weights.c`.
        function: What calls look like.
        places: Where everything lies, with its sizes in bytes.
        sizes: What the program takes.
    """

    header: str
    code: str
    weights: str
    function: Function
    places: Places
    sizes: ProgramSizes


def generate(
    program: SizedProgram, prefix: str, *, kinds: tuple[Kind, ...], title: str, digest: str
) -> CSources:
    """Write a program as C.

    Args:
        program: What to write.
        prefix: What every public name starts with; a C identifier.
        kinds: Storages that weights may take, the narrowest first.
        title: Lines of the comment at the top of each file.
        digest: The digest of the model.
    """
    places = Places(program, prefix, kinds)
    emitter = Emitter(places)
    body = statements(emitter, program.calls)
    function = Function(
        emitter.may_fail,
        tuple(places.names[key] for key in program.ports if key[0] == "input"),
        tuple(places.names[key] for key in program.ports if key[0] == "output"),
    )
    declared = "\n".join(f"extern const {flash.type} {flash.name}[];" for flash in places.arrays)
    comment = "/*\n" + "\n".join(f" * {line}".rstrip() for line in title.splitlines()) + "\n */\n"
    return CSources(
        header=comment + _header(program, places, function, digest),
        code=comment + _code(program, places, emitter, function, declared, body),
        weights=comment + _weights(places, declared),
        function=function,
        places=places,
        sizes=sizes_of(program, emitter, body),
    )


# --- the header ---


def _header(program: SizedProgram, places: Places, function: Function, digest: str) -> str:
    prefix = places.prefix
    guard = f"{prefix.upper()}_H"
    lines = [
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
    ]
    lines += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
    lines += [
        "/* The digest of the model's weights. */",
        f'#define {prefix.upper()}_DIGEST "{digest}"',
    ]
    what = "one step" if program.steps is None else "a whole run"
    lines += ["", f"/* Elements of each input and output in {what}. */"]
    lines += [
        f"#define {size_macro(places, name)} {port.size}"
        for name, port in zip(
            (*function.inputs, *function.outputs), (*program.inputs, *program.outputs), strict=True
        )
    ]
    if program.steps is not None:
        lines += ["", "/* Steps of a run. */", f"#define {prefix.upper()}_STEPS {program.steps}"]
    lines += ["", *_struct(program, places), "", *_prototypes(program, places, function)]
    lines += ["", "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
    return "\n".join(lines)


def size_macro(places: Places, name: str) -> str:
    """Return the macro that says how many elements an input or output has."""
    return f"{places.prefix.upper()}_{name.upper()}_SIZE"


def _struct(program: SizedProgram, places: Places) -> list[str]:
    about = (
        "One stream: several streams are several states." if program.states else "Memory of runs."
    )
    lines = [f"/* {about} The caller places it. */", "typedef struct {"]
    # Each in front of what needs less alignment, so that no bytes lie between.
    scratch = [_scratch(program, dtype) for dtype in ("int64", "float32", "bool")]
    lines += scratch[:1]
    for state in program.states:
        name = places.state_name(state)
        shape = " * ".join(map(str, state.shape)) or "1"
        lines.append(f"  float {name}[{shape}];")
        if state.name not in places.in_place:
            lines.append(f"  float next_{name}[{shape}];")
    lines.append(scratch[1])
    if places.work:
        lines.append(f"  float work[{places.work}]; /* inside a layer */")
    if places.rounded:
        lines.append(f"  int16_t rounded[{places.rounded}]; /* a row as integers */")
    lines = [line for line in (*lines, scratch[2]) if line]
    if len(lines) == 2:
        lines.append("  uint8_t nothing; /* C knows no empty struct */")
    return [*lines, f"}} {places.prefix}_state;"]


def _scratch(program: SizedProgram, dtype: Dtype) -> str:
    size = program.arenas.get(dtype)
    if not size:
        return ""
    count = size // ITEM[dtype]
    return f"  {C_TYPES[dtype]} {SCRATCH[dtype]}[{count}]; /* between calls of kernels */"


def _parameters(program: SizedProgram, function: Function) -> tuple[list[str], list[str]]:
    return [
        f"const {C_TYPES[port.dtype]} *{name}"
        for name, port in zip(function.inputs, program.inputs, strict=True)
    ], [
        f"{C_TYPES[port.dtype]} *{name}"
        for name, port in zip(function.outputs, program.outputs, strict=True)
    ]


def signature(program: SizedProgram, places: Places, function: Function, verb: str) -> str:
    """Return the declaration of a function, without its semicolon."""
    inputs, outputs = _parameters(program, function)
    prefix = places.prefix
    steps = ["size_t steps"] if verb == "run" else []
    fails = function.may_fail or (verb == "run" and program.steps is not None)
    kind = "int" if fails else "void"
    parameters = [f"{prefix}_state *state", *inputs, *steps, *outputs]
    text = f"{kind} {prefix}_{verb}({', '.join(parameters)})"
    if len(text) > 98:
        between = ",\n" + " " * len(f"{kind} {prefix}_{verb}(")
        text = f"{kind} {prefix}_{verb}({between.join(parameters)})"
    return text


def _axes(port: Port, program: SizedProgram, *, in_run: bool) -> str:
    sizes = " x ".join(map(str, port.shape)) or "1"
    if not in_run or program.steps is not None:
        return sizes
    return f"steps x ({sizes})" if port.in_time else sizes


def _in_model(name: str, port: Port) -> str:
    """Return what a tensor is in the model, with its name where C has another."""
    spec = port.spec
    axes = f"{spec.dtype}[{', '.join(map(str, spec.axes))}]"
    return in_comment(axes if name == spec.name else f"{axes}, {spec.name!r} in the model")


def _prototypes(program: SizedProgram, places: Places, function: Function) -> list[str]:
    prefix = places.prefix
    lines = [
        "/* Sets a stream to its start: zeros. */" if program.states else "/* Prepares a state. */"
    ]
    lines += [f"void {prefix}_init({prefix}_state *state);", ""]

    def described(*, in_run: bool) -> list[str]:
        ports = [*program.inputs, *program.outputs]
        names = [*function.inputs, *function.outputs]
        return [
            f" *   {name}: {_axes(port, program, in_run=in_run)}, {_in_model(name, port)}"
            for name, port in zip(names, ports, strict=True)
        ]

    failing = " * Returns 0, or -1 for an index out of range: then call init."
    if program.steps is None:
        lines += [
            "/*",
            " * One step. Outputs must not overlap inputs or each other.",
            *described(in_run=False),
        ]
        lines += [failing] if function.may_fail else []
        lines += [" */", signature(program, places, function, "step") + ";", ""]
        lines += [
            "/*",
            " * Several steps: each tensor lies step by step. A tensor without an axis of",
        ]
        lines += [" * time is read at every step, or holds what the last step gave."]
        lines += described(in_run=True)
        lines += [failing] if function.may_fail else []
    else:
        lines += [
            "/*",
            f" * A whole sequence of {program.steps} steps, from initial states of zeros.",
        ]
        lines += described(in_run=True)
        lines += [f" * Returns 0, or -1 where steps is not {program.steps}"]
        lines[-1] += " or an index is out of range." if function.may_fail else "."
    lines += [" */", signature(program, places, function, "run") + ";"]
    return lines


# --- the code ---


def _code(
    program: SizedProgram,
    places: Places,
    emitter: Emitter,
    function: Function,
    declared: str,
    body: list[str],
) -> str:
    kinds = tuple(kind for kind in BYTES if kind in places.stored)
    if "float16" in kinds:
        emitter.used.add("half_to_float")
    parts = [f'#include "{places.prefix}.h"']
    parts += [f"/* {places.prefix}_weights.c */\n{declared}"] if declared else []
    functions = definitions(
        emitter.used,
        emitter.cells,
        kinds,
        widened=tuple(kind for kind in BYTES if kind in emitter.widened),
        rows=emitter.whole_rows,
        integers=emitter.integers,
    )
    parts += [functions] if functions else []
    if places.zeros:
        parts.append(f"static const float zeros[{places.zeros}] = {{0.0f}};")
    structs = _definitions(emitter, kinds)
    parts += ["\n".join(structs)] if structs else []
    parts += [_init(program, places), *_functions(program, places, function, body)]
    return "\n\n".join(parts) + "\n"


def _definitions(emitter: Emitter, kinds: Sequence[Kind]) -> list[str]:
    gru = has_gru(emitter.cells)
    layers = [
        f"static const struct layer {name} = {layer.initializer(kinds, gru=gru)};"
        for name, layer in emitter.layers.items()
    ]
    return layers + [
        f"static const struct matrix {name} = {matrix.initializer(kinds)};"
        for name, matrix in emitter.matrices.items()
    ]


def _init(program: SizedProgram, places: Places) -> str:
    lines = [f"void {places.prefix}_init({places.prefix}_state *state) {{"]
    for state in program.states:
        name = places.state_name(state)
        lines.append(f"  for (size_t i = 0; i < {state.size}; i++) state->{name}[i] = 0.0f;")
    if not program.states:
        lines.append("  (void)state;")
    return "\n".join([*lines, "}"])


def _functions(
    program: SizedProgram, places: Places, function: Function, body: list[str]
) -> list[str]:
    unread = [f"  (void){name};" for name in (*function.inputs, "state") if not _reads(body, name)]
    if program.steps is not None:
        lines = [signature(program, places, function, "run") + " {"]
        lines += [*unread, f"  if (steps != {program.steps}) return -1;", *body, "  return 0;", "}"]
        return ["\n".join(lines)]
    step = [signature(program, places, function, "step") + " {", *unread, *body]
    for state in program.states:
        if state.name not in places.in_place:
            name = places.state_name(state)
            step.append(
                f"  for (size_t i = 0; i < {state.size}; i++) "
                f"state->{name}[i] = state->next_{name}[i];"
            )
    step += ["  return 0;"] if function.may_fail else []
    names = (*function.inputs, *function.outputs)
    ports = (*program.inputs, *program.outputs)
    given = [
        f"{name} + step * {size_macro(places, name)}" if port.in_time else name
        for name, port in zip(names, ports, strict=True)
    ]
    call = f"{places.prefix}_step({', '.join(['state', *given])})"
    run = [
        signature(program, places, function, "run") + " {",
        "  for (size_t step = 0; step < steps; step++)",
        f"    if ({call}) return -1;" if function.may_fail else f"    {call};",
    ]
    run += ["  return 0;"] if function.may_fail else []
    return ["\n".join([*step, "}"]), "\n".join([*run, "}"])]


def _reads(body: list[str], name: str) -> bool:
    word = re.compile(rf"(?<![\w>]){re.escape(name)}\b")
    return any(word.search(line) for line in body if not line.lstrip().startswith("/*"))


# --- the weights ---


def _weights(places: Places, declared: str) -> str:
    parts = ["#include <stdint.h>", declared] if declared else ["typedef int no_weights;"]
    parts += [
        f"/* {in_comment(flash.remark)}: {' x '.join(map(str, flash.values.shape))} */\n"
        + array(f"const {flash.type} {flash.name}[{max(flash.values.size, 1)}]", flash.values)
        for flash in places.arrays
    ]
    return "\n\n".join(parts) + "\n"
