"""Every stage in one pass over each video, then the graphs: all that `main.py` loads.

    python extractors/extract.py --dataset minimotion --backbone ViT-B-16-quickgelu
    torchrun --nproc_per_node 4 extractors/extract.py --dataset msrvtt --backbone ViT-B-16-quickgelu
    python extractors/extract.py --dataset msvd --nodes both --detector pretrained/detector.onnx
    python extractors/extract.py --data_root my_videos --slots 8 --rate 2 --dry_run

Writes what the single programs write, and to the same files: `GBased`, `theta2` and `actions`, then `GBased_spatial`,
`GBased_temporal` and `GBased_graph`; with `--nodes object` `OBased` and `OFeat` in place of `GBased`, with `--nodes
both` beside it, and their graphs. A run that was stopped continues with the videos not yet stored.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from extractors.arguments import ActionArguments, AllArguments, DetectorArguments
from utility.arguments import parse


@dataclass
class GraphArguments:
    """What follows the features."""

    graphs: bool = field(default=True, metadata={"help": "build the graph files after the features"})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    groups = (AllArguments, DetectorArguments, ActionArguments, GraphArguments)
    args, objects, action, what = parse(groups, argv, description="All features of a corpus, and its graphs.")

    # Only now: torch takes seconds to import, and --help or a misspelt flag should not wait for it.
    from extractors.action_features import ActionVectors
    from extractors.clip_features import GridNodes, WholeFrames
    from extractors.object_program import open_objects
    from extractors.program import Opened, run_program
    from pretrained.backbones import load_backbone
    from pretrained.i3d_weights import load_i3d

    def build(device, precision):
        backbone = load_backbone(args.backbone, device)
        network = load_i3d(action.action_network, device)
        statistics = "clip" if "i3d_bn" in args.compat else "running"
        extractors = [
            WholeFrames(backbone, device, precision, args.batch_size),
            ActionVectors(network, device, precision, args.batch_size, statistics),
        ]
        networks = {"backbone": backbone, "action_network": network}
        weights = {"backbone": args.backbone, "action_network": action.action_network}
        if "grid" in args.kinds:
            extractors.insert(0, GridNodes(backbone, device, precision, args.batch_size, args.patch, args.overlap))
        if "object" in args.kinds:
            opened = open_objects(args, objects, device, precision, backbone)
            extractors += opened.extractors
            networks |= opened.networks
            weights |= opened.weights
        return Opened(extractors, networks, weights)

    return run_program(args, build, lambda args, dist: after(args, dist, what.graphs))


def after(args: AllArguments, dist, graphs: bool) -> int:
    """Object rows and the graph stages, over the features just made; the first exit status that is not 0.

    `--strict` is for the features: a graph is missing where its features are, and the other graphs are wanted.
    """
    from graphs.stage import run_stage
    from graphs.stages import GRAPH_STAGES, OBJECT_ROWS

    for kind in args.kinds:
        for stage in (OBJECT_ROWS,) * (kind == "object") + GRAPH_STAGES * graphs:
            if status := run_stage(stage, replace(args, nodes=kind, strict=False), dist):
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
