"""What a unit of every stage costs at the published sizes, with random weights: a picture, a window, a caption."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from extractors.action_features import ActionVectors
from extractors.clip_features import encode_pictures
from graphs.parts import graph_part, spatial_part, temporal_part
from model.backbone.clip import CLIP
from model.backbone.i3d import I3D
from model.captioner import search_both
from model.retrieval.methods import build_method
from scripts.benchmarks import extraction_rows, inputs
from scripts.benchmarks.inputs import PUBLISHED, QUICK, Sizes
from scripts.benchmarks.network_rows import CLIP_NORM
from scripts.benchmarks.retrieval_rows import FRAMES, PAIRS, TOWERS, WORDS
from scripts.benchmarks.retrieval_rows import QUICK as QUICK_TOWER
from scripts.benchmarks.timing import measure
from utility.engine import attention_kernels
from utility.feature_store import FeatureWriter
from utility.images import CLIP_MEAN, CLIP_STD
from utility.peak_memory import peak_bytes
from utility.precision import choose_precision

GPU_CALLS = 5


@dataclass(frozen=True)
class Amounts:
    """How much goes through a network at a time."""

    pictures: int
    windows: int
    pairs: int


# What a processor with little memory takes, and the extractors' default and a quarter of the published batch.
ON_CPU, ON_GPU = Amounts(32, 2, PAIRS), Amounts(256, 16, 32)


def amounts(quick: bool, device: torch.device) -> Amounts:
    return ON_GPU if device.type == "cuda" and not quick else ON_CPU


def timed(work: Callable[[], object], units: float, device: torch.device) -> dict[str, float]:
    """Processor seconds per unit, and the peak memory of the process so far; on a GPU seconds of the wall clock, the
    first call left out, and the peak of its memory.
    """
    if device.type == "cuda":
        work()
        seconds = measure(work, device, GPU_CALLS).value
        return {"seconds": seconds / units, "bytes": torch.cuda.max_memory_allocated(device)}
    return {"seconds": measure(work, device).processor / units, "bytes": peak_bytes()}


def half(device: torch.device) -> bool:
    return choose_precision("auto", device) == "bf16"


def picture(tower: str, quick: bool, device: torch.device) -> dict[str, float]:
    """One picture through a CLIP tower, as the extractors do it."""
    config = QUICK_TOWER if quick else TOWERS[tower]
    backbone = SimpleNamespace(model=CLIP(config).eval().to(device), mean=CLIP_MEAN, std=CLIP_STD)
    count = amounts(quick, device).pictures
    pixels = torch.randint(0, 256, (count, 3, config.resolution, config.resolution), dtype=torch.uint8)
    encode_pictures(backbone, pixels[:2], device, half(device))
    return timed(lambda: encode_pictures(backbone, pixels, device, half(device)).cpu(), count, device)


def window(quick: bool, device: torch.device) -> dict[str, float]:
    """One window of 16 frames through I3D, as the extractor does it."""
    vectors = action_extractor(quick, device, 16 * amounts(quick, device).windows)
    size = vectors.network.size
    units = torch.randint(0, 256, (vectors.batch_units, 16, 3, size, size), dtype=torch.uint8)
    vectors.extract(units)
    return timed(lambda: vectors.extract(units), len(units), device)


def action_extractor(quick: bool, device: torch.device, frames: int) -> ActionVectors:
    """The extractor of action vectors, with random weights, for so many frames at a time."""
    torch.manual_seed(0)
    model, size = (I3D(5, width=0.125, pool=(2, 2, 2)), 64) if quick else (I3D(400), 224)
    sizes = {"resize": size, "size": size, "length": 16}
    network = SimpleNamespace(model=model.eval().to(device), name="random", hash="random", **sizes)
    return ActionVectors(network, device, choose_precision("auto", device), frames)


def clip(quick: bool, device: torch.device) -> dict[str, float]:
    """One clip of 20 slots from its file to stored features, without networks: processor time wherever these are."""
    sizes = QUICK if quick else PUBLISHED
    with tempfile.TemporaryDirectory() as name:
        path, warm = Path(name) / "clip.mp4", Path(name) / "warm.mp4"
        extraction_rows.write_clip(path, sizes.clip_frames, *sizes.clip_size)
        extraction_rows.write_clip(warm, 25, 48, 64)
        extraction_rows.extract_ours(warm, sizes)
        return timed(lambda: extraction_rows.extract_ours(path, sizes), 1, torch.device("cpu"))


def graph(quick: bool, device: torch.device) -> dict[str, float]:
    """One graph from nodes and actions, its three parts stored: processor time, since it is no work for a GPU."""
    sizes = QUICK if quick else PUBLISHED
    batch = inputs.graphs(sizes, sizes.videos)

    def build() -> None:
        with tempfile.TemporaryDirectory() as name:
            writers = {
                part: FeatureWriter(Path(name) / f"{part}.hdf5", {}) for part in ("spatial", "temporal", "graph")
            }
            for v in range(sizes.videos):
                nodes = inputs.stored(batch, v)
                parts: dict[str, Any] = {"spatial": spatial_part(nodes, nodes), "temporal": temporal_part(nodes)}
                parts["graph"] = graph_part(nodes, parts["spatial"], parts["temporal"])
                for part, arrays in parts.items():
                    writers[part].write(f"video{v}", arrays)
            for writer in writers.values():
                writer.finish()

    build()
    return timed(build, sizes.videos, torch.device("cpu"))


def caption(quick: bool, device: torch.device) -> dict[str, float]:
    """One caption of a training step of the captioner: a micro-batch, and its share of an update of 64."""
    sizes = QUICK if quick else PUBLISHED
    model = inputs.captioner(sizes, device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    count = sizes.micro_batch
    batch = {name: tensor.to(device) for name, tensor in inputs.graphs(sizes, count).items()}
    r2l, l2r = (inputs.caption_ids(sizes, count, device, seed) for seed in (1, 2))

    def passes() -> None:
        with attention_kernels(device):
            with torch.autocast(device.type, torch.bfloat16, enabled=half(device)):
                total, weight, _ = model.loss(batch, r2l, l2r)
            (total / weight).backward()

    def update() -> None:
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)  # so that an update after it does as much

    one = timed(passes, count, device)
    update()
    passes()
    share = timed(update, 2 * count, device)
    parameters = 4.0 * sum(p.numel() for p in model.parameters())
    return {"seconds": one["seconds"] + share["seconds"], "bytes": share["bytes"], "weights": parameters}


def search(quick: bool, device: torch.device) -> dict[str, float]:
    """One video from its graph to its caption, beam 5, all 21 steps in both directions."""
    sizes = QUICK if quick else PUBLISHED
    model = inputs.captioner(sizes, device, endless=True).eval()
    batch = {name: tensor.to(device) for name, tensor in inputs.graphs(sizes, sizes.videos).items()}
    with torch.inference_mode():
        return timed(lambda: search_both(model, batch, sizes.beam, sizes.max_words), sizes.videos, device)


def pair(tower: str, quick: bool, device: torch.device) -> dict[str, float]:
    """One video with its caption in a training step of CLIP4Clip, 12 frames."""
    config = QUICK_TOWER if quick else TOWERS[tower]
    model = build_method("clip4clip", CLIP(config)).train().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    count = amounts(quick, device).pairs
    ids = torch.randint(1, config.vocab_size - 1, (count, WORDS))
    ids[:, -1] = config.vocab_size - 1
    frames = torch.randn(count, FRAMES, 3, config.resolution, config.resolution)
    batch = [x.to(device) for x in (ids, frames, torch.ones(count, FRAMES))]

    def passes() -> None:
        with attention_kernels(device):
            with torch.autocast(device.type, torch.bfloat16, enabled=half(device)):
                loss, _ = model(*batch)
            loss.backward()

    one = timed(passes, count, device)
    optimizer.step()  # the moments of an update count as memory
    parameters = 4.0 * sum(p.numel() for p in model.parameters())
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_bytes()
    return {"seconds": one["seconds"], "bytes": peak, "weights": parameters}


def stored_bytes(sizes: Sizes) -> float:
    """Bytes of a clip's features and graphs, all stages."""
    from scripts.benchmarks.storage_rows import STAGES, write_store

    with tempfile.TemporaryDirectory() as name:
        total = 2.0 * sizes.slots * sizes.node_dim  # whole frames, in half precision
        for stage, arrays in STAGES.items():
            path = Path(name) / f"{stage}.hdf5"
            write_store(path, inputs.graphs(sizes, sizes.videos), arrays)
            total += path.stat().st_size / sizes.videos
        return total
