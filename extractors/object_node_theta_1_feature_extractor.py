"""Object nodes: what a detector finds in every sampled frame, with a feature of each find.

    python extractors/object_node_theta_1_feature_extractor.py --dataset minimotion --detector motion
    python extractors/object_node_theta_1_feature_extractor.py --dataset msvd --backbone ViT-B-16-quickgelu

Writes `OBased`: per video `nodes` [S, P, D], `node_mask` [S, P], `boxes` [S, P, 4] (shares of the frame), `scores`
[S, P], `counts` [S], `slot_mask`, `frame_index`, `frame_time`; and `OFeat`: the same objects as rows of box and
features, `objects` [n, 4 + D]. Both lie beside the features of `--backbone` or `--features`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from extractors.arguments import DetectorArguments, ObjectArguments
from utility.arguments import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args, objects = parse((ObjectArguments, DetectorArguments), argv, description="Object nodes (theta 1).")

    # Only now: torch takes seconds to import, and --help or a misspelt flag should not wait for it.
    from extractors.object_program import open_objects
    from extractors.program import run_program
    from graphs.stage import run_stage
    from graphs.stages import OBJECT_ROWS

    return run_program(
        args,
        lambda device, precision: open_objects(args, objects, device, precision),
        lambda args, dist: run_stage(OBJECT_ROWS, args, dist),
    )


if __name__ == "__main__":
    sys.exit(main())
