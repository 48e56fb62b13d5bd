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

from graphs.parts import graph_part, graph_settings
from graphs.stage import Stage, run_program

STAGE = Stage(
    name="action_graph",
    sources=("", "_spatial", "_temporal"),
    target="_graph",
    settings=graph_settings,
    compute=lambda nodes, spatial, temporal, device: graph_part(nodes, spatial, temporal),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    return run_program(STAGE, "Combine spatial and temporal graphs.", argv)


if __name__ == "__main__":
    sys.exit(main())
