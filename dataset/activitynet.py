"""ActivityNet Captions for paragraph retrieval: all sentences of a video are one text."""

from __future__ import annotations

import math
from pathlib import Path

from dataset.corpus import (
    Corpus,
    CorpusError,
    annotation_folders,
    listed,
    locate,
    needed_file,
    open_json,
    same_split,
    video_folder,
)

FILES = {"train": ("train_ids.json", "train.json"), "val": ("val_ids.json", "val_1.json")}


def read_activitynet(
    root: Path, captions: Path | None = None, protocol: str = "retrieval", videos: Path | None = None
) -> Corpus:
    """ActivityNet: 10,009 training paragraphs, 4,917 of `val_1` for validation and test.

    Files of `metadata/` (each may be `.gz`): `train_ids.json`, `val_ids.json` (lists of `v_ID`), `train.json`,
    `val_1.json` {"v_ID": {"duration", "timestamps", "sentences"}}. The id of a video is ID; its file is `ID.*` or
    `v_ID.*`, of which the seconds 0 to ceil(duration) are meant.

    Args:
        captions: folder of these files, or one of them.

    Raises:
        FileNotFoundError: a file is not there.
        CorpusError: a file of another form.
    """
    same_split("ActivityNet", protocol)
    root = Path(root)
    folders = annotation_folders(root, captions)
    splits: dict[str, list[str]] = {}
    texts: dict[str, list[str]] = {}
    segments: dict[str, tuple[float, float]] = {}
    notes = []
    for split, (list_name, annotation_name) in FILES.items():
        list_file = needed_file(folders, "ActivityNet", list_name)
        annotation_file = needed_file(folders, "ActivityNet", annotation_name)
        ids, annotation = open_json(list_file), open_json(annotation_file)
        if not isinstance(ids, list) or not isinstance(annotation, dict):
            raise CorpusError(f"{list_file} must be a list of ids and {annotation_file} an object of them")
        without = [name for name in ids if name not in annotation]
        if without:
            notes.append(f"{len(without)} ids of {list_name} have no annotation and are left out: {listed(without)}")
        splits[split] = []
        for name in ids:
            if name not in annotation:
                continue
            try:
                sentences, duration = annotation[name]["sentences"], float(annotation[name]["duration"])
            except (KeyError, TypeError, ValueError) as error:
                raise CorpusError(f"{annotation_file}: {name} lacks sentences or a duration ({error})") from error
            short = name.removeprefix("v_")
            splits[split].append(short)
            texts[short] = [" ".join(sentence.strip() for sentence in sentences)]
            segments[short] = (0.0, float(math.ceil(duration)))
    splits["test"] = list(splits["val"])
    files = locate(texts, videos or video_folder(root), {name: f"v_{name}" for name in texts})
    return Corpus("ActivityNet", root, files, texts, splits, tuple(notes), segments)
