"""Spatial and temporal part together: the compact action graph that `main.py` loads.

    python graphs/action_spatio_temporal_graph_feature_extractor.py --dataset minimotion
    python graphs/action_spatio_temporal_graph_feature_extractor.py --dataset msvd --nodes object

Reads `GBased`, `GBased_spatial`, `GBased_temporal` (or `OBased...`), writes `GBased_graph`: per video `nodes`
[S, P, D], `actions` [S, A], `temporal` [S-1, P, P], `slot_mask`, `node_mask`, `frame_index`, `frame_time` (and `boxes`,
`scores`).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dataset.stage_arguments import StageArguments
from utility.arguments import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(StageArguments, argv, description="Combine spatial and temporal graphs.")
    # Only now: torch takes seconds to import, and --help or a misspelt flag should not wait for it.
    from graphs.stage import run_program
    from graphs.stages import ACTION_GRAPH

    return run_program(ACTION_GRAPH, args)


if __name__ == "__main__":
    sys.exit(main())
