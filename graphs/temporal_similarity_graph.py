"""Temporal similarity graphs: how alike the nodes of consecutive slots are.

    python graphs/temporal_similarity_graph.py --dataset minimotion
    python graphs/temporal_similarity_graph.py --dataset msvd --nodes object

Reads the feature `GBased` (or `OBased`), writes `GBased_temporal`: per video `temporal` [S-1, P, P] float32.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from graphs.parts import temporal_part, temporal_settings
from graphs.stage import Stage, run_program

STAGE = Stage(
    name="temporal_similarity_graph",
    sources=("",),
    target="_temporal",
    settings=temporal_settings,
    compute=temporal_part,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    return run_program(STAGE, "Temporal similarity graphs from node features.", argv)


if __name__ == "__main__":
    sys.exit(main())
