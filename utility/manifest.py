"""What became of every video in every stage: JSON lines beside the features.

    python -m utility.manifest status dataset/MiniMotion/features/small

prints one line per corpus and stage, and each cause of failure with its number of videos. A line of a manifest reads
`{"video", "stage", "status": "done" | "failed" | "missing", "cause", "seconds", "settings_hash", "time"}`; the last
line of a video counts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from utility.feature_layout import glob_escape

STATUSES = ("done", "failed", "missing")
SUFFIX = ".manifest.jsonl"


def manifest_path(features_dir: Path | str, corpus: str, feature: str) -> Path:
    """`{features_dir}/{corpus}_{feature}.manifest.jsonl`"""
    return Path(features_dir) / f"{corpus}_{feature}{SUFFIX}"


class Manifest:
    """Record of one stage over one corpus.

    Several processes write one file each (`...rank{r}.jsonl`), which `merge` appends to the common one; reading looks
    at all of them, so that nothing is lost when a run is killed before.

    Args:
        path: the common file, ending in `.manifest.jsonl`.
        dist: a `utility.distributed.Distributed`, None for a plain process.
    """

    def __init__(self, path: Path | str, dist: Any = None):
        self.path = Path(path)
        self._dist = dist
        several = dist is not None and dist.world_size > 1
        self._mine = self.path.with_name(f"{self.path.stem}.rank{dist.rank}.jsonl") if several else self.path

    def record(
        self,
        video_id: str,
        stage: str,
        status: str,
        cause: str | None = None,
        seconds: float | None = None,
        settings_hash: str | None = None,
    ) -> None:
        """Appends one line.

        Raises:
            ValueError: unknown status.
        """
        if status not in STATUSES:
            raise ValueError(f"unknown status {status!r}. Known: {', '.join(STATUSES)}")
        entry = {
            "video": video_id,
            "stage": stage,
            "status": status,
            "cause": cause,
            "seconds": None if seconds is None else round(seconds, 4),
            "settings_hash": settings_hash,
            "time": round(time.time(), 3),
        }
        _append(self._mine, json.dumps(entry) + "\n")

    def latest(self) -> dict[str, dict[str, Any]]:
        """The newest record of every video."""
        newest: dict[str, dict[str, Any]] = {}
        for file in [self.path, *self._rank_files()]:
            for entry in _read(file):
                known = newest.get(entry["video"])
                if known is None or entry["time"] >= known["time"]:
                    newest[entry["video"]] = entry
        return newest

    def record_stored(self, videos: Iterable[str], stage: str, settings_hash: str | None = None) -> None:
        """A line for every stored video that has none: a kill came between the two. Call it on one rank only."""
        videos = list(videos)
        known = self.latest() if videos else {}
        for video in videos:
            if known.get(video, {}).get("status") != "done":
                self.record(video, stage, "done", settings_hash=settings_hash)

    def merge(self) -> None:
        """Rank 0 appends the files of all ranks to the common one; call it on every rank after the last record."""
        if self._dist is not None:
            self._dist.barrier()
        if self._dist is None or self._dist.rank == 0:
            for file in self._rank_files():
                _append(self.path, "".join(json.dumps(entry) + "\n" for entry in _read(file)))
                file.unlink()
        if self._dist is not None:
            self._dist.barrier()

    def _rank_files(self) -> list[Path]:
        return sorted(self.path.parent.glob(f"{glob_escape(self.path.stem)}.rank*.jsonl"))


def status_table(folder: Path | str, most: int | None = 8) -> str:
    """Counts per manifest of a folder, then how many videos each cause stopped, and in which stages.

    Args:
        most: how many videos are named per cause; None for all.

    Raises:
        FileNotFoundError: the folder does not exist or holds no manifest.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"folder not found: {folder}")
    files = folder.rglob("*.manifest*.jsonl")
    stages = sorted({file.with_name(file.name.split(".manifest")[0] + SUFFIX) for file in files})
    if not stages:
        raise FileNotFoundError(f"no {'*' + SUFFIX} in {folder}: give the folder of the feature files")
    stopped: dict[tuple[str, str, str], list[str]] = {}
    rows = [("stage", "done", "failed", "missing", "seconds")]
    for path in stages:
        latest = Manifest(path).latest()
        counts = Counter(entry["status"] for entry in latest.values())
        seconds = sum(entry["seconds"] or 0.0 for entry in latest.values())
        label = str(path.relative_to(folder)).removesuffix(SUFFIX)
        rows.append((label, *(str(counts[status]) for status in STATUSES), f"{seconds:.1f}"))
        for video, entry in sorted(latest.items()):
            if entry["status"] != "done":
                why = (video, entry["status"], entry["cause"] or "no cause recorded")
                stopped.setdefault(why, []).append(label)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{row[0]:<{widths[0]}}  " + "  ".join(map(str.rjust, row[1:], widths[1:])) for row in rows]
    return "\n".join(lines + _causes(stopped, most))


def _causes(stopped: Mapping[tuple[str, str, str], Sequence[str]], most: int | None) -> list[str]:
    """Lines for {(video, status, cause): stages}: per stages and status, the causes by their number of videos."""
    sections: dict[tuple[str, tuple[str, ...]], dict[str, dict[str, str]]] = {}
    for (video, status, cause), where in stopped.items():
        if cause.startswith("no "):
            cause = cause.split(" (")[0]  # what stopped the stage before has a line of its own
        kind = re.sub(r"\d+", "N", cause)
        sections.setdefault((status, tuple(where)), {}).setdefault(kind, {})[video] = cause
    lines = []
    for (status, where), kinds in sections.items():
        lines += ["", f"{status} in {', '.join(where)}"]
        for kind, causes in sorted(kinds.items(), key=lambda item: -len(item[1])):
            videos = list(causes)
            names = ", ".join(videos[:most])
            more = "" if len(videos) <= len(videos[:most]) else f", and {len(videos) - most} more (--all names them)"
            cause = kind if len(set(causes.values())) > 1 else causes[videos[0]]
            lines.append(f"{len(videos):>6}  {cause}: {names}{more}")
    return lines


def main(argv: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m utility.manifest", description="What became of every video.")
    verbs = parser.add_subparsers(dest="verb", required=True, help="what to do")
    status = verbs.add_parser("status", help="print a table of all stages in a folder of features")
    status.add_argument("folder", type=Path, help="folder of feature files, or of several such folders")
    status.add_argument("--all", action="store_true", help="name every video that is not done, not eight per cause")
    arguments = parser.parse_args(None if argv is None else list(argv))
    try:
        print(status_table(arguments.folder, None if arguments.all else 8))
    except FileNotFoundError as error:
        parser.error(str(error))
    return 0


def _append(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "ab+") as target:
        if target.tell() > 0:
            target.seek(-1, os.SEEK_END)
            if target.read(1) != b"\n":  # a kill in the middle of a line
                text = "\n" + text
        target.write(text.encode())


def _read(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    entries = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # the line that a kill cut short
            continue
        if isinstance(entry, dict) and "video" in entry:
            entries.append(entry)
    return entries


if __name__ == "__main__":
    sys.exit(main())
