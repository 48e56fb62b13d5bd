"""Encodes texts and videos once each, split over processes, and scores every pair block by block.

Shape letters: A texts, V videos, F feature rows of a video, T frames, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from utility.device_memory import evaluation_memory
from utility.distributed import Distributed
from utility.retrieval_metrics import group_maximum, retrieval_scores, text_to_video, video_to_text
from utility.retrieval_rerank import dual_softmax, qb_norm

BANK_THETA = {"t2v": 3, "v2t": 5}  # bank queries that must like a candidate before it is called a hub, as published


class Clips(Protocol):
    """What is evaluated: `clips[i]` is (frames, mask) or None; texts are rows of ids with the number of their video."""

    ids: Tensor
    video_of_text: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor] | None: ...


@dataclass
class Encoded:
    """Features of all texts and videos, the same on every process, on the CPU.

    Shapes:
        text: [A, E]; video: [V, F, E]; mask: [V, T]; owner: [A], the video of every text
        read: [V], numbers of the videos among the clips; kept: [A], numbers of the texts
    """

    text: Tensor
    video: Tensor
    mask: Tensor
    owner: np.ndarray
    read: list[int]
    kept: list[int]


@dataclass(frozen=True)
class Rules:
    """How a matrix is scored.

    Attributes:
        ties: see `utility.retrieval_metrics.TIE_RULES`.
        dual_softmax: add the scores after it.
        qb_beta: inverse temperature of a query bank.
    """

    ties: str = "worst"
    dual_softmax: bool = False
    qb_beta: float = 0.87


@torch.no_grad()
def encode(
    model: Any, clips: Clips, pixels: Callable[[Tensor], Tensor], dist: Distributed, batch_size: int = 32
) -> Encoded:
    """Features of all clips that can be read, and of their texts.

    Args:
        model: has `encode_text` and `encode_video`.
        pixels: uint8 frames -> what the model reads.

    Raises:
        ValueError: no clip can be read.
        OutOfDeviceMemory: for `batch_size` clips at a time.
    """
    with evaluation_memory("clips", batch_size, "--batch_size_val", "--device cpu helps too", dist.device):
        videos = encode_videos(model, clips, pixels, dist, batch_size)
        texts = encode_texts(model, clips, dist, batch_size * 4)
    read = sorted(videos)
    kept = [i for i in sorted(texts) if clips.video_of_text[i] in videos]
    if not read:
        raise ValueError(f"none of {len(clips)} videos can be read: nothing to score")
    frames, mask = (torch.stack([videos[i][part] for i in read]) for part in (0, 1))
    place = {number: column for column, number in enumerate(read)}
    owner = np.array([place[number] for number in clips.video_of_text[kept].tolist()])
    return Encoded(torch.stack([texts[i][0] for i in kept]), frames, mask, owner, read, kept)


@torch.no_grad()
def encode_videos(
    model: Any, clips: Clips, pixels: Callable[[Tensor], Tensor], dist: Distributed, batch_size: int
) -> dict[int, tuple[Tensor, ...]]:
    """{number of a clip: (features [F, E], mask [T])} of all that can be read, on every process."""
    numbers = list(range(len(clips)))
    return _encode(numbers, lambda rows: _encode_videos(model, clips, rows, pixels, dist), dist, batch_size)


@torch.no_grad()
def encode_texts(model: Any, clips: Clips, dist: Distributed, batch_size: int) -> dict[int, tuple[Tensor, ...]]:
    """{number of a text: (features [E],)}, on every process."""

    def encode(rows: Sequence[int]) -> dict[int, tuple[Tensor, ...]]:
        features = model.encode_text(clips.ids[rows].to(dist.device)).float().cpu()
        return {row: (feature,) for row, feature in zip(rows, features, strict=True)}

    return _encode(list(range(len(clips.ids))), encode, dist, batch_size)


@torch.no_grad()
def cross_similarity(model: Any, text: Tensor, video: Tensor, mask: Tensor, dist: Distributed) -> np.ndarray:
    """[A, V] float32: every process its share of the texts, against all videos.

    Args:
        model: has `similarity_matrix`, which works in blocks and takes each video through its header once.
    """
    device = dist.device
    video, mask = video.to(device), mask.to(device)
    # Whole shares at once, so that a video passes the header once per process and not once per block.
    bounds = np.linspace(0, len(text), dist.world_size + 1).astype(int)
    own = text[bounds[dist.rank] : bounds[dist.rank + 1]].to(device)
    rows = model.similarity_matrix(own, video, mask).float().cpu().numpy() if len(own) else None
    return np.concatenate([part for part in dist.gather_objects(rows) if part is not None])


def similarity_matrix(
    model: Any, clips: Clips, pixels: Callable[[Tensor], Tensor], dist: Distributed, batch_size: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities [A, V] and the video of every text, without videos that cannot be read and their texts."""
    encoded = encode(model, clips, pixels, dist, batch_size)
    return cross_similarity(model, encoded.text, encoded.video, encoded.mask, dist), encoded.owner


def evaluate(
    model: Any,
    clips: Clips,
    pixels: Callable[[Tensor], Tensor],
    dist: Distributed,
    batch_size: int = 32,
    rules: Rules | None = None,
) -> dict[str, Any]:
    """`retrieval_scores` and `score`, the R@1 from texts to videos, by which checkpoints are chosen."""
    similarity, owner = similarity_matrix(model, clips, pixels, dist, batch_size)
    return scored(similarity, owner, rules or Rules())


def scored(
    similarity: np.ndarray,
    owner: np.ndarray,
    rules: Rules,
    bank: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Plain scores, and re-ranked ones under `dual_softmax` and `qb_norm`.

    Args:
        bank: similarities of the bank's texts with the videos [b, V], and of the bank's videos with the texts [b, A].
    """
    results = retrieval_scores(similarity, owner, rules.ties)
    results["score"] = results["t2v"]["R@1"]
    grouped = group_maximum(similarity, owner)
    if rules.dual_softmax:
        results["dual_softmax"] = {
            "t2v": text_to_video(dual_softmax(similarity), owner, rules.ties),
            "v2t": video_to_text(dual_softmax(grouped.T).T, rules.ties),
        }
    if bank is not None:
        texts, videos = bank
        t2v, changed = qb_norm(similarity, texts, beta=rules.qb_beta, theta=BANK_THETA["t2v"])
        groups = group_columns(videos, owner, similarity.shape[1])
        v2t, turned = qb_norm(grouped.T, groups, beta=rules.qb_beta, theta=BANK_THETA["v2t"])
        results["qb_norm"] = {
            "t2v": text_to_video(t2v, owner, rules.ties),
            "v2t": video_to_text(v2t.T, rules.ties),
            "bank": len(texts), "beta": rules.qb_beta, "changed": {"t2v": len(changed), "v2t": len(turned)},
        }  # fmt: skip
    return results


def group_columns(similarity: np.ndarray, owner: np.ndarray, videos: int) -> np.ndarray:
    """Best similarity with any text of every video: [n, A] -> [n, V]."""
    best = np.full((len(similarity), videos), -np.inf, similarity.dtype)
    np.maximum.at(best.T, owner, similarity.T)
    return best


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
