"""MSVD (the Microsoft video description corpus): 1,970 clips, about 41 captions each."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Iterable
from pathlib import Path

from dataset.corpus import (
    SPLITS,
    Corpus,
    CorpusError,
    annotation_folders,
    first_file,
    listed,
    locate,
    open_json,
    read_lines,
    same_split,
    video_folder,
)

CLIP_NAME = re.compile(r".+_\d+_\d+$")


def read_msvd(
    root: Path, captions: Path | None = None, protocol: str = "captioning", videos: Path | None = None
) -> Corpus:
    """MSVD: 1200 / 100 / 670 clips, the same for captioning and retrieval.

    Files of `metadata/` (each may be `.gz`): `captions.json` {"vid1": [caption]}, `splits.json` {"train": [id]} or
    `{train,val,test}_list_mapping.txt` / `_list.txt`, and `youtube_mapping.json` {"vid1": "<video>_<start>_<end>"}.
    The retrieval lists' `raw-captions.pkl` {video: [[word]]} is read where there is no `captions.json`.
    Clips are named `vidN.*` or `<video>_<start>_<end>.*`.

    Raises:
        FileNotFoundError: no captions, or no splits and ids that are not vid1..vid1970.
        CorpusError: files that contradict each other.
    """
    same_split("MSVD", protocol)
    root = Path(root)
    folders = annotation_folders(root, captions)
    given = captions is not None and not Path(captions).is_dir()
    path = Path(captions) if given else first_file(folders, "captions.json", "MSVD_captions.json", "raw-captions.pkl")
    if path is None:
        raise FileNotFoundError(
            f"No MSVD captions in {root / 'metadata'}: put captions.json (or .json.gz) or raw-captions.pkl there, "
            "or name the file with --captions"
        )
    texts = read_raw_captions(path) if path.suffix == ".pkl" else open_json(path)
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
    files = locate(order, videos or video_folder(root), stems)
    return Corpus("MSVD", root, files, {k: v for k, v in kept.items() if v}, splits, tuple(notes), aliases=number)


class _PlainUnpickler(pickle.Unpickler):
    """Builds containers, texts and numbers; a pickle that names anything else is refused before it can run it."""

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it would load {module}.{name}; captions are lists of texts")


def read_raw_captions(path: Path) -> dict[str, list[str]]:
    """The published `raw-captions.pkl`, {video: [[word, ...], ...]}, words joined by blanks.

    Raises:
        CorpusError: damaged, of another form, or a pickle that would run code.
    """
    try:
        content = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        return {str(name): [" ".join(map(str, words)) for words in rows] for name, rows in content.items()}
    except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, ValueError, IndexError) as error:
        raise CorpusError(f"{path} is not a pickle of the form {{video: [[word, ...], ...]}}: {error}") from error


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
        splits[split] = [number.get(name, name) for name in read_lines(path)]
    if len(splits) == len(SPLITS):
        return splits
    numbered = {int(name[3:]): name for name in known if re.fullmatch(r"vid\d+", name)}
    if not numbered:
        raise FileNotFoundError(f"No splits.json in {' or '.join(map(str, folders))}; MSVD needs it")
    ends = {"train": range(1, 1201), "val": range(1201, 1301), "test": range(1301, 1971)}
    return {split: [numbered[n] for n in numbers if n in numbered] for split, numbers in ends.items()}
