"""Scores a corpus: sequences of any lengths in files or Arrow tables, on one machine or on many.

`Scorer` takes Arrow tables, inside a program of the caller's; `score` takes files, and writes the
answers of all rows into a folder, in parts that survive a stop. Both need pyarrow.
"""

from rnnedge_runtime.scoring.corpus import ScoreResult as ScoreResult
from rnnedge_runtime.scoring.corpus import score as score
from rnnedge_runtime.scoring.scorer import Scorer as Scorer
