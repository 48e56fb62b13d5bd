"""What `graphs.knowledge.embed` does: train an embedding of the graph and rank the test triples with it."""

from __future__ import annotations

import logging
import shutil
import time
from typing import TYPE_CHECKING

from dataset.arguments import open_corpus
from dataset.knowledge_arguments import GRAPH, knowledge_dir
from graphs.knowledge.embedding import load_embedding, make_model, train_embedding
from graphs.knowledge.knowledge_graph import KnowledgeGraph
from graphs.knowledge.ranking import evaluate
from graphs.knowledge.triple_files import same_settings
from utility.caption_evaluation import write_json
from utility.checkpoint import is_checkpoint, load_checkpoint
from utility.distributed import Distributed
from utility.program import run_program
from utility.train_settings import TrainSettings

if TYPE_CHECKING:
    from graphs.knowledge.embed import EmbedArguments

log = logging.getLogger(__name__)


def run_embed(args: EmbedArguments) -> int:
    """
    Returns:
        Exit status, as `utility.program.run_program`.
    """
    return run_program(lambda dist: _run(args, dist), args.device)


def _run(args: EmbedArguments, dist: Distributed) -> int:
    corpus = open_corpus(args)
    folder = knowledge_dir(args, corpus)
    graph = KnowledgeGraph.load(folder / GRAPH)
    output = folder / args.model
    config = {
        "program": "knowledge_embedding",
        "model": args.model,
        "entities": len(graph.entities),
        "relations": len(graph.relations),
        "width": args.width,
        "margin": args.margin,
        "graph": graph.hash,
    }
    count = len(graph.of_split("train"))
    model = make_model(args.model, config["entities"], config["relations"], args.width, args.margin).to(dist.device)
    log.info("%s of width %d on %d training triples -> %s", args.model, args.width, count, output)
    if args.dry_run:
        return 0
    if not args.resume and dist.is_main:
        shutil.rmtree(output, ignore_errors=True)
    dist.barrier()
    if is_checkpoint(output / "last"):
        same_settings(load_checkpoint(output / "last", training=False).config, config, output)
    passes = max(args.passes, -(-args.batch_size // count))  # a small graph fills a step by repetition
    settings = TrainSettings(
        output_dir=str(output), epochs=args.epochs, batch_size=args.batch_size, clip_norm=0, precision="fp32",
        seed=args.seed, log_steps=10**9, patience=args.patience, resume=args.resume,
    )  # fmt: skip
    start = time.perf_counter()
    summary = train_embedding(graph, model, settings, passes, args.lr, dist, config)
    if not dist.is_main:
        return 0
    seconds = time.perf_counter() - start
    best = load_embedding(output, graph)
    result = {"model": args.model, "best_round": summary["best_epoch"], "rounds": summary["epoch"], "seconds": seconds}
    for split in ("val", "test"):
        if len(graph.of_split(split)):
            result[split] = evaluate(best.model, graph.of_split(split), graph.triples)
    write_json(output / "embedding.json", result)
    for split in ("val", "test"):
        shown = "  ".join(f"{name} {value:.4f}" for name, value in result.get(split, {}).items())
        log.info("%s, %d triples: %s", split, len(graph.of_split(split)), shown or "none to rank")
    return 0
