"""LSMDC: clips of films, one sentence each."""

from __future__ import annotations

from pathlib import Path

from dataset.corpus import (
    Corpus,
    CorpusError,
    annotation_folders,
    locate,
    needed_file,
    same_split,
    video_folder,
)

FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
FIELDS = 6


def read_lsmdc(
    root: Path, captions: Path | None = None, protocol: str = "retrieval", videos: Path | None = None
) -> Corpus:
    """LSMDC: tab-separated files in `metadata/`, six fields a line: clip, four times, sentence.

    Clips are `CLIP.*` anywhere below the videos (one folder per film as they are distributed).

    Args:
        captions: folder of these files, or one of them.

    Raises:
        FileNotFoundError: a file is not there.
        CorpusError: a line with another number of fields.
    """
    same_split("LSMDC", protocol)
    root = Path(root)
    folders = annotation_folders(root, captions)
    splits: dict[str, list[str]] = {}
    texts: dict[str, list[str]] = {}
    for split, file_name in FILES.items():
        path = needed_file(folders, "LSMDC", file_name)
        pairs = read_pairs(path)
        splits[split] = list(dict.fromkeys(name for name, _ in pairs))
        for name, sentence in pairs:
            texts.setdefault(name, []).append(sentence)
    return Corpus("LSMDC", root, locate(texts, videos or video_folder(root)), texts, splits)


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """(clip, sentence) of every line of an annotation file.

    Raises:
        CorpusError: a line with another number of fields, or without a sentence.
    """
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) != FIELDS or not fields[-1].strip():
            raise CorpusError(
                f"{path}, line {number}: {len(fields)} tab-separated fields; expected clip, four times and a sentence"
            )
        pairs.append((fields[0].strip(), fields[-1].strip()))
    return pairs
