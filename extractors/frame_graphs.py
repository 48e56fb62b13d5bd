"""Batches of tiles in place of stored nodes: what a captioner reads that makes its nodes itself.

S slots, P tiles per slot, R pixels of a tile's edge.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset.corpus import listed
from dataset.graph_features import GraphFeatures
from extractors.base import Sampling, prepare
from extractors.clip_features import GridNodes
from utility.video import VideoError

log = logging.getLogger(__name__)

KEPT_ARRAYS = ("actions", "slot_mask", "node_mask", "frame_index")
"""What of a stored graph does not depend on the backbone."""


class FrameGraphs:
    """Decoded frames, cut into tiles, with the rest of the graph from the store; used as `GraphFeatures` is.

    Args:
        graphs: reads `KEPT_ARRAYS`, and rows where the captioner has them.
        paths: video files by id; videos without one are left out.
        tiles: cuts frames as it does in extraction.
        sampling: which frames fill the slots: that of the stored graphs.
        cache_bytes: tiles of all videos are decoded once and kept if they take no more than this, otherwise decoded
            whenever a batch needs them.
        threads: that decode.

    Attributes:
        ids: videos with features and file; `absent`: the others.
        bytes_per_video: of the tiles.

    Raises:
        ValueError: no video is left, or one that changed since its features were made; names it.
    """

    def __init__(
        self,
        graphs: GraphFeatures,
        paths: Mapping[str, Path | None],
        tiles: GridNodes,
        sampling: Sampling,
        cache_bytes: int = 0,
        threads: int = 1,
    ):
        self.graphs, self.tiles, self.sampling, self.threads = graphs, tiles, sampling, threads
        self.paths = {name: path for name, path in paths.items() if path is not None}
        self.ids = [name for name in graphs.ids if graphs.source[name] in self.paths]
        self.absent = graphs.absent + [name for name in graphs.ids if graphs.source[name] not in self.paths]
        if not self.ids:
            raise ValueError(f"no video file of {listed(graphs.ids)}: without stored nodes their frames are needed")
        self.shape = (sampling.slots, tiles.patch**2, 3, tiles.size, tiles.size)
        self.bytes_per_video = int(np.prod(self.shape))
        self._cache: Tensor | None = None
        size = self.bytes_per_video * len(self.ids)
        if size <= cache_bytes:
            log.info("%d videos: decoding %.0f MB of tiles", len(self.ids), size / 2**20)
            sources = sorted({graphs.source[name] for name in self.ids})
            self._row = {name: row for row, name in enumerate(sources)}
            self._cache = self._decode(sources)

    @property
    def has_boxes(self) -> bool:
        """Tiles have no boxes: their place is their number."""
        return False

    @property
    def widths(self) -> dict[str, int]:
        """As `GraphFeatures.widths`; nodes are as wide as the backbone makes them."""
        return self.graphs.widths | {"node_dim": self.tiles.dim, "nodes_per_slot": self.shape[1]}

    def batch(self, names: Sequence[str], device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """`tiles` [B, S, P, 3, R, R] uint8, zero in empty slots, and the stored arrays of these videos."""
        stored = self.graphs.batch(names, device)
        sources = [self.graphs.source[name] for name in names]
        if self._cache is None:
            tiles = self._decode(sources)
        else:
            tiles = self._cache[torch.tensor([self._row[name] for name in sources])]
        del stored["frame_index"]
        return stored | {"tiles": tiles.to(device, non_blocking=True)}

    def _decode(self, names: Sequence[str]) -> Tensor:
        """[V, S, P, 3, R, R] of videos; one that is asked for twice is decoded once."""
        tiles = torch.zeros(len(names), *self.shape, dtype=torch.uint8)
        first = {name: row for row, name in reversed(list(enumerate(names)))}
        store = self.graphs.stores["graphs"]  # opened by this thread, before others could
        index = {name: store.read(name, ("frame_index",))["frame_index"] for name in first}

        def one(name: str) -> None:
            units = self._units(name, index[name])
            tiles[first[name], : len(units)] = units

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(one, first))
        return tiles if len(first) == len(names) else tiles[[first[name] for name in names]]

    def _units(self, name: str, index: np.ndarray) -> Tensor:
        """Tiles of the filled slots [n, P, 3, R, R], which must hold the frames `index` [S]."""
        try:
            prepared = prepare(self.paths[name], [self.tiles], self.sampling)
        except VideoError as error:
            raise ValueError(
                f"video {name!r} has features, but its file cannot be read any more: {error}. Put the file back, or "
                "extract the features again"
            ) from error
        if not np.array_equal(prepared.plan.slot_arrays()["frame_index"], index):
            raise ValueError(
                f"video {name!r}: its slots hold other frames than those of its features in "
                f"{self.graphs.stores['graphs'].path}; the file has changed: extract its features again"
            )
        return prepared.units[self.tiles.feature].unflatten(0, (-1, self.shape[1]))
