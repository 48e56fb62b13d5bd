"""Whole-frame features of the extractors in place of pictures: retrieval training that decodes and encodes no video."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from utility.feature_layout import find_feature
from utility.feature_store import FeatureStore

FEATURE = "theta2"


class StoredFrames:
    """`frames[id]` gives the features of a video's frames, [n, E] float32, as `ClipFrames` gives its pictures.

    Args:
        place: the file of the feature `theta2`, or the folder of a set of features.
        corpus: name of the corpus, for the file in a folder.
        names: the videos that are wanted.
        weights: hash of the backbone whose header and texts are trained; features of another one are refused.

    Attributes:
        ids: those of the videos that are stored.
        failed: cause by id of the others.

    Raises:
        FileNotFoundError, ValueError: no such features, those of another backbone, or none of the videos.
    """

    def __init__(self, place: Path, corpus: str, names: Iterable[str], weights: str | None = None):
        path = find_feature(place, corpus, FEATURE) if place.is_dir() else place
        self._store = FeatureStore(path)
        made_by = self._store.settings["backbone"]["hash"]
        if weights is not None and made_by != weights:
            raise ValueError(f"{path} was made with the backbone {made_by}, this run has {weights}: give the same one")
        names = list(names)
        self.ids = [name for name in names if name in self._store]
        self.failed = {name: f"{name}: not in {path}" for name in names if name not in self._store}
        if not self.ids:
            raise ValueError(f"{path} holds none of the {len(names)} videos")

    def __getitem__(self, name: str) -> Tensor:
        stored = self._store.read(name, ("frames", "slot_mask"))
        return torch.from_numpy(stored["frames"][stored["slot_mask"].astype(bool)]).float()
