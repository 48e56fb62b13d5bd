"""Rows of the files: bytes per video, time to read a video, an epoch of data loading."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from torch_geometric.data import Data

from dataset.captioning import CaptionGraphs, CaptionLoader
from dataset.graph_features import GRAPH_ARRAYS, GraphFeatures
from graphs.published_files import published_graph
from graphs.published_pickle import write_graph_pickle
from model.captioner.slot_edges import expand_edges
from scripts.benchmarks import inputs
from scripts.benchmarks.inputs import Sizes
from scripts.benchmarks.network_rows import Setting
from scripts.benchmarks.published import StoredGraph
from scripts.benchmarks.timing import Measured, Row, compare, measure
from utility.feature_store import FeatureStore, FeatureWriter
from utility.peak_memory import peak_bytes

# What the stages of this project leave behind, and what of it the captioner reads.
STAGES = {
    "GBased": ("nodes", "slot_mask", "frame_index", "frame_time"),
    "actions": ("actions", "slot_mask", "frame_index", "frame_time"),
    "GBased_spatial": ("actions", "slot_mask", "node_mask"),
    "GBased_temporal": ("temporal", "slot_mask", "node_mask"),
    "GBased_graph": (*GRAPH_ARRAYS, "frame_index", "frame_time"),
}


def storage(setting: Setting) -> Iterator[Row]:
    """Bytes per video of a full graph: all that is left on disk against what the captioner needs, and like to like."""
    sizes, count = setting.sizes, setting.sizes.videos
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Its files have no overhead worth mentioning, but 100 MB per video.
        published = write_published(folder, inputs.graphs(sizes, 2))
        ours = {}
        for stage, arrays in STAGES.items():
            path = folder / f"ours_{stage}.hdf5"
            write_store(path, inputs.graphs(sizes, count), arrays)
            ours[stage] = path.stat().st_size / count
    graph = ours["GBased_graph"]
    opened = published["stg.pickle"] + published["video_mask.hdf5"]
    full = "actions without zeros, all slots full"
    for row, what, whole, least, detail in (
        ("bytes", "published stages : graph file", (sum(published.values()), graph), 200.0,
         f"the graph file is all that the captioner reads; {full}"),
        ("bytes_opened", "what each captioner opens", (opened, graph), None, "pickle and mask against the graph file"),
        ("bytes_stages", "all stages of both", (sum(published.values()), sum(ours.values())), None,
         "nodes, actions, spatial and temporal part, graph; the last is enough once it is there"),
    ):  # fmt: skip
        sides = ([Measured(size, size)] for size in whole)
        yield Row(row, f"bytes per video, {sizes.slots} slots: {what}", *sides, unit="B", least=least, detail=detail)


def reading(setting: Setting) -> Iterator[Row]:
    """Seconds to read one video: its spatial graph in one float64 data set per slot, against everything we store."""
    sizes, count = setting.sizes, setting.sizes.videos
    batch = inputs.graphs(sizes, count)
    with tempfile.TemporaryDirectory() as name:
        paths = Path(name) / "grid_spatio_graph.hdf5", Path(name) / "graph.hdf5"
        write_spatial(paths[0], batch)
        write_store(paths[1], batch, STAGES["GBased_graph"])
        # A process of its own, because what ran before decides whether large arrays get fresh memory.
        times = in_own_process(time_reading, *paths, sizes, setting.repeats)
    what = {
        "warm": ("again, from the page cache", 20.0, "both files open"),
        "cold": ("again, from disk", 20.0, "both files open, the page cache emptied"),
        "first": ("for the first time", None, "opening both files and looking up every array included"),
    }
    for name, both in times.items():
        title, least, detail = what[name]
        per_video = ([Measured(m.value / count, m.processor / count) for m in side] for side in both)
        detail = f"one spatial data set per slot in float64 against all arrays of the graph file; {detail}"
        yield Row(
            f"reading_{name}", f"reading one video {title}, {sizes.slots} slots", *per_video, least=least, detail=detail
        )


def time_reading(
    spatial: Path, graph: Path, sizes: Sizes, repeats: int
) -> dict[str, tuple[list[Measured], list[Measured]]]:
    """Seconds of reading all videos one after the other, as a loader does, with the files in memory and not."""
    store, videos, cpu = FeatureStore(graph), [f"video{v}" for v in range(sizes.videos)], torch.device("cpu")

    def forget() -> None:
        for path in (spatial, graph):
            with open(path, "rb") as opened:
                os.fsync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def every(read: Callable[[str], object]) -> None:
        for video in videos:
            read(video)

    def slots_of(file: h5py.File, video: str) -> list[np.ndarray]:
        return [file[f"{video}-{slot}"][()] for slot in range(sizes.slots)]

    def published_first() -> None:
        with h5py.File(spatial, "r") as file:
            every(lambda video: slots_of(file, video))

    def first() -> None:
        opened = FeatureStore(graph)
        every(opened.read)
        opened.close()

    with h5py.File(spatial, "r") as file:
        published = partial(slots_of, file)
        same = np.stack([slot[0, 0] for slot in published(videos[-1])])
        if not np.array_equal(same, store[videos[-1]]["actions"]):
            raise RuntimeError("the two files do not hold the same actions")
        sides = (lambda: every(published)), (lambda: every(store.read))
        times = {"warm": compare(*sides, repeats, cpu, least_seconds=sizes.least_seconds)}
        if hasattr(os, "posix_fadvise"):
            times["cold"] = compare(*sides, repeats, cpu, warm=False, before=forget)
        times["first"] = compare(published_first, first, repeats, cpu, least_seconds=sizes.least_seconds)
    store.close()
    return times


def in_own_process(function: Callable, *arguments: object):
    """What the function returns when called in a fresh process with as many threads."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, torch.set_num_threads, (torch.get_num_threads(),)) as pool:
        return pool.submit(function, *arguments).result()


