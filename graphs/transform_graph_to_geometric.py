"""Action graphs for torch_geometric: a data set on disk, the published files, or published files read back.

    python graphs/transform_graph_to_geometric.py --dataset minimotion
    python graphs/transform_graph_to_geometric.py --dataset msvd --export published/MSVD
    python graphs/transform_graph_to_geometric.py --dataset msvd --features akg --import MSVD_GBased_*.pickle
    python graphs/transform_graph_to_geometric.py --dataset msvd --features akg --import MSVD_rel_*.hdf5

Without `--export` and `--import` it writes the folder `{CORPUS}_GBased_geometric` beside the features, which opens as

    from graphs.geometric import ActionGraphDataset
    dataset = ActionGraphDataset("dataset/MiniMotion/features/NAME/MiniMotion_GBased_geometric", split="train")

Graphs stay compact on disk (a quarter of a megabyte each) and are expanded to edges when they are asked for. The files
of `--export` hold expanded edges, about a hundred times as much. Files are copied and converted on the CPU, whatever
`--device` says, which is taken as every stage takes it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dataset.stage_arguments import StageArguments
from utility.arguments import parse

DEVIATIONS = ("emptiness", "positive_sum", "pad_edges")


@dataclass
class TransformArguments(StageArguments):
    """What to make of the graphs."""

    output: str | None = field(
        default=None, metadata={"help": "folder of the data set; default {CORPUS}_GBased_geometric beside the features"}
    )
    export: str | None = field(
        default=None,
        metadata={"help": "folder for the published files: graphs, masks and rows per phase, nodes per slot"},
    )
    import_files: list[str] | None = field(
        default=None,
        metadata={
            "help": "published files to read: graph pickles, or a node file with its mask file; relation rows (rel), "
            "object rows (OFeat with BFeat)",
            "aliases": ["--import"],
        },
    )
    slots: int = field(default=20, metadata={"help": "slots per video in the files of --import"})
    nodes_per_slot: int = field(default=9, metadata={"help": "nodes per slot in the graph pickles of --import"})
    compat: list[str] = field(
        default_factory=list,
        metadata={"help": f"reproduce published behaviour: reference (all), or some of {', '.join(DEVIATIONS)}"},
    )

    def __post_init__(self):
        super().__post_init__()
        self.compat = [name for word in self.compat for name in word.split(",") if name]
        if unknown := [name for name in self.compat if name not in ("reference", *DEVIATIONS)]:
            raise ValueError(f"--compat {unknown[0]!r} is unknown; known are reference, {', '.join(DEVIATIONS)}")
        if "reference" in self.compat:
            self.compat = list(DEVIATIONS)
        if self.export and self.import_files:
            raise ValueError("--export and --import are two tasks; give one of them at a time")
        if min(self.slots, self.nodes_per_slot) < 1:
            raise ValueError("--slots and --nodes_per_slot must be at least 1")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(TransformArguments, argv, description="Action graphs for torch_geometric, and published files.")
    # Only now: torch takes seconds to import, and --help or a misspelt flag should not wait for it.
    from graphs.transform import run_transform

    return run_transform(args)


if __name__ == "__main__":
    sys.exit(main())
