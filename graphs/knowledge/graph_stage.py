"""What `graphs.knowledge.graph` does: build the graph, or import it, and export it."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.arguments import open_corpus
from dataset.knowledge_arguments import GRAPH, TRIPLES, knowledge_dir
from graphs.knowledge.cleaning import count, known_word
from graphs.knowledge.knowledge_graph import KnowledgeGraph, build
from graphs.knowledge.openke import read_openke, write_openke
from graphs.knowledge.triple_files import caption_settings, read_settings, read_triples, same_settings
from utility.checkpoint import is_checkpoint
from utility.program import run_stage
from utility.vocabulary import Vocabulary

if TYPE_CHECKING:
    from graphs.knowledge.graph import GraphArguments

log = logging.getLogger(__name__)


def run_graph(args: GraphArguments) -> int:
    """
    Returns:
        Exit status, as `utility.program.run_stage`.
    """
    return run_stage(lambda dist: _run(args) if dist.is_main else 0, "cpu")


def _run(args: GraphArguments) -> int:
    corpus = open_corpus(args)
    folder = knowledge_dir(args, corpus)
    target = folder / GRAPH
    captions = corpus.references("train")
    if args.import_openke:
        settings = {"imported": str(args.import_openke), "captions": {"corpus": corpus.name, "split": None}}
    else:
        settings = {
            "triples": read_settings(folder / TRIPLES),
            "min_support": args.min_support,
            "min_count": args.min_count,
            "split_seed": args.split_seed,
        }
        now = caption_settings(corpus.name, captions)
        same_settings({k: v for k, v in settings["triples"].items() if k in now}, now, folder / TRIPLES)
    if args.dry_run:
        log.info("would make %s from %s", target, args.import_openke or folder / TRIPLES)
        return 0
    if not args.resume:
        shutil.rmtree(target, ignore_errors=True)
    if is_checkpoint(target):
        graph = KnowledgeGraph.load(target)
        same_settings(graph.settings, settings, target)
        log.info("%s is there already", target)
    elif args.import_openke:
        graph = read_openke(args.import_openke)
        graph.settings = settings
        graph.save(target)
    else:
        texts = (text for texts in captions.values() for text in texts)
        counts = count(read_triples(folder / TRIPLES), known_word(Vocabulary.build(texts, args.min_count).words))
        log.info("%d triples, %d rejected, %d distinct left", counts.extracted, counts.rejected, len(counts.captions))
        graph = build(counts, args.min_support, args.split_seed, json.loads(json.dumps(settings)))
        graph.save(target)
    report(graph)
    if args.export_openke:
        write_openke(graph, Path(args.export_openke).expanduser())
        log.info("OpenKE files -> %s", args.export_openke)
    return 0


def report(graph: KnowledgeGraph) -> None:
    """Sizes and the most frequent triples, to the log."""
    parts = ", ".join(f"{name} {len(graph.of_split(name))}" for name in ("train", "val", "test"))
    log.info(
        "%d triples (%s) of %d entities and %d relations", len(graph), parts, len(graph.entities), len(graph.relations)
    )
    for triple, support in graph.most_frequent():
        log.info("%6d  %s", support, " ".join(triple))
