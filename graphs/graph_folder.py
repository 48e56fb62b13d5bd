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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0

from utility.whole_files import whole_folder

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
        OSError: it could not be written; a folder of that name is still what it was.
    """
    if not ids:
        raise ValueError(f"no graphs for {root}: none of the videos has one")
    known = set(ids)
    texts = {
        IDS: list(ids),
        SPLITS: {split: [name for name in names if name in known] for split, names in splits.items()},
        SETTINGS: dict(settings),
    }
    try:
        with whole_folder(root) as temporary:
            _write_arrays(temporary, graphs, ids)
            for name, content in texts.items():
                (temporary / name).write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(
            error.errno, f"{error.strerror} while writing {root}: free space and run the same command again"
        ) from error


def _write_arrays(folder: Path, graphs: Mapping[str, Mapping[str, np.ndarray]], ids: Sequence[str]) -> None:
    """Row by row into plain files: writing mapped pages that a full disk has no room for would end the process."""
    first = {name: np.asarray(array) for name, array in graphs[ids[0]].items()}
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(folder / f"{name}.npy", "wb")) for name in first}
        for name, file in files.items():
            header = {"descr": dtype_to_descr(first[name].dtype), "fortran_order": False}
            write_array_header_1_0(file, header | {"shape": (len(ids), *first[name].shape)})
        for video in ids:
            arrays = graphs[video]
            for name, file in files.items():
                if name not in arrays or arrays[name].shape != first[name].shape:
                    found = list(arrays[name].shape) if name in arrays else "absent"
                    raise ValueError(
                        f"video {video!r}: {name} is {found}, in {ids[0]!r} it is {list(first[name].shape)}; extract "
                        "all videos with the same settings"
                    )
                file.write(np.asarray(arrays[name], first[name].dtype).tobytes())


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
