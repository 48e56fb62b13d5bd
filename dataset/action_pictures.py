"""Pictures of labelled clips: which frames are looked at, decoded once, kept in memory or in files.

Shape letters: T frames of a view, n different frames of a clip.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset.actions import ActionClip
from utility.images import resize_short
from utility.video import VideoError, VideoReader
from utility.video_views import temporal_views, without_black_strips
from utility.whole_files import whole_file

log = logging.getLogger(__name__)

PICTURES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class ViewSettings:
    """What is looked at of a video, see `utility.video_views`."""

    size: int
    frames: int = 8
    temporal: int = 4
    spatial: int = 3
    space: int | None = None
    remove_black_strips: bool = False


@dataclass(frozen=True)
class Pictures:
    """The different frames of a clip [n, 3, h, w] uint8, and which of them each temporal view takes [views, T]."""

    frames: Tensor
    index: Tensor
    mask: Tensor


def decode(path: Path | str, views: ViewSettings, scale: bool = True) -> Pictures:
    """Pictures of a video file, or of a folder of frames in the order of their names.

    Args:
        scale: bring the short side to `views.size`; else frames keep their size.

    Raises:
        VideoError: it cannot be read.
    """
    early = scale and not views.remove_black_strips  # strips are found by looking at all frames at once
    small = (lambda frame: resize_short(frame, views.size, "bilinear")) if early else (lambda frame: frame)
    kept, index, mask = (_picture_folder if Path(path).is_dir() else _video_file)(Path(path), views, small)
    if views.remove_black_strips:
        kept = without_black_strips(kept)
        kept = resize_short(kept, views.size, "bilinear") if scale else kept
    _, place = np.unique(index, return_inverse=True)
    return Pictures(kept, torch.from_numpy(place.reshape(index.shape)), torch.from_numpy(mask))


Chosen = tuple[Tensor, np.ndarray, np.ndarray]  # the different frames, in order; index and mask of `temporal_views`


def _video_file(path: Path, views: ViewSettings, small: Callable[[Tensor], Tensor]) -> Chosen:
    reader = VideoReader(path)
    frames: list[Tensor] = []
    chosen: list[tuple[np.ndarray, np.ndarray]] = []

    def plan() -> np.ndarray:
        frames.clear()  # a new plan makes void what came before
        chosen[:] = [temporal_views(len(reader.times), views.frames, views.temporal, views.space)]
        return np.unique(chosen[0][0])

    for _, frame in reader.follow(plan):
        frames.append(small(frame))
    return torch.stack(frames), *chosen[0]


def _picture_folder(path: Path, views: ViewSettings, small: Callable[[Tensor], Tensor]) -> Chosen:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
    if not files:
        raise VideoError(str(path), "open", "this folder holds no pictures")
    index, mask = temporal_views(len(files), views.frames, views.temporal, views.space)
    return torch.stack([small(_read_picture(files[number])) for number in np.unique(index)]), index, mask


def _read_picture(file: Path) -> Tensor:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    except OSError as error:
        raise VideoError(str(file.parent), "decode", f"{file.name}: {error}") from error


@dataclass(frozen=True)
class CacheSettings:
    """Where decoded pictures are kept.

    Attributes:
        memory_bytes: of this process.
        folder: of files; `read` and `write` say whether they are used and made.
        scaled: files hold pictures of the backbone's size instead of the video's.
    """

    memory_bytes: int = 0
    folder: Path | None = None
    read: bool = False
    write: bool = False
    scaled: bool = True


class ActionPictures:
    """Pictures of clips, from memory, from the files of a cache, or decoded."""

    def __init__(self, views: ViewSettings, cache: CacheSettings | None = None):
        self.views, self.cache = views, cache or CacheSettings()
        self._kept: dict[str, Pictures] = {}
        self._bytes = 0

    def __call__(self, clip: ActionClip) -> Pictures:
        """
        Raises:
            VideoError: the clip cannot be read.
        """
        if clip.name in self._kept:
            return self._kept[clip.name]
        pictures = self._from_file(clip)
        size = pictures.frames.numel()
        if self._bytes + size <= self.cache.memory_bytes:
            self._kept[clip.name] = pictures
            self._bytes += size
        return pictures

    def _from_file(self, clip: ActionClip) -> Pictures:
        cache = self.cache
        file = cache.folder / f"{self._key(clip)}.npz" if cache.folder and (cache.read or cache.write) else None
        if file is not None and cache.read and file.is_file():
            try:
                with np.load(file, allow_pickle=False) as stored:
                    return Pictures(*(torch.from_numpy(stored[field.name]) for field in fields(Pictures)))
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                log.warning("%s cannot be read and is made anew: %s", file, error)
        pictures = decode(clip.path, self.views, cache.scaled or file is None)
        if file is not None and cache.write:
            with whole_file(file) as temporary, open(temporary, "wb") as target:
                np.savez(target, **{field.name: getattr(pictures, field.name).numpy() for field in fields(Pictures)})
        return pictures

    def _key(self, clip: ActionClip) -> str:
        state = clip.path.stat()
        words = [str(clip.path), state.st_size, state.st_mtime_ns, asdict(self.views), self.cache.scaled]
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:24]
