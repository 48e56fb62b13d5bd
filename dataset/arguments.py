"""The flags with which every program names a corpus and its features."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from dataset import READERS, Corpus
from dataset.data_roots import data_root, plain_name

NAMES = {
    "minimotion": "MiniMotion", "msrvtt": "MSR-VTT", "msvd": "MSVD", "activitynet": "ActivityNet", "didemo": "DiDeMo",
    "lsmdc": "LSMDC", "vatex": "VATEX",
}  # fmt: skip
FOLDERS = NAMES | {"msrvtt": "MSRVTT"}
SPELLINGS = {"activity": "activitynet"}


def flag(default, text: str):
    return field(default=default, metadata={"help": text})


@dataclass
class CorpusArguments:
    """Which videos and captions."""

    dataset: str | None = flag(
        None,
        "minimotion (default), msrvtt, msvd, activitynet, didemo, lsmdc, vatex, or folder: any folder, given by "
        "--data_root (default where that is given)",
    )
    data_root: str | None = flag(
        None, "folder with videos/ and metadata/; default: that of dataset/paths.json, or dataset/NAME"
    )
    captions: str | None = flag(None, "annotation file; default: the known names in metadata/ of the data root")
    protocol: str = flag("captioning", "which lists of the corpus: captioning; for MSR-VTT also 7k and 9k (retrieval)")
    limit: int | None = flag(None, "only the first so many videos of every split")
    dry_run: bool = flag(False, "say what would be done, and do nothing")


@dataclass
class DataArguments(CorpusArguments):
    """Which videos, captions and features."""

    split: str | None = flag(None, "only this split: train, val or test")
    features: str | None = flag(
        None, "name of a set of features (default: the backbone's), or a folder (with a / in it)"
    )


def reader_name(name: str) -> str | None:
    """The key of READERS that a spelling means ("MSR-VTT", "Msr_Vtt", "msrvtt"), None if it means none."""
    plain = plain_name(name)
    plain = SPELLINGS.get(plain, plain)
    return plain if plain in READERS else None


def known_datasets() -> str:
    return ", ".join(NAMES.values()) + ", or any folder with --data_root DIR"


def corpus_root(kind: str) -> Path:
    """Folder of a corpus that no flag names."""
    return data_root(None, FOLDERS[kind])


def open_corpus(args: CorpusArguments, **places: Path | None) -> Corpus:
    """Read the corpus that the flags name.

    Args:
        places: files elsewhere, as its reader takes them: `videos` (a folder), for MSR-VTT `train_csv` and `val_csv`.

    Raises:
        ValueError: unknown name or split.
        FileNotFoundError, CorpusError: as the reader says.
    """
    if args.dataset is None:
        kind = "folder" if args.data_root else "minimotion"
    else:
        kind = reader_name(args.dataset) or ("folder" if args.data_root else None)
    if kind is None:
        raise ValueError(f"Unknown dataset ({args.dataset}). Known are {known_datasets()}.")
    if kind == "folder" and not args.data_root:
        raise ValueError("--dataset folder needs --data_root DIR, the folder that holds videos/")
    root = data_root(args.data_root, FOLDERS.get(kind, kind))
    given = {name: path for name, path in places.items() if path is not None}
    corpus = READERS[kind](root, Path(args.captions) if args.captions else None, args.protocol, **given)
    split = args.split if isinstance(args, DataArguments) else None
    if split not in (None, "all"):
        corpus = corpus.subset(corpus.ids(split))
    if args.limit is not None:
        corpus = corpus.limited(args.limit)
    return corpus


def for_corpus(args: DataArguments, name: str) -> DataArguments:
    """The same flags for the corpus whose name a `--model_name` starts with."""
    return replace(args, dataset=name) if args.dataset is None else args


def features_dir(args: DataArguments, corpus: Corpus, tag: str | None = None) -> Path:
    """Folder of one set of features: `--features` if it is a path, else `ROOT/features/{--features or tag}`.

    Without a tag the only set that exists is taken.

    Raises:
        FileNotFoundError: no tag given and no set exists.
        ValueError: no tag given and several sets exist.
    """
    given = args.features or tag
    parent = corpus.root / "features"
    if given:
        is_path = "/" in given or "\\" in given
        return Path(given).expanduser() if is_path else parent / given
    sets = sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []
    if len(sets) == 1:
        return sets[0]
    if not sets:
        raise FileNotFoundError(
            f"No features in {parent}; make them with `python extractors/extract.py --dataset {corpus.name}`"
        )
    raise ValueError(f"{parent} holds {', '.join(path.name for path in sets)}; choose one with --features NAME")
