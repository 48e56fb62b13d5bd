"""Readers of action corpora in their official list formats, of a folder per class, and of MiniMotion's actions."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from dataset.actions import SPLITS, ActionClip, ActionCorpus
from dataset.corpus import CorpusError, find_videos, video_folder
from dataset.minimotion import read_attributes, read_minimotion

# Where lists lie below a corpus's root, first the root itself.
LIST_FOLDERS = (".", "annotations", "metadata", "ucfTrainTestlist", "testTrainMulti_7030_splits", "splits")
SPLIT_WORDS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}


class Files:
    """Video files below a folder, found by the names that lists use; the folder is walked once."""

    def __init__(self, root: Path):
        folder = video_folder(root)
        self._by_stem = find_videos(folder) if folder.is_dir() else {}
        # Kinetics' lists name videos, its files also the seconds that were cut out.
        self._by_video: dict[str, list[Path]] = {}
        for stem, paths in self._by_stem.items():
            if re.fullmatch(r".{11}_\d{6}_\d{6}", stem):
                self._by_video.setdefault(stem[:11], []).extend(paths)
        self._folder = folder

    def find(self, name: str) -> Path | None:
        """The file of `Class/clip.avi`, whatever its ending; of files with that stem the one in such a folder."""
        path = PurePosixPath(name)
        found = self._by_stem.get(path.name, []) or self._by_stem.get(path.stem, [])
        found = found or self._by_video.get(path.stem[:11], [])
        if len(found) > 1:
            found = [file for file in found if file.with_suffix("").as_posix().endswith(f"/{path.with_suffix('')}")]
        if found:
            return found[0]
        frames = self._folder / path.with_suffix("")
        return frames if frames.is_dir() else None


def read_ucf101(root: Path, lists: Path | None = None, number: int = 1) -> ActionCorpus:
    """UCF101: `classInd.txt`, `trainlist0N.txt`, `testlist0N.txt`; no validation list.

    A group is the recording, `_gNN_` in a clip's name.
    """
    folder = _folder(root, lists, "classInd.txt", "UCF101")
    classes = tuple(line.split(maxsplit=1)[1] for line in _lines(folder / "classInd.txt"))
    numbers = {name: label for label, name in enumerate(classes)}
    files = Files(root)

    def clips(file: Path) -> Iterator[ActionClip]:
        for line in _lines(file):
            name = line.split()[0]
            label = numbers.get(PurePosixPath(name).parts[0])
            if label is None:
                raise CorpusError(f"{file}: {name} is in no class of classInd.txt")
            yield ActionClip(_stem(name), label, ucf101_group(name), files.find(name))

    splits = {s: tuple(clips(_file(folder, f"{s}list{number:02d}.txt", "UCF101"))) for s in ("train", "test")}
    return ActionCorpus("UCF101", root, classes, splits)


def read_hmdb51(root: Path, lists: Path | None = None, number: int = 1) -> ActionCorpus:
    """HMDB51: `CLASS_test_splitN.txt`, in a folder or in a zip of them; 1 trains, 2 tests, 0 is not used.

    The lists `hmdb51_{train,val}_split_N_rawframes.txt` (`class\\video frames label`, with `classInd.txt`), whose
    "val" is the test part, are read where the former are absent. A group is the recording: a name without its last
    number, cuts of one film share the rest.
    """
    files = Files(root)
    texts = _hmdb_lists(root, lists, number)
    if not texts:
        return _hmdb_frames(root, lists, number, files)
    classes = tuple(sorted(texts))
    splits: dict[str, list[ActionClip]] = {"train": [], "test": []}
    for label, name in enumerate(classes):
        for line in texts[name]:
            clip, _, use = line.rpartition(" ")
            split = {"1": "train", "2": "test"}.get(use)
            if split:
                path = f"{name}/{clip.strip()}"
                splits[split].append(ActionClip(_stem(path), label, _hmdb_group(path), files.find(path)))
    return ActionCorpus(
        "HMDB51", root, tuple(name.replace("_", " ") for name in classes), {s: tuple(c) for s, c in splits.items()}
    )


def read_kinetics400(root: Path, lists: Path | None = None, number: int = 1) -> ActionCorpus:
    """Kinetics-400: `{train,val,test}.csv` of the release, or lists `{train,val,test}_list.txt` (`file label`).

    Class names are those of `label_map.txt` or `classes.csv`, else the sorted labels of the release's files. Every clip
    is a recording of its own.
    """
    folder = next(
        (f for f in _folders(root, lists) if any((f / f"{s}{end}").is_file() for s in SPLITS for end in _K400)), None
    )
    if folder is None:
        raise FileNotFoundError(
            f"no list of Kinetics-400 ({{train,val,test}}.csv or {{train,val,test}}_list.txt) in {lists or root}; "
            "say where they are with --lists DIR"
        )
    files, rows = Files(root), {}
    for split in SPLITS:
        plain, release = folder / f"{split}_list.txt", folder / f"{split}.csv"
        if plain.is_file():
            pairs = [line.rsplit(None, 1) for line in _lines(plain)]
            rows[split] = [(name, int(label), None) for name, label in pairs]
        elif release.is_file():
            rows[split] = list(_kinetics_release(release))
    labels = sorted({label for part in rows.values() for _, _, label in part if label is not None})
    classes = _class_names(folder) or tuple(labels)
    numbers = {name: label for label, name in enumerate(classes)}
    unknown = sorted(set(labels) - numbers.keys())
    if unknown or not classes:
        raise CorpusError(f"{folder}: no class names (label_map.txt or classes.csv), or none for {unknown[:5]}")
    splits = {
        split: tuple(
            ActionClip(_stem(name), numbers[text] if text is not None else label, name, files.find(name))
            for name, label, text in part
        )
        for split, part in rows.items()
    }
    return ActionCorpus("Kinetics400", root, classes, splits)


def read_class_folders(root: Path, lists: Path | None = None, number: int = 1) -> ActionCorpus:
    """A folder per class, or `train/`, `val/` and `test/` with a folder per class each. A file is its own group.

    Raises:
        FileNotFoundError: no folder with a video in it.
    """
    folder = video_folder(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; it should hold a folder of videos per class")
    parts = {SPLIT_WORDS[f.name]: f for f in _subfolders(folder) if f.name in SPLIT_WORDS}
    if not parts:
        parts = {"train": folder}
    classes = tuple(sorted({f.name for part in parts.values() for f in _subfolders(part) if find_videos(f)}))
    if not classes:
        raise FileNotFoundError(f"no class folder with a video in {folder}; expected {folder}/CLASS/clip.mp4")
    splits = {}
    for split in (s for s in SPLITS if s in parts):
        files = [
            (file, label)
            for label, name in enumerate(classes)
            for paths in find_videos(parts[split] / name).values()
            for file in paths
        ]
        names = [file.relative_to(folder).as_posix() for file, _ in files]
        splits[split] = tuple(
            ActionClip(name, label, name, file) for (file, label), name in zip(files, names, strict=True)
        )
    return ActionCorpus(root.resolve().name, root, classes, splits)


def read_minimotion_actions(root: Path, lists: Path | None = None, number: int = 1) -> ActionCorpus:
    """MiniMotion's one-object clips and what their object does, from the corpus's own metadata."""
    corpus, shown = read_minimotion(root), read_attributes(root)["videos"]
    actions = {name: clip["objects"][0]["action"] for name, clip in shown.items() if len(clip["objects"]) == 1}
    classes = tuple(sorted(set(actions.values())))
    numbers = {name: label for label, name in enumerate(classes)}
    splits = {
        split: tuple(
            ActionClip(name, numbers[actions[name]], name, corpus.videos[name])
            for name in corpus.ids(split)
            if name in actions
        )
        for split in SPLITS
    }
    return ActionCorpus("MiniMotion", root, classes, splits)


READERS: dict[str, Callable[..., ActionCorpus]] = {
    "minimotion": read_minimotion_actions,
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
    "kinetics400": read_kinetics400,
    "folder": read_class_folders,
}
FOLDERS = {"minimotion": "MiniMotion", "ucf101": "UCF101", "hmdb51": "HMDB51", "kinetics400": "Kinetics400"}

_K400 = (".csv", "_list.txt")


def _folders(root: Path, lists: Path | None) -> Iterator[Path]:
    yield from (Path(base) / name for base in ([lists] if lists else [root]) for name in LIST_FOLDERS)


def _folder(root: Path, lists: Path | None, marker: str, corpus: str) -> Path:
    for folder in _folders(root, lists):
        if (folder / marker).is_file():
            return folder
    raise FileNotFoundError(
        f"no {marker} of {corpus} in {lists or root} or its {', '.join(LIST_FOLDERS[1:])}; put the official lists "
        "there, or say where they are with --lists DIR"
    )


def _file(folder: Path, name: str, corpus: str) -> Path:
    if not (folder / name).is_file():
        raise FileNotFoundError(f"no {name} of {corpus} in {folder}; --split_number chooses among the official splits")
    return folder / name


def _lines(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8-sig")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).with_suffix("").as_posix()


def ucf101_group(name: str) -> str:
    """The recording that a clip of UCF101 was cut from: its name up to `_gNN`."""
    found = re.search(r"^.*_g\d+(?=_)", PurePosixPath(name).name)
    return found[0] if found else name


def _hmdb_group(path: str) -> str:
    return re.sub(r"_\d+$", "", _stem(path))


def _hmdb_lists(root: Path, lists: Path | None, number: int) -> dict[str, list[str]]:
    """Lines of every class's list of a split, by class."""
    ending = f"_test_split{number}.txt"
    for folder in _folders(root, lists):
        found = sorted(folder.glob(f"*{ending}")) if folder.is_dir() else []
        if found:
            return {file.name.removesuffix(ending): _lines(file) for file in found}
        for archive in sorted(folder.glob("*.zip")) if folder.is_dir() else []:
            with zipfile.ZipFile(archive) as opened:
                names = [name for name in opened.namelist() if name.endswith(ending)]
                texts = {name: io.TextIOWrapper(opened.open(name), encoding="utf-8").read() for name in names}
            if texts:
                return {
                    PurePosixPath(name).name.removesuffix(ending): [x.strip() for x in text.splitlines() if x.strip()]
                    for name, text in texts.items()
                }
    return {}


