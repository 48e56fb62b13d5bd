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

from dataset.stage_arguments import StageArguments
from utility.arguments import parse


def main(argv: Sequence[str] | None = None, **defaults: str) -> int:
    """Runs the program; returns its exit status.

    Args:
        defaults: values of flags where the command line does not give them.
    """
    words = [f"--{name}={value}" for name, value in defaults.items()] + list(sys.argv[1:] if argv is None else argv)
    (args,) = parse(StageArguments, words, description="Spatial action graphs from node and action features.")
    # Only now: torch takes seconds to import, and --help or a misspelt flag should not wait for it.
    from graphs.stage import run_program
    from graphs.stages import SPATIAL

    return run_program(SPATIAL, args)


if __name__ == "__main__":
    sys.exit(main())
