"""`make test-arm64` says what it needs, and does not pass for having run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_without_its_tools_it_is_skipped_with_the_reasons(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "run_on_arm64.py")],
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("test-arm64: skipped: ")
    assert "there is no qemu-aarch64-static; there is no mmdebstrap" in done.stdout
    assert "passed" not in done.stdout
