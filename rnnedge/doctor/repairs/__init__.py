"""Repairs. Each takes a `Subject`, and gives a proven file or the reason why it gives none."""
