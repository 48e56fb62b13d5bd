"""Any folder of videos, with or without captions in the MSR-VTT schema."""

from __future__ import annotations

from pathlib import Path

from dataset.corpus import Corpus, CorpusError, find_videos, first_file, same_stem, video_folder
from dataset.msrvtt import corpus_from, read_annotation


def read_folder(root: Path, captions: Path | None = None, protocol: str = "captioning") -> Corpus:
    """The videos of `root/videos` (or of `root`), with the captions and splits of an annotation.

    Args:
        root: the folder; its name becomes the name of the corpus.
        captions: file in the MSR-VTT schema, by default `root/metadata/captions.json`. Without one, every video found
            is in the corpus under its file stem, without captions and splits.
        protocol: "captioning" (the annotation's own splits).

    Raises:
        FileNotFoundError: no such folder, or no video in it and no annotation.
        CorpusError: two files with one id, or a broken annotation.
    """
    if protocol not in ("captioning", "retrieval"):
        raise ValueError(f"Unknown protocol ({protocol}). A folder has its own splits: captioning.")
    root = Path(root).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"--data_root {root} is not a folder; it should hold videos/")
    path = Path(captions) if captions is not None else first_file([root / "metadata"], "captions.json")
    if path is not None:
        return corpus_from(read_annotation(path), root.name, root)
    found = find_videos(video_folder(root))
    if not found:
        raise FileNotFoundError(
            f"No video file below {video_folder(root)}, and no {root / 'metadata' / 'captions.json'}"
        )
    shared = next(((name, paths) for name, paths in found.items() if len(paths) > 1), None)
    if shared:
        raise CorpusError(same_stem(*shared))
    notes = ("no captions: give them with --captions FILE in the MSR-VTT schema",)
    return Corpus(root.name, root, {name: paths[0] for name, paths in found.items()}, notes=notes)
