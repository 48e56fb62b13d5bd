"""Whole-frame features: every sampled frame through the CLIP vision tower.

    python extractors/clip4clip_theta_2_feature_extractor.py --dataset minimotion --backbone ViT-B-16-quickgelu

Writes `theta2`: per video `frames` [S, D] (not normalised), `slot_mask` [S], `frame_index` [S].
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from extractors.arguments import BackboneArguments
from utility.arguments import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(BackboneArguments, argv, description="Whole frames (theta 2).")

    # Only now: torch takes seconds to import, and --help or a misspelt flag should not wait for it.
    from extractors.clip_features import WholeFrames
    from extractors.program import Opened, run_program
    from pretrained.backbones import load_backbone

    def build(device, precision):
        backbone = load_backbone(args.backbone, device)
        extractor = WholeFrames(backbone, device, precision, args.batch_size)
        return Opened([extractor], {"backbone": backbone}, {"backbone": args.backbone})

    return run_program(args, build)


if __name__ == "__main__":
    sys.exit(main())
