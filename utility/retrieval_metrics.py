"""Retrieval scores of a similarity matrix, one rank per query.

    python -m utility.retrieval_metrics --matrix FILE.npy [--ties best|worst|average] [--dual_softmax]

The rank of a query is the place of its right answer when candidates are sorted by falling similarity. **Ties count
against the answer** unless another rule is asked for: it takes the last of the places that equal scores share, so that
a model which scores everything alike finds nothing. (The published scripts give every tied candidate a rank of its own,
which lengthens the list.)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

TIE_RULES = {
    "worst": "one rank per query; equal scores take the last place that they share",
    "best": "one rank per query; equal scores take the first place that they share",
    "average": "one rank per query; equal scores take the mean of the places that they share",
}
TIE_RULE = TIE_RULES["worst"]
RECALLS = (1, 5, 10)


def ranks(similarity: np.ndarray, answer: Sequence[int], ties: str = "worst") -> tuple[np.ndarray, int]:
    """Rank of the right candidate of every query, counted from 1, and the number of queries whose answer is tied.

    Shapes:
        similarity: [queries, candidates]; answer: [queries], column of the right candidate
        returns [queries] int64 (float64 with ties="average")

    Raises:
        ValueError: NaN in the matrix, answers that do not belong to it, or an unknown rule.
    """
    similarity, answer = np.asarray(similarity), np.asarray(answer)
    if ties not in TIE_RULES:
        raise ValueError(f"unknown rule for ties {ties!r}; use one of {', '.join(TIE_RULES)}")
    if similarity.ndim != 2 or answer.shape != similarity.shape[:1]:
        raise ValueError(f"similarities {similarity.shape} and answers {answer.shape} do not belong together")
    if np.isnan(similarity).any():
        raise ValueError(f"{int(np.isnan(similarity).any(1).sum())} queries have a similarity that is not a number")
    own = np.take_along_axis(similarity, answer[:, None], 1)
    last, equal = (similarity >= own).sum(1), (similarity == own).sum(1)
    place = {"worst": last, "best": last - equal + 1, "average": last - (equal - 1) / 2}[ties]
    return place, int((equal > 1).sum())


def ranks_by_content(similarity: np.ndarray, answer: Sequence[int], content: Sequence[int]) -> np.ndarray:
    """Rank of the right candidate where others may show the same: 1 + candidates strictly better and of other content.

    Shapes:
        similarity: [queries, candidates]; answer: [queries]; content: [candidates], a number per content
        returns [queries]
    """
    similarity, answer, content = map(np.asarray, (similarity, answer, content))
    own = np.take_along_axis(similarity, answer[:, None], 1)
    return 1 + ((similarity > own) & (content != content[answer][:, None])).sum(1)


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


def text_to_video(similarity: np.ndarray, video_of_text: Sequence[int], ties: str = "worst") -> dict[str, Any]:
    """Every text is a query, its video the answer; [texts, V]. With the number of queries and of tied ones."""
    rank, tied = ranks(similarity, video_of_text, ties)
    several = len(rank) > np.asarray(similarity).shape[1]
    return {**scores(rank, several), "queries": len(rank), "ties": tied}


def video_to_text(grouped: np.ndarray, ties: str = "worst") -> dict[str, Any]:
    """Every video is a query, its own group of texts the answer.

    Shapes:
        grouped: [V (the texts'), V (the video)], see `group_maximum`
    """
    rank, tied = ranks(np.asarray(grouped).T, np.arange(len(grouped)), ties)
    return {**scores(rank), "queries": len(rank), "ties": tied}


def retrieval_scores(similarity: np.ndarray, video_of_text: Sequence[int], ties: str = "worst") -> dict[str, Any]:
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
    return {
        "t2v": text_to_video(similarity, video_of_text, ties),
        "v2t": video_to_text(group_maximum(similarity, video_of_text), ties),
    }


def metric_lines(results: dict[str, dict[str, float]]) -> list[str]:
    """The four lines that the published trainers print (reference section 4.5)."""
    lines = []
    for way, title, prefix in (("t2v", "Text-to-Video:", ""), ("v2t", "Video-to-Text:", "V2T$")):
        names = {"R@1": "R@1", "R@5": "R@5", "R@10": "R@10", "MdR": "Median R", "MnR": "Mean R"}
        shown = " - ".join(f"{prefix}{name}: {results[way][key]:.1f}" for key, name in names.items())
        lines += [title, f" (metric) >>>  {shown}"]
    return lines


@dataclass
class MatrixArguments:
    """A saved matrix, and how it is scored."""

    matrix: str | None = field(
        default=None, metadata={"help": ".npy file of similarities: rows are texts, columns videos"}
    )
    ties: Literal["worst", "best", "average"] = field(
        default="worst", metadata={"help": "place of an answer among candidates of the same score"}
    )
    dual_softmax: bool = field(default=False, metadata={"help": "re-rank both directions by a dual softmax first"})
    video_of_text: str | None = field(
        default=None,
        metadata={"help": ".npy file with the column of the right video of every row; default: row k belongs to k"},
    )

    def __post_init__(self):
        if self.matrix is None:
            raise ValueError("--matrix FILE.npy is needed: similarities of texts (rows) and videos (columns)")


def score_matrix(
    similarity: np.ndarray, video_of_text: Sequence[int] | None = None, ties: str = "worst", dual: bool = False
) -> dict[str, Any]:
    """`retrieval_scores` of a matrix, re-ranked by a dual softmax if asked for, with its sizes and rules.

    Raises:
        ValueError: not a matrix of numbers, or rows that belong to no video.
    """
    from utility.retrieval_rerank import dual_softmax

    similarity = np.asarray(similarity)
    if similarity.ndim != 2 or not np.issubdtype(similarity.dtype, np.number):
        raise ValueError(
            f"similarities are a matrix of numbers, texts x videos; got {similarity.dtype} {similarity.shape}"
        )
    texts, videos = similarity.shape
    if video_of_text is None:
        if texts != videos:
            raise ValueError(f"{texts} texts and {videos} videos: say with --video_of_text which belong together")
        video_of_text = np.arange(texts)
    owner = np.asarray(video_of_text)
    if (
        owner.shape != (texts,)
        or not np.issubdtype(owner.dtype, np.integer)
        or owner.min() < 0
        or owner.max() >= videos
    ):
        raise ValueError(f"--video_of_text must hold {texts} numbers of videos, 0 to {videos - 1}")
    results = retrieval_scores(similarity, owner, ties)
    if dual:
        grouped = group_maximum(similarity, owner)
        results["t2v"] = text_to_video(dual_softmax(similarity), owner, ties)
        results["v2t"] = video_to_text(dual_softmax(grouped.T).T, ties)
    return {**results, "texts": texts, "videos": videos, "tie_rule": TIE_RULES[ties], "dual_softmax": dual}


def main(argv: Sequence[str] | None = None) -> int:
    from utility.arguments import parse

    (args,) = parse(MatrixArguments, argv, False, "utility.retrieval_metrics", __doc__.split("\n")[0])
    try:
        matrix, owner = (
            None if name is None else np.load(Path(name).expanduser(), allow_pickle=False)
            for name in (args.matrix, args.video_of_text)
        )
        results = score_matrix(matrix, owner, args.ties, args.dual_softmax)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in metric_lines(results):
        print(line, file=sys.stderr)
    print(json.dumps({"matrix": args.matrix, **results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
