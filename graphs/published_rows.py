"""Published files of relation and object rows, one per split, to rows of ours and back.

| published file | content |
|---|---|
| `{CORPUS}_rel_{phase}.hdf5`, `clip_embeddings.hdf5` | {video: [n, D]}: entities, then relations |
| `{CORPUS}_OFeat_{phase}.hdf5` | {video: [n, D]}: features of objects |
| `{CORPUS}_BFeat_{phase}.hdf5` | {video: [n, 4]}: their boxes |

An object row of the captioner is the box, then the feature. Widths are those of the files: 512 or 300 for relations,
1024 for objects. A video may have no rows, in any shape: (0,), (0, D), or rows of zeros of another width, as the
published loader makes them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from graphs.published_files import write_hdf5
from graphs.published_pickle import PublishedFileError

RELATIONS, OBJECTS, BOXES = "rel", "OFeat", "BFeat"
BOX = 4  # numbers of a box
_KIND = re.compile(rf"(?:^|_)({RELATIONS}|{OBJECTS}|{BOXES})(?:_|$)")


def rows_kind(path: Path | str) -> str | None:
    """`rel`, `OFeat` or `BFeat` by the name of a file, None for another one. (Their contents look alike.)"""
    stem = Path(path).stem
    found = _KIND.search(stem)
    return found[1] if found else RELATIONS if stem == "clip_embeddings" else None


class RowFiles:
    """Rows of all videos of some published files of one kind, read one video at a time.

    Args:
        paths: of the phases; of a video that two of them hold the first counts.
        width: of the rows; None: that of the files.

    Attributes:
        width: of the rows.

    Raises:
        PublishedFileError: no HDF5 file, no rows at all, or rows that are not all [n, width] numbers.
    """

    def __init__(self, paths: Sequence[Path | str], width: int | None = None):
        self._open = ExitStack()
        self._place: dict[str, h5py.Dataset] = {}
        with ExitStack() as failed:
            failed.push(self._open)
            for path in paths:
                try:
                    file = self._open.enter_context(h5py.File(path, "r"))
                except OSError as error:
                    raise PublishedFileError(f"{path} is not a readable HDF5 file: {error}") from error
                for video in file:
                    self._place.setdefault(video, file[video])
            self.width = width or self._usual_width()
            for video in self:
                self._check(video)
            failed.pop_all()

    def __enter__(self) -> RowFiles:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def __contains__(self, video: object) -> bool:
        return video in self._place

    def __getitem__(self, video: str) -> np.ndarray:
        """Rows [n, width] float32 of a video."""
        place = self._place[video]
        if not place.size or place.shape[1] != self.width:
            return np.zeros((0, self.width), np.float32)
        return np.asarray(place, np.float32)

    def _usual_width(self) -> int:
        arrays = [place for place in self._place.values() if isinstance(place, h5py.Dataset)]
        arrays = [place for place in arrays if place.ndim == 2 and place.size]
        for width, _ in Counter(place.shape[1] for place in arrays).most_common():
            # Rows of zeros are no rows, and may have any width.
            if any(np.any(place[()]) for place in arrays if place.shape[1] == width):
                return width
        raise PublishedFileError("no video has rows in these files")

    def _check(self, video: str) -> None:
        place = self._place[video]
        where = f"{place.file.filename}: {video!r}"
        if not isinstance(place, h5py.Dataset) or place.dtype.kind not in "fiu":
            raise PublishedFileError(f"{where} is no array of numbers")
        if place.size and place.ndim != 2:
            raise PublishedFileError(f"{where} is {list(place.shape)}, not [rows, width]")
        if place.size and place.shape[1] != self.width and place[()].any():
            raise PublishedFileError(f"{where} has rows of width {place.shape[1]}, others of {self.width}")


def without_padding(rows: np.ndarray) -> np.ndarray:
    """Rows without those of zeros that end them: padding, which is made anew where a batch needs it."""
    present = np.flatnonzero(rows.any(axis=1))
    return rows[: int(present[-1]) + 1 if len(present) else 0]


def read_relations(paths: Sequence[Path | str]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Videos of published `rel` files with {"rel": [n, D] float32}.

    Raises:
        PublishedFileError: see `RowFiles`.
    """
    with RowFiles(paths) as rows:
        for video in rows:
            yield video, {"rel": without_padding(rows[video])}


def read_objects(
    features: Sequence[Path | str], boxes: Sequence[Path | str]
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Videos of published `OFeat` files with {"objects": [n, 4 + D] float32}, boxes from their `BFeat` files.

    Raises:
        PublishedFileError: see `RowFiles`; or boxes of a video are absent, or of another number than its features.
    """
    with RowFiles(features) as rows, RowFiles(boxes, BOX) as places:
        for video in rows:
            if video not in places:
                raise PublishedFileError(
                    f"{video!r} has objects in {OBJECTS} but no boxes in {BOXES}: give all of both"
                )
            own, box = rows[video], places[video]
            if len(own) != len(box):
                own, box = without_padding(own), without_padding(box)
            if len(own) != len(box):
                raise PublishedFileError(f"{video!r}: {len(own)} objects in {OBJECTS}, but {len(box)} boxes in {BOXES}")
            yield video, {"objects": without_padding(np.concatenate([box, own], axis=1))}


def write_rows(path: Path | str, videos: Iterable[tuple[str, np.ndarray]]) -> None:
    """A published file of rows: {video: [n, D] float32}."""

    def fill(file: h5py.File) -> None:
        for video, rows in videos:
            file[video] = np.asarray(rows, np.float32)

    write_hdf5(path, fill)
