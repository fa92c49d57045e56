"""The version of this package, which rnnedge-native must share."""

__version__ = "0.1.0"
