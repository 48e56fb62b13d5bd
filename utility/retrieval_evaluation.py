"""Encodes texts and videos once each, split over processes, and scores every pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from utility.distributed import Distributed
from utility.retrieval_metrics import RECALLS, retrieval_scores


class Clips(Protocol):
    """What is evaluated: `clips[i]` is (frames, mask) or None; texts are rows of ids with the number of their video."""

    ids: Tensor
    video_of_text: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor] | None: ...


@torch.no_grad()
def similarity_matrix(
    model: Any, clips: Clips, pixels: Callable[[Tensor], Tensor], dist: Distributed, batch_size: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities [texts, videos] and the video of every text, without videos that cannot be read and their texts.

    Args:
        model: has `encode_text`, `encode_video` and `similarity_matrix`.
        pixels: uint8 frames -> what the model reads.
    """
    videos = _encode(
        list(range(len(clips))), lambda rows: _encode_videos(model, clips, rows, pixels, dist), dist, batch_size
    )
    texts = _encode(
        list(range(len(clips.ids))),
        lambda rows: {
            row: (x.float().cpu(),)
            for row, x in zip(rows, model.encode_text(clips.ids[rows].to(dist.device)), strict=True)
        },
        dist,
        batch_size * 4,
    )
    read = sorted(videos)
    kept = [i for i in sorted(texts) if clips.video_of_text[i] in videos]
    frames, mask = (torch.stack([videos[i][part] for i in read]).to(dist.device) for part in (0, 1))
    text = torch.stack([texts[i][0] for i in kept]).to(dist.device)
    place = {number: column for column, number in enumerate(read)}
    owner = np.array([place[number] for number in clips.video_of_text[kept].tolist()])
    return model.similarity_matrix(text, frames, mask).float().cpu().numpy(), owner


def evaluate(
    model: Any, clips: Clips, pixels: Callable[[Tensor], Tensor], dist: Distributed, batch_size: int = 32
) -> dict[str, Any]:
    """`retrieval_scores` and `score`, the mean of the recalls of both directions, by which checkpoints are chosen."""
    results = retrieval_scores(*similarity_matrix(model, clips, pixels, dist, batch_size))
    return {**results, "score": float(np.mean([results[way][f"R@{k}"] for way in ("t2v", "v2t") for k in RECALLS]))}


def flat(results: dict[str, Any]) -> dict[str, float]:
    """{"score", "t2v_R1", ...}: names that curves allow."""
    ways = {
        f"{way}_{name.replace('@', '')}": value
        for way in ("t2v", "v2t")
        for name, value in results[way].items()
        if name[0] in "RM"
    }
    return {"score": results["score"], **ways}


def _encode_videos(
    model: Any, clips: Clips, rows: Sequence[int], pixels: Callable, dist: Distributed
) -> dict[int, tuple]:
    read = {row: clip for row in rows if (clip := clips[row]) is not None}
    if not read:
        return {}
    frames, mask = (torch.stack([clip[part] for clip in read.values()]).to(dist.device) for part in (0, 1))
    features = model.encode_video(pixels(frames), mask).float().cpu()
    return {row: (feature, own) for row, feature, own in zip(read, features, mask.cpu(), strict=True)}


def _encode(rows: list[int], encode: Callable, dist: Distributed, batch_size: int) -> dict[int, tuple[Tensor, ...]]:
    """{row: tensors} of all rows, each encoded by one of the processes."""
    mine: dict[int, tuple[Tensor, ...]] = {}
    own = dist.shard(rows)
    for start in range(0, len(own), batch_size):
        mine |= encode(own[start : start + batch_size])
    return {row: value for part in dist.gather_objects(mine) for row, value in part.items()}
