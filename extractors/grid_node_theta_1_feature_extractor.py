"""Grid nodes: overlapping tiles of every sampled frame through the CLIP vision tower.

    python extractors/grid_node_theta_1_feature_extractor.py --dataset minimotion --backbone ViT-B-16-quickgelu
    torchrun --nproc_per_node 4 extractors/grid_node_theta_1_feature_extractor.py --dataset msrvtt

Writes `GBased`: per video `nodes` [S, P, D], `slot_mask` [S], `frame_index` [S], `frame_time` [S] (seconds).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from extractors.arguments import GridArguments
from utility.arguments import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(GridArguments, argv, description="Grid nodes (theta 1).")

    # Only now: torch takes seconds to import, and --help or a misspelt flag should not wait for it.
    from extractors.clip_features import GridNodes
    from extractors.program import Opened, run_program
    from pretrained.backbones import load_backbone

    def build(device, precision):
        backbone = load_backbone(args.backbone, device)
        extractor = GridNodes(backbone, device, precision, args.batch_size, args.patch, args.overlap)
        return Opened([extractor], {"backbone": backbone}, {"backbone": args.backbone})

    return run_program(args, build)


if __name__ == "__main__":
    sys.exit(main())
