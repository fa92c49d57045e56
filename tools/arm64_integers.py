"""Run on the Arm64 machine by `tools/run_on_arm64.py`: int8 models, on each set of instructions.

    python arm64_integers.py FOLDER

FOLDER holds models that compute in int8, each with inputs and what the native engine of the machine
that exported them answers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from rnnedge_native import Plan, instructions

STEP = 2e-2
"""An activation may be rounded to the neighbouring integer where sums of float32 differ."""


def main(folder: Path) -> None:
    """Compare the sets with each other and with the other machine.

    Args:
        folder: The models.
    """
    sets = instructions()
    assert sets[0] == "dotprod", f"expected NEON dot products, got {sets}"
    models = sorted(folder.glob("*.onnx"))
    assert models, f"{folder} has no models"
    for path in models:
        with np.load(path.with_suffix(".npz")) as arrays:
            feeds = {name: arrays[name] for name in arrays.files if name != "expected"}
            expected = arrays["expected"]
        answers = {
            name: Plan(path.read_bytes(), instructions=name).run(feeds)["output"] for name in sets
        }
        apart = float(np.abs(answers["dotprod"] - answers["baseline"]).max())
        off = float(np.abs(answers["dotprod"] - expected).max())
        assert apart == 0.0, f"{path.name}: dotprod and baseline differ by {apart:.1e}"
        assert off <= STEP, f"{path.name}: off by {off:.1e}"
        print(f"{path.name}: dotprod equals baseline, {off:.1e} from the other machine")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
