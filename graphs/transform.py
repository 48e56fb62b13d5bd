"""What `transform_graph_to_geometric.py` does with the graphs of a corpus: data set, export, import."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dataset.arguments import features_dir, open_corpus
from dataset.corpus import Corpus, listed
from graphs.geometric import graph_of, most_edges
from graphs.graph_folder import SETTINGS, GraphFolder, write_graph_folder
from graphs.published_files import published_graph, write_masks, write_nodes
from graphs.published_import import import_files
from graphs.published_pickle import write_graph_pickle
from graphs.published_rows import BOX, BOXES, OBJECTS, RELATIONS, write_rows
from graphs.stage import tag_of
from utility.distributed import Distributed
from utility.feature_store import FeatureStore, SettingsMismatch, feature_path, find_feature
from utility.program import run_stage

if TYPE_CHECKING:
    from graphs.transform_graph_to_geometric import TransformArguments

log = logging.getLogger(__name__)


def run_transform(args: TransformArguments) -> int:
    """Does what the flags say.

    Returns:
        Exit status: 0; 1 if there was nothing to do (or a video has no graph, with `--strict`); 2 for the user to
        change; 130 after Ctrl-C.
    """

    def work(dist: Distributed) -> int:
        # Copying is one process's work; the others wait, so that what follows finds the files.
        status = transform(args) if dist.is_main else 0
        dist.barrier()
        return status

    return run_stage(work, args.device)


def transform(args: TransformArguments) -> int:
    """The data set, export or import that the flags name; returns the exit status, 0 or 1."""
    corpus = open_corpus(args)
    if args.import_files:
        return import_files(args, corpus)
    folder = features_dir(args, corpus, tag_of(args))
    store = FeatureStore(find_feature(folder, corpus.name, f"{args.node_feature}_graph"))
    ids = [name for name in corpus.ids() if name in store]
    if absent := [name for name in corpus.ids() if name not in store]:
        log.warning("%d videos have no graph in %s: %s", len(absent), store.path, listed(absent))
    if not ids:
        log.error("none of the %d videos has a graph in %s", len(absent), store.path)
        return 1
    if args.export:
        export(args, corpus, store, ids, Path(args.export).expanduser())
    else:
        name = f"{corpus.name}_{args.node_feature}_geometric"
        write_data_set(args, corpus, store, ids, Path(args.output).expanduser() if args.output else folder / name)
    return int(args.strict and bool(absent))


def write_data_set(args: TransformArguments, corpus: Corpus, store: FeatureStore, ids: list[str], root: Path) -> None:
    """Writes the folder that `ActionGraphDataset` opens, unless it is there already.

    Raises:
        SettingsMismatch: one with other settings is there.
    """
    settings = {"graphs": store.settings, "settings_hash": store.settings_hash, "reference": args.compat}
    if (root / SETTINGS).is_file() and args.resume:
        there = GraphFolder(root)
        if there.settings != settings:
            raise SettingsMismatch(
                f"{root} was made with other settings; give another --output, or --resume 0 to make it anew"
            )
        if there.ids == ids:
            log.info("%s holds these %d graphs already", root, len(ids))
            return
    if args.dry_run:
        log.info("would write %d graphs of %s to %s", len(ids), store.path, root)
        return
    write_graph_folder(root, store, ids, corpus.splits, settings)
    log.info("%d graphs -> %s", len(ids), root)


def export(args: TransformArguments, corpus: Corpus, store: FeatureStore, ids: list[str], target: Path) -> None:
    """Writes the published files: graphs, masks and rows per phase, node features per slot, the masks of all videos."""
    reference = tuple(args.compat)
    known = set(ids)
    phases = {split: [name for name in names if name in known] for split, names in corpus.splits.items()}
    phases = {phase: names for phase, names in phases.items() if names} or {"all": ids}
    if args.dry_run:
        log.info("would write %s to %s", ", ".join(f"{phase}: {len(names)}" for phase, names in phases.items()), target)
        return
    target.mkdir(parents=True, exist_ok=True)
    count = most_edges((store[name] for name in ids), reference) if "pad_edges" in reference else None
    for phase, names in phases.items():
        path = target / f"{corpus.name}_{args.node_feature}_{phase}.pickle"
        write_graph_pickle(path, ((name, published_graph(graph_of(store[name], reference, count))) for name in names))
        write_masks(target / f"{corpus.name}_videomask_{phase}.hdf5", _masks(store, names))
        log.info("%d graphs -> %s", len(names), path)
    kind = "grid" if args.nodes == "grid" else "object"
    write_nodes(
        target / f"{kind}_node_features.hdf5", ((name, store.read(name, ("nodes", "slot_mask"))) for name in ids)
    )
    write_masks(target / "video_mask.hdf5", _masks(store, ids))
    export_rows(corpus, store.path.parent, phases, target)


def export_rows(corpus: Corpus, folder: Path, phases: Mapping[str, list[str]], target: Path) -> None:
    """Writes relation and object rows per phase, where the features hold some."""
    for feature, array, files in (
        (RELATIONS, "rel", {RELATIONS: slice(None)}),
        (OBJECTS, "objects", {OBJECTS: slice(BOX, None), BOXES: slice(BOX)}),
    ):
        path = feature_path(folder, corpus.name, feature)
        if not path.is_file():
            continue
        store = FeatureStore(path)
        for phase, names in phases.items():
            known = [name for name in names if name in store]
            for kind, columns in files.items():
                rows = ((name, store.read(name, (array,))[array][:, columns]) for name in known)
                write_rows(target / f"{corpus.name}_{kind}_{phase}.hdf5", rows)
        log.info("%s -> %s", path, target)


def _masks(store: FeatureStore, names: Iterable[str]) -> Iterable[tuple[str, Mapping[str, np.ndarray]]]:
    return ((name, store.read(name, ("slot_mask",))) for name in names)
