"""A process that examines seeds: reads one a line, and answers each with a verdict in JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Answer until the input ends."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be taken for a verdict
    import torch
    from random_modules.generate import generate
    from random_modules.oracle import examine

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="random_modules_") as folder:
        for line in sys.stdin:
            seed = int(line)
            try:
                verdict = examine(generate(seed), Path(folder)).as_dict()
            except Exception as error:  # a fault of the tool itself must not hide
                import traceback

                text = traceback.format_exc()
                verdict = {"seed": seed, "outcome": "tool", "faults": [repr(error)], "reason": text}
                verdict["contains"] = list(generate(seed).contains)
            print(json.dumps(verdict), file=answers, flush=True)
            for file in Path(folder).glob(f"random_module_{seed}.*"):
                file.unlink()


if __name__ == "__main__":
    main()
