"""What `graphs.knowledge.relations` does: make the table of texts, then the rows of every video."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from dataset.arguments import features_dir, open_corpus
from dataset.corpus import Corpus
from dataset.knowledge_arguments import GRAPH, TRIPLES, knowledge_dir
from dataset.seen_videos import note_training, overlap_notes
from dataset.stage_arguments import describe_settings, start_anew
from graphs.knowledge.embedding import Embedding, load_embedding
from graphs.knowledge.knowledge_graph import KnowledgeGraph
from graphs.knowledge.relation_rows import RelationTable, RowSettings, video_vector
from graphs.knowledge.relation_table import build_table, load_table, save_table, table_path, text_rows
from graphs.knowledge.triple_files import read_triples, same_settings
from graphs.stage import Causes, tag_of
from pretrained.backbones import load_backbone
from utility.checkpoint import is_checkpoint
from utility.distributed import Distributed
from utility.feature_store import FeatureStore, FeatureWriter, feature_path, find_feature
from utility.manifest import Manifest, manifest_path
from utility.places import located
from utility.program import run_stage

if TYPE_CHECKING:
    from graphs.knowledge.relations import RelationArguments

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GraphSource:
    """The videos behind a knowledge graph, as `dataset.seen_videos` wants to know them."""

    name: str
    hash: str
    trained_on: list[str] | None
    corpus: str | None


def run_relations(args: RelationArguments) -> int:
    """
    Returns:
        Exit status: 0; 1 if nothing could be done (or a video is missing, with `--strict`); else as `run_stage`.
    """
    return run_stage(lambda dist: _run(args, dist), args.device)


def _run(args: RelationArguments, dist: Distributed) -> int:
    corpus = open_corpus(args)
    folder = features_dir(args, corpus, tag_of(args))
    theta2 = FeatureStore(find_feature(folder, corpus.name, "theta2"))
    knowledge = knowledge_dir(args, corpus)
    graph = KnowledgeGraph.load(knowledge / GRAPH)
    embedding = load_embedding(knowledge / args.embedding, graph) if args.embedding else None
    settings = _settings(args, graph, theta2, embedding)
    target, table_folder = feature_path(folder, corpus.name, "rel"), table_path(folder, corpus.name)
    if args.dry_run:
        ready = sum(name in theta2 for name in corpus.ids())
        log.info("would make %s of %d videos (%d have theta2)", target, len(corpus.videos), ready)
        log.info("from %s and %s; %s", theta2.path, knowledge / GRAPH, describe_settings(settings))
        return 0
    if dist.is_main:
        if not args.resume:
            start_anew(target)
        if args.resume and is_checkpoint(table_folder):
            same_settings(load_table(table_folder)[1], settings, table_folder)
        else:
            save_table(_table(args, graph, embedding, theta2, dist), table_folder, settings)
        source = graph.settings.get("triples", {}).get("corpus")
        known = GraphSource("knowledge graph", graph.hash, graph.videos if source else None, source)
        note_training(folder, corpus.name, {"knowledge_graph": known})
    dist.barrier()
    table, _ = load_table(table_folder)
    for sentence in overlap_notes(folder, corpus, {"knowledge_graph": graph.hash}):
        log.warning("%s", sentence)
    status = write_rows(args, corpus, theta2, target, table, settings | {"table": table.hash}, dist)
    if dist.is_main and (knowledge / TRIPLES).is_file() and target.exists():
        _report(FeatureStore(target), knowledge / TRIPLES)
    return status


def _settings(
    args: RelationArguments, graph: KnowledgeGraph, theta2: FeatureStore, embedding: Embedding | None
) -> dict[str, Any]:
    """What the rows depend on."""
    return {
        "stage": "relations",
        "theta2": theta2.settings,
        "graph": graph.hash,
        "embedding": {"model": embedding.config["model"], "hash": embedding.hash} if embedding else None,
        "rows": vars(_row_settings(args)),
        "min_entity_support": args.min_entity_support,
        "complete": args.complete,
    }


def _row_settings(args: RelationArguments) -> RowSettings:
    weight = args.kge_weight if args.embedding else 0.0
    return RowSettings(args.num_entities, args.num_triples, args.same_relation, args.both_ends, weight)


def _table(
    args: RelationArguments,
    graph: KnowledgeGraph,
    embedding: Embedding | None,
    theta2: FeatureStore,
    dist: Distributed,
) -> RelationTable:
    """The table of texts, by the backbone of the theta2 features.

    Raises:
        ValueError: `--backbone` is another one.
    """
    noted = theta2.notes.get("weights", {}).get("backbone")
    made_with = theta2.settings["backbone"]
    backbone = load_backbone(args.backbone or (located(noted) if noted else made_with["name"]), dist.device)
    if backbone.hash != made_with["hash"]:
        raise ValueError(
            f"{theta2.path} was made with the backbone {made_with['name']} ({made_with['hash']}), this is "
            f"{backbone.name} ({backbone.hash}): texts and frames need the same. Give the right one with --backbone"
        )
    start = time.perf_counter()
    table = build_table(
        graph,
        lambda texts: text_rows(texts, backbone, watch=lambda batches: tqdm(batches, desc="texts", disable=None)),
        embedding,
        _row_settings(args),
        args.min_entity_support,
        args.complete,
    )
    seconds = time.perf_counter() - start
    log.info("texts of %d entities and %d triples in %.1f s", len(table.entities), len(table.texts), seconds)
    return table


def write_rows(
    args: RelationArguments,
    corpus: Corpus,
    theta2: FeatureStore,
    target: Path,
    table: RelationTable,
    settings: dict[str, Any],
    dist: Distributed,
) -> int:
    """Rows of every video with whole-frame features; returns the exit status."""
    ids = corpus.ids()
    manifest = Manifest(manifest_path(target.parent, corpus.name, "rel"), dist)
    causes = Causes(target.parent, corpus.name)
    with FeatureWriter(target, settings, dist) as writer:
        todo = [name for name in ids if name not in writer.done]
        done_before, missing, made = len(ids) - len(todo), 0, 0
        if dist.is_main:
            manifest.record_stored((name for name in ids if name in writer.done), "relations")
        for name in tqdm(dist.shard(todo), desc="rel", unit="video", disable=None):
            if name not in theta2:
                manifest.record(name, "relations", "missing", causes.of("theta2", name))
                missing += 1
                continue
            start = time.perf_counter()
            arrays = theta2.read(name, ("frames", "slot_mask"))
            rows, choices = table.choose(video_vector(arrays["frames"], arrays["slot_mask"]))
            writer.write(name, {"rel": rows}, {"texts": json.dumps([choice.text for choice in choices])})
            manifest.record(name, "relations", "done", seconds=time.perf_counter() - start)
            made += 1
        made, missing = dist.all_sum(made), dist.all_sum(missing)
        writer.finish()
    manifest.merge()
    log.info("relations: %d made, %d there already, %d without theta2 -> %s", made, done_before, missing, target)
    return int(made + done_before == 0 or (args.strict and missing > 0))


def _report(store: FeatureStore, triples: Path) -> None:
    """How often what was chosen for a training video is what its captions state: a check, no part of the features."""
    videos, stated, known = 0, 0.0, 0.0
    for video in read_triples(triples):
        if video.video not in store or not video.triples:
            continue
        texts = json.loads(store.attributes(video.video)["texts"])
        own = {" ".join(triple) for triple in video.triples}
        entities = {name for head, _, tail in video.triples for name in (head, tail)}
        stated += len(own.intersection(texts)) / len(own)
        known += len(entities.intersection(texts)) / len(entities)
        videos += 1
    if videos:
        log.info(
            "of what the captions of a training video state, its rows hold %.1f %% of the triples and %.1f %% of the "
            "entities (mean of %d videos)",
            100 * stated / videos, 100 * known / videos, videos,
        )  # fmt: skip
