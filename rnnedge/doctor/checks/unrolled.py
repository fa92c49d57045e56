"""Recurrences that an exporter wrote out step by step."""

from __future__ import annotations

from collections.abc import Iterator

from rnnedge.doctor.findings import Finding, listing
from rnnedge.doctor.model_facts import Subject


def check_unrolled(subject: Subject) -> Iterator[Finding]:
    """Look for products with the same weights, each fed by the one before."""
    if not subject.chains:
        return
    longest = max(subject.chains, key=lambda chain: chain.steps)
    products = sum(len(chain.products) for chain in subject.chains)
    yield Finding(
        "unrolled",
        "warning",
        listing([chain.weight for chain in subject.chains]),
        f"a recurrence is written out step by step: {longest.steps} steps, {products} products "
        f"with {len(subject.chains)} matri{'x' if len(subject.chains) == 1 else 'ces'}, "
        f"{len(subject.file.proto.graph.node)} nodes; "
        "it takes no other length, and cannot be streamed",
        "export it again as a recurrent operator, with rnnedge export",
    )
