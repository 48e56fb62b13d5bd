"""MSVD (the Microsoft video description corpus): 1,970 clips, about 41 captions each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from dataset.corpus import SPLITS, Corpus, CorpusError, first_file, listed, locate, open_json, video_folder

CLIP_NAME = re.compile(r".+_\d+_\d+$")


def read_msvd(root: Path, captions: Path | None = None, protocol: str = "captioning") -> Corpus:
    """MSVD: 1200 / 100 / 670 clips, the same for captioning and retrieval.

    Files of `metadata/` (each may be `.gz`): `captions.json` {"vid1": [caption]}, `splits.json` {"train": [id]} or
    `{train,val,test}_list_mapping.txt` / `_list.txt`, and `youtube_mapping.json` {"vid1": "<video>_<start>_<end>"}.
    Clips are named `vidN.*` or `<video>_<start>_<end>.*`.

    Raises:
        FileNotFoundError: no captions, or no splits and ids that are not vid1..vid1970.
        CorpusError: files that contradict each other.
    """
    if protocol not in ("captioning", "retrieval"):
        raise ValueError(f"Unknown protocol ({protocol}). MSVD has one list of splits: captioning.")
    root = Path(root)
    folders = [root / "metadata", root]
    if captions is not None:
        folders.insert(0, Path(captions).parent)
    path = Path(captions) if captions is not None else first_file(folders, "captions.json", "MSVD_captions.json")
    if path is None:
        raise FileNotFoundError(
            f"No MSVD captions in {root / 'metadata'}: put captions.json (or .json.gz) there, or name the file with "
            "--captions"
        )
    texts = open_json(path)
    if not isinstance(texts, dict) or not all(isinstance(value, list) for value in texts.values()):
        raise CorpusError(f'{path} is not in the MSVD form {{"vid1": ["caption", ...], ...}}')

    mapping_file = first_file(folders, "youtube_mapping.json")
    stems = {str(k): str(v) for k, v in open_json(mapping_file).items()} if mapping_file else {}
    if stems and next(iter(stems)) not in texts and next(iter(stems.values())) in texts:
        stems = {name: video for video, name in stems.items()}
    number = {stem: name for name, stem in stems.items()}
    captions_of = {number.get(name, name): [str(text) for text in value] for name, value in texts.items()}

    notes = []
    kept = {name: [text for text in value if text.strip()] for name, value in captions_of.items()}
    empty = [name for name, value in kept.items() if not value]
    if empty:
        notes.append(f"{len(empty)} videos have no caption: {listed(empty)}")
    if not stems and not all(CLIP_NAME.match(name) for name in kept):
        notes.append("no youtube_mapping.json: clips are found as vidN.* only")
    splits = _read_splits(folders, number, kept)
    order = list(dict.fromkeys([name for ids in splits.values() for name in ids] + list(kept)))
    unknown = [name for name in order if name not in kept]
    if unknown:
        notes.append(f"{len(unknown)} videos of the splits have no captions in {path}: {listed(unknown)}")
    videos = locate(order, video_folder(root), stems)
    return Corpus("MSVD", root, videos, {k: v for k, v in kept.items() if v}, splits, tuple(notes))


def _read_splits(folders: list[Path], number: dict[str, str], known: Iterable[str]) -> dict[str, list[str]]:
    path = first_file(folders, "splits.json")
    if path is not None:
        given = open_json(path)
        if not isinstance(given, dict) or not set(SPLITS) <= set(given):
            raise CorpusError(f"{path} must hold the lists train, val and test")
        return {split: [number.get(str(name), str(name)) for name in given[split]] for split in SPLITS}
    splits = {}
    for split in SPLITS:
        path = first_file(folders, f"{split}_list_mapping.txt", f"{split}_list.txt")
        if path is None:
            break
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        splits[split] = [number.get(name, name) for name in names]
    if len(splits) == len(SPLITS):
        return splits
    numbered = {int(name[3:]): name for name in known if re.fullmatch(r"vid\d+", name)}
    if not numbered:
        raise FileNotFoundError(f"No splits.json in {' or '.join(map(str, folders))}; MSVD needs it")
    ends = {"train": range(1, 1201), "val": range(1201, 1301), "test": range(1301, 1971)}
    return {split: [numbered[n] for n in numbers if n in numbered] for split, numbers in ends.items()}
