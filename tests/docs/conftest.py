"""Lets the tests of the documents import what they share."""

import sys
from pathlib import Path

# `--import-mode=importlib` puts no folder on sys.path: this one is for `import doc_blocks`.
sys.path.append(str(Path(__file__).parent / "helpers"))
