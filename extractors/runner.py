"""Runs extractors over a corpus: one decoding pass per video, batches across videos, nothing done twice or lost.

A video that cannot be read becomes a line in the manifests and the run goes on; any other exception ends it, and the
next run continues.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dataset.corpus import Corpus
from dataset.stage_arguments import start_anew
from extractors.base import Extractor, Prepared, Sampling, prepare, stored_arrays
from utility.distributed import Distributed
from utility.feature_store import FeatureWriter, feature_path, settings_hash
from utility.manifest import Manifest, manifest_path
from utility.video import VideoError

log = logging.getLogger(__name__)

REPORT_SECONDS = 15.0


@dataclass
class Summary:
    """What became of the videos of one stage, over all processes."""

    feature: str
    path: Path
    done: int = 0
    before: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # cause by id
    missing: list[str] = field(default_factory=list)

    def line(self) -> str:
        """For the log."""
        parts = [f"{self.done} done", f"{self.before} before"]
        parts += [f"{len(self.failed)} failed"] * bool(self.failed) + [f"{len(self.missing)} missing"] * bool(
            self.missing
        )
        where = str(self.path) if self.done + self.before else "no file"
        return f"{self.feature}: {', '.join(parts)} -> {where}"


class Stage:
    """An extractor with its file, manifest and the units that wait for a full batch."""

    def __init__(
        self, extractor: Extractor, sampling: Sampling, folder: Path, corpus: Corpus, dist: Distributed, notes: Mapping
    ):
        self.extractor, self.dist = extractor, dist
        self.feature = extractor.feature
        self.settings = {**sampling.settings(), **extractor.settings}
        self.path = feature_path(folder, corpus.name, self.feature)
        self.manifest = Manifest(manifest_path(folder, corpus.name, self.feature), dist)
        self.writer = FeatureWriter(self.path, self.settings, dist, notes=dict(notes))
        self.hash = settings_hash(self.settings)
        self.summary = Summary(self.feature, self.path)
        self._waiting: deque[tuple[str, Prepared, float]] = deque()
        self._units: list[Tensor] = []
        self._rows: list[Tensor] = []
        self._network_seconds = 0.0

    def add(self, video_id: str, prepared: Prepared, seconds: float) -> None:
        """Takes a video's units; computes and stores whatever full batches give."""
        self._units.append(prepared.units.pop(self.feature))
        self._waiting.append((video_id, prepared, seconds))
        self._compute(self.extractor.batch_units)

    def flush(self) -> None:
        """Computes what is left."""
        self._compute(1)

    def record(self, video_id: str, status: str, cause: str | None = None, seconds: float | None = None) -> None:
        self.manifest.record(video_id, self.feature, status, cause, seconds, self.hash)

    def _compute(self, least: int) -> None:
        if sum(map(len, self._units)) < max(1, least):
            return
        units = torch.cat(self._units) if len(self._units) > 1 else self._units[0]
        size = self.extractor.batch_units
        usable = len(units) if least == 1 else len(units) // size * size
        started = time.perf_counter()
        for part in units[:usable].split(size):
            self._rows.append(self.extractor.extract(part))
        per_unit = (time.perf_counter() - started) / usable
        self._units = [units[usable:].clone()] if usable < len(units) else []
        rows = torch.cat(self._rows)
        while self._waiting:
            video_id, prepared, seconds = self._waiting[0]
            count = prepared.counts[self.feature]
            if len(rows) < count:
                break
            self._waiting.popleft()
            self.writer.write(video_id, stored_arrays(self.extractor, prepared.plan, rows[:count]))
            self.record(video_id, "done", seconds=seconds + per_unit * count)
            self.summary.done += 1
            rows = rows[count:]
        self._rows = [rows] if len(rows) else []


