"""A picture of one video's action graph.

    python -m graphs.draw --video clip.mp4 --out graph.png
    python -m graphs.draw --video clip.mp4 --out graph.png --backbone ViT-B-16-quickgelu
    python -m graphs.draw --video clip.mp4 --out graph.png --nodes object --detector motion
    python -m graphs.draw --video clip.mp4 --out graph.png --checkpoint results/demo/captioner/best

Frames with the nine tiles or the objects, spatial and temporal edges with their weight as thickness, and a timeline.
Without `--backbone` nodes are compared by small pictures of themselves, without `--action_network` edges inside a slot
are all thin: enough for a first look, and nothing has to be fetched. With `--checkpoint` it is the graph that this
captioner reads, and its caption.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from extractors.arguments import DetectorArguments
from utility.arguments import parse

log = logging.getLogger(__name__)


@dataclass
class DrawArguments:
    """What to draw, and how it is seen."""

    video: str | None = field(default=None, metadata={"help": "the video file"})
    out: str = field(default="graph.png", metadata={"help": "the picture: .png, .pdf or .svg"})
    checkpoint: str | None = field(
        default=None, metadata={"help": "a captioner whose graph of the video is drawn, with its caption"}
    )
    nodes: str = field(default="grid", metadata={"help": "kind of nodes: grid or object"})
    backbone: str | None = field(
        default=None, metadata={"help": "the CLIP that sees the nodes; without one, small pictures are compared"}
    )
    action_network: str | None = field(default=None, metadata={"help": "weights of the action network, if any"})
    slots: int = field(default=5, metadata={"help": "sampled frames, spread evenly over the video"})
    patch: int = field(default=3, metadata={"help": "tiles along one side"})
    overlap: float = field(default=0.5, metadata={"help": "how far a tile reaches into its neighbours, in tile widths"})
    links: int = field(default=2, metadata={"help": "edges to the next slot that are drawn of every node"})
    dpi: int = field(default=110, metadata={"help": "dots per inch of a .png"})
    device: str = field(default="auto", metadata={"help": "auto (a GPU if there is one), cpu, cuda or cuda:N"})

    def __post_init__(self):
        if not self.video:
            raise ValueError("--video FILE is missing: which video's graph is to be drawn?")
        if self.nodes not in ("grid", "object"):
            raise ValueError(f"--nodes is {self.nodes!r}; it must be grid or object")
        for name in ("slots", "patch", "links", "dpi"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be at least 1")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args, objects = parse((DrawArguments, DetectorArguments), argv, description=__doc__.split("\n")[0])

    # Only now: torch takes seconds to import, and --help or a misspelt flag should not wait for it.
    from graphs.drawing import draw_graph, node_boxes
    from graphs.first_look import look, look_with
    from utility.program import run_program
    from utility.video import VideoError

    def draw(dist) -> int:
        try:
            seen = look_with(args.checkpoint, args.video, args.device) if args.checkpoint else look(args, objects, dist)
        except VideoError as error:
            raise ValueError(str(error)) from error
        boxes = node_boxes(seen.graph, *seen.frames.shape[-2:], seen.patch, seen.overlap)
        figure = draw_graph(seen.frames, seen.graph, boxes, seen.title, args.links)
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(args.out, dpi=args.dpi)
        print(args.out)
        return 0

    return run_program(draw, args.device)


if __name__ == "__main__":
    sys.exit(main())
