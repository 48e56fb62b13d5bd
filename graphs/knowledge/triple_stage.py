"""What `graphs.knowledge.triples` does: score an extractor, show it at work, or read a corpus with it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from dataset.arguments import open_corpus
from dataset.corpus import Corpus
from dataset.knowledge_arguments import TRIPLES, KnowledgeArguments, knowledge_dir
from graphs.knowledge.extraction import evaluate, load_extractor, read_labelled
from graphs.knowledge.triple_files import caption_settings, extract_corpus, read_triples
from utility.program import run_stage

if TYPE_CHECKING:
    from graphs.knowledge.triples import TripleArguments

log = logging.getLogger(__name__)


def run_triples(args: TripleArguments) -> int:
    """
    Returns:
        Exit status, as `utility.program.run_stage`.
    """
    return run_stage(lambda dist: _run(args) if dist.is_main else 0, "cpu")


def _run(args: TripleArguments) -> int:
    if not args.evaluate and not args.say:
        return extract(args)
    extractor = load_extractor(args.extractor, args.relation_style)
    if args.say:
        for triple in extractor.extract(args.say):
            print("\t".join(triple))
        return 0
    result = evaluate(extractor, read_labelled(args.evaluate), args.relation_style)
    for mistake in result.pop("mistakes"):
        log.info("%s", json.dumps(mistake))
    print(json.dumps(result, indent=1))
    return 0


def training_captions(args: KnowledgeArguments) -> tuple[Corpus, dict[str, list[str]]]:
    """The corpus and the captions of its training split, which alone a knowledge graph may know.

    Raises:
        ValueError: there are none.
    """
    corpus = open_corpus(args)
    captions = corpus.references("train")
    if not captions:
        raise ValueError(f"{corpus.name} has no captions in its training split; the knowledge graph is made of these")
    return corpus, captions


def extract(args: TripleArguments) -> int:
    corpus, captions = training_captions(args)
    path = knowledge_dir(args, corpus) / TRIPLES
    settings = caption_settings(corpus.name, captions)
    log.info("%s: %d training captions of %d videos", corpus.name, settings["captions"], settings["videos"])
    if args.dry_run:
        log.info("would write their triples to %s", path)
        return 0
    if not args.resume:
        for file in (path, path.with_name(path.name + ".part")):
            file.unlink(missing_ok=True)
    speed = extract_corpus(path, load_extractor(args.extractor, args.relation_style), captions, settings)
    total, distinct = 0, set()
    for video in read_triples(path):
        total += len(video.triples)
        distinct.update(video.triples)
    log.info("%d triples, %d distinct -> %s", total, len(distinct), path)
    if speed:
        log.info("%.0f captions/s", speed)
    return 0
