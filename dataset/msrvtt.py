"""MSR-VTT, and the annotation schema that it introduced.

The schema: {"videos": [{"video_id", "split", ...}], "sentences": [{"video_id", "caption", ...}]}, plain or gzip.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from dataset.corpus import (
    SPLITS,
    Corpus,
    CorpusError,
    annotation_folders,
    first_file,
    listed,
    locate,
    needed_file,
    open_json,
    video_folder,
)

PROTOCOLS = ("captioning", "7k", "9k")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


@dataclass
class Annotation:
    """What a file in the MSR-VTT schema says: captions by id (possibly none) and ids by split."""

    captions: dict[str, list[str]]
    splits: dict[str, list[str]]
    notes: list[str] = field(default_factory=list)


def read_annotation(*paths: Path) -> Annotation:
    """Read one file in the MSR-VTT schema, or several that complete each other.

    Videos keep the order of the file, captions the order of `sentences`. Blank captions and captions of videos that
    the file does not list are left out, with a note.

    Raises:
        CorpusError: not this schema, a video listed twice, an unknown split name, or no caption of a listed video.
    """
    source = " + ".join(map(str, paths))
    videos: list[dict] = []
    sentences: list[dict] = []
    for path in paths:
        data = open_json(path)
        if not isinstance(data, dict) or not isinstance(data.get("videos"), list):
            raise CorpusError(
                f"{path} is not in the MSR-VTT schema: expected an object with the lists 'videos' "
                "([{'video_id', 'split'}]) and 'sentences' ([{'video_id', 'caption'}])"
            )
        videos += data["videos"]
        sentences += data.get("sentences") or []
    try:
        ids = [str(video["video_id"]) for video in videos]
        pairs = [(str(sentence["video_id"]), str(sentence["caption"])) for sentence in sentences]
    except (KeyError, TypeError) as error:
        raise CorpusError(f"{source}: an entry of 'videos' or 'sentences' lacks {error}") from error
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise CorpusError(f"{source} lists {len(twice)} videos more than once: {listed(twice)}")

    captions: dict[str, list[str]] = {name: [] for name in ids}
    strangers = [name for name, _ in pairs if name not in captions]
    blank = sum(1 for _, text in pairs if not text.strip())
    for name, text in pairs:
        if name in captions and text.strip():
            captions[name].append(text)
    notes = []
    if strangers:
        names = sorted(set(strangers))
        if len(strangers) == len(pairs):
            raise CorpusError(f"{source}: no caption belongs to a listed video; captions name {listed(names)}")
        notes.append(f"{len(strangers)} captions belong to videos that {source} does not list: {listed(names)}")
    if blank:
        notes.append(f"{blank} blank captions of {source} are left out")
    empty = [name for name in ids if not captions[name]]
    if empty and pairs:
        notes.append(f"{len(empty)} videos have no caption: {listed(empty)}")
    return Annotation({k: v for k, v in captions.items() if v}, _splits(videos, ids, source), notes)


def _splits(videos: list[dict], ids: list[str], source: str) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for video, name in zip(videos, ids, strict=True):
        given = video.get("split")
        if given in (None, ""):
            splits.setdefault("none", []).append(name)
            continue
        split = SPLIT_NAMES.get(str(given).lower())
        if split is None:
            raise CorpusError(
                f"{source}: video {name!r} is in the split {given!r}; known are train, validate (or val) and test"
            )
        splits[split].append(name)
    return splits


def corpus_from(annotation: Annotation, name: str, root: Path, videos: Path | None = None) -> Corpus:
    """The corpus of an annotation, with its files looked up below `videos`, by default those of `root`."""
    notes = list(annotation.notes)
    splits = {split: list(ids) for split, ids in annotation.splits.items() if split != "none"}
    loose = annotation.splits.get("none", [])
    if loose:
        notes.append(f"{len(loose)} videos are in no split: {listed(loose)}")
    order = [video for ids in annotation.splits.values() for video in ids]
    return Corpus(name, root, locate(order, videos or video_folder(root)), annotation.captions, splits, tuple(notes))


def read_msrvtt(
    root: Path,
    captions: Path | None = None,
    protocol: str = "captioning",
    videos: Path | None = None,
    train_csv: Path | None = None,
    val_csv: Path | None = None,
) -> Corpus:
    """MSR-VTT: 6513 / 497 / 2990 videos for captioning, or a retrieval protocol.

    Args:
        root: folder with `videos/` and `metadata/`.
        captions: annotation file; by default MSRVTT_data.json, or the two files of the 2016 release, in `metadata/`.
        protocol: "captioning", or "7k" / "9k": the retrieval training list of that name (`MSRVTT_train.9k.csv`) and
            the 1,000 pairs of `MSRVTT_JSFUSION_test.csv` as validation and test, one sentence per video.
        train_csv, val_csv: other files in place of these two lists; with "captioning" they mean "9k" otherwise.

    Raises:
        FileNotFoundError: no annotation, or no list of the protocol.
        CorpusError: files that contradict each other.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"Unknown protocol ({protocol}). MSR-VTT has {', '.join(PROTOCOLS)}.")
    root = Path(root)
    folders = annotation_folders(root, captions)
    if captions is not None and not Path(captions).is_dir():
        files = [Path(captions)]
    else:
        whole = first_file(folders, "MSRVTT_data.json", "captions.json")
        parts = [first_file(folders, f"{part}_videodatainfo.json") for part in ("train_val", "test")]
        files = [whole] if whole else [path for path in parts if path]
    if not files:
        raise FileNotFoundError(
            f"No MSR-VTT annotation in {root / 'metadata'}: put MSRVTT_data.json (or .json.gz) there, or "
            "train_val_videodatainfo.json and test_videodatainfo.json, or name the file with --captions"
        )
    annotation = read_annotation(*files)
    if protocol != "captioning" or train_csv or val_csv:
        list_name = f"MSRVTT_train.{'9k' if protocol == 'captioning' else protocol}.csv"
        train_list = train_csv or needed_file(folders, "this protocol", list_name)
        pairs = val_csv or needed_file(folders, "this protocol", "MSRVTT_JSFUSION_test.csv")
        _use_retrieval_lists(annotation, train_list, pairs, protocol)
    return corpus_from(annotation, "MSR-VTT", root, videos)


