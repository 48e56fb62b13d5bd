"""What a captioner reads of its videos: action graphs, relation rows and object rows of feature files, as batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dataset.corpus import listed
from utility.feature_store import FeatureStore

GRAPH_ARRAYS = ("nodes", "actions", "temporal", "slot_mask", "node_mask")
BOXES = "boxes"  # of object nodes, in their graphs only
MAX_ROWS = 20


class GraphFeatures:
    """Batches of graphs by video id, from memory where they fit and from the file otherwise.

    Args:
        graphs: store of compact graphs (`GBased_graph` or `OBased_graph`).
        rel: store of relation rows, for `+rel`.
        objects: store of object rows, for `+OFeat`.
        ids: videos that will be asked for; those that the stores lack are in `absent`.
        cache_bytes: graphs are kept in memory while they take no more than this.
        shuffle_seed: give every video the graph of another one, drawn with this seed: what remains to be learnt is
            what a captioner knows without seeing.
        arrays: what is read of a graph, beside the boxes of its nodes where they have some.

    Raises:
        ValueError: no graph of any of the ids.
    """

    def __init__(
        self,
        graphs: FeatureStore,
        ids: Sequence[str],
        rel: FeatureStore | None = None,
        objects: FeatureStore | None = None,
        cache_bytes: int = 2 << 30,
        shuffle_seed: int | None = None,
        arrays: Sequence[str] = GRAPH_ARRAYS,
    ):
        self.stores = {"graphs": graphs, "rel": rel, "objects": objects}
        given = [store for store in self.stores.values() if store is not None]
        self.ids = [name for name in ids if all(name in store for store in given)]
        available = set(self.ids)
        self.absent = [name for name in ids if name not in available]
        if not self.ids:
            raise ValueError(f"{graphs.path} has no features of {listed(ids)}; it holds {listed(graphs.ids)}")
        self.source = dict(zip(self.ids, self.ids, strict=True))
        if shuffle_seed is not None:
            order = np.random.default_rng(shuffle_seed).permutation(len(self.ids))
            self.source = {self.ids[a]: self.ids[b] for a, b in zip(order, np.roll(order, 1), strict=True)}
        self.arrays = (*arrays, BOXES) if BOXES in graphs.places(self.ids[0]) else tuple(arrays)
        first = graphs.read(self.ids[0], {*GRAPH_ARRAYS, *self.arrays})
        self.shapes = {name: array.shape for name, array in first.items()}
        extra = [kind for kind in ("rel", "objects") if self.stores[kind] is not None]
        self._row_widths = {kind: self._rows(kind, self.ids[0]).shape[-1] for kind in extra}
        self._row = {name: row for row, name in enumerate(self.ids)}
        size = sum(first[name].nbytes for name in self.arrays)
        self._cache = self._read(self.ids) if size * len(self.ids) <= cache_bytes else None

    @property
    def has_boxes(self) -> bool:
        """Whether the graphs say where in the frame their nodes are."""
        return BOXES in self.arrays

    @property
    def widths(self) -> dict[str, int]:
        """What a model needs to know: node_dim, action_dim, slots, nodes_per_slot (and rel_dim, object_dim)."""
        slots, nodes, dim = self.shapes["nodes"]
        widths = {"node_dim": dim, "action_dim": self.shapes["actions"][-1], "slots": slots, "nodes_per_slot": nodes}
        return widths | {f"{kind.removesuffix('s')}_dim": width for kind, width in self._row_widths.items()}

    def batch(self, names: Sequence[str], device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """The graphs of these videos as float32 and boolean tensors, a video asked for twice twice."""
        names = [self.source[name] for name in names]
        if self._cache is not None:
            rows = torch.tensor([self._row[name] for name in names])
            arrays = {key: value.index_select(0, rows) for key, value in self._cache.items()}
        else:
            arrays = self._read(names)
        return {
            key: (value if value.dtype == torch.bool else value.float()).to(device, non_blocking=True)
            for key, value in arrays.items()
        }

    def _read(self, names: Sequence[str]) -> dict[str, Tensor]:
        store = self.stores["graphs"]
        kinds = store.places(names[0])
        arrays = {key: np.empty((len(names), *self.shapes[key]), kinds[key].dtype) for key in self.arrays}
        rows: dict[str, list[np.ndarray]] = {}
        for number, name in enumerate(names):
            for key, place in store.places(name).items():
                if key in arrays and place.shape != self.shapes[key]:
                    raise ValueError(
                        f"Video {name!r}: {key} is {place.shape}, in the other videos of {store.path} it is "
                        f"{self.shapes[key]}; extract the video again"
                    )
            store.read_into(name, {key: array[number] for key, array in arrays.items()})
            for key, width in self._row_widths.items():
                found = self._rows(key, name)
                self._check_rows(key, name, found, width)
                for part, padded in zip(_row_names(key), padded_rows(found), strict=True):
                    rows.setdefault(part, []).append(padded)
        for key, array in arrays.items():
            if array.dtype.kind == "f" and len(bad := unusable(array)):
                raise ValueError(
                    f"Video {names[bad[0]]!r}: {key} in {store.path} holds NaN or infinity; extract it again"
                )
        arrays |= {key: np.stack(padded) for key, padded in rows.items()}
        return {key: torch.from_numpy(array) for key, array in arrays.items()}

    def _check_rows(self, kind: str, name: str, rows: np.ndarray, width: int) -> None:
        path = self.stores[kind].path
        if rows.ndim != 2 or rows.shape[1] != width:
            raise ValueError(
                f"Video {name!r}: {kind} is {rows.shape}, but rows of {path} are {width} wide, as those of "
                f"{self.ids[0]!r}; extract the video again"
            )
        if rows.dtype.kind == "f" and len(unusable(rows)):
            raise ValueError(f"Video {name!r}: {kind} in {path} holds NaN or infinity; extract it again")

    def _rows(self, kind: str, name: str) -> np.ndarray:
        arrays = self.stores[kind].read(name)
        for key in (kind, "rel", "objects", "features"):
            if key in arrays:
                return arrays[key]
        raise ValueError(f"{self.stores[kind].path} has no array {kind!r} for {name!r}; it holds {', '.join(arrays)}")


def _row_names(kind: str) -> tuple[str, str]:
    return kind, f"{kind.removesuffix('s')}_mask"


def unusable(array: np.ndarray) -> np.ndarray:
    """Indices along the first axis under which a float array holds NaN or infinity."""
    # NumPy takes half-precision numbers one by one; torch's sum is ten times as fast and infinite or NaN if one is.
    if torch.from_numpy(array).sum(dtype=torch.float32).isfinite():
        return np.empty(0, int)
    return np.flatnonzero(~np.isfinite(array).all(axis=tuple(range(1, array.ndim))))


def padded_rows(rows: np.ndarray, count: int = MAX_ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Relation or object rows brought to `count`: evenly thinned, or padded with zero rows.

    Shapes:
        rows [n, D] -> [count, D], mask [count] bool
    """
    if len(rows) > count:
        rows = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
    padded = np.zeros((count, rows.shape[-1]), rows.dtype)
    padded[: len(rows)] = rows
    return padded, np.arange(count) < len(rows)
