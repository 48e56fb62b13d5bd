"""A data set of compact action graphs as a folder: one NumPy file per array, read through the page cache.

| file | content |
|---|---|
| `nodes.npy`, `actions.npy`, `temporal.npy`, `slot_mask.npy`, `node_mask.npy`, ... | one row per video |
| `ids.json` | the video of each row |
| `splits.json` | {split: videos} |
| `settings.json` | what the numbers depend on |

The folder appears under its name only when it is complete.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

IDS, SPLITS, SETTINGS = "ids.json", "splits.json", "settings.json"


class GraphFolder(Mapping[str, dict[str, np.ndarray]]):
    """The graphs of a folder by video id; arrays are opened on first use, once per process.

    Raises:
        FileNotFoundError: not such a folder.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        if not (self.root / SETTINGS).is_file():
            raise FileNotFoundError(
                f"{self.root} is not a folder of action graphs (no {SETTINGS}); make it with "
                "`python graphs/transform_graph_to_geometric.py`"
            )
        self.ids: list[str] = read_json(self.root / IDS)
        self.splits: dict[str, list[str]] = read_json(self.root / SPLITS)
        self.settings: dict[str, Any] = read_json(self.root / SETTINGS)
        self._row = {name: row for row, name in enumerate(self.ids)}
        self._arrays: dict[str, np.ndarray] | None = None

    def __getitem__(self, video_id: str) -> dict[str, np.ndarray]:
        if video_id not in self._row:
            raise KeyError(f"video {video_id!r} is not in {self.root} ({len(self)} videos)")
        if self._arrays is None:
            self._arrays = {path.stem: np.load(path, mmap_mode="r") for path in sorted(self.root.glob("*.npy"))}
        row = self._row[video_id]
        return {name: np.array(array[row]) for name, array in self._arrays.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        # A mapped array would be pickled with its contents.
        return {**self.__dict__, "_arrays": None}


def write_graph_folder(
    root: Path | str,
    graphs: Mapping[str, Mapping[str, np.ndarray]],
    ids: Sequence[str],
    splits: Mapping[str, Sequence[str]],
    settings: Mapping[str, Any],
) -> None:
    """Writes the graphs of these videos, one at a time, and replaces a folder of that name when all are on disk.

    Raises:
        ValueError: no videos, or arrays of different shapes; the message names the video.
    """
    if not ids:
        raise ValueError(f"no graphs for {root}: none of the videos has one")
    root = Path(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.writing.", dir=root.parent))
    try:
        _write_arrays(temporary, graphs, ids)
        known = set(ids)
        for name, content in (
            (IDS, list(ids)),
            (SPLITS, {split: [name for name in names if name in known] for split, names in splits.items()}),
            (SETTINGS, dict(settings)),
        ):
            (temporary / name).write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
        temporary.chmod(0o755)
        if root.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{root.name}.old.", dir=root.parent))
            os.replace(root, old / root.name)
            os.replace(temporary, root)
            shutil.rmtree(old)
        else:
            os.replace(temporary, root)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_arrays(folder: Path, graphs: Mapping[str, Mapping[str, np.ndarray]], ids: Sequence[str]) -> None:
    files: dict[str, np.memmap] = {}
    for row, video in enumerate(ids):
        arrays = graphs[video]
        if not row:
            for name, array in arrays.items():
                files[name] = open_memmap(folder / f"{name}.npy", "w+", array.dtype, (len(ids), *array.shape))
        for name, file in files.items():
            if name not in arrays or arrays[name].shape != file.shape[1:]:
                found = list(arrays[name].shape) if name in arrays else "absent"
                raise ValueError(
                    f"video {video!r}: {name} is {found}, in {ids[0]!r} it is {list(file.shape[1:])}; extract all "
                    "videos with the same settings"
                )
            file[row] = arrays[name]
    for file in files.values():
        file.flush()


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
