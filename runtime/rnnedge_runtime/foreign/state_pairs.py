"""Which inputs of a graph are states, and which outputs hold their next values.

An input is a state where it is the initial state of a recurrent operator, the first value that a
Scan or Loop carries, kept by a gate of a decomposed cell, or moved into an output with what is new
(the last frames of a convolution). The output that belongs to it comes from the matching end. Names
break ties, and decide where an input is called a state; what stays open is a doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from rnnedge_runtime.contract import StatePair, TensorSpec
from rnnedge_runtime.foreign.gates import carried_inputs, gated_inputs
from rnnedge_runtime.foreign.scope import CELLS, FIRST_STATE, LOOPS
from rnnedge_runtime.foreign.state_names import agree, may_feed, pairs_by_name, says_state
from rnnedge_runtime.foreign.value_sources import Sources, Walker
from rnnedge_runtime.onnx_file import GraphFile, Node

Slot: TypeAlias = tuple[int, int]
"""A node, and the number of a state of it."""
_Specs: TypeAlias = Sequence[TensorSpec]


def find_states(
    file: GraphFile, ins: _Specs, outs: _Specs
) -> tuple[tuple[StatePair, ...], tuple[str, ...]]:
    """Find the states of a model.

    Args:
        file: Its graph; an empty one where it cannot be read, so that names alone decide.
        ins: Its inputs.
        outs: Its outputs.

    Returns:
        The pairs in the order of the inputs, and a sentence for each input that may be a state and
        is not taken for one.
    """
    search = _PairSearch(file, ins, outs)
    search.run()
    order = [spec.name for spec in ins]
    pairs = sorted(search.pairs.items(), key=lambda pair: order.index(pair[0]))
    return tuple(StatePair(*pair) for pair in pairs), tuple(search.doubts)


class _PairSearch:
    """Pairs inputs with outputs, on the best evidence first."""

    def __init__(self, file: GraphFile, ins: _Specs, outs: _Specs) -> None:
        self._walker, self._file = Walker(file), file
        self._ins, self._outs = ins, outs
        self._sources = {
            out.name: self._walker.sources(self._walker.whole, [out.name]) for out in outs
        }
        self.pairs: dict[str, str] = {}
        self.doubts: list[str] = []

    def run(self) -> None:
        """Find all pairs."""
        self._pair_operators()
        self._pair(lambda out: carried_inputs(self._walker, out.name))
        carried = set(self.pairs)
        self._pair(lambda out: gated_inputs(self._walker, out.name, carried))
        self._pair(lambda out: self._shifted(self._sources[out.name]))
        is_readable = bool(self._file.graph.nodes)
        named = list(pairs_by_name(self._free_inputs(), self._free_outputs()))
        for spec, out in named:
            if says_state(spec) or not is_readable:
                self.pairs[spec.name] = out.name
        for spec, out in named:
            if not self.pairs and spec.axes == out.axes:
                self._doubt(spec, [out], "only their names say so")

    def _free_inputs(self) -> list[TensorSpec]:
        return [spec for spec in self._ins if spec.name not in self.pairs]

    def _free_outputs(self) -> list[TensorSpec]:
        return [out for out in self._outs if out.name not in self.pairs.values()]

    def _doubt(self, spec: TensorSpec, outs: _Specs, why: str) -> None:
        names = " or ".join(repr(out.name) for out in outs)
        self.doubts.append(
            f"{spec.name!r} may be a state that {names} goes to, but {why}: if it is one, open the "
            f"model with states={{{outs[0].name!r}: {spec.name!r}}}"
        )

    def _pair_operators(self) -> None:
        """Pair what goes into the states of operators with what comes out of them."""
        starts: dict[str, set[Slot]] = {}
        ends: dict[tuple[int, int], Slot] = {}
        sequences: dict[tuple[int, int], Slot] = {}
        nodes = self._walker.whole.whole(self._file.functions)
        for scope, node in nodes:
            for number, (initial, final) in enumerate(_states_of(node)):
                slot = id(node), number
                for name in self._walker.sources(scope, [initial]).inputs:
                    starts.setdefault(name, set()).add(slot)
                ends[id(node), final] = slot
            if (node.domain, node.op_type) in CELLS:
                sequences[id(node), 0] = (id(node), 0)
        for spec in self._ins:
            if spec.name in starts:
                self._pair_operator(spec, starts[spec.name], ends, sequences)

    def _pair_operator(
        self,
        spec: TensorSpec,
        slots: set[Slot],
        ends: Mapping[tuple[int, int], Slot],
        sequences: Mapping[tuple[int, int], Slot],
    ) -> None:
        scores: dict[str, float] = {}
        for out in self._free_outputs():
            sources = self._sources[out.name]
            made = {(id(node), index) for _, node, index in sources.made}
            reached = {ends[key] for key in made if key in ends}
            weight = 1.0
            if not reached and (sources.picked or out.axes == spec.axes):
                # The last step of the sequence of states is the last state.
                reached, weight = {sequences[key] for key in made if key in sequences}, 0.5
            if reached & slots and may_feed(out, spec):
                scores[out.name] = weight * len(reached & slots) / len(reached | slots)
        best = [out for out in self._outs if out.name in scores]
        best = [out for out in best if scores[out.name] == max(scores.values())]
        if best:
            self._settle(spec, best)

    def _pair(self, inputs_of: Callable[[TensorSpec], set[str]]) -> None:
        """Pair the inputs that lead to an output in one way."""
        leads: dict[str, list[TensorSpec]] = {}
        for out in self._free_outputs():
            names = inputs_of(out)
            for spec in self._free_inputs():
                if spec.name in names and may_feed(out, spec) and _same_sizes(out, spec):
                    leads.setdefault(spec.name, []).append(out)
        for spec in self._free_inputs():
            outs = leads.get(spec.name, [])
            rivals = [
                other
                for other in self._free_inputs()
                if other is not spec and any(out in leads.get(other.name, []) for out in outs)
            ]
            if rivals and not any(agree(out, spec) for out in outs):
                if not any(agree(out, rival) for out in outs for rival in rivals):
                    self._doubt(spec, outs, f"so may {rivals[0].name!r}")
            elif outs:
                self._settle(spec, [out for out in outs if out in self._free_outputs()])

    def _settle(self, spec: TensorSpec, outs: _Specs) -> None:
        """Pair an input with one of several outputs."""
        named = [out for out in outs if agree(out, spec)]
        alike = [out for out in outs if self._is_same(out, outs[0])]
        if len(named) == 1:
            self.pairs[spec.name] = named[0].name
        elif outs and len(alike) == len(outs):
            self.pairs[spec.name] = outs[-1].name  # the same numbers, under several names
        elif outs:
            self._doubt(spec, outs, "neither the graph nor their names say which")

    def _is_same(self, out: TensorSpec, other: TensorSpec) -> bool:
        one, two = (self._sources[each.name].made for each in (out, other))
        return [(id(n), i) for _, n, i in one] == [(id(n), i) for _, n, i in two]

    @staticmethod
    def _shifted(sources: Sources) -> set[str]:
        """Return the inputs of which an output is a part, next to something new."""
        several = len(sources.inputs) + len(sources.made) > 1
        return sources.inputs if sources.picked and sources.joined and several else set()


def _states_of(node: Node) -> Iterator[tuple[str, int]]:
    """Yield the initial states of an operator, each with the number of the output it ends in."""
    if (node.domain, node.op_type) in CELLS:
        for number in range(2):
            yield node.input(FIRST_STATE + number), 1 + number
    elif node.op_type in LOOPS and not node.domain:
        if node.op_type == "Scan":
            given = node.attributes.get("num_scan_inputs")
            names = node.inputs[: len(node.inputs) - sum(given.integers if given else ())]
        else:
            names = node.inputs[2:]
        yield from ((name, number) for number, name in enumerate(names))


def _same_sizes(out: TensorSpec, spec: TensorSpec) -> bool:
    """Whether the sizes that are declared of either are the same."""
    return [a if isinstance(a, int) else 0 for a in out.axes] == [
        a if isinstance(a, int) else 0 for a in spec.axes
    ]