def run(
    corpus: Corpus,
    extractors: Sequence[Extractor],
    sampling: Sampling,
    folder: Path,
    dist: Distributed,
    decode_workers: int = 2,
    resume: bool = True,
    notes: Mapping[str, Any] | None = None,
) -> list[Summary]:
    """Makes the feature files of a corpus; one summary per extractor, the same on all ranks.

    Args:
        folder: where the feature files and manifests go.
        decode_workers: threads of this process that decode ahead of the networks; 0: none.
        resume: keep what is stored already; otherwise the files of these features are removed first.
        notes: stored in the files without being part of their settings.

    Raises:
        SettingsMismatch: the files hold features made with other settings.
    """
    if not resume:
        if dist.is_main:
            for extractor in extractors:
                start_anew(feature_path(folder, corpus.name, extractor.feature))
        dist.barrier()
    with ExitStack() as stack:
        stages = [Stage(extractor, sampling, folder, corpus, dist, notes or {}) for extractor in extractors]
        for stage in stages:
            stack.enter_context(stage.writer)
        todo = _work_list(corpus, stages, dist)
        _extract(dist.shard(todo), corpus, stages, sampling, dist, decode_workers)
        for stage in stages:
            stage.writer.finish()
            stage.manifest.merge()
    return [_sum_up(stage.summary, dist) for stage in stages]


def _work_list(corpus: Corpus, stages: Sequence[Stage], dist: Distributed) -> list[tuple[str, list[Stage]]]:
    """(video, stages that lack it), the same on every rank; absent files are recorded here, once."""
    known = []
    if dist.is_main:
        for stage in stages:
            stage.manifest.record_stored(
                (name for name in corpus.videos if name in stage.writer.done), stage.feature, stage.hash
            )
        known = [stage.manifest.latest() for stage in stages]
    todo = []
    for video_id, path in corpus.videos.items():
        lacking = [stage for stage in stages if video_id not in stage.writer.done]
        for number, stage in enumerate(stages):
            if stage not in lacking:
                stage.summary.before += 1
            elif path is None:
                stage.summary.missing.append(video_id)
                if dist.is_main and known[number].get(video_id, {}).get("status") != "missing":
                    stage.record(video_id, "missing", "no video file")
        if lacking and path is not None:
            todo.append((video_id, lacking))
    # Every rank must have seen the same `done` before the first one adds to it.
    dist.barrier()
    return todo


def _extract(
    todo: Sequence[tuple[str, list[Stage]]],
    corpus: Corpus,
    stages: Sequence[Stage],
    sampling: Sampling,
    dist: Distributed,
    decode_workers: int,
) -> None:
    started = reported = time.perf_counter()
    waited = 0.0

    def decode(item: tuple[str, list[Stage]]) -> tuple[Prepared | VideoError, float]:
        begin = time.perf_counter()
        video_id, lacking = item
        try:
            return prepare(
                corpus.videos[video_id], [s.extractor for s in lacking], sampling
            ), time.perf_counter() - begin
        except VideoError as error:
            return error, time.perf_counter() - begin

    results = ahead(decode, todo, decode_workers)
    # A bar on terminals, of the first process; a line now and then in files, of all.
    bar = tqdm(todo, desc="extracting", unit="video", disable=None if dist.is_main else True)
    for number, (video_id, lacking) in enumerate(bar, start=1):
        begin = time.perf_counter()
        prepared, seconds = next(results)
        waited += time.perf_counter() - begin
        for stage in lacking:
            if isinstance(prepared, VideoError):
                cause = f"{prepared.stage}: {prepared.cause}"
                stage.record(video_id, "failed", cause, seconds / len(lacking))
                stage.summary.failed[video_id] = cause
            else:
                stage.add(video_id, prepared, seconds / len(lacking))
        if isinstance(prepared, VideoError):
            log.warning("%s: %s", video_id, prepared)
        now = time.perf_counter()
        if bar.disable and now - reported > REPORT_SECONDS:
            reported = now
            rate = number / (now - started)
            log.info(
                "%d of %d videos%s, %.1f per second, waiting for decoding %.0f %%, %.0f s left",
                *(number, len(todo), " of this process" if dist.world_size > 1 else "", rate),
                *(100 * waited / (now - started), (len(todo) - number) / rate),
            )
    for stage in stages:
        stage.flush()


def ahead(function: Callable[[Any], Any], items: Iterable[Any], workers: int) -> Iterator[Any]:
    """`map(function, items)` in order, computed by `workers` threads at most `workers` + 1 items ahead."""
    if workers == 0:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    pending: deque[Future] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _sum_up(summary: Summary, dist: Distributed) -> Summary:
    """`before` and `missing` are the same on every rank already."""
    summary.done = dist.all_sum(summary.done)
    summary.failed = {k: v for part in dist.gather_objects(summary.failed) for k, v in part.items()}
    return summary
