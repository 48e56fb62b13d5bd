"""Scores as the trainers report them: of an epoch, and of a split with its JSON file, matrices and features."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utility.distributed import Distributed
from utility.retrieval_evaluation import (
    Clips,
    Encoded,
    Rules,
    cross_similarity,
    encode,
    encode_texts,
    encode_videos,
    evaluate,
    flat,
    scored,
)
from utility.retrieval_metrics import TIE_RULES, metric_lines

log = logging.getLogger(__name__)


@dataclass
class SplitReport:
    """Scores clips with a model, on all processes; only the first one gets them and writes.

    Attributes:
        pixels: uint8 frames -> what the model reads.
    """

    model: Any
    pixels: Callable[[Any], Any]
    dist: Distributed
    batch_size: int
    rules: Rules

    def encode(self, clips: Clips) -> Encoded:
        return encode(self.model, clips, self.pixels, self.dist, self.batch_size)

    def speed(self, clips: Clips) -> dict[str, float]:
        """Videos and texts per second, from files or kept frames and from sub-words to features."""
        start = time.perf_counter()
        videos = encode_videos(self.model, clips, self.pixels, self.dist, self.batch_size)
        middle = time.perf_counter()
        texts = encode_texts(self.model, clips, self.dist, self.batch_size)
        end = time.perf_counter()
        counts = {"videos": len(videos), "texts": len(texts), "seconds": end - start}
        rates = {"videos_per_second": len(videos) / (middle - start), "texts_per_second": len(texts) / (end - middle)}
        return {**counts, **rates}

    def score(self, clips: Clips, bank: Clips | None) -> tuple[dict[str, Any] | None, np.ndarray, Encoded]:
        """(scores, None on other processes than the first; similarities [A, V]; features).

        Args:
            bank: queries of query-bank normalisation, no part of the split.
        """
        encoded = self.encode(clips)
        similarity = self._cross(encoded, encoded)
        banks = None
        if bank is not None:
            queries = self.encode(bank)
            banks = self._cross(queries, encoded), self._cross(encoded, queries).T
        if not self.dist.is_main:
            return None, similarity, encoded
        results = scored(similarity, encoded.owner, self.rules, banks)
        return {**results, "ties": TIE_RULES[self.rules.ties]}, similarity, encoded

    def write(
        self,
        clips: Clips,
        bank: Clips | None,
        about: Mapping[str, Any],
        folder: Path,
        matrix: bool = False,
        features: Path | None = None,
    ) -> dict[str, Any] | None:
        """Scores clips, writes and logs what came out; returns the scores, None on other processes than the first.

        Args:
            clips: with `names`.
            about: what the scores are of: corpus, `split`, protocol, method, ids of unreadable videos.
            folder: gets `SPLIT_retrieval.json`, and the matrix where `matrix`.
            features: folder for the features, None for nowhere.
        """
        results, similarity, encoded = self.score(clips, bank)
        if results is None:
            return None
        counts = {"videos": len(clips), "texts": len(clips.ids)}
        results |= {**about, **counts, "unreadable": sorted(about["unreadable"])}
        write_scores(folder, about["split"], results)
        if matrix:
            write_matrix(folder, about["split"], similarity, encoded)
        if features is not None:
            write_features(features, about["split"], clips.names, encoded)
        for line in metric_lines(results):
            log.info("%s", line)
        return results

    def _cross(self, texts: Encoded, videos: Encoded) -> np.ndarray:
        return cross_similarity(self.model, texts.text, videos.video, videos.mask, self.dist)


@dataclass
class EpochScores:
    """Scores the validation clips after every so many epochs and after the last one; nothing after the others.

    Attributes:
        every: epochs between two evaluations.
        epochs: of the whole training.
    """

    clips: Clips
    pixels: Callable[[Any], Any]
    dist: Distributed
    batch_size: int
    ties: str
    every: int
    epochs: int

    def __call__(self, model: Any, epoch: int) -> dict[str, float]:
        """{"score", "t2v_R1", ...} of an epoch, counted from 0; also logged as the published trainers do."""
        if (epoch + 1) % self.every and epoch + 1 < self.epochs:
            return {}
        results = evaluate(model, self.clips, self.pixels, self.dist, self.batch_size, Rules(self.ties))
        for line in metric_lines(results):
            log.info("%s", line)
        return flat(results)


def step_line(values: Mapping[str, Any]) -> str:
    """The published trainers' progress line (reference section 4.5)."""
    return (
        f"Epoch: {values['epoch']} [{values['samples']} ({values['percent']:.1f}%)]\tSimLoss: {values['sim_loss']:.4f} "
        f"\tData (t) {values['data_time']:.3f}\tBatch (t) {values['batch_time']:.3f}\tLR: {values['lr']:.1e}"
        f"\tlogit_scale {values['scale']:.3f}"
    )


def write_scores(folder: Path, split: str, results: dict[str, Any]) -> None:
    """`SPLIT_retrieval.json`"""
    text = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
    (folder / f"{split}_retrieval.json").write_text(text, encoding="utf-8")


def write_matrix(folder: Path, split: str, similarity: np.ndarray, encoded: Encoded) -> None:
    """`SPLIT_similarity.npy` and `SPLIT_video_of_text.npy`, which `utility.retrieval_metrics` scores."""
    np.save(folder / f"{split}_similarity.npy", similarity)
    np.save(folder / f"{split}_video_of_text.npy", encoded.owner)


def write_features(folder: Path, split: str, names: list[str], encoded: Encoded) -> None:
    """`SPLIT_features.npz`: text [A, E], video [V, F, E], mask [V, T], video_of_text [A], names [V]."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"text": encoded.text, "video": encoded.video, "mask": encoded.mask}
    arrays = {name: value.numpy() for name, value in parts.items()}
    read = np.array([names[row] for row in encoded.read])
    np.savez(folder / f"{split}_features.npz", names=read, video_of_text=encoded.owner, **arrays)
