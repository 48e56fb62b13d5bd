"""Embeddings of a knowledge graph: TransE, DistMult, ComplEx or RotatE, with early stopping on filtered ranks.

    python -m graphs.knowledge.embed --dataset msrvtt
    python -m graphs.knowledge.embed --dataset msrvtt --model RotatE --width 64

Reads the folder `graph`, writes a run (`best`, `last`) under the name of the model, with `embedding.json`, the scores
of the test triples. A killed run continues; with --resume 0 it starts anew.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from dataset.arguments import flag
from dataset.knowledge_arguments import KnowledgeArguments
from utility.arguments import parse


@dataclass
class EmbedArguments(KnowledgeArguments):
    """Which model, how wide, for how long."""

    model: Literal["TransE", "DistMult", "ComplEx", "RotatE"] = flag("TransE", "how relation and entities are joined")
    width: int = flag(128, "width of the embeddings (of ComplEx and RotatE: of each of their two parts)")
    margin: float | None = flag(None, "margin of the loss: TransE and DistMult 1, RotatE 9; ComplEx has none")
    epochs: int = flag(100, "rounds at most; after each the validation triples are ranked")
    passes: int = flag(5, "passes over the training triples in a round")
    patience: int = flag(8, "stop after so many rounds without a better MRR; 0: never")
    batch_size: int = flag(1000, "triples per step over all processes, as many wrong ones beside them")
    lr: float = flag(0.01, "learning rate of Adam")
    seed: int = flag(0, "seed of weights, order and wrong triples")
    device: str = flag("auto", "auto (a GPU if there is one), cpu, cuda or cuda:N")

    def __post_init__(self):
        for name in ("width", "epochs", "passes", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be 1 or more")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(EmbedArguments, argv, description="Embeddings of the entities and relations of a knowledge graph.")
    from graphs.knowledge.embed_stage import run_embed

    return run_embed(args)


if __name__ == "__main__":
    sys.exit(main())
