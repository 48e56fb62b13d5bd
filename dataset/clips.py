"""Pairs of a clip and a caption for retrieval: frames, augmentation, batches.

Shape letters: B pairs, T frames of a clip, n frames that a video has, R resolution in pixels, L word positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataset.clip_crops import Augmentation, crop, motion_maps
from dataset.clip_frames import ClipFrames, log
from utility.clip_text import ClipTokenizer, trim
from utility.images import resize
from utility.sampling import segment_frames, thin
from utility.video import VideoError


@dataclass(frozen=True)
class FrameOrder:
    """What becomes of the pictures that a video has when a clip of T frames is made of them.

    Attributes:
        segments: one picture of each of T segments (STOP) instead of evenly spread ones, both ends included.
        order: 0 as they are, 1 reversed, 2 shuffled.
        repeat: a short video repeats pictures, evenly, until it has T (TempMe); otherwise the rest is masked.
    """

    segments: bool = False
    order: int = 0
    repeat: bool = False

    def __post_init__(self):
        if self.order not in (0, 1, 2):
            raise ValueError(f"a frame order is 0 (as they are), 1 (reversed) or 2 (shuffled), got {self.order}")


def choose_frames(
    count: int,
    frames: int,
    random: bool = False,
    how: FrameOrder | None = None,
    generator: np.random.Generator | None = None,
) -> np.ndarray:
    """Positions of at most `frames` of `count` pictures, drawn (`random`) or always the same.

    Args:
        generator: shuffles instead of NumPy's global one.
    """
    how = how or FrameOrder()
    if count < frames:
        chosen = np.linspace(0, count - 1, frames).astype(np.int64) if how.repeat else np.arange(count)
    elif how.segments:
        chosen = segment_frames(count, frames, random)
    elif random and count > frames:
        chosen = np.sort(np.random.permutation(count)[:frames])
    else:
        chosen = thin(count, frames)
    if how.order == 1:
        return chosen[::-1].copy()
    if how.order == 2:
        return generator.permutation(chosen) if generator is not None else np.random.permutation(chosen)
    return chosen


def pad_clip(frames: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """A clip [n, ...] padded with zeros to [T, ...] and its mask [T] int64."""
    mask = torch.zeros(length, dtype=torch.int64)
    mask[: len(frames)] = 1
    if len(frames) < length:
        frames = torch.cat([frames, frames.new_zeros(length - len(frames), *frames.shape[1:])])
    return frames, mask


@dataclass
class ClipBatch:
    """Pairs: frames [B, T, 3, R, R] uint8, mask [B, T], ids [B, L], words [B, V] and the names of the videos."""

    frames: Tensor
    mask: Tensor
    ids: Tensor
    words: Tensor
    names: list[str]

    def to(self, device: torch.device | str) -> ClipBatch:
        """The same batch on a device."""
        tensors = (getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)[:4])
        return ClipBatch(*tensors, self.names)

    def pin_memory(self) -> ClipBatch:
        """The same batch in page-locked memory, which a DataLoader asks for."""
        return ClipBatch(*(getattr(self, f.name).pin_memory() for f in fields(self)[:4]), self.names)

    def __len__(self) -> int:
        return len(self.names)


class ClipPairs(Dataset):
    """Training pairs. An item is a video with one of its captions, drawn anew each time, or every (video, caption).

    Random draws come from NumPy's generator, which the loader seeds per batch.

    Args:
        frames: pictures of the videos.
        captions: raw captions by id; videos without pictures or captions are left out.
        every_sentence: one item per caption instead of one per video.
        order: how a clip is made of a video's pictures.
        word_targets: batches say which words the captions of each video use (`WordTargets`); else `words` is [B, 0].

    Raises:
        ValueError: no pair is left.
    """

    def __init__(
        self,
        frames: ClipFrames,
        captions: Mapping[str, Sequence[str]],
        tokenizer: ClipTokenizer,
        max_frames: int,
        max_words: int,
        resolution: int,
        augmentation: Augmentation | None = None,
        every_sentence: bool = False,
        word_targets: bool = False,
        order: FrameOrder | None = None,
    ):
        self.frames, self.max_frames, self.resolution, self.order = frames, max_frames, resolution, order
        self.augmentation = augmentation or Augmentation()
        self.names = [name for name in frames.ids if captions.get(name)]
        if not self.names:
            raise ValueError("no training video has both frames and a caption")
        self.ids = {name: tokenizer.pack(captions[name], max_words)[0] for name in self.names}
        self.words = WordTargets(list(self.ids.values())) if word_targets else None
        self.items: list[tuple[str, int | None]] = [(name, None) for name in self.names]
        if every_sentence:
            self.items = [(name, i) for name in self.names for i in range(len(self.ids[name]))]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor, str]:
        name, caption = self.items[index]
        try:
            frames = self.frames[name]
        except VideoError as error:  # without a cache, a broken video shows only now; its neighbour takes its place
            log.warning("%s; another video takes its place", error)
            self.frames.failed[name] = str(error)
            if all(other in self.frames.failed for other in self.names):
                raise
            return self[(index + 1) % len(self)]
        ids = self.ids[name]
        row = np.random.randint(len(ids)) if caption is None else caption
        how = self.augmentation
        chosen = choose_frames(len(frames), self.max_frames, how.random_frames, self.order)
        clip = frames[torch.from_numpy(chosen)]
        words = torch.zeros(0) if self.words is None else self.words(ids)
        maps = motion_maps(frames, chosen) if how.crop_on_motion and frames.ndim == 4 else None
        return *pad_clip(crop(clip, self.resolution, how, maps), self.max_frames), ids[row], words, name

    @staticmethod
    def collate(items: Sequence[tuple[Tensor, Tensor, Tensor, Tensor, str]]) -> ClipBatch:
        """A batch of items."""
        *tensors, names = zip(*items, strict=True)
        frames, mask, ids, words = (torch.stack(tensor) for tensor in tensors)
        return ClipBatch(frames, mask, trim(ids), words, list(names))


class WordTargets:
    """Which sub-words the captions of a video use, rare ones weighing more.

    The weight of a word is log(videos / videos whose captions use it): one that they all use says nothing.

    Args:
        rows: caption ids [captions, L] of every training video.
    """

    def __init__(self, rows: Sequence[Tensor]):
        used = [row.unique() for row in rows]
        vocabulary, videos = torch.cat(used).unique(return_counts=True)
        self.weight = torch.log(len(rows) / videos.float())
        self._place = torch.zeros(int(vocabulary.max()) + 1, dtype=torch.int64)
        self._place[vocabulary] = torch.arange(len(vocabulary))

    def __len__(self) -> int:
        return len(self.weight)

    def __call__(self, rows: Tensor) -> Tensor:
        """Captions [captions, L] of a training video to a distribution [V]; zero if all its words are everywhere."""
        target = torch.bincount(self._place[rows.flatten()], minlength=len(self)) * self.weight
        return target / target.sum().clamp(min=1e-6)


class EvaluationClips:
    """Videos and all their captions, each once.

    Attributes:
        names: videos with a caption that can be read (without a cache: that are there).
        ids, video_of_text: rows of all captions [A, L] and the number of the video that each belongs to [A].
    """

    def __init__(
        self,
        frames: ClipFrames,
        captions: Mapping[str, Sequence[str]],
        tokenizer: ClipTokenizer,
        max_frames: int,
        max_words: int,
        resolution: int,
        order: FrameOrder | None = None,
    ):
        self.frames, self.max_frames, self.resolution, self.order = frames, max_frames, resolution, order
        self.names = [name for name in frames.ids if captions.get(name)]
        if not self.names:
            raise ValueError("no video of this split has both frames and a caption")
        self.ids = trim(torch.cat([tokenizer.pack(captions[name], max_words)[0] for name in self.names]))
        self.video_of_text = np.repeat(np.arange(len(self.names)), [len(captions[name]) for name in self.names])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor] | None:
        """(frames [T, 3, R, R] uint8, mask [T]) of a video, None if it turns out to be unreadable."""
        try:
            frames = self.frames[self.names[index]]
        except VideoError as error:
            log.warning("%s; left out of the evaluation", error)
            return None
        # Shuffled frames are the same in every evaluation.
        chosen = choose_frames(len(frames), self.max_frames, False, self.order, np.random.default_rng(index))
        clip = frames[torch.from_numpy(chosen)]
        if clip.ndim == 4:
            clip = resize(clip, self.resolution, self.resolution)
        return pad_clip(clip, self.max_frames)