def _hmdb_frames(root: Path, lists: Path | None, number: int, files: Files) -> ActionCorpus:
    names = {s: f"hmdb51_{w}_split_{number}_rawframes.txt" for s, w in (("train", "train"), ("test", "val"))}
    folder = _folder(root, lists, names["train"], "HMDB51 (CLASS_test_splitN.txt, or rawframes lists)")
    classes = [line.split(maxsplit=1)[1] for line in _lines(_file(folder, "classInd.txt", "HMDB51"))]
    splits = {}
    for split, name in names.items():
        rows = [line.rsplit(None, 2) for line in _lines(_file(folder, name, "HMDB51"))]
        paths = [(path.replace("\\", "/"), int(label)) for path, _, label in rows]
        splits[split] = tuple(ActionClip(p, label, _hmdb_group(p), files.find(p)) for p, label in paths)
    return ActionCorpus("HMDB51", root, tuple(name.replace("_", " ") for name in classes), splits)


def _kinetics_release(file: Path) -> Iterator[tuple[str, int, str]]:
    """(video, -1, class name) of every row; the label may be quoted, further columns are seconds and split."""
    with file.open(encoding="utf-8-sig", newline="") as handle:
        rows = csv.reader(handle)
        next(rows, None)
        for row in rows:
            if len(row) >= 2:
                yield row[1], -1, row[0].strip().strip('"')


def _class_names(folder: Path) -> tuple[str, ...]:
    for name in ("label_map.txt", "classes.csv"):
        if (folder / name).is_file():
            lines = _lines(folder / name)
            return tuple(line.split(",", 1)[1] for line in lines[1:]) if name.endswith(".csv") else tuple(lines)
    return ()


def _subfolders(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
