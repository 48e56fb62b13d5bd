"""Short runs of consecutive frames with a caption: what an action network learns from."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataset.clips import WordTargets
from dataset.corpus import Corpus
from utility.clip_text import ClipTokenizer, trim
from utility.images import i3d_frames, to_i3d
from utility.video import VideoError, VideoReader

log = logging.getLogger(__name__)


class ActionClips(Dataset):
    """`length` consecutive frames from a random place of a video, and one of its captions.

    Videos are decoded once and kept as small uint8 frames up to `cache_bytes`; beyond that they are decoded each time.
    A video that cannot be read is left out, and named.

    Raises:
        ValueError: not one video can be used.
    """

    def __init__(
        self, corpus: Corpus, ids: list[str], tokenizer: ClipTokenizer, size: int = 64, length: int = 16,
        max_words: int = 24, cache_bytes: int = 4 << 30, decode_workers: int = 2,
    ):  # fmt: skip
        from tqdm import tqdm

        self.corpus, self.size, self.length = corpus, size, length
        wanted = [name for name in ids if corpus.videos.get(name) is not None and corpus.captions.get(name)]
        self.rows = {name: tokenizer.pack(corpus.captions[name], max_words)[0] for name in wanted}
        self._frames: dict[str, Tensor] = {}
        self.ids: list[str] = []
        kept = 0
        with ThreadPoolExecutor(decode_workers) as pool:
            for name, result in tqdm(pool.map(self._try, wanted), total=len(wanted), desc="decoding", unit="clip"):
                if isinstance(result, VideoError):
                    log.warning("%s is left out: %s", name, result)
                    continue
                self.ids.append(name)
                if kept + result.numel() <= cache_bytes:
                    self._frames[name] = result
                    kept += result.numel()
        if not self.ids:
            raise ValueError(f"none of the {len(ids)} videos can be read and has captions")
        self.words = WordTargets([self.rows[name] for name in self.ids])

    def _try(self, name: str) -> tuple[str, Tensor | VideoError]:
        try:
            return name, self._decode(name)
        except VideoError as error:
            return name, error

    def _decode(self, name: str) -> Tensor:
        """All frames [N, 3, size, size], uint8."""
        with VideoReader(self.corpus.videos[name]) as video:
            frames = [
                i3d_frames(frame[None], self.size, self.size) for _, frame in video.stream(range(len(video.times)))
            ]
        return torch.cat(frames)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, str]:
        name = self.ids[index]
        frames = self._frames[name] if name in self._frames else self._decode(name)
        first = int(np.random.randint(max(len(frames) - self.length, 0) + 1))
        # A video shorter than a clip holds its last frame.
        places = torch.arange(first, first + self.length).clamp(max=len(frames) - 1)
        rows = self.rows[name]
        return frames[places], rows[np.random.randint(len(rows))], self.words(rows), name

    @staticmethod
    def collate(samples: list[tuple[Tensor, Tensor, Tensor, str]]) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        """Clips [B, 3, T, H, W] in [-1, 1], token ids [B, L], word targets [B, V], ids of the videos."""
        frames, rows, words, names = zip(*samples, strict=True)
        return to_i3d(torch.stack(frames)).transpose(1, 2), trim(torch.stack(rows)), torch.stack(words), list(names)
