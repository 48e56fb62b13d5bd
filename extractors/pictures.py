"""What an extractor keeps of a video's frames, in one block of memory that goes back to the system as a whole."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


class Pictures:
    """Pictures of some frames, all of one shape, by frame number.

    Args:
        numbers: of the frames that will be put in, in any order.
    """

    def __init__(self, numbers: Iterable[int]):
        self.numbers = np.unique(np.fromiter(numbers, np.int64))
        self._there = np.zeros(len(self.numbers), bool)
        self._block: Tensor | None = None

    def put(self, number: int, picture: Tensor) -> None:
        """Keeps a copy."""
        if self._block is None:
            self._block = picture.new_empty(len(self.numbers), *picture.shape)
        row = np.searchsorted(self.numbers, number)
        self._block[row] = picture
        self._there[row] = True

    def take(self, numbers: np.ndarray) -> Tensor:
        """The pictures of these frames, [*numbers.shape, ...]: the block itself where they are all of it, in order.

        Raises:
            RuntimeError: a frame was never put in.
        """
        if self._block is None or not self._there.all():
            raise RuntimeError(f"frames {self.numbers[~self._there].tolist()} were wanted and never seen")
        rows = np.searchsorted(self.numbers, numbers)
        if np.array_equal(rows.reshape(-1), np.arange(len(self.numbers))):
            return self._block.view(*rows.shape, *self._block.shape[1:])
        return self._block[torch.from_numpy(rows)]
