"""Any folder of videos, with or without captions in the MSR-VTT schema."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dataset.corpus import Corpus, find_videos, first_file, listed, unique_ids, video_folder
from dataset.msrvtt import corpus_from, read_annotation


def read_folder(
    root: Path, captions: Path | None = None, protocol: str = "captioning", videos: Path | None = None
) -> Corpus:
    """The videos of `root/videos` (or of `root`), with the captions and splits of an annotation.

    Args:
        root: the folder; its name becomes the name of the corpus.
        captions: file in the MSR-VTT schema, by default `root/metadata/captions.json`. Every other video found is in
            the corpus too, without captions and in no split, under its file stem (where files share a stem, under its
            file name, or under its path below the folder).
        protocol: "captioning" (the annotation's own splits).

    Raises:
        FileNotFoundError: no such folder, or no video in it and no annotation.
        CorpusError: two files for one id of the annotation, or a broken annotation.
    """
    if protocol not in ("captioning", "retrieval"):
        raise ValueError(f"Unknown protocol ({protocol}). A folder has its own splits: captioning.")
    root = Path(root).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"--data_root {root} is not a folder; it should hold videos/")
    path = Path(captions) if captions is not None else first_file([root / "metadata"], "captions.json")
    folder = videos or video_folder(root)
    found = unique_ids(find_videos(folder), folder)
    if path is None:
        if not found:
            raise FileNotFoundError(f"No video file below {folder}, and no {root / 'metadata' / 'captions.json'}")
        notes = ("no captions: give them with --captions FILE in the MSR-VTT schema",)
        return Corpus(root.name, root, found, notes=notes)
    corpus = corpus_from(read_annotation(path), root.name, root, videos)
    taken = {file for file in corpus.videos.values() if file is not None}
    others = {name: file for name, file in found.items() if file not in taken}
    if not others:
        return corpus
    note = f"{len(others)} videos of the folder have no captions and are in no split: {listed(others)}"
    return replace(corpus, videos=corpus.videos | others, notes=(*corpus.notes, note))
