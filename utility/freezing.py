"""Which parameters train, by their names: the rules of the published trainers' `--freeze_*` and `--keep_substrings`.

Source: reference section 4.2.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

TEXT_TOWER = re.compile(r"clip\.(transformer|token_embedding|positional_embedding|ln_final|text_projection)\b")
TEMPERATURE = "logit_scale"


@dataclass(frozen=True)
class FreezeRules:
    """What the flags say.

    Attributes:
        freeze_clip: the backbone stays as it is.
        freeze, keep: substrings of names; `text.` and `visual.` name the towers. Keep beats everything else.
        temperature_frozen: whether logit_scale stays as it is unless a keep substring names it. Otherwise it trains
            unless a freeze substring names it, also with `freeze_clip`.
        frozen: names that stay as they are by another rule, before the substrings are looked at.
    """

    freeze_clip: bool = False
    freeze: Sequence[str] = ()
    keep: Sequence[str] = ()
    temperature_frozen: bool = False
    frozen: frozenset[str] = frozenset()


def choose_trainable(
    names: Iterable[str],
    rules: FreezeRules,
    is_new: Callable[[str], bool],
    is_computed: Callable[[str], bool],
) -> tuple[set[str], list[str]]:
    """Names of the parameters that train, and warnings.

    Args:
        is_new: whether a parameter is one that the method adds to the backbone.
        is_computed: whether it takes part in the computation; what does not never trains.

    Raises:
        ValueError: a freeze substring that matches nothing (an unnoticed misspelling would train everything), or
            nothing left to train.
    """
    names = list(names)
    for substring in rules.freeze:
        if not any(matches(name, substring) for name in names):
            raise ValueError(
                f"--freeze_substrings {substring}: no parameter has this in its name. There are, for instance, "
                f"{', '.join(examples(names))}; text. and visual. name the towers"
            )
    warnings = [
        f"--keep_substrings {substring}: no parameter has this in its name"
        for substring in rules.keep
        if not any(matches(name, substring) for name in names)
    ]
    trained = set()
    for name in names:
        if not is_computed(name):
            continue
        train = name not in rules.frozen and not (rules.freeze_clip and not is_new(name))
        if name.endswith(TEMPERATURE):
            train = not rules.temperature_frozen
        if any(matches(name, substring) for substring in rules.freeze):
            train = False
        if train or any(matches(name, substring) for substring in rules.keep):
            trained.add(name)
    if not trained:
        raise ValueError(
            "no parameter is left to train: --freeze_clip, --freeze_substrings and the method leave nothing. Name what "
            "should train with --keep_substrings"
        )
    return trained, warnings


def matches(name: str, substring: str) -> bool:
    """Whether a name, or the one with its tower spelt out (`clip.text.transformer...`), contains the substring."""
    return substring in name or (
        TEXT_TOWER.match(name) is not None and substring in name.replace("clip.", "clip.text.", 1)
    )


def examples(names: Iterable[str], count: int = 8) -> list[str]:
    """A few kinds of names, without block numbers."""
    return list(dict.fromkeys(module_of(name) for name in names))[:count]


def module_of(name: str) -> str:
    """The part of a model that a parameter belongs to, all blocks of a tower together."""
    plain = re.sub(r"\.resblocks\.\d+", "", name)
    parts = plain.split(".")
    depth = 3 if parts[:2] == ["clip", "visual"] else 2
    return ".".join(parts[:depth])


def training_table(sizes: dict[str, int], trained: set[str], is_new: Callable[[str], bool]) -> list[str]:
    """Lines that say per module how many of its numbers train.

    Args:
        sizes: number of entries of every parameter.
    """
    total, training, added = Counter(), Counter(), set()
    for name, size in sizes.items():
        row = module_of(name)
        if is_new(name):
            leaf = re.sub(r"\.resblocks\.\d+", ".*", name)
            row = leaf.rpartition(".")[0] if leaf.endswith((".weight", ".bias")) else leaf
            added.add(row)
        total[row] += size
        training[row] += size if name in trained else 0
    width = max(map(len, total))
    lines = [f"{'module':{width}}  {'parameters':>12}  {'train':>12}"]
    for row in total:
        lines.append(f"{row:{width}}  {total[row]:>12,}  {training[row]:>12,}{'  new' if row in added else ''}")
    share = 100 * training.total() / max(1, total.total())
    lines.append(f"{'all':{width}}  {total.total():>12,}  {training.total():>12,}  {share:.2f} %")
    return lines
