"""Action corpora: clips with one label each. The readers of `dataset.action_lists` all make an `ActionCorpus`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from dataset.corpus import CorpusError, listed

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ActionClip:
    """One labelled video.

    Attributes:
        name: path below the corpus without its ending, as the lists write it; unique in a split.
        label: number of its class.
        group: clips cut from one recording share it; a validation part never takes some of a group.
        path: the file (or folder of pictures), None where it is not on disk.
    """

    name: str
    label: int
    group: str
    path: Path | None


@dataclass(frozen=True)
class ActionCorpus:
    """Classes, and the clips of every split in the order of the lists; a split that the corpus lacks is absent."""

    name: str
    root: Path
    classes: tuple[str, ...]
    splits: dict[str, tuple[ActionClip, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if len(set(self.classes)) != len(self.classes):
            raise CorpusError(f"{self.name}: a class is listed twice among {listed(self.classes)}")
        for split, clips in self.splits.items():
            wrong = [clip.name for clip in clips if not 0 <= clip.label < len(self.classes)]
            if wrong:
                raise CorpusError(f"{self.name}: labels of the {split} list lie outside its classes: {listed(wrong)}")

    def with_classes(self, kept: Iterable[int]) -> ActionCorpus:
        """The same corpus with these classes only, numbered anew in their old order."""
        order = sorted(set(kept))
        new = {old: number for number, old in enumerate(order)}
        splits = {
            split: tuple(replace(clip, label=new[clip.label]) for clip in clips if clip.label in new)
            for split, clips in self.splits.items()
        }
        return replace(self, classes=tuple(self.classes[old] for old in order), splits=splits)

    def on_disk(self) -> ActionCorpus:
        """The same corpus without clips whose file is absent, which a note counts.

        Raises:
            FileNotFoundError: nothing is left.
        """
        splits = {s: tuple(clip for clip in clips if clip.path is not None) for s, clips in self.splits.items()}
        if not any(splits.values()):
            total = sum(map(len, self.splits.values()))
            raise FileNotFoundError(
                f"none of the {total} clips of {self.name} is under {self.root}; put them there, or say where they are "
                "with --data_root DIR or in dataset/paths.json"
            )
        return replace(self, splits=splits, notes=(*self._absent(), *self.notes))

    def summary(self) -> list[str]:
        """Lines that describe the corpus to a user."""
        parts = ", ".join(f"{split} {len(clips):,}" for split, clips in self.splits.items())
        return [f"{self.name}: {len(self.classes)} classes, clips: {parts}", *self._absent(), *self.notes]

    def _absent(self) -> list[str]:
        clips = [clip for part in self.splits.values() for clip in part]
        absent = [clip.name for clip in clips if clip.path is None]
        if not absent:
            return []
        return [f"{len(absent):,} of {len(clips):,} clips are not under {self.root}: {listed(absent, 3)}"]
