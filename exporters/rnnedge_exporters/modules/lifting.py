"""Which states become inputs and outputs of the file: what hinders is read, the rest is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.exported_graph import States, Trial
from rnnedge_exporters.modules.arguments import Arguments
from rnnedge_exporters.modules.assembly import Assembled
from rnnedge_exporters.modules.causal import CausalConv, find_causal
from rnnedge_exporters.modules.rows import row_hindrances
from rnnedge_exporters.modules.streaming import Hindrance, hindrances, time_symbols
from rnnedge_exporters.modules.tracing import Traced
from rnnedge_exporters.modules.trial.chunks import LONG_CUTS, ChunkTrial
from rnnedge_exporters.modules.trial.differences import FileSide, TorchSide
from rnnedge_exporters.modules.trial.sizes import try_sizes
from rnnedge_exporters.onnx_model.serialize import serialize_graph

Assemble = Callable[..., Assembled]
"""Builds the graph: (lift, told, causal) -> Assembled, with float32 weights."""


@dataclass(frozen=True, slots=True)
class Lifting:
    """What was decided about the states of a module.

    Attributes:
        lift: Whether states that start from zeros become inputs and outputs.
        told: Which of the module's outputs feeds which input, by its user.
        causal: Convolutions that are streamed with a kept context.
        found: What keeps chunks from giving what the whole gives.
        notes: What the caller should know.
        trial: What was run on the way.
        made: The graph with float32 weights.
    """

    lift: bool
    told: Mapping[str, str] | None
    causal: tuple[CausalConv, ...]
    found: tuple[Hindrance, ...]
    notes: tuple[str, ...]
    trial: Trial
    made: Assembled

    @property
    def options(self) -> dict[str, Any]:
        """What the graph is assembled with."""
        return {
            "lift": self.lift,
            "told": self.told,
            "causal": self.causal if self.lift else (),
        }


def decide(
    module: nn.Module,
    arguments: Arguments,
    traced: Traced,
    states: States,
    assemble: Assemble,
    *,
    validate: bool,
) -> Lifting:
    """Decide which states are lifted, and try the file that comes of it.

    Args:
        module: The private copy.
        arguments: The example.
        traced: What torch saw of it.
        states: As in `export`.
        assemble: Builds the graph.
        validate: Whether the file is tried at other sizes.

    Raises:
        ExportError: When `states` is True and chunks would not give what the whole gives, or when
            the file answers something else than the module.
    """
    causal = find_causal(traced.program, module, time_symbols(traced.roles))
    found = hindrances(traced.program, traced.capture, traced.roles, causal)
    found += row_hindrances(traced.program, traced.capture, traced.roles, traced.outputs)
    told = states if isinstance(states, Mapping) else None
    lift = states is True or (states is None and not found)
    made = assemble(lift=lift, told=told, causal=causal if lift else ())
    if told is None:
        found += [Hindrance(what) for what in made.hindrances]
    if causal and not lift and not found:  # whole runs need no context, streams would
        found += [Hindrance(f"{conv.path} looks across the seam") for conv in causal]
    side = TorchSide(module, arguments, traced.outputs)
    file = FileSide(serialize_graph(made.graph), made.interface, traced.steps_at)
    chunks: bool | None = None
    notes: list[str] = []
    if made.interface.states and (told is not None or not found):
        cuts = {"cuts": LONG_CUTS} if found else {}
        why = ChunkTrial(traced, side, file).difference(**cuts)
        chunks = why is None
        if told is not None and found:
            notes, found = _told_notes(found, why)
        elif why:
            found.append(Hindrance(why))
    if states is True and found:
        raise _not_streamable(module, found)
    if lift and found:
        lift = False
        made = assemble(lift=False, told=None, causal=())
        file = FileSide(serialize_graph(made.graph), made.interface, traced.steps_at)
    # ONNX Runtime's kernels answer NaN with numbers, of which a warning has been given.
    finite = all(weight.isfinite().all() for weight in module.parameters())
    trial = try_sizes(traced, side, file) if validate and finite else Trial()
    trial.chunks = chunks
    return Lifting(lift, told, causal, tuple(found), tuple(notes), trial, made)


def _told_notes(found: list[Hindrance], why: str | None) -> tuple[list[str], list[Hindrance]]:
    """Say what became of states that the user paired although something looks across time."""
    shown = "; ".join(map(str, found))
    if why is None:
        return [f"chunks gave what the whole sequence gave when tried, though {shown}"], []
    return [
        "a stream is refused, since chunks do not give what the whole sequence gives: "
        f"{shown}; Session.run takes and gives the states, for chunks cut otherwise"
    ], found


def _not_streamable(module: nn.Module, found: list[Hindrance]) -> ExportError:
    return ExportError(
        f"states=True: {type(module).__name__} cannot be streamed exactly: "
        f"{'; '.join(map(str, found))}; export with states=False to run whole sequences"
    )
