"""Which clips train, validate and test: group split, few-shot sampling, choice of classes.

Source: recognition reference, section 4 (few-shot lists, keys) and 4.1 (group split).
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from dataset.actions import ActionClip, ActionCorpus

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class SplitSettings:
    """How the lists of a corpus are used.

    Attributes:
        k_train, k_val, k_test: clips per class, in list order; None: all.
        skip_train, skip_val: clips per class left out before those.
        has_validation: validate on the corpus's own validation list or, where it has none, on groups held out of the
            training list. If False the clips that validate follow those that train in the same list, so it needs
            `k_train`; without that, groups are held out.
        val_proportion: share of a class's groups that is held out.
        class_protocol, num_classes: all classes, or so many of the most or least frequent ones, or random ones.
        use_excess_for: what becomes of training clips beyond `k_train`: none, train or val (then without those of
            recordings that train).
        remove_insufficient: leave out classes that have fewer clips than `k_train` or `k_val` ask for.
    """

    k_train: int | None = None
    k_val: int | None = None
    k_test: int | None = None
    skip_train: int = 0
    skip_val: int = 0
    has_validation: bool = True
    val_proportion: float = 0.2
    class_protocol: str = "all"
    num_classes: int | None = None
    use_excess_for: str = "none"
    remove_insufficient: bool = False
    seed: int = 0

    def __post_init__(self):
        if self.class_protocol != "all" and not self.num_classes:
            raise ValueError(f"class-protocol {self.class_protocol} needs num-classes")
        if not 0 < self.val_proportion < 1:
            raise ValueError(f"val-proportion is {self.val_proportion}; it must lie between 0 and 1")
        for name in ("k_train", "k_val", "k_test", "num_classes"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name.replace('k_', 'K-').replace('_', '-')} is {getattr(self, name)}; at least 1")


def group_split(
    items: Sequence[T], labels: Sequence[int], groups: Sequence[str], proportion: float = 0.2, seed: int = 0
) -> tuple[list[T], list[T]]:
    """(kept, held out): per class its groups are shuffled and the first floor(proportion * groups) are held out.

    At least one group of every class that has more than one; a group is never divided.
    """
    generator = random.Random(seed)
    held: set[tuple[int, str]] = set()
    by_class: dict[int, set[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        by_class.setdefault(label, set()).add(group)
    for label in sorted(by_class):
        names = sorted(by_class[label])
        generator.shuffle(names)
        count = max(1, math.floor(proportion * len(names))) if len(names) > 1 else 0
        held.update((label, name) for name in names[:count])
    parts: tuple[list[T], list[T]] = ([], [])
    for item, label, group in zip(items, labels, groups, strict=True):
        parts[(label, group) in held].append(item)
    return parts


def few_shot(labels: Sequence[int], k: int | None, skip: int = 0) -> list[int]:
    """Positions of the first `k` items of each class in list order, after the first `skip`; by class. None: all."""
    by_class: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        by_class.setdefault(label, []).append(position)
    end = None if k is None else skip + k
    return [position for label in sorted(by_class) for position in by_class[label][skip:end]]


def choose_classes(counts: Sequence[int], protocol: str, number: int | None, seed: int = 0) -> list[int]:
    """Class numbers that a protocol keeps, ascending; `counts` are training clips per class, ties go to the first.

    Raises:
        ValueError: an unknown protocol, or more classes than there are.
    """
    everything = list(range(len(counts)))
    if protocol == "all":
        return everything
    if number is None or not 1 <= number <= len(counts):
        raise ValueError(f"num-classes is {number}; the corpus has {len(counts)} classes")
    if protocol == "random":
        return sorted(random.Random(seed).sample(everything, number))
    if protocol not in ("most-frequent", "least-frequent"):
        raise ValueError(f"class-protocol is {protocol!r}; allowed: all, most-frequent, least-frequent, random")
    sign = -1 if protocol == "most-frequent" else 1
    return sorted(sorted(everything, key=lambda c: sign * counts[c])[:number])


def divide(corpus: ActionCorpus, settings: SplitSettings) -> ActionCorpus:
    """The corpus with the clips that train, validate and test, in its `splits`.

    Raises:
        ValueError: no training clip is left.
    """
    counts = [0] * len(corpus.classes)
    for clip in corpus.splits.get("train", ()):
        counts[clip.label] += 1
    kept = choose_classes(counts, settings.class_protocol, settings.num_classes, settings.seed)
    divided = _parts(corpus.with_classes(kept), settings)
    if settings.remove_insufficient:
        wanted = {"train": settings.k_train or 1, "val": settings.k_val or 0}
        enough = [
            c
            for c in range(len(divided.classes))
            if all(sum(clip.label == c for clip in divided.splits[s]) >= k for s, k in wanted.items())
        ]
        removed = [name for c, name in enumerate(divided.classes) if c not in enough]
        if removed:
            log.info("%d classes have too few clips and are left out: %s", len(removed), ", ".join(removed))
        divided = divided.with_classes(enough)
    if not divided.splits["train"]:
        raise ValueError(
            f"no training clip of {corpus.name} is left; see K-train, skip-first-K-train and class-protocol"
        )
    return divided


def _parts(corpus: ActionCorpus, s: SplitSettings) -> ActionCorpus:
    train, test = list(corpus.splits.get("train", ())), list(corpus.splits.get("test", ()))
    if s.has_validation and corpus.splits.get("val"):
        validation = list(corpus.splits["val"])
    elif s.has_validation or s.k_train is None:
        train, validation = group_split(
            train, [c.label for c in train], [c.group for c in train], s.val_proportion, s.seed
        )
    else:
        validation = None
    first = _shots(train, s.k_train, s.skip_train)
    used = set(map(id, first))
    rest = [clip for clip in train if id(clip) not in used]
    if validation is None:
        after = _shots(train, None, s.skip_train + (s.k_train or 0))  # what was skipped is not used at all
        validation = _shots(after, s.k_val, s.skip_val)
        used |= set(map(id, validation))
        rest = [clip for clip in rest if id(clip) not in used]
    else:
        validation = _shots(validation, s.k_val, s.skip_val)
    if s.use_excess_for == "train":
        first += rest
    elif s.use_excess_for == "val":
        seen = {(clip.label, clip.group) for clip in first}
        validation += [clip for clip in rest if (clip.label, clip.group) not in seen]
    elif s.use_excess_for != "none":
        raise ValueError(f"use-excess-for is {s.use_excess_for!r}; allowed: none, train, val")
    splits = {"train": tuple(first), "val": tuple(validation), "test": tuple(_shots(test, s.k_test, 0))}
    return replace(corpus, splits=splits)


def _shots(clips: list[ActionClip], k: int | None, skip: int) -> list[ActionClip]:
    if k is None and not skip:
        return clips
    return [clips[position] for position in few_shot([clip.label for clip in clips], k, skip)]