def loading(setting: Setting) -> Iterator[Row]:
    """An epoch of (video, caption) pairs: opening the file, reading every graph, building every batch."""
    sizes = setting.sizes
    share = 1 if setting.full else sizes.share
    videos = sizes.corpus_videos // share
    factor = sizes.corpus_videos / videos
    captions = inputs.sentences(sizes, videos)
    pairs = videos * sizes.corpus_captions
    pool = inputs.graphs(sizes, 4)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "graph.hdf5"
        arrays = [inputs.stored(pool, row) for row in range(4)]
        with FeatureWriter(path, {}) as writer:
            for number, video in enumerate(captions):
                writer.write(video, arrays[number % 4])
            writer.finish()
        size = path.stat().st_size
        # A process of its own, so that its peak of memory is that of loading alone.
        results = [in_own_process(load_epoch, path, captions, sizes) for _ in range(setting.repeats)]
    item, items = published_item(sizes), sizes.micro_batch
    cpu = torch.device("cpu")
    item()
    published = [measure(item, cpu, factor=pairs * factor / items) for _ in range(setting.repeats)]
    ours = [Measured(result["seconds"] * factor, result["processor"] * factor) for result in results]
    later, memory = (sorted(result[key] for result in results)[len(results) // 2] for key in ("later", "bytes"))
    what = f"an epoch's loading, {sizes.corpus_videos} videos, {sizes.corpus_videos * sizes.corpus_captions} captions"
    detail = (
        f"measured on {videos} videos ({size / 2**20:.0f} MiB) and {items} published items, scaled; "
        f"{ours[0].processor:.1f} s of processor time; later epochs {later * factor:.1f} s; memory above the loaded "
        f"process {memory / 2**20:.0f} MiB"
    )
    more = {"later_epoch": later * factor, "peak_bytes_above_start": memory, "videos": videos}
    yield Row("loading", what, published, ours, least=None, limit=60.0, detail=detail, more=more)


def load_epoch(path: Path, captions: dict[str, list[str]], sizes: Sizes) -> dict[str, float]:
    """Seconds and peak memory of the first epoch, opening and tokenising included, and seconds of the second."""
    start = peak_bytes()
    wall, processor = time.perf_counter(), time.process_time()
    vocabulary = inputs.vocabulary(captions)
    features = GraphFeatures(FeatureStore(path), list(captions))
    data = CaptionGraphs(features, captions, vocabulary, sizes.max_words)
    loader = CaptionLoader(data, sizes.micro_batch)
    seen = one_epoch(loader, 0)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    if seen < len(data) - sizes.micro_batch:
        raise RuntimeError(f"the epoch had {seen} captions of {len(data)}")
    memory = peak_bytes() - start
    later = time.perf_counter()
    one_epoch(loader, 1)
    return {"seconds": wall, "processor": processor, "later": time.perf_counter() - later, "bytes": memory}


def one_epoch(loader: CaptionLoader, epoch: int) -> int:
    loader.set_epoch(epoch)
    return sum(len(batch) for batch in loader)


def published_item(sizes: Sizes) -> Callable[[], list[torch.Tensor]]:
    """A function that builds one batch as published: every item's edge attributes made dense, then stacked."""
    batch = inputs.graphs(sizes, 2)
    stored = []
    for v in range(2):
        one = {name: tensor[v : v + 1] for name, tensor in batch.items()}
        edges = expand_edges(one["actions"], one["temporal"], one["node_mask"])
        stored.append(StoredGraph.pack(one["nodes"].flatten(0, 2), *edges, batch["slot_mask"][v]))

    def build() -> list[torch.Tensor]:
        graphs = [stored[i % 2] for i in range(sizes.micro_batch)]
        columns = zip(*((g.x, g.edge_index, g.edge_attributes(), g.slot_mask) for g in graphs), strict=True)
        return [torch.stack(column) for column in columns]

    return build


def write_store(path: Path, batch: dict[str, torch.Tensor], names: tuple[str, ...]) -> None:
    with FeatureWriter(path, {}) as writer:
        for v in range(len(batch["nodes"])):
            arrays = inputs.stored(batch, v)
            writer.write(f"video{v}", {name: arrays[name] for name in names})
        writer.finish()


def write_spatial(path: Path, batch: dict[str, torch.Tensor]) -> None:
    """The published spatial stage: per slot one float64 data set [P, P, A], uncompressed."""
    count, slots, nodes, _ = batch["nodes"].shape
    with h5py.File(path, "w") as file:
        for v in range(count):
            for slot in range(slots):
                action = batch["actions"][v, slot].double().numpy()
                file[f"video{v}-{slot}"] = np.broadcast_to(action, (nodes, nodes, len(action)))


def write_published(folder: Path, batch: dict[str, torch.Tensor]) -> dict[str, float]:
    """The files of the published stages; {name: bytes per video}."""
    count, slots, nodes, _ = batch["nodes"].shape
    write_spatial(folder / "grid_spatio_graph.hdf5", batch)
    with (
        h5py.File(folder / "grid_node_features.hdf5", "w") as features,
        h5py.File(folder / "video_mask.hdf5", "w") as masks,
        h5py.File(folder / "grid_temporal_graph.hdf5", "w") as temporal,
    ):
        for v in range(count):
            masks[f"video{v}"] = batch["slot_mask"][v : v + 1].long().numpy()
            for slot in range(slots):
                features[f"video{v}-{slot}"] = batch["nodes"][v, slot].numpy()
            for slot in range(1, slots):
                temporal[f"video{v}-{slot}"] = batch["temporal"][v, slot - 1].double().numpy()
    graphs = []
    with open(folder / "stg.hdf5", "wb") as file:
        for v in range(count):
            one = {name: tensor[v : v + 1] for name, tensor in batch.items()}
            edge_index, edge_attr = expand_edges(one["actions"], one["temporal"], one["node_mask"])
            edge, channel = (place.numpy() for place in edge_attr.nonzero(as_tuple=True))
            coords = np.stack([*edge_index.numpy()[:, edge], channel])
            data = edge_attr.numpy()[edge, channel].astype(np.float64)
            pickle.dump({f"video{v}": (coords, data, (slots * nodes, slots * nodes, edge_attr.shape[1]))}, file)
            x = one["nodes"].flatten(0, 2)
            graphs.append((f"video{v}", published_graph(Data(x=x, edge_index=edge_index, edge_attr=edge_attr))))
    write_graph_pickle(folder / "stg.pickle", graphs)
    names = ("grid_node_features", "video_mask", "grid_spatio_graph", "grid_temporal_graph", "stg")
    return {name: (folder / name).stat().st_size / count for name in [*(f"{n}.hdf5" for n in names), "stg.pickle"]}
