"""Published files into feature files: graphs, nodes, relation rows and object rows of a corpus."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from dataset.arguments import features_dir
from dataset.corpus import Corpus, listed
from dataset.stage_arguments import start_anew
from graphs.published_files import read_graphs, read_masks, read_nodes
from graphs.published_pickle import PublishedFileError
from graphs.published_rows import BOXES, OBJECTS, RELATIONS, read_objects, read_relations, rows_kind
from graphs.stage import tag_of
from utility.feature_store import KEEP, FeatureStore, FeatureWriter, feature_path

if TYPE_CHECKING:
    from graphs.transform_graph_to_geometric import TransformArguments

log = logging.getLogger(__name__)

PICKLES = (".pickle", ".pkl", ".p")
HDF5 = (".hdf5", ".h5")
GRAPHS, NODES, MASKS = "graphs", "nodes", "masks"

Videos = Iterator[tuple[str, Mapping[str, np.ndarray]]]


@dataclass(frozen=True)
class Import:
    """One feature file that published files become.

    Attributes:
        feature: its name.
        sources: files that are read for it.
        settings: what is stored about them.
        videos: a function that reads them: videos by their published names, with arrays.
        keep: arrays that are stored as they are, not in half precision.
    """

    feature: str
    sources: Sequence[Path]
    settings: dict[str, Any]
    videos: partial
    keep: frozenset[str] = KEEP


def import_files(args: TransformArguments, corpus: Corpus) -> int:
    """Reads published files into feature files: graph pickles into `GBased_graph`, a node file into `GBased`, relation
    and object rows into `rel` and `OFeat`.

    Returns:
        Exit status: 0, or 1 if a feature file has none of the corpus's videos.

    Raises:
        FileNotFoundError, ValueError: naming the file and what is wrong with it.
    """
    folder = features_dir(args, corpus, tag_of(args) or "published")
    counts = []
    for task in planned(args, sorted_out(args.import_files), folder):
        path = feature_path(folder, corpus.name, task.feature)
        if args.dry_run:
            log.info("would import %s into %s", ", ".join(map(str, task.sources)), path)
            continue
        if not args.resume:
            start_anew(path)
        counts.append(_write(task, path, corpus))
    return int(0 in counts)


def sorted_out(names: Sequence[str]) -> dict[str, list[Path]]:
    """The files by what they hold: graphs, nodes, masks, rel, OFeat, BFeat.

    Raises:
        FileNotFoundError, PublishedFileError: a file is absent, or is none of these.
    """
    kinds: dict[str, list[Path]] = {}
    for path in (Path(name).expanduser() for name in names):
        if not path.is_file():
            raise FileNotFoundError(f"--import: no file {path}")
        if path.suffix not in PICKLES + HDF5:
            raise PublishedFileError(f"--import: {path} is neither a pickle ({', '.join(PICKLES)}) nor HDF5")
        kind = GRAPHS if path.suffix in PICKLES else rows_kind(path) or published_kind(path)
        kinds.setdefault(kind, []).append(path)
    return kinds


def planned(args: TransformArguments, kinds: Mapping[str, list[Path]], folder: Path) -> list[Import]:
    """What to make of these files.

    Args:
        folder: of the feature files, where graphs wait that are being read.

    Raises:
        PublishedFileError: files that do not go together, or that alone make no feature.
    """
    graphs, nodes, masks, relations, objects, boxes = (
        kinds.get(kind, []) for kind in (GRAPHS, NODES, MASKS, RELATIONS, OBJECTS, BOXES)
    )
    if graphs and nodes:
        raise PublishedFileError("--import takes graph pickles or node files at a time; both hold the nodes")
    if bool(objects) != bool(boxes):
        raise PublishedFileError(f"--import: object rows are {OBJECTS} and {BOXES} together; give both, of every phase")
    if not (graphs or nodes or relations or objects):
        raise PublishedFileError("--import: mask files alone hold no graphs; give graph pickles or a node file too")
    tasks = []
    if graphs or nodes:
        source = {"imported": _names([*graphs, *nodes, *masks]), "slots": args.slots}
        known = {video: mask for path in masks for video, mask in read_masks(path).items()}
        if graphs:
            settings = {"stage": "action_graph", "nodes": source, "actions": source}
            read = partial(_graphs, graphs, known, args.slots, args.nodes_per_slot, folder)
            tasks.append(Import(f"{args.node_feature}_graph", graphs, settings, read))
        else:
            tasks.append(Import(args.node_feature, nodes, source, partial(_nodes, nodes, known, args.slots)))
    if relations:
        settings = {"imported": _names(relations)}
        tasks.append(Import(RELATIONS, relations, settings, partial(read_relations, relations), KEEP | {"rel"}))
    if objects:
        settings = {"imported": _names([*objects, *boxes])}
        read = partial(read_objects, objects, boxes)
        tasks.append(Import(OBJECTS, [*objects, *boxes], settings, read, KEEP | {"objects"}))
    return tasks


def _names(paths: Iterable[Path]) -> list[str]:
    return sorted(path.name for path in paths)


def _graphs(paths: Sequence[Path], masks: Mapping[str, np.ndarray], slots: int, per_slot: int, folder: Path) -> Videos:
    for path in paths:
        for key, arrays in read_graphs(path, slots, per_slot, np.float16, folder).items():
            yield key, _within(arrays, masks.get(key))


def _nodes(paths: Sequence[Path], masks: Mapping[str, np.ndarray], slots: int) -> Videos:
    for path in paths:
        for key, arrays in read_nodes(path, slots, masks or None):
            yield key, _within(arrays, masks.get(key))


def _within(arrays: Mapping[str, np.ndarray], mask: np.ndarray | None) -> dict[str, np.ndarray]:
    """The arrays with the slot mask of a mask file, which also knows filled slots without any node."""
    return dict(arrays) if mask is None else {**arrays, "slot_mask": mask | arrays["slot_mask"]}


def _write(task: Import, path: Path, corpus: Corpus) -> int:
    """Writes the videos that are of the corpus, under its ids; their number."""
    ids = {file.stem: name for name, file in corpus.videos.items() if file is not None} | corpus.aliases
    unknown = []
    with FeatureWriter(path, task.settings, keep=task.keep) as writer:
        for key, arrays in task.videos():
            name = key if key in corpus.videos else ids.get(key, key)
            if name not in corpus.videos:
                unknown.append(name)
            elif name not in writer.done:
                writer.write(name, dict(arrays))
        writer.finish()
    count = len(FeatureStore(path))
    if unknown:
        log.warning("%d videos are not of %s and were left out: %s", len(unknown), corpus.name, listed(unknown))
    log.info("%d videos -> %s", count, path)
    return count


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
        return MASKS
    if len(shape) == 2 and key.rpartition("-")[2].isdecimal():
        return NODES
    raise PublishedFileError(
        f"{path} is neither a node file (VIDEO-SLOT: [nodes, width]) nor a mask file (VIDEO: [1, slots]) nor, by its "
        f"name, one of rows (..._{RELATIONS}_..., ..._{OBJECTS}_..., ..._{BOXES}_...)"
    )
