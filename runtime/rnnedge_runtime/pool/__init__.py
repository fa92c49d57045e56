"""Pools: many streams over one model, stepped as one batch."""
