"""What a sweep has seen of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GraphCoverage:
    """A graph inside a node: a branch of an `If`, or the body of a `Loop` or `Scan`.

    Attributes:
        name: The node and the graph, such as `If_12: else_branch`; the nodes around it come first.
        nodes: Nodes in it, those of graphs inside it left out.
        ran: Whether it ran in a case.
        steps: The fewest and the most steps that a case ran a `Loop` for; None for others.
    """

    name: str
    nodes: int
    ran: bool
    steps: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class TableCoverage:
    """A constant table of which a node looks up rows, such as an embedding.

    Attributes:
        name: The tensor in the file.
        rows: Rows of the table.
        seen: Rows that were looked up in a case.
    """

    name: str
    rows: int
    seen: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a file the cases of a sweep have seen.

    Attributes:
        nodes: Nodes of the file, those of inner graphs included and constants left out.
        ran: How many of them ran in a case.
        graphs: The graphs inside its nodes.
        tables: The tables of which rows are looked up.
        unmeasured: Why the rest is not known; empty where all of it was measured.
    """

    nodes: int
    ran: int
    graphs: tuple[GraphCoverage, ...] = ()
    tables: tuple[TableCoverage, ...] = ()
    unmeasured: str = ""

    @property
    def full(self) -> bool:
        """Whether all nodes ran, and all rows of all tables were looked up."""
        return not any(self.missing())

    def missing(self) -> Iterator[str]:
        """Yield what was not seen; of graphs that never ran, not those inside them."""
        if self.unmeasured:
            yield f"what ran is not known ({self.unmeasured})"
            return
        never: list[str] = []
        for graph in self.graphs:
            if not graph.ran and not any(graph.name.startswith(around) for around in never):
                never.append(f"{graph.name} / ")
                plural = "s" * (graph.nodes != 1)
                yield f"{graph.name} never ran ({graph.nodes:,} node{plural})"
        for table in self.tables:
            if table.seen < table.rows:
                yield f"{table.rows - table.seen:,} of {table.rows:,} rows of {table.name}"

    @property
    def seen(self) -> str:
        """What was seen, as a part of a sentence."""
        if self.unmeasured:
            return f"an unknown part of its {self.nodes:,} nodes ran"
        nodes = "node" if self.nodes == 1 else "nodes"
        all_of = "all" if self.ran == self.nodes else f"{self.ran:,} of"
        words = [f"{all_of} {self.nodes:,} {nodes} ran"]
        rows, seen = (sum(getattr(t, name) for t in self.tables) for name in ("rows", "seen"))
        if rows:
            all_rows = "all" if rows == seen else f"{seen:,} of"
            words.append(f"{all_rows} {rows:,} table rows were looked up")
        return ", ".join(words)

    def lines(self) -> list[str]:
        """Return what was seen, and each thing that was not, one a line."""
        named = [f"not covered: {what}" for what in self.missing()]
        loops = [
            f"{graph.name}: {graph.steps[0]:,} to {graph.steps[1]:,} steps"
            for graph in self.graphs
            if graph.ran and graph.steps is not None
        ]
        return [f"coverage: {self.seen}", *loops, *named]
