"""Reading feature files (see `feature_store` for how they are written)."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from utility.feature_layout import escape, unescape


class Place(NamedTuple):
    """Where an array of a video is: `offset` in bytes from the start of the file, None where only HDF5 knows."""

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int | None


class FeatureStore:
    """Read access to a feature file, as a mapping from video id to arrays.

    The file is opened on first use and once per process, so that a store may be handed to worker processes. HDF5 is
    asked once per video where its arrays are (about 2 kB of memory); their bytes come straight from the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file cannot be read, or is not marked complete.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"feature file not found: {self.path}")
        self._file: h5py.File | None = None
        self._process = -1
        self._ids: dict[str, None] | None = None
        self._places: dict[str, dict[str, Place]] = {}

    @property
    def file(self) -> h5py.File:
        """The open HDF5 file, opened on first use in every process."""
        if self._file is None or self._process != os.getpid():
            try:
                file = h5py.File(self.path, "r")
            except OSError as error:
                raise ValueError(
                    f"{self.path} is not a readable HDF5 file: {error}; delete it and make it again"
                ) from error
            if not file.attrs.get("complete", False):
                raise ValueError(f"{self.path} is not a complete feature file: make it again")
            self._file, self._process = file, os.getpid()
            self._places = {}  # the file may be another one by now
        return self._file

    @property
    def _handle(self) -> int:
        """The operating system's number of the open file."""
        return self.file.id.get_vfd_handle()

    @property
    def settings(self) -> dict[str, Any]:
        """What the numbers depend on: sampling, backbone and its hash, preprocessing and so on."""
        return json.loads(self.file.attrs["settings"])

    @property
    def settings_hash(self) -> str:
        """Short hash of `settings`."""
        return str(self.file.attrs["settings_hash"])

    @property
    def notes(self) -> dict[str, Any]:
        """What is worth knowing but changes no number."""
        return json.loads(self.file.attrs.get("notes", "{}"))

    @property
    def ids(self) -> list[str]:
        """All video ids, sorted."""
        return list(self._id_set())

    def __len__(self) -> int:
        return len(self._id_set())

    def __iter__(self) -> Iterator[str]:
        return iter(self._id_set())

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._id_set()

    def __getitem__(self, video_id: str) -> dict[str, np.ndarray]:
        return self.read(video_id)

    def read(self, video_id: str, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """Arrays of one video, all or those named.

        Raises:
            KeyError: unknown video or array name.
        """
        places = self.places(video_id)
        arrays = {name: np.empty(places[name].shape, places[name].dtype) for name in self._chosen(video_id, names)}
        self.read_into(video_id, arrays)
        return arrays

    def read_into(self, video_id: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Fills these arrays, of the stored shapes, with those of a video.

        Raises:
            KeyError: unknown video or array name.
            ValueError: another shape is stored, or the file was cut off after it was opened.
        """
        places = self.places(video_id)
        for name in self._chosen(video_id, arrays):
            array, (shape, dtype, offset) = arrays[name], places[name]
            if array.shape != shape:
                raise ValueError(f"{self.path}: {name} of {video_id!r} is {shape}, asked for as {array.shape}")
            if offset is None or array.dtype != dtype or not array.flags.c_contiguous:
                array[...] = self.file[escape(video_id)][name][()]
            elif os.preadv(self._handle, [array], offset) != array.nbytes:
                raise ValueError(f"{self.path} was cut off while it was open: {name} of {video_id!r} is incomplete")

    def places(self, video_id: str) -> dict[str, Place]:
        """Shape, type and place of every array of a video.

        Raises:
            KeyError: unknown video.
        """
        found = self._places.get(video_id)
        if found is None:
            if video_id not in self._id_set():
                raise KeyError(f"video {video_id!r} is not in {self.path} ({len(self)} videos)")
            # The low-level interface: the objects of the other one cost three times as much as the reading.
            group = h5py.h5g.open(self.file.id, escape(video_id).encode())
            found = self._places[video_id] = {name.decode(): self._place(group, name) for name in group}
        return found

    def _place(self, group: h5py.h5g.GroupID, name: bytes) -> Place:
        data = h5py.h5d.open(group, name)
        # Without an offset: chunked, compressed or empty data.
        plain = hasattr(os, "preadv") and not data.dtype.hasobject
        return Place(data.shape, data.dtype, data.get_offset() if plain else None)

    def _chosen(self, video_id: str, names: Collection[str] | None) -> Collection[str]:
        places = self.places(video_id)
        for name in names or ():
            if name not in places:
                raise KeyError(f"{self.path} has no {name!r} for {video_id!r}: it holds {', '.join(places)}")
        return places if names is None else names

    def attributes(self, video_id: str) -> dict[str, Any]:
        """The attributes written beside a video's arrays."""
        return dict(self.file[escape(video_id)].attrs)

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None
        self._places = {}

    def _id_set(self) -> dict[str, None]:
        if self._ids is None:
            self._ids = dict.fromkeys(sorted(map(unescape, self.file)))
        return self._ids

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_process": -1, "_places": {}}
