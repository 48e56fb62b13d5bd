"""Whether a saved training is the one that is to be continued: same vocabulary, same parts of its description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from utility.feature_layout import flatten, to_json

SHOWN = 6


def differences(
    stored: Mapping[str, Any],
    now: Mapping[str, Any],
    parts: Sequence[str],
    words: tuple[Sequence[str] | None, Sequence[str] | None] = (None, None),
) -> list[str]:
    """What differs, a clause each; empty for the same run.

    Args:
        stored, now: descriptions as checkpoints keep them.
        parts: what of them counts: names in them, with dots for what is further inside (`features.settings`). What the
            stored one lacks is not compared: an older version did not know it. Nor is the name of what has a hash.
        words: the stored vocabulary and that of now; compared where there are both.
    """
    old, new = flatten(dict(stored)), flatten(dict(now))
    known = {name.removesuffix("hash") + "name" for name in old if name.endswith(".hash")}
    kept = [name for name in old if any(f"{name}.".startswith(f"{part}.") for part in parts) and name not in known]
    changed = [name for name in kept if to_json(old[name]) != to_json(new.get(name))]
    found = [f"{name} was {old.get(name)!r}, is {new.get(name)!r}" for name in changed[:SHOWN]]
    return found + _word_difference(*words)


def _word_difference(old: Sequence[str] | None, new: Sequence[str] | None) -> list[str]:
    if old is None or new is None or list(old) == list(new):
        return []
    if len(old) != len(new):
        return [f"the vocabulary had {len(old)} words, has {len(new)}"]
    number = next(number for number, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1])
    return [f"word {number} of the vocabulary was {old[number]!r}, is {new[number]!r}"]
