"""What can be measured next to a model; here nothing is imported that a peer needs."""

from __future__ import annotations

PEER_NAMES = ("torch", "torchscript", "openvino")
"""Engines that run the source of a model, as `--beside` names them."""
