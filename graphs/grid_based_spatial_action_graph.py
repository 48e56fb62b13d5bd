"""Spatial action graphs of grid nodes: within a slot all present nodes are joined and carry the slot's action vector.

    python graphs/grid_based_spatial_action_graph.py --dataset minimotion
    python graphs/grid_based_spatial_action_graph.py --dataset msrvtt --features ViT-B-32

Reads the features `GBased` (or `OBased`, with `--nodes object`) and `actions`, writes `GBased_spatial`: per video
`actions` [S, A], `slot_mask` [S] and `node_mask` [S, P].
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from graphs.parts import spatial_part, spatial_settings
from graphs.stage import Stage, run_program

STAGE = Stage(
    name="spatial_action_graph",
    sources=("", "actions"),
    target="_spatial",
    settings=spatial_settings,
    compute=lambda nodes, actions, device: spatial_part(nodes, actions),
)


def main(argv: Sequence[str] | None = None, **defaults: str) -> int:
    """Runs the program; returns its exit status."""
    return run_program(STAGE, "Spatial action graphs from node and action features.", argv, **defaults)


if __name__ == "__main__":
    sys.exit(main())
