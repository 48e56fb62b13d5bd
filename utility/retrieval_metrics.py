"""Retrieval scores of a similarity matrix, one rank per query.

The rank of a query is the place of its right answer when candidates are sorted by falling similarity. **Ties count
against the answer**: it takes the last of the places that equal scores share, so that a model which scores everything
alike finds nothing. (The published scripts give every tied candidate a rank of its own, which lengthens the list.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

TIE_RULE = "one rank per query; equal scores take the last place that they share"
RECALLS = (1, 5, 10)


def ranks(similarity: np.ndarray, answer: Sequence[int]) -> tuple[np.ndarray, int]:
    """Rank of the right candidate of every query, counted from 1, and the number of queries whose answer is tied.

    Shapes:
        similarity: [queries, candidates]; answer: [queries], column of the right candidate; ranks: [queries] int64

    Raises:
        ValueError: NaN in the matrix, or answers that do not belong to it.
    """
    similarity, answer = np.asarray(similarity), np.asarray(answer)
    if similarity.ndim != 2 or answer.shape != similarity.shape[:1]:
        raise ValueError(f"similarities {similarity.shape} and answers {answer.shape} do not belong together")
    if np.isnan(similarity).any():
        raise ValueError(f"{int(np.isnan(similarity).any(1).sum())} queries have a similarity that is not a number")
    own = np.take_along_axis(similarity, answer[:, None], 1)
    place = (similarity >= own).sum(1)
    return place, int(((similarity == own).sum(1) > 1).sum())


def scores(rank: np.ndarray, lower_median: bool = False) -> dict[str, float]:
    """R@1, R@5, R@10 in percent, median and mean rank.

    Args:
        lower_median: of an even number of ranks take the lower middle one instead of the mean of both, as the published
            multi-sentence evaluation does from texts to videos.
    """
    rank = np.sort(np.asarray(rank))
    if not len(rank):
        raise ValueError("no query to score")
    recalls = {f"R@{k}": 100.0 * float((rank <= k).mean()) for k in RECALLS}
    median = rank[(len(rank) - 1) // 2] if lower_median else np.median(rank)
    return {**recalls, "MdR": float(median), "MnR": float(rank.mean())}


def group_maximum(similarity: np.ndarray, video_of_text: Sequence[int]) -> np.ndarray:
    """Best similarity of every video with the texts of every video.

    Shapes:
        similarity: [texts, V]; video_of_text: [texts]; returns [V (the texts'), V (the video)], -inf without a text
    """
    similarity = np.asarray(similarity)
    best = np.full((similarity.shape[1], similarity.shape[1]), -np.inf, similarity.dtype)
    np.maximum.at(best, np.asarray(video_of_text), similarity)
    return best


def retrieval_scores(similarity: np.ndarray, video_of_text: Sequence[int]) -> dict[str, Any]:
    """Both directions for texts that each belong to one video; a video may have several texts.

    From a text the right answer is its video. From a video it is its own group of texts, a group counting as much as
    its best text.

    Shapes:
        similarity: [texts, V]; video_of_text: [texts], numbers of videos

    Returns:
        {"t2v": scores, "v2t": scores}, each with the number of queries and of tied ones

    Raises:
        ValueError: a video without a text, or NaN.
    """
    similarity, video_of_text = np.asarray(similarity), np.asarray(video_of_text)
    videos = similarity.shape[1]
    without = sorted(set(range(videos)) - set(video_of_text.tolist()))
    if without:
        raise ValueError(f"{len(without)} of {videos} videos have no text; leave them out of the evaluation")
    several = len(video_of_text) > videos
    results = {}
    text_rank, text_ties = ranks(similarity, video_of_text)
    video_rank, video_ties = ranks(group_maximum(similarity, video_of_text).T, np.arange(videos))
    results["t2v"] = {**scores(text_rank, several), "queries": len(text_rank), "ties": text_ties}
    results["v2t"] = {**scores(video_rank), "queries": len(video_rank), "ties": video_ties}
    return results