def _use_retrieval_lists(annotation: Annotation, train_list: Path, pairs: Path, protocol: str) -> None:
    train = [row["video_id"] for row in _rows(train_list, "video_id")]
    test = [(row["video_id"], row["sentence"]) for row in _rows(pairs, "video_id", "sentence")]
    known = {name for ids in annotation.splits.values() for name in ids}
    unknown = [name for name in [*train, *(name for name, _ in test)] if name not in known]
    if unknown:
        raise CorpusError(f"The {protocol} lists name {len(unknown)} videos without annotation: {listed(unknown)}")
    tested = set(annotation.splits["test"])
    seen = len(tested.intersection(train))
    if seen:
        annotation.notes.append(
            f"{Path(train_list).name} holds {seen} of the {len(tested)} videos of the captioning test split: a "
            "captioner that looks through this model must not be scored on them"
        )
    names = list(dict.fromkeys(name for name, _ in test))
    annotation.splits = {"train": train, "val": names, "test": list(names)}
    annotation.captions = {name: annotation.captions.get(name, []) for name in train}
    for name, sentence in test:
        annotation.captions.setdefault(name, []).append(sentence)


def _rows(path: Path, *columns: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    lacking = [column for column in columns if rows and column not in rows[0]]
    if lacking:
        raise CorpusError(f"{path} has no column {' or '.join(lacking)}; its columns are {', '.join(rows[0])}")
    return rows
