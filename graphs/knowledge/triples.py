"""Captions to triples (head, relation, tail): the first stage of the knowledge graph.

    python -m graphs.knowledge.triples --dataset msrvtt
    python -m graphs.knowledge.triples --evaluate labelled.json
    python -m graphs.knowledge.triples --say "a man and a woman dance in a field"

Reads the captions of the training split and writes `triples.jsonl`: a line of settings, then one line per video,
`{"video": id, "captions": number, "triples": [[head, relation, tail], ...]}`, a triple as often as captions state it.
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
class TripleArguments(KnowledgeArguments):
    """How captions are read."""

    extractor: str = flag("hanta", "how captions are read: hanta (tags and rules, offline)")
    relation_style: Literal["verb", "verb+preposition"] = flag("verb", "verb: talk; verb+preposition: talk on")
    evaluate: str | None = flag(None, "only score the extractor on this JSON file of labelled captions, as JSON")
    say: str | None = flag(None, "only print the triples of this caption")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    (args,) = parse(TripleArguments, argv, description="Triples from the training captions of a corpus.")
    from graphs.knowledge.triple_stage import run_triples

    return run_triples(args)


if __name__ == "__main__":
    sys.exit(main())
