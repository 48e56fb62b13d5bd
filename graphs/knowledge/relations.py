"""Relation rows for every video: the entities and triples of the knowledge graph that are nearest to its frames.

    python -m graphs.knowledge.relations --dataset msrvtt --backbone results/clip4clip_MSR-VTT --embedding TransE

Reads `theta2` and the folder `graph` (and an embedding of it); writes `rel`: per video `rel` [R, D], each row of
length 1, with the attribute `texts` (JSON) that says what each row is. The table of all texts stays beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from dataset.arguments import flag
from dataset.stage_arguments import StageArguments
from utility.arguments import parse


@dataclass
class RelationArguments(StageArguments):
    """Which graph, and how a video chooses from it."""

    knowledge: str | None = flag(None, "which knowledge graph: a name or a path, as its programs take it")
    embedding: str | None = flag(None, "embedding whose scores help to choose, for instance TransE; default: none")
    num_entities: int = flag(10, "entities per video")
    num_triples: int = flag(10, "triples per video")
    same_relation: int = flag(3, "triples per video with one relation at most")
    both_ends: float = flag(0.1, "what a triple gains when both its ends are among the entities")
    kge_weight: float = flag(0.1, "weight of the embedding's score, standardised over the candidates")
    min_entity_support: int = flag(3, "captions in which an entity must occur to be chosen")
    complete: bool = flag(False, "candidates are also triples that only the embedding proposes")

    def __post_init__(self):
        super().__post_init__()
        for name, least in (("num_entities", 1), ("num_triples", 0), ("same_relation", 1), ("min_entity_support", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be at least {least}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(RelationArguments, argv, description="Relation rows of videos from a knowledge graph.")
    from graphs.knowledge.relation_stage import run_relations

    return run_relations(args)


if __name__ == "__main__":
    sys.exit(main())
