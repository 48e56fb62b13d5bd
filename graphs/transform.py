"""What `transform_graph_to_geometric.py` does with the graphs of a corpus: data set, export, import."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from dataset.arguments import features_dir, open_corpus
from dataset.corpus import Corpus, listed
from dataset.stage_arguments import start_anew
from graphs.geometric import graph_of, most_edges
from graphs.graph_folder import SETTINGS, GraphFolder, write_graph_folder
from graphs.published_files import (
    published_graph,
    read_graphs,
    read_masks,
    read_nodes,
    write_masks,
    write_nodes,
)
from graphs.published_pickle import PublishedFileError, write_graph_pickle
from graphs.stage import tag_of
from utility.distributed import Distributed
from utility.feature_store import FeatureStore, FeatureWriter, SettingsMismatch, feature_path, find_feature
from utility.program import run_stage

if TYPE_CHECKING:
    from graphs.transform_graph_to_geometric import TransformArguments

log = logging.getLogger(__name__)

PICKLES = (".pickle", ".pkl", ".p")
HDF5 = (".hdf5", ".h5")


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
    """Writes the published files: graphs and masks per phase, node features per slot, the masks of all videos."""
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


def _masks(store: FeatureStore, names: Iterable[str]) -> Iterable[tuple[str, Mapping[str, np.ndarray]]]:
    return ((name, store.read(name, ("slot_mask",))) for name in names)


def import_files(args: TransformArguments, corpus: Corpus) -> int:
    """Reads published files into a feature file: graph pickles into `GBased_graph`, a node file into `GBased`.

    Raises:
        FileNotFoundError, ValueError: naming the file and what is wrong with it.
    """
    paths = [Path(name).expanduser() for name in args.import_files]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"--import: no file {path}")
        if path.suffix not in PICKLES + HDF5:
            raise PublishedFileError(f"--import: {path} is neither a pickle ({', '.join(PICKLES)}) nor HDF5")
    pickles = [path for path in paths if path.suffix in PICKLES]
    masks, nodes = {}, []
    for path in paths:
        if path.suffix in HDF5:
            if published_kind(path) == "masks":
                masks |= read_masks(path)
            else:
                nodes.append(path)
    if pickles and nodes:
        raise PublishedFileError("--import takes graph pickles or node files at a time; both hold the nodes")
    if not pickles and not nodes:
        raise PublishedFileError("--import: mask files alone hold no graphs; give graph pickles or a node file too")
    feature = f"{args.node_feature}_graph" if pickles else args.node_feature
    folder = features_dir(args, corpus, tag_of(args) or "published")
    path = feature_path(folder, corpus.name, feature)
    source = {"imported": sorted(file.name for file in paths), "slots": args.slots}
    settings = {"stage": "action_graph", "nodes": source, "actions": source} if pickles else source
    if args.dry_run:
        log.info("would import %s into %s", ", ".join(map(str, pickles or nodes)), path)
        return 0
    if not args.resume:
        start_anew(path)
    ids = {file.stem: name for name, file in corpus.videos.items() if file is not None}
    unknown = []
    with FeatureWriter(path, settings) as writer:
        for file in pickles or nodes:
            if pickles:
                videos = read_graphs(file, args.slots, args.nodes_per_slot, np.float16, folder).items()
            else:
                videos = read_nodes(file, args.slots, masks or None)
            for key, arrays in videos:
                name = key if key in corpus.videos else ids.get(key, key)
                if name not in corpus.videos:
                    unknown.append(name)
                elif name not in writer.done:
                    writer.write(name, _within(arrays, masks.get(key)))
        writer.finish()
    count = len(FeatureStore(path))
    if unknown:
        log.warning("%d videos are not of %s and were left out: %s", len(unknown), corpus.name, listed(unknown))
    log.info("%d videos -> %s", count, path)
    return int(count == 0)


def _within(arrays: Mapping[str, np.ndarray], mask: np.ndarray | None) -> dict[str, np.ndarray]:
    """The arrays with the slot mask of a mask file, which also knows filled slots without any node."""
    return dict(arrays) if mask is None else {**arrays, "slot_mask": mask | arrays["slot_mask"]}


def published_kind(path: Path) -> str:
    """ "masks" or "nodes", by the form of the first entry.

    Raises:
        PublishedFileError: neither, or no HDF5 file.
    """
    try:
        with h5py.File(path, "r") as file:
            key = next(iter(file), "")
            entry = file[key] if key else None
            shape = entry.shape if isinstance(entry, h5py.Dataset) else ()
            integer = bool(shape) and entry.dtype.kind in "iub"
    except OSError as error:
        raise PublishedFileError(f"{path} is not a readable HDF5 file: {error}") from error
    if len(shape) == 2 and shape[0] == 1 and integer:
        return "masks"
    if len(shape) == 2 and key.rpartition("-")[2].isdecimal():
        return "nodes"
    raise PublishedFileError(
        f"{path} is neither a node file (VIDEO-SLOT: [nodes, width]) nor a mask file (VIDEO: [1, slots])"
    )
