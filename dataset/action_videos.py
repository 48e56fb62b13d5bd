"""Labelled clips as views for recognisers: decoded, kept, augmented, mixed, batched.

Shape letters: B clips, V views (temporal views, in each the squares from left to right), T frames of a view,
n different frames of a clip, R edge in pixels, C classes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataset.actions import ActionClip
from utility.clip_augmentation import ClipAugmentation
from utility.images import resize_short
from utility.video import VideoError, VideoReader
from utility.video_mix import draw_box, mix, mixed_label
from utility.video_views import spatial_crops, temporal_views, without_black_strips
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


def assemble(pictures: Pictures, views: ViewSettings, augmentation: ClipAugmentation | None = None) -> Tensor:
    """Views [V, T, 3, R, R] uint8 of a clip."""
    frames = pictures.frames if augmentation is None else augmentation.crop(pictures.frames)
    frames = resize_short(frames, views.size, "bilinear")
    if augmentation is not None:
        frames = augmentation(frames)
    crops = spatial_crops(frames, views.size, views.spatial)
    return crops[:, pictures.index].transpose(0, 1).flatten(0, 1)


def view_mask(pictures: Pictures, views: ViewSettings) -> Tensor:
    """Which frames are there: [V, T] bool."""
    return pictures.mask.repeat_interleave(views.spatial, 0)


@dataclass
class ActionBatch:
    """Views [B, V, T, 3, R, R] uint8, mask [B, V, T], labels ([B] numbers, or [B, C] shares of mixtures), names."""

    frames: Tensor
    mask: Tensor
    labels: Tensor
    names: list[str]

    def to(self, device: torch.device | str) -> ActionBatch:
        return ActionBatch(
            *(x.to(device, non_blocking=True) for x in (self.frames, self.mask, self.labels)), self.names
        )

    def pin_memory(self) -> ActionBatch:
        return ActionBatch(*(x.pin_memory() for x in (self.frames, self.mask, self.labels)), self.names)

    def __len__(self) -> int:
        return len(self.names)

    @staticmethod
    def collate(items: Sequence[tuple[Tensor, Tensor, Tensor, str]]) -> ActionBatch:
        frames, masks, labels, names = zip(*items, strict=True)
        return ActionBatch(torch.stack(frames), torch.stack(masks), torch.stack(labels), list(names))


class TrainingClips(Dataset):
    """Training clips. What is random comes from NumPy's generator, which the loader seeds per batch.

    Args:
        mix_type, mix_probability, classes: VideoMix; labels are shares then, else numbers.
        augmentation: of both clips of a mixture.

    Raises:
        VideoError: from `[]`, only when not one clip can be read; another takes the place of a broken one.
    """

    def __init__(
        self, clips: Sequence[ActionClip], pictures: ActionPictures, classes: int,
        augmentation: ClipAugmentation | None = None, mix_type: str = "none", mix_probability: float = 0.5,
    ):  # fmt: skip
        self.clips, self.pictures, self.classes = list(clips), pictures, classes
        self.augmentation, self.mix_type, self.mix_probability = augmentation, mix_type, mix_probability
        self.failed: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, str]:
        frames, mask, clip = self._read(index)
        if self.mix_type == "none":
            return frames, mask, torch.tensor(clip.label), clip.name
        share, other = 1.0, clip
        if np.random.random() < self.mix_probability:
            outside, other_mask, other = self._read(int(np.random.randint(len(self.clips))))
            box = draw_box(self.mix_type, frames.shape[1], *frames.shape[-2:])
            frames, share = mix(frames, outside, box)
            mask = mask | other_mask
        return frames, mask, mixed_label(clip.label, other.label, share, self.classes), clip.name

    def _read(self, index: int) -> tuple[Tensor, Tensor, ActionClip]:
        for step in range(len(self.clips)):
            clip = self.clips[(index + step) % len(self.clips)]
            if clip.name in self.failed:
                continue
            try:
                pictures = self.pictures(clip)
            except VideoError as error:
                log.warning("%s; another clip takes its place", error)
                self.failed[clip.name] = str(error)
                continue
            views = self.pictures.views
            return assemble(pictures, views, self.augmentation), view_mask(pictures, views), clip
        raise VideoError(str(self.clips[index].path), "open", "not one training clip can be read")


class EvaluationClips(Dataset):
    """Clips as they are; `[]` gives the cause, a text, for one that cannot be read."""

    def __init__(self, clips: Sequence[ActionClip], pictures: ActionPictures):
        self.clips, self.pictures = list(clips), pictures

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, str] | str:
        clip = self.clips[index]
        try:
            pictures = self.pictures(clip)
        except VideoError as error:
            return str(error)
        views = self.pictures.views
        return assemble(pictures, views), view_mask(pictures, views), torch.tensor(clip.label), clip.name
