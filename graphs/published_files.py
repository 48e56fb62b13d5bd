"""Published graph files to compact graphs and back.

| published file | content |
|---|---|
| `{CORPUS}_GBased_{phase}.pickle` | {video: Data(x [S*P, D], edge_index, edge_attr as sparse.COO [E, A])} |
| `{CORPUS}_videomask_{phase}.hdf5` | {video: [1, S]}, 1 for filled slots |
| `grid_node_features.hdf5` | {`{video}-{slot}`: [P, D]}, zeros for empty slots |

S slots, P nodes per slot, D node width, A action width.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from graphs.published_pickle import PublishedFileError, SparseCOO, read_graph_pickle
from model.geometric import Data
from utility.packed_arrays import pack, unpack
from utility.whole_files import whole_file

Arrays = Mapping[str, np.ndarray]


def split_key(key: str) -> tuple[str, int]:
    """`{video}-{slot}` -> video and slot. Ids may hold `-` themselves, so the last one counts.

    Raises:
        PublishedFileError: no slot number behind the last `-`.
    """
    video, dash, slot = key.rpartition("-")
    if not (dash and video and slot.isdecimal()):
        raise PublishedFileError(f"{key!r} is not named VIDEO-SLOT")
    return video, int(slot)


def sparse_rows(attributes: np.ndarray) -> SparseCOO:
    """A dense [E, A] array as the published files hold it."""
    coords = np.stack(attributes.nonzero()).astype(np.int64)
    return SparseCOO(coords, attributes[tuple(coords)], attributes.shape)


def published_graph(data: Data) -> Data:
    """The three published fields of a graph, attributes sparse."""
    return Data(x=data.x, edge_index=data.edge_index, edge_attr=sparse_rows(data.edge_attr.numpy()))


def compact_graph(graph: Mapping[str, Any], slots: int, per_slot: int) -> dict[str, np.ndarray]:
    """A published graph -> the arrays of a graph file. Edges that padding added are left out.

    Shapes:
        graph:  x [n, D], edge_index [2, E], edge_attr SparseCOO or array [E, A]
        returns nodes [S, P, D] float32, actions [S, A], temporal [S-1, P, P], slot_mask [S], node_mask [S, P]

    Raises:
        PublishedFileError: it does not have the form of an action graph.
    """
    x, edges, attributes = graph["x"], np.asarray(graph["edge_index"]), graph["edge_attr"]
    if not isinstance(attributes, SparseCOO):
        attributes = sparse_rows(np.asarray(attributes, np.float32))
    count = slots * per_slot
    if x.ndim != 2 or len(x) > count:
        raise PublishedFileError(
            f"x is {list(x.shape)}, expected at most {slots} slots x {per_slot} nodes = {count} rows"
        )
    if edges.shape != (2, attributes.shape[0]) or (edges.size and not 0 <= edges.min() <= edges.max() < count):
        raise PublishedFileError(
            f"edge_index {list(edges.shape)} does not fit {attributes.shape[0]} attributes and {count} nodes"
        )
    nodes = np.zeros((count, x.shape[1]), np.float32)
    nodes[: len(x)] = x
    edge, channel = attributes.coords
    source, target = edges[:, edge]
    slot, later = source // per_slot, target // per_slot - source // per_slot
    # Only edges with attributes are looked at, and padding edges have none.
    if not np.isin(later, (0, 1)).all():
        raise PublishedFileError("it joins nodes of slots that are not neighbours")
    own = later == 0
    if channel[~own].any():
        raise PublishedFileError("an edge between slots has more than its first channel")
    actions = np.zeros((slots, attributes.shape[1]), np.float32)
    actions[slot[own], channel[own]] = attributes.data[own]
    temporal = np.zeros((slots - 1, per_slot, per_slot), np.float32)
    place = slot[~own], source[~own] % per_slot, target[~own] % per_slot
    temporal[place] = attributes.data[~own]
    joined = np.unique(edge[own])
    whole = np.bincount(edge[own], minlength=attributes.shape[0])[joined] == (
        actions[edges[0, joined] // per_slot] != 0
    ).sum(1)
    if not (whole.all() and np.array_equal(actions[slot[own], channel[own]], attributes.data[own])):
        raise PublishedFileError("edges within one slot have different attributes")
    present = nodes.any(axis=1)
    present[np.concatenate([source, target])] = True
    node_mask = present.reshape(slots, per_slot)
    return {
        "nodes": nodes.reshape(slots, per_slot, -1),
        "actions": actions,
        "temporal": temporal,
        "slot_mask": node_mask.any(axis=1),
        "node_mask": node_mask,
    }


class SpooledGraphs(Mapping[str, dict[str, np.ndarray]]):
    """Compact graphs by video, in a file without a name, which goes with this object."""

    def __init__(self, file: BinaryIO, places: Mapping[str, tuple[int, int]]):
        self._file, self._places = file, places

    def __getitem__(self, video: str) -> dict[str, np.ndarray]:
        start, length = self._places[video]
        self._file.seek(start)
        return unpack(self._file.read(length))[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def read_graphs(
    path: Path | str,
    slots: int,
    per_slot: int,
    dtype: type[np.floating] = np.float32,
    folder: Path | None = None,
) -> SpooledGraphs:
    """{video: compact arrays} of a published graph pickle, read without running anything in it.

    A pickle names its videos only at its end, and its graphs take more memory than there may be: they wait in a file.

    Args:
        dtype: of nodes and actions; half precision for what goes into a feature file anyway.
        folder: where that file is, by default where the system keeps such files.

    Raises:
        PublishedFileError: naming the file and what is wrong.
    """

    def put_aside(graph: Mapping[str, Any]) -> tuple[int, int]:
        arrays = compact_graph(graph, slots, per_slot)
        arrays = {name: a.astype(dtype) if name in ("nodes", "actions") else a for name, a in arrays.items()}
        return file.tell(), file.write(pack(arrays, {}))

    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the graphs keep it
    try:
        return SpooledGraphs(file, read_graph_pickle(path, put_aside))
    except BaseException:
        file.close()
        raise


def read_masks(path: Path | str) -> dict[str, np.ndarray]:
    """{video: slot mask [S] bool} of a published mask file, [1, S] per video."""
    with h5py.File(path, "r") as file:
        return {video: np.asarray(file[video])[0].astype(bool) for video in file}


def read_nodes(
    path: Path | str, slots: int, masks: Mapping[str, np.ndarray] | None = None
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Videos of a published node file, with their `nodes` [S, P, D], `slot_mask` [S] and `node_mask` [S, P].

    Without masks a slot is filled if any of its numbers is not zero.

    Raises:
        PublishedFileError: keys or sizes that do not fit.
    """
    with h5py.File(path, "r") as file:
        videos: dict[str, dict[int, str]] = {}
        for key in file:
            video, slot = split_key(key)
            videos.setdefault(video, {})[slot] = key
        for video, keys in videos.items():
            if max(keys) >= slots:
                raise PublishedFileError(
                    f"{path}: {video!r} has slot {max(keys)}; with {slots} slots the last is {slots - 1}"
                )
            rows = {slot: np.asarray(file[key], np.float32) for slot, key in keys.items()}
            first = next(iter(rows.values()))
            if first.ndim != 2 or any(row.shape != first.shape for row in rows.values()):
                raise PublishedFileError(f"{path}: the slots of {video!r} are not all [nodes, width]")
            nodes = np.zeros((slots, *first.shape), np.float32)
            for slot, row in rows.items():
                nodes[slot] = row
            filled = nodes.any(axis=(1, 2)) if masks is None else masks.get(video)
            if filled is None or len(filled) != slots:
                found = "none" if filled is None else f"one of {len(filled)} slots"
                raise PublishedFileError(
                    f"{path}: {video!r} needs a mask of {slots} slots, the mask files hold {found}"
                )
            yield (
                video,
                {
                    "nodes": nodes,
                    "slot_mask": filled,
                    "node_mask": nodes.any(axis=2) & filled[:, None],
                },
            )


def write_nodes(path: Path | str, videos: Iterable[tuple[str, Arrays]]) -> None:
    """Node file: `{video}-{slot}` [P, D] float32 for every slot, zeros where it is empty."""

    def fill(file: h5py.File) -> None:
        for video, arrays in videos:
            for slot, nodes in enumerate(np.asarray(arrays["nodes"], np.float32)):
                file[f"{video}-{slot}"] = nodes if arrays["slot_mask"][slot] else np.zeros_like(nodes)

    write_hdf5(path, fill)


def write_masks(path: Path | str, videos: Iterable[tuple[str, Arrays]]) -> None:
    """Mask file: `{video}` [1, S] int64."""

    def fill(file: h5py.File) -> None:
        for video, arrays in videos:
            file[video] = np.asarray(arrays["slot_mask"], np.int64)[None]

    write_hdf5(path, fill)


def write_hdf5(path: Path | str, fill: Callable[[h5py.File], None]) -> None:
    """Writes an HDF5 file that appears under its name only when `fill` has returned.

    Raises:
        OSError: it could not be written.
    """
    try:
        with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
            fill(file)
    except RuntimeError as error:  # HDF5's own word for a disk that takes no more
        raise OSError(f"{error} while writing {path}; free space and run the same command again") from error
