"""Training data of the captioner: action graphs of videos, with left-to-right and right-to-left captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset.graph_features import GraphFeatures
from utility.distributed import Distributed
from utility.loader import BatchLoader, split_batch
from utility.vocabulary import PAD, Vocabulary, clean, reverse


@dataclass
class CaptionBatch:
    """One micro-batch. Caption i belongs to row `caption_video[i]` of `graphs` and of `names`.

    Shapes:
        r2l, l2r [C, L] int64; caption_video [C] int64; graphs: tensors [V, ...]
    """

    graphs: dict[str, Tensor]
    r2l: Tensor
    l2r: Tensor
    caption_video: Tensor
    names: list[str]

    def to(self, device: torch.device | str) -> CaptionBatch:
        """The same batch on a device."""
        graphs = {key: value.to(device, non_blocking=True) for key, value in self.graphs.items()}
        ids = (tensor.to(device, non_blocking=True) for tensor in (self.r2l, self.l2r, self.caption_video))
        return CaptionBatch(graphs, *ids, self.names)

    def __len__(self) -> int:
        return len(self.l2r)


def batch_loss(model: Any, batch: CaptionBatch) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """The captioner's loss of a micro-batch as the training loop wants it."""
    return model.loss(batch.graphs, batch.r2l, batch.l2r, batch.caption_video)


class CaptionGraphs(torch.utils.data.Dataset):
    """Groups of captions of one video, drawn anew for every epoch.

    In each epoch the captions of a video are permuted, paired with its right-to-left captions in another order, and cut
    into groups of `captions_per_video`; captions beyond a multiple of that wait for another epoch (a video with fewer
    captions is one group). A video of a group is encoded once for all its captions.

    Args:
        features: graphs of the videos.
        captions: raw captions by id; videos without features are left out.
        captions_per_video: captions of one video in a group.

    Raises:
        ValueError: no caption is left, or captions_per_video below 1.
    """

    def __init__(
        self,
        features: GraphFeatures,
        captions: Mapping[str, Sequence[str]],
        vocabulary: Vocabulary,
        max_words: int = 20,
        captions_per_video: int = 1,
        seed: int = 0,
    ):
        if captions_per_video < 1:
            raise ValueError(f"--captions_per_video is {captions_per_video}; it must be 1 or more")
        self.features = features
        self.captions_per_video = captions_per_video
        self.seed = seed
        self.l2r: list[list[list[int]]] = []
        self.r2l: list[list[list[int]]] = []
        self.names: list[str] = []
        self.empty = 0
        available = set(features.ids)
        for name, texts in captions.items():
            if name not in available:
                continue
            left = [vocabulary.encode(clean(text, max_words)) for text in texts]
            right = [vocabulary.encode(clean(reverse(text), max_words)) for text in texts]
            kept = [i for i in range(len(texts)) if len(left[i]) > 2 and len(right[i]) > 2]
            self.empty += len(texts) - len(kept)
            if kept:
                self.names.append(name)
                self.l2r.append([left[i] for i in kept])
                self.r2l.append([right[i] for i in kept])
        if not self.names:
            raise ValueError("No training caption with a known word belongs to a video with features")
        self.sizes = [max(1, len(rows) // captions_per_video) for rows in self.l2r]
        self.set_epoch(0)

    def __len__(self) -> int:
        return sum(self.sizes)

    def set_epoch(self, epoch: int) -> None:
        """Draw the groups of an epoch, the same on every process."""
        rng = np.random.default_rng([self.seed, epoch])
        self.groups: list[tuple[int, np.ndarray, np.ndarray]] = []
        for video, rows in enumerate(self.l2r):
            left, right = rng.permutation(len(rows)), rng.permutation(len(rows))
            k = min(self.captions_per_video, len(rows))
            self.groups += [
                (video, left[k * i : k * (i + 1)], right[k * i : k * (i + 1)]) for i in range(self.sizes[video])
            ]

    def __getitem__(self, index: int) -> tuple[str, list[list[int]], list[list[int]]]:
        video, left, right = self.groups[index]
        return self.names[video], [self.r2l[video][i] for i in right], [self.l2r[video][i] for i in left]

    def collate(
        self, groups: Sequence[tuple[str, list[list[int]], list[list[int]]]], length: int | None = None
    ) -> CaptionBatch:
        """One batch of groups; captions are padded to `length`, or to the longest of the batch."""
        names = [name for name, _, _ in groups]
        right = [row for _, rows, _ in groups for row in rows]
        left = [row for _, _, rows in groups for row in rows]
        length = length or max(map(len, left + right))
        caption_video = [i for i, (_, rows, _) in enumerate(groups) for _ in rows]
        return CaptionBatch(
            self.features.batch(names),
            _padded(right, length),
            _padded(left, length),
            torch.tensor(caption_video),
            names,
        )


def _padded(rows: list[list[int]], length: int) -> Tensor:
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])


class CaptionLoader(BatchLoader):
    """This rank's micro-batches of an epoch; batch sizes count captions.

    Args:
        batch_size: captions per optimiser step over all processes.
        micro_batch_size: captions per forward pass of one process; None for as many as fit in a step.
        length: padded length of captions (default: the longest of each micro-batch).
        num_workers: processes that prepare the next micro-batches.

    Raises:
        ValueError: sizes that do not divide, or fewer captions than one step needs.
    """

    def __init__(
        self,
        data: CaptionGraphs,
        batch_size: int,
        micro_batch_size: int | None = None,
        dist: Distributed | None = None,
        length: int | None = None,
        num_workers: int = 0,
    ):
        k = data.captions_per_video
        for flag, size in (("--batch_size", batch_size), ("--micro_batch_size", micro_batch_size or 0)):
            if size % k:
                raise ValueError(f"{flag} {size} is not a multiple of --captions_per_video {k}; both count captions")
        if 0 < len(data) * k < batch_size:
            raise ValueError(
                f"--batch_size {batch_size} is more than the {len(data) * k} training captions; choose a smaller one"
            )
        captions, _ = split_batch(batch_size, micro_batch_size, (dist or Distributed()).world_size, k)
        collate = partial(data.collate, length=length)
        super().__init__(data, collate, batch_size // k, captions // k, dist, data.seed, num_workers=num_workers)
