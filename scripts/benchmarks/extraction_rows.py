"""Rows of the extraction of one clip: processor seconds and memory above the loaded process, networks left out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from dataset.corpus import Corpus
from extractors.action_features import ActionVectors
from extractors.base import Sampling
from extractors.clip_features import GridNodes, WholeFrames
from extractors.runner import run
from scripts.benchmarks import published_extraction
from scripts.benchmarks.inputs import Sizes
from scripts.benchmarks.network_rows import Setting
from scripts.benchmarks.storage_rows import in_own_process
from scripts.benchmarks.timing import Measured, Row
from utility.distributed import Distributed
from utility.feature_store import FeatureStore, feature_path
from utility.images import CLIP_MEAN, CLIP_STD
from utility.peak_memory import peak_bytes
from utility.video_writer import write_video

CPU_SECONDS, BYTES = 1.0, 300e6
PIXEL_TOLERANCE = 0.02  # of resized bytes against Pillow's


@dataclass(frozen=True)
class Identity:
    """A network that returns the first numbers of what it is given."""

    width: int

    def encode_image(self, pixels: Tensor) -> Tensor:
        return pixels.flatten(1)[:, : self.width].clone()

    def extract(self, clips: Tensor, statistics: str) -> Tensor:
        return clips.flatten(1)[:, : self.width].clone()

    @property
    def config(self) -> SimpleNamespace:
        return SimpleNamespace(embed_dim=self.width)

    @property
    def feature_dim(self) -> int:
        return self.width

    differences = False


def identity_extractors(sizes: Sizes) -> list:
    """All extractors of the grid captioner, at the published resolutions."""
    cpu = torch.device("cpu")
    identity = {"name": "identity", "hash": "0"}
    backbone = SimpleNamespace(model=Identity(sizes.node_dim), resolution=224, mean=CLIP_MEAN, std=CLIP_STD, **identity)
    network = SimpleNamespace(model=Identity(sizes.action_dim), resize=256, size=224, length=16, **identity)
    return [GridNodes(backbone, cpu), WholeFrames(backbone, cpu), ActionVectors(network, cpu)]


def extraction(setting: Setting) -> Iterator[Row]:
    """One clip from the file to stored nodes and actions, against the published stages."""
    sizes = setting.sizes
    with tempfile.TemporaryDirectory() as name:
        path, warm = Path(name) / "clip.mp4", Path(name) / "warm.mp4"
        write_clip(path, sizes.clip_frames, *sizes.clip_size)
        write_clip(warm, 25, 48, 64)
        sides: dict[str, list[dict]] = {"published": [], "ours": []}
        for _ in range(setting.repeats):
            for side in sides:
                # A process of its own each time: memory that was used once stays with a process.
                measured = measure_extraction if sizes.small else partial(in_own_process, measure_extraction)
                sides[side].append(measured(side, path, warm, sizes))
    agree(sides["published"][0]["arrays"], sides["ours"][0]["arrays"])
    height, width = sizes.clip_size
    what = f"extraction of {sizes.clip_frames / 25:g} s of {width}x{height}, without networks"
    for quantity, unit, limit in (("processor", "s", CPU_SECONDS), ("bytes", "B", BYTES)):
        both = ([Measured(result[quantity], result[quantity]) for result in results] for results in sides.values())
        detail = {
            "processor": "processor seconds of one process; nodes, whole frames and actions, stored",
            "bytes": "largest resident memory above the process that has imported everything",
        }[quantity]
        title = f"{what}, {'CPU' if quantity == 'processor' else 'memory'}"
        yield Row(f"extraction_{quantity}", title, *both, unit=unit, limit=limit, detail=detail)


def measure_extraction(side: str, path: Path, warm: Path, sizes: Sizes) -> dict:
    """Seconds and peak memory of one side, and what it found; a tiny clip goes first."""
    call = extract_ours if side == "ours" else extract_published
    call(warm, sizes)
    start, wall, processor = peak_bytes(), time.perf_counter(), time.process_time()
    arrays = call(path, sizes)
    seconds = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
    return seconds | {"bytes": max(peak_bytes() - start, 1), "arrays": arrays}


def extract_published(path: Path, sizes: Sizes) -> tuple[np.ndarray, np.ndarray]:
    return published_extraction.extract(path, sizes.node_dim, sizes.action_dim)


def extract_ours(path: Path, sizes: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """As `extract.py` does it, manifest and feature files included."""
    with tempfile.TemporaryDirectory() as name:
        corpus = Corpus("Clip", Path(name), {path.stem: path})
        sampling = Sampling(slots=published_extraction.SLOTS)
        run(corpus, identity_extractors(sizes), sampling, Path(name), Distributed(), decode_workers=0)
        stores = (FeatureStore(feature_path(name, "Clip", feature)) for feature in ("GBased", "actions"))
        return tuple(store.read(path.stem)[array] for store, array in zip(stores, ("nodes", "actions"), strict=True))


def agree(published: tuple[np.ndarray, np.ndarray], ours: tuple[np.ndarray, np.ndarray]) -> None:
    """
    Raises:
        RuntimeError: the two sides did not look at the same pixels.
    """
    for name, one, two in zip(("nodes", "actions"), published, ours, strict=True):
        difference = np.abs(one - two.astype(np.float64)).max()
        if difference > PIXEL_TOLERANCE:
            raise RuntimeError(f"the {name} of the two extractions differ by {difference:.3f}")


def write_clip(path: Path, frames: int, height: int, width: int) -> None:
    """A soft texture that moves, with the noise of a camera, at 25 frames per second."""
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 256, (height // 16 + 8, width // 16 + 8, 3), dtype=np.uint8)
    texture = np.kron(cells, np.ones((16, 16, 1), np.uint8)).astype(np.int16)
    noise = rng.normal(0, 3, (8, height, width, 3)).astype(np.int16)

    def pictures() -> Iterator[np.ndarray]:
        for number in range(frames):
            down, right = number % 64, 2 * number % 64
            part = texture[down : down + height, right : right + width]
            yield (part + noise[number % 8]).clip(0, 255).astype(np.uint8)

    write_video(path, pictures(), 25)
