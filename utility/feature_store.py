"""Feature files: one HDF5 file per corpus and feature, one group per video, written so that a kill loses nothing.

While a stage runs, each process appends to `NAME.rank{r}.part` (a record log, see `record_log`); at the end rank 0
merges the parts and an existing file into one HDF5 file, which appears under its name only when it is complete. Root
attributes of that file: `settings` (JSON: what the numbers depend on), `settings_hash`, `notes` (JSON), `complete` and
`version`.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from utility.feature_layout import (
    changed_settings,
    escape,
    feature_path,
    find_feature,
    glob_escape,
    settings_hash,
    to_json,
    unescape,
)
from utility.feature_reading import FeatureStore
from utility.packed_arrays import pack, unpack
from utility.record_log import DamagedLog, RecordLog, read_header, read_records

log = logging.getLogger(__name__)

VERSION = 1
# Probabilities, times and boxes that half precision would visibly round.
KEEP = frozenset({"temporal", "frame_time", "boxes"})

__all__ = ["KEEP", "FeatureStore", "FeatureWriter", "SettingsMismatch", "feature_path", "find_feature", "settings_hash"]


class SettingsMismatch(ValueError):
    """Features made with other settings are stored under this name already."""


class FeatureWriter:
    """Writes one feature file from one or several processes; a killed run continues with the videos not yet stored.

        with FeatureWriter(path, settings, dist) as writer:
            for video_id in (v for v in videos if v not in writer.done):
                writer.write(video_id, {"nodes": nodes})
            writer.finish()

    Args:
        path: the finished file.
        settings: what the numbers depend on (JSON types); other settings under the same name are refused.
        dist: a `utility.distributed.Distributed`, None for a plain process. All ranks must build, finish and leave the
            writer together.
        keep: names of float arrays stored as they are; all other float arrays become float16.
        notes: JSON types stored in the finished file without being part of the settings.

    Raises:
        SettingsMismatch: the finished file or a part was made with other settings.
        LogInUse: another run is writing this file.
    """

    def __init__(
        self,
        path: Path | str,
        settings: dict[str, Any],
        dist: Any = None,
        keep: Collection[str] = KEEP,
        notes: dict[str, Any] | None = None,
    ):
        self.path = Path(path)
        self.settings = json.loads(to_json(settings))
        self.keep = frozenset(keep)
        self.notes = notes or {}
        self._dist = dist
        self._rank = dist.rank if dist else 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._rank == 0:
            self._check_finished()
            for part in self._parts():
                self._check_part(part)
        self._wait()
        self._log = RecordLog(self._part(self._rank), to_json(self.settings).encode())
        self._wait()  # only now have all ranks cut off what a kill left half-written
        self.done: set[str] = self._stored()
        self._wait()  # nobody appends before everybody has looked, so that all ranks share one work list

    def write(self, video_id: str, arrays: dict[str, Any], attrs: dict[str, Any] | None = None) -> None:
        """Stores the arrays (NumPy or torch) of one video, flushed before returning.

        Raises:
            ValueError: a float array holds NaN or infinity, or exceeds half precision and is not in `keep`.
        """
        converted = {name: self._convert(video_id, name, value) for name, value in arrays.items()}
        self._log.append(escape(video_id).encode(), pack(converted, attrs or {}))
        self.done.add(video_id)

    def finish(self) -> None:
        """Merges all parts into the finished file (rank 0, when all ranks are here) and removes them."""
        self._log.close()
        self._wait()
        if self._rank == 0:
            self._merge()
        self._wait()

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._log.close()

    def _wait(self) -> None:
        if self._dist:
            self._dist.barrier()

    def _part(self, rank: int) -> Path:
        return self.path.with_name(f"{self.path.name}.rank{rank}.part")

    def _parts(self) -> list[Path]:
        return sorted(self.path.parent.glob(f"{glob_escape(self.path.name)}.rank*.part"))

    def _check_finished(self) -> None:
        if self.path.exists():
            refuse_other_settings(self.path, self.settings)

    def _check_part(self, part: Path) -> None:
        if part.stat().st_size == 0:  # killed before its header was written
            part.unlink()
            return
        try:
            _compare(json.loads(read_header(part)), self.settings, part)
        except DamagedLog as error:
            aside = part.with_name(part.name + ".unreadable")
            os.replace(part, aside)
            log.warning("%s: set aside as %s; its videos are extracted again", error, aside.name)

    def _stored(self) -> set[str]:
        stored = set()
        if self.path.exists():
            store = FeatureStore(self.path)
            stored.update(store.ids)
            store.close()
        for part in self._parts():
            stored.update(unescape(key.decode()) for key, _, _ in read_records(part) if key)
        return stored

    def _convert(self, video_id: str, name: str, value: Any) -> np.ndarray:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
        array = np.asarray(value)
        if array.dtype.kind != "f":
            return array
        if not np.isfinite(array).all():
            raise ValueError(f"video {video_id!r}: {name} holds NaN or infinite values: check weights and --precision")
        if name in self.keep:
            return array
        limit = np.finfo(np.float16).max
        if np.abs(array).max(initial=0) > limit:
            raise ValueError(f"video {video_id!r}: {name} exceeds the range of half precision (|x| <= {limit:.0f})")
        return array.astype(np.float16)

    def _merge(self) -> None:
        parts = self._parts()
        if not any(key for part in parts for key, _, _ in read_records(part)):
            for part in parts:
                part.unlink()
            return
        temporary = self.path.with_name(self.path.name + ".merging")
        try:
            self._write_merged(temporary, parts)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError | RuntimeError):  # HDF5's own messages are long and name no remedy
                raise OSError(
                    getattr(error, "errno", None) or errno.EIO,
                    f"{str(error).partition('(')[0].strip()} while writing {temporary}; nothing is lost, the parts "
                    "beside it hold every video: free space and run the same command again",
                ) from error
            raise
        os.replace(temporary, self.path)
        _sync_folder(self.path.parent)
        for part in parts:
            part.unlink()

    def _write_merged(self, temporary: Path, parts: list[Path]) -> None:
        with h5py.File(temporary, "w") as target:
            if self.path.exists():
                with h5py.File(self.path, "r") as finished:
                    for name in finished:
                        finished.copy(name, target)
            for part in parts:
                for key, body, _ in read_records(part):
                    if key and key.decode() not in target:
                        _write_group(target, key.decode(), body)
            target.attrs["settings"] = to_json(self.settings)
            target.attrs["settings_hash"] = settings_hash(self.settings)
            target.attrs["notes"] = to_json(self.notes)
            target.attrs["version"] = VERSION
            target.attrs["complete"] = True
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())


def refuse_other_settings(path: Path, settings: dict[str, Any]) -> None:
    """Whether a stage with these settings may go on with a finished feature file.

    Raises:
        SettingsMismatch: it was made with others; the message names them.
    """
    store = FeatureStore(path)
    try:
        _compare(store.settings, settings, path)
    finally:
        store.close()


def _compare(stored: dict[str, Any], given: dict[str, Any], source: Path) -> None:
    if changed := changed_settings(stored, given):
        raise SettingsMismatch(
            f"{source} was made with other settings ({changed}). Use the old settings, choose another --features "
            "name for the new ones, or delete the file"
        )


def _write_group(target: h5py.File, name: str, body: bytes) -> None:
    group = target.create_group(name)
    arrays, attrs = unpack(body)
    for key, value in attrs.items():
        group.attrs[key] = value
    # What `group[key] = array` does, in a third of its time: a corpus has tens of thousands of small arrays. Without
    # times of change, so that equal features make equal files.
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_obj_track_times(False)
    for key, array in arrays.items():
        kind = h5py.h5t.py_create(array.dtype, logical=True)
        space = h5py.h5s.create_simple(array.shape) if array.shape else h5py.h5s.create(h5py.h5s.SCALAR)
        stored = h5py.h5d.create(group.id, key.encode(), kind, space, how)
        if array.size:
            stored.write(h5py.h5s.ALL, h5py.h5s.ALL, array)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
