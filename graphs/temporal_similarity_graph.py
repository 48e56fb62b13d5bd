"""Temporal similarity graphs: how alike the nodes of consecutive slots are.

    python graphs/temporal_similarity_graph.py --dataset minimotion
    python graphs/temporal_similarity_graph.py --dataset msvd --nodes object

Reads the feature `GBased` (or `OBased`), writes `GBased_temporal`: per video `temporal` [S-1, P, P] float32.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dataset.stage_arguments import StageArguments
from utility.arguments import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(StageArguments, argv, description="Temporal similarity graphs from node features.")
    # Only now: torch takes seconds to import, and --help or a misspelt flag should not wait for it.
    from graphs.stage import run_program
    from graphs.stages import TEMPORAL

    return run_program(TEMPORAL, args)


if __name__ == "__main__":
    sys.exit(main())
