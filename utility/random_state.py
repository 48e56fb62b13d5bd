"""The random generators of a process: seed, save as plain types, restore, and leave untouched around side work."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def seed_host(*key: int) -> int:
    """Seeds Python's, NumPy's and torch's CPU generators from a key such as (seed, rank); near keys are unrelated.

    Returns torch's seed. Generators of GPUs stay as they are.
    """
    words = [int(word) for word in np.random.SeedSequence(key).generate_state(4)]
    random.seed(words[0])
    np.random.seed(words[1])
    seed = words[2] << 32 | words[3]
    torch.default_generator.manual_seed(seed)
    return seed


def seed_all(*key: int) -> None:
    """`seed_host`, and the generators of all GPUs."""
    torch.manual_seed(seed_host(*key))


def random_states(device: torch.device | None = None) -> dict[str, Any]:
    """State of all generators of this process (and of the GPU it uses), as tensors and plain types."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    states = {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)],
        "torch": torch.get_rng_state(),
    }
    if device is not None and device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, Any], device: torch.device | None = None) -> None:
    """Inverse of `random_states`."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if device is not None and device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


@contextlib.contextmanager
def untouched_random_states(device: torch.device | None = None) -> Iterator[None]:
    """Whatever is drawn inside leaves the generators as they were."""
    states = random_states(device)
    try:
        yield
    finally:
        restore_random_states(states, device)
