"""Lets the tests of the examples import what they share."""

import sys
from pathlib import Path

# `--import-mode=importlib` puts no folder on sys.path: this one is for `import running`.
sys.path.append(str(Path(__file__).parent / "helpers"))
