"""The flags that every program of the knowledge graph shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataset.arguments import CorpusArguments, flag
from dataset.corpus import Corpus

TRIPLES, GRAPH, OPENKE = "triples.jsonl", "graph", "openke"


@dataclass
class KnowledgeArguments(CorpusArguments):
    """Which captions, and where their knowledge is kept."""

    knowledge: str | None = flag(
        None,
        "folder of triples, graph and embeddings: a name (one folder per way of making them), or a path (with a / in "
        "it); default: knowledge/default below the data root",
    )
    resume: bool = flag(True, "continue with what is there; with 0 the stage starts anew")


def knowledge_dir(args: KnowledgeArguments, corpus: Corpus) -> Path:
    """`--knowledge` if it is a path, else `ROOT/knowledge/{--knowledge or default}`."""
    given = args.knowledge or "default"
    is_path = "/" in given or "\\" in given
    return Path(given).expanduser() if is_path else corpus.root / "knowledge" / given
