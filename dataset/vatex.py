"""VATEX: about ten English captions per clip, all of them evaluated."""

from __future__ import annotations

from pathlib import Path

from dataset.corpus import (
    Corpus,
    CorpusError,
    annotation_folders,
    first_file,
    listed,
    locate,
    needed_file,
    open_json,
    read_lines,
    same_split,
    video_folder,
)


def read_vatex(
    root: Path, captions: Path | None = None, protocol: str = "retrieval", videos: Path | None = None
) -> Corpus:
    """VATEX: `train_list.txt`, `test_list.txt` and `ref_captions.json` {"video": [caption]} in `metadata/`.

    `val_list.txt` is used for validation where it is there; published runs validate on the test list, as a run without
    that file does.

    Args:
        captions: `ref_captions.json`, or the folder of these files.

    Raises:
        FileNotFoundError: a file is not there.
        CorpusError: a file of another form, or lists without captions.
    """
    same_split("VATEX", protocol)
    root = Path(root)
    folders = annotation_folders(root, captions)
    given = captions is not None and Path(captions).is_file()
    path = Path(captions) if given else needed_file(folders, "VATEX", "ref_captions.json")
    texts = open_json(path)
    if not isinstance(texts, dict) or not all(isinstance(value, list) for value in texts.values()):
        raise CorpusError(f'{path} is not in the VATEX form {{"video": ["caption", ...], ...}}')
    texts = {str(name): [str(text) for text in value if str(text).strip()] for name, value in texts.items()}
    splits, notes = {}, []
    for split in ("train", "test"):
        list_file = needed_file(folders, "VATEX", f"{split}_list.txt")
        splits[split] = list(dict.fromkeys(read_lines(list_file)))
    own = first_file(folders, "val_list.txt")
    splits["val"] = list(dict.fromkeys(read_lines(own))) if own else list(splits["test"])
    order = list(dict.fromkeys(name for names in splits.values() for name in names))
    without = [name for name in order if not texts.get(name)]
    if order and len(without) == len(order):
        raise CorpusError(f"no video of the VATEX lists has a caption in {path}")
    if without:
        notes.append(f"{len(without)} videos of the lists have no caption: {listed(without)}")
    files = locate(order, videos or video_folder(root))
    return Corpus("VATEX", root, files, {name: texts[name] for name in order if texts.get(name)}, splits, tuple(notes))
