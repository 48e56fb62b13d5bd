"""Tiny corpora in the list files of the published retrieval data sets, over real clips of one colour each."""

import json
from pathlib import Path

from colour_clips import make_colour_corpus

PER_SPLIT = 6
SPLITS = ("train", "val", "test")


def make_published_corpus(root: Path, datatype: str) -> Path:
    """`root/videos` and `root/metadata` with six clips per split, as `datatype` is published."""
    made = make_colour_corpus(root / "drawn", {"train": 1, "validate": 1, "test": 1})
    captions = json.loads((made / "metadata" / "captions.json").read_text(encoding="utf-8"))
    texts = {sentence["video_id"]: sentence["caption"] for sentence in captions["sentences"]}
    ids = [f"clip{number}" for number in range(len(texts))]
    splits = {split: ids[k * PER_SPLIT : (k + 1) * PER_SPLIT] for k, split in enumerate(SPLITS)}
    (made / "videos").rename(root / "videos")
    files = FILES[datatype](splits, texts)
    (root / "metadata").mkdir()
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (root / "metadata" / name).write_text(text, encoding="utf-8")
    return root


def _lines(ids):
    return "".join(f"{name}\n" for name in ids)


def _msrvtt(splits, texts):
    videos = [{"video_id": name, "split": "train"} for ids in splits.values() for name in ids]
    sentences = [{"video_id": name, "caption": text} for name, text in texts.items()]
    rows = "".join(f"ret{k},msr{k},{name},{texts[name]}\n" for k, name in enumerate(splits["test"]))
    return {
        "MSRVTT_data.json": {"videos": videos, "sentences": sentences},
        "MSRVTT_train.9k.csv": "video_id\n" + _lines(splits["train"]),
        "MSRVTT_JSFUSION_test.csv": "key,vid_key,video_id,sentence\n" + rows,
    }


def _activitynet(splits, texts):
    files = {}
    for ids_file, file, split in (("train_ids", "train", "train"), ("val_ids", "val_1", "test")):
        names = [f"v_{name}" for name in splits[split]]
        entry = {"duration": 3.0, "timestamps": [[0, 3]]}
        files[f"{ids_file}.json"] = names
        files[f"{file}.json"] = {name: {**entry, "sentences": [texts[name.removeprefix("v_")]]} for name in names}
    return files


def _vatex(splits, texts):
    lists = {f"{split}_list.txt": _lines(splits[split]) for split in ("train", "test")}
    return lists | {"ref_captions.json": {name: [text] for name, text in texts.items()}}


def _lsmdc(splits, texts):
    names = "LSMDC16_annos_training.csv", "LSMDC16_annos_val.csv", "LSMDC16_challenge_1000_publictect.csv"
    times = "\t".join(["00.00.00.000"] * 4)
    return {
        file: "".join(f"{name}\t{times}\t{texts[name]}\n" for name in splits[split])
        for file, split in zip(names, SPLITS, strict=True)
    }


def _didemo(splits, texts):
    files = {}
    for split in SPLITS:
        names = [f"{name}.mp4" for name in splits[split]]
        files[f"{split}_list.txt"] = _lines(names)
        files[f"{split}_data.json"] = [
            {"video": name, "description": texts[name.removesuffix(".mp4")], "times": [[0, 1]]} for name in names
        ]
    return files


def _msvd(splits, texts):
    lists = {f"{split}_list.txt": _lines(ids) for split, ids in splits.items()}
    return lists | {"captions.json": {name: [text] for name, text in texts.items()}}


FILES = {
    "msrvtt": _msrvtt, "activitynet": _activitynet, "vatex": _vatex, "lsmdc": _lsmdc, "didemo": _didemo, "msvd": _msvd,
}  # fmt: skip
