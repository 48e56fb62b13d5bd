"""Action features: the 16 frames around every sampled frame through I3D.

    python extractors/i3d_feature_extractor.py --dataset minimotion --i3d rgb_imagenet.pt --backbone ViT-B-16-quickgelu

Writes `actions`: per video `actions` [S, A] (never negative), `slot_mask` [S], `frame_index` [S], beside the
features of `--backbone` or `--features`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from extractors.arguments import ActionArguments, ActionStageArguments
from utility.arguments import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args, weights = parse((ActionStageArguments, ActionArguments), argv, description="Action features (I3D).")

    # Only now: torch takes seconds to import, and --help or a misspelt flag should not wait for it.
    from extractors.action_features import ActionVectors
    from extractors.program import Opened, run_program
    from pretrained.i3d_weights import load_i3d

    def build(device, precision):
        network = load_i3d(weights.action_network, device)
        statistics = "clip" if "i3d_bn" in args.compat else "running"
        extractor = ActionVectors(network, device, precision, args.batch_size, statistics)
        return Opened([extractor], {"action_network": network}, {"action_network": weights.action_network})

    return run_program(args, build)


if __name__ == "__main__":
    sys.exit(main())
