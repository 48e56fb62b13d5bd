"""The knowledge graph of a corpus: its triples cleaned, counted, deduplicated and split.

    python -m graphs.knowledge.graph --dataset msrvtt
    python -m graphs.knowledge.graph --dataset msrvtt --export_openke results/openke
    python -m graphs.knowledge.graph --dataset msrvtt --knowledge other --import_openke results/openke

Reads `triples.jsonl`, writes the folder `graph`, which `graphs.knowledge.dataset` opens.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from dataset.arguments import flag
from dataset.knowledge_arguments import KnowledgeArguments
from utility.arguments import parse


@dataclass
class GraphArguments(KnowledgeArguments):
    """Which triples the graph keeps."""

    min_support: int = flag(2, "captions that must state a triple")
    min_count: int = flag(3, "a word of an entity must occur so often in the captions, or be in the dictionary")
    split_seed: int = flag(42, "seed of the splits of the triples")
    export_openke: str | None = flag(None, "folder for the same graph as OpenKE files")
    import_openke: str | None = flag(None, "folder of OpenKE files to make the graph of, in place of triples")

    def __post_init__(self):
        for name in ("min_support", "min_count"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be 1 or more")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(GraphArguments, argv, description="The knowledge graph of a corpus from its triples.")
    from graphs.knowledge.graph_stage import run_graph

    return run_graph(args)


if __name__ == "__main__":
    sys.exit(main())
