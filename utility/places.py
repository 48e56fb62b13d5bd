"""How files and checkpoints note where something is, so that the note still holds in another copy of the repository."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def portable(place: str, root: Path = ROOT) -> str:
    """A path as it should be noted: relative to the repository when it lies inside, else absolute.

    What is no path of this machine (a name of known weights) stays; of `ARCHITECTURE:FILE` the file is noted so.
    """
    path = Path(place).expanduser()
    if path.exists():
        # Not resolved: a link inside the repository is a place inside the repository.
        full = Path(os.path.abspath(path))
        return full.relative_to(root).as_posix() if full.is_relative_to(root) else str(full)
    head, colon, file = place.partition(":")
    return f"{head}:{portable(file, root)}" if colon and Path(file).expanduser().exists() else place


def located(place: str, root: Path = ROOT) -> str:
    """Inverse of `portable`: the path on this machine, or the place as it is where nothing of that name is here."""
    if (root / place).exists():
        return str(root / place)
    head, colon, file = place.partition(":")
    return f"{head}:{root / file}" if colon and (root / file).exists() else place
