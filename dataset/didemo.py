"""DiDeMo for paragraph retrieval: all descriptions of a video are one text."""

from __future__ import annotations

from pathlib import Path

from dataset.corpus import (
    SPLITS,
    VIDEO_SUFFIXES,
    Corpus,
    CorpusError,
    annotation_folders,
    listed,
    locate,
    needed_file,
    open_json,
    read_lines,
    same_split,
    video_folder,
)

SECONDS = 31.0


def read_didemo(
    root: Path, captions: Path | None = None, protocol: str = "retrieval", videos: Path | None = None
) -> Corpus:
    """DiDeMo: lists `{train,val,test}_list.txt`, descriptions `{train,val,test}_data.json` in `metadata/`.

    A description is {"video", "description", "times"}. Names carry the ending of the first upload
    (`12090392@N02_13482799053_87ef417396.mov`); ids are without it, files may have it, another one, or both
    (`....mov.mp4`). The first 31 seconds of a file are meant.

    Args:
        captions: folder of these files, or one of them.

    Raises:
        FileNotFoundError: a file is not there.
        CorpusError: a file of another form, or a list none of whose videos has a description.
    """
    same_split("DiDeMo", protocol)
    root = Path(root)
    folders = annotation_folders(root, captions)
    splits: dict[str, list[str]] = {}
    described: dict[str, list[str]] = {}
    published: dict[str, str] = {}
    notes = []
    for split in SPLITS:
        list_file = needed_file(folders, "DiDeMo", f"{split}_list.txt")
        data_file = needed_file(folders, "DiDeMo", f"{split}_data.json")
        entries = open_json(data_file)
        try:
            pairs = [(str(entry["video"]), str(entry["description"]).strip()) for entry in entries]
        except (KeyError, TypeError) as error:
            raise CorpusError(f"{data_file} must be a list of objects with video and description: {error}") from error
        names = {_id(name): name for name in read_lines(list_file)}
        for name, text in pairs:
            if _id(name) in names and text:
                described.setdefault(_id(name), []).append(text)
        without = [name for name in names if name not in described]
        if names and len(without) == len(names):
            raise CorpusError(f"no video of {list_file} has a description in {data_file}")
        if without:
            notes.append(f"{len(without)} videos of {list_file.name} have no description: {listed(without)}")
        splits[split] = [name for name in names if name in described]
        published |= names
    texts = {name: [" ".join(sentences)] for name, sentences in described.items()}
    files = locate(texts, videos or video_folder(root), published)
    segments = dict.fromkeys(texts, (0.0, SECONDS))
    return Corpus("DiDeMo", root, files, texts, splits, tuple(notes), segments)


def _id(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return stem if dot and f".{ending.lower()}" in VIDEO_SUFFIXES else name
