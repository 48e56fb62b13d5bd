"""A corpus: its videos on disk, its captions, its splits. The readers of this folder all make one of these."""

from __future__ import annotations

import gzip
import json
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

SPLITS = ("train", "val", "test")

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc",
    ".ivf", ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mk3d", ".mkv", ".mov", ".mp4", ".mp4v", ".mpe",
    ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nut", ".ogg", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob",
    ".webm", ".wmv", ".wtv", ".y4m",
))
# fmt: on


class CorpusError(ValueError):
    """The files of a corpus cannot be used as they are; the message says which file and what to do."""


@dataclass(frozen=True)
class Corpus:
    """Videos, captions and splits under one set of ids.

    Attributes:
        name: prefix of model names and feature files ("MSVD", "MSR-VTT", "MiniMotion", or a folder's name).
        root: folder that holds `videos/`, `metadata/` and `features/`.
        videos: path of every video by id; None where the file is not on disk.
        captions: raw captions by id, in the order of the annotation; ids without captions are absent.
        splits: ids of "train", "val" and "test", in the order of the annotation.
        notes: what a user should know about these files, one sentence each.
        aliases: ids by the other names of videos that published files use.
        segments: (first, last) second of the part of a file that an id means; ids without one mean the whole file.
    """

    name: str
    root: Path
    videos: dict[str, Path | None]
    captions: dict[str, list[str]] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    segments: dict[str, tuple[float, float]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        for split in SPLITS:
            self.splits.setdefault(split, [])
        for split, ids in self.splits.items():
            unknown = [name for name in ids if name not in self.videos]
            if unknown:
                raise CorpusError(
                    f"{self.name}: split {split!r} names {len(unknown)} unknown videos: {listed(unknown)}"
                )

    @property
    def missing(self) -> list[str]:
        """Ids whose video file is not on disk."""
        return [name for name, path in self.videos.items() if path is None]

    def ids(self, split: str | None = None) -> list[str]:
        """Ids of a split, or of the whole corpus in the order of the annotation.

        Raises:
            ValueError: unknown split.
        """
        if split in (None, "all"):
            return list(self.videos)
        if split not in self.splits:
            raise ValueError(f"Unknown split ({split}). {self.name} has {', '.join(self.splits)}.")
        return list(self.splits[split])

    def references(self, split: str) -> dict[str, list[str]]:
        """Raw captions of the videos of a split; a video without captions is left out."""
        return {name: self.captions[name] for name in self.ids(split) if self.captions.get(name)}

    def subset(self, ids: Iterable[str]) -> Corpus:
        """The same corpus with only these videos, in the old order."""
        wanted = set(ids)
        return replace(
            self,
            videos={name: path for name, path in self.videos.items() if name in wanted},
            captions={name: texts for name, texts in self.captions.items() if name in wanted},
            segments={name: ends for name, ends in self.segments.items() if name in wanted},
            splits={split: [name for name in names if name in wanted] for split, names in self.splits.items()},
        )

    def limited(self, limit: int) -> Corpus:
        """The first `limit` videos of every split (of the whole corpus where it has no splits)."""
        if limit < 1:
            raise ValueError(f"--limit is {limit}; it must be 1 or more")
        if not any(self.splits.values()):
            return self.subset(list(self.videos)[:limit])
        return self.subset(name for names in self.splits.values() for name in names[:limit])

    def summary(self) -> list[str]:
        """Lines that describe the corpus to a user: sizes, absent files, notes."""
        parts = ", ".join(f"{split} {len(names)}" for split, names in self.splits.items() if names) or "no splits"
        count = sum(map(len, self.captions.values()))
        lines = [f"{self.name}: {len(self.videos)} videos ({parts}), {count} captions"]
        if self.missing:
            absent = f"{len(self.missing)} of {len(self.videos)} video files"
            lines.append(f"{absent} are not under {self.root}: {listed(self.missing)}")
        return lines + list(self.notes)


def listed(names: Iterable[object], count: int = 5) -> str:
    """The first few names for a message, and how many more there are."""
    names = [str(name) for name in names]
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def open_json(path: Path) -> object:
    """Read a JSON file, plain or gzip-compressed whatever its name says.

    Raises:
        FileNotFoundError: no such file.
        CorpusError: not JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No annotation file {path}")
    data = path.read_bytes()
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return json.loads(data.decode("utf-8-sig"))
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CorpusError(f"{path} is not a JSON file: {error}") from error


def first_file(folders: Iterable[Path], *names: str) -> Path | None:
    """The first of these file names that exists, each also as `.gz`, in any of the folders."""
    folders = list(folders)
    for name in names:
        for folder in folders:
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    return path
    return None


def video_folder(root: Path) -> Path:
    """`root/videos`, or the root itself where it has no such folder."""
    return root / "videos" if (root / "videos").is_dir() else root


def find_videos(folder: Path) -> dict[str, list[Path]]:
    """Every video file below a folder by stem (NFC), links to folders included.

    Returns:
        {stem: paths}; more than one path where two folders or two containers share a stem.
    """
    found: dict[str, list[Path]] = {}
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix.lower() in VIDEO_SUFFIXES and not name.startswith("."):
                found.setdefault(unicodedata.normalize("NFC", path.stem), []).append(path)
    return found


def unique_ids(found: dict[str, list[Path]], folder: Path) -> dict[str, Path]:
    """An id for every file of `find_videos`: its stem, its name where the stem is taken twice, else its path."""
    named: dict[str, Path] = {}
    for stem, paths in found.items():
        names = [path.name for path in paths]
        for path in paths:
            inside = path.relative_to(folder).as_posix()
            name = stem if len(paths) == 1 else path.name if names.count(path.name) == 1 else inside
            named[unicodedata.normalize("NFC", name)] = path
    return named


def locate(ids: Iterable[str], folder: Path, stems: dict[str, str] | None = None) -> dict[str, Path | None]:
    """The file of every id: one whose stem is the id or, with `stems`, the other name of that id.

    Raises:
        CorpusError: two files claim one id.
    """
    found = find_videos(folder) if folder.is_dir() else {}
    videos: dict[str, Path | None] = {}
    for name in ids:
        candidates = found.get(unicodedata.normalize("NFC", name), [])
        if not candidates and stems and name in stems:
            candidates = found.get(unicodedata.normalize("NFC", stems[name]), [])
        if len(candidates) > 1:
            raise CorpusError(same_stem(name, candidates))
        videos[name] = candidates[0] if candidates else None
    return videos


def same_stem(name: str, paths: list[Path]) -> str:
    return f"Video id {name!r} has {len(paths)} files: {listed(paths)}. Keep or rename all but one."


def read_lines(path: Path) -> list[str]:
    """Lines of a list file, stripped, blank ones left out."""
    return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def needed_file(folders: Iterable[Path], corpus: str, *names: str) -> Path:
    """`first_file`, which must be there.

    Raises:
        FileNotFoundError: none of the names is in any of the folders.
    """
    folders = list(folders)
    path = first_file(folders, *names)
    if path is None:
        raise FileNotFoundError(
            f"No {' or '.join(names)} in {' or '.join(map(str, folders))}: {corpus} needs it; see dataset/README.md"
        )
    return path


def annotation_folders(root: Path, captions: Path | None) -> list[Path]:
    """Where annotation files are looked for: the folder that `--captions` names or lies in, then the corpus."""
    folders = [root / "metadata", root]
    if captions is not None:
        folders.insert(0, captions if captions.is_dir() else captions.parent)
    return folders


def same_split(corpus: str, protocol: str) -> None:
    """Accepts the protocols of a corpus that has one set of lists.

    Raises:
        ValueError: another protocol.
    """
    if protocol not in ("captioning", "retrieval"):
        raise ValueError(f"Unknown protocol ({protocol}). {corpus} has one set of lists: captioning.")
