"""Every stage in one pass over each video, then the graphs: all that `main.py` loads.

    python extractors/extract.py --dataset minimotion --backbone ViT-B-16-quickgelu
    torchrun --nproc_per_node 4 extractors/extract.py --dataset msrvtt --backbone ViT-B-16-quickgelu
    python extractors/extract.py --data_root my_videos --slots 8 --rate 2 --dry_run

Writes what the single programs write, and to the same files: `GBased`, `theta2` and `actions`, then `GBased_spatial`,
`GBased_temporal` and `GBased_graph`. A run that was stopped continues with the videos not yet stored.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from extractors.arguments import ActionArguments, ExtractionArguments, GridArguments
from utility.arguments import parse


@dataclass
class GraphArguments:
    """What follows the features."""

    graphs: bool = field(default=True, metadata={"help": "build the graph files after the features"})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    groups = (GridArguments, ActionArguments, GraphArguments)
    args, action, what = parse(groups, argv, description="All features of a corpus, and its graphs.")

    # Only now: torch takes seconds to import, and --help or a misspelt flag should not wait for it.
    from extractors.action_features import ActionVectors
    from extractors.clip_features import GridNodes, WholeFrames
    from extractors.program import Opened, run_program
    from pretrained.backbones import load_backbone
    from pretrained.i3d_weights import load_i3d

    def build(device, precision):
        backbone = load_backbone(args.backbone, device)
        network = load_i3d(action.action_network, device)
        statistics = "clip" if "i3d_bn" in args.compat else "running"
        extractors = [
            GridNodes(backbone, device, precision, args.batch_size, args.patch, args.overlap),
            WholeFrames(backbone, device, precision, args.batch_size),
            ActionVectors(network, device, precision, args.batch_size, statistics),
        ]
        networks = {"backbone": backbone, "action_network": network}
        return Opened(extractors, networks, {"backbone": args.backbone, "action_network": action.action_network})

    return run_program(args, build, build_graphs if what.graphs else None)


def build_graphs(args: ExtractionArguments, dist) -> int:
    """The three graph stages, over the features just made; the first exit status that is not 0."""
    from graphs.stage import run_stage
    from graphs.stages import GRAPH_STAGES

    for stage in GRAPH_STAGES:
        if status := run_stage(stage, args, dist):
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
