"""Rows of rates on a GPU: extraction against the bare networks, and training steps compiled in half precision.

What they are for is a GPU, where `--device cuda` measures them with all others; by name they run on a CPU too.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from dataset.corpus import Corpus
from extractors.base import Sampling
from extractors.clip_features import GridNodes
from extractors.runner import run
from model.backbone.clip import CLIP
from scripts.benchmarks import extraction_rows, inputs
from scripts.benchmarks.cost_units import action_extractor
from scripts.benchmarks.network_rows import CLIP_NORM, Setting
from scripts.benchmarks.retrieval_rows import QUICK, TOWERS
from scripts.benchmarks.timing import Row, compare, synchronize
from utility.distributed import Distributed, available_cores
from utility.engine import attention_kernels
from utility.images import CLIP_MEAN, CLIP_STD, to_clip, to_i3d
from utility.precision import choose_precision

SHARE = 0.8  # of the bare tower's rate
TOLERANCE = 0.02  # of the largest number: both sides round to bfloat16
BATCHES = (32, 256)


def pictures(setting: Setting) -> Iterator[Row]:
    """Pictures of the grid extractor, from bytes in memory to rows in memory, against the tower on tensors in place."""
    sizes, device = setting.sizes, setting.device
    for name in ("tower",) if sizes.small else TOWERS:
        nodes, bare = tower(setting, name)
        units = torch.randint(0, 256, (sizes.pictures, 3, nodes.size, nodes.size), dtype=torch.uint8)
        seen = to_clip(units.to(device), CLIP_MEAN, CLIP_STD)
        same(f"the pictures of {name}", bare(seen), nodes.extract(units))
        peak = peak_of(lambda units=units, nodes=nodes: nodes.extract(units), device)
        times = compare(
            lambda seen=seen, bare=bare: bare(seen),
            lambda units=units, nodes=nodes: nodes.extract(units),
            setting.repeats,
            device,
            least_seconds=sizes.least_seconds,
        )
        what = f"grid extraction of {len(units)} pictures, {name}: bare tower, extractor"
        row = Row(f"pictures_{name.replace('/', '')}", what, *times, least=SHARE)
        yield rated(row, len(units), "pictures", peak, nodes.settings["precision"])


def files(setting: Setting) -> Iterator[Row]:
    """The same from video files to a feature file, decoded by as many threads as there are cores."""
    sizes, device, name = setting.sizes, setting.device, "tower" if setting.sizes.small else "B/32"
    nodes, bare = tower(setting, name)
    seen = torch.randn(sizes.pictures, 3, nodes.size, nodes.size, device=device)
    workers = available_cores()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        extraction_rows.write_clip(path, sizes.clip_frames, *sizes.clip_size)
        corpus = Corpus("Clips", Path(folder), {f"clip{v}": path for v in range(sizes.videos)})

        def extract() -> int:
            with tempfile.TemporaryDirectory() as features:
                dist = Distributed(device=device)
                (summary,) = run(corpus, [nodes], Sampling(slots=sizes.slots), Path(features), dist, workers)
            return summary.done

        if extract() != sizes.videos:
            raise RuntimeError("not every clip was extracted")
        count = sizes.videos * (sizes.slots if not sizes.small else filled(sizes)) * nodes.patch**2
        times = compare(
            lambda: bare(seen), extract, setting.repeats, device, factor=count / sizes.pictures,
            least_seconds=sizes.least_seconds,
        )  # fmt: skip
    length, (height, width) = sizes.clip_frames / 25, sizes.clip_size
    what = f"{sizes.videos} clips of {length:g} s, {width}x{height}, from files to nodes, {name}: bare tower, stage"
    row = rated(Row("files", what, *times), count, "pictures", None, nodes.settings["precision"])
    row.detail += f"; {workers} threads decode"
    yield row


def filled(sizes: inputs.Sizes) -> int:
    """Slots that a clip fills at one frame per second."""
    return min(sizes.slots, 1 + (sizes.clip_frames - 1) // 25)


def tower(setting: Setting, name: str) -> tuple[GridNodes, Callable[[Tensor], Tensor]]:
    """The grid extractor of a tower with random weights, and the tower by itself in the same arithmetic."""
    config, device = QUICK if setting.sizes.small else TOWERS[name], setting.device
    precision = choose_precision("auto", device)
    torch.manual_seed(0)
    model = CLIP(config).eval().to(device)
    backbone = SimpleNamespace(
        model=model, resolution=config.resolution, mean=CLIP_MEAN, std=CLIP_STD, name=name, hash="random"
    )

    @torch.inference_mode()
    def bare(pixels: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            return model.encode_image(pixels)

    return GridNodes(backbone, device, precision, setting.sizes.pictures), bare


def windows(setting: Setting) -> Iterator[Row]:
    """Windows of 16 frames, from bytes in memory to rows in memory, against the network on tensors in place."""
    sizes, device = setting.sizes, setting.device
    vectors = action_extractor(sizes.small, device, sizes.pictures)
    model, size = vectors.network.model, vectors.network.size
    units = torch.randint(0, 256, (vectors.batch_units, 16, 3, size, size), dtype=torch.uint8)
    layout = torch.channels_last_3d if vectors.half else torch.contiguous_format
    seen = to_i3d(units.to(device).transpose(1, 2).to(torch.float32, memory_format=layout))

    @torch.inference_mode()
    def bare() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=vectors.half):
            return model.extract(seen, "running")

    def ours() -> Tensor:
        return vectors.extract(units)

    same("the action vectors", bare(), ours())
    peak = peak_of(ours, device)
    times = compare(bare, ours, setting.repeats, device, least_seconds=sizes.least_seconds)
    row = Row("windows", f"action vectors of {len(units)} windows: bare I3D, extractor", *times)
    yield rated(row, len(units), "windows", peak, vectors.settings["precision"])


def steps(setting: Setting) -> Iterator[Row]:
    """A training step of the captioner, one caption per clip: float32 against compiled bfloat16."""
    sizes = setting.sizes
    for count in sizes.batches[:1] if sizes.small else BATCHES:
        try:
            yield _steps_of(setting, count)
        except torch.OutOfMemoryError as error:
            print(f"steps of {count} clips do not fit: {str(error).splitlines()[0]}", file=sys.stderr)
            torch.cuda.empty_cache()


def _steps_of(setting: Setting, count: int) -> Row:
    sizes, device = setting.sizes, setting.device
    batch = {name: tensor.to(device) for name, tensor in inputs.graphs(sizes, count).items()}
    r2l, l2r = (inputs.caption_ids(sizes, count, device, seed) for seed in (1, 2))

    def trainer(half: bool) -> Callable[[], Tensor]:
        model = inputs.captioner(sizes, device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        if half:
            # Tiny sizes are there to see that it runs; the compiler would take a minute of them.
            model.compile(backend="eager" if sizes.small else "inductor")

        def step() -> Tensor:
            with (
                attention_kernels(device),
                torch.autocast(device.type, torch.bfloat16, enabled=half),
            ):
                total, weight, _ = model.loss(batch, r2l, l2r)
            (total / weight).backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return (total / weight).detach()

        return step

    plain, fast = trainer(False), trainer(True)
    losses = plain().item(), fast().item()
    if abs(losses[0] - losses[1]) > 0.05 * abs(losses[0]):
        raise RuntimeError(f"the two training steps have losses {losses[0]:.3f} and {losses[1]:.3f}")
    plain_peak, peak = peak_of(plain, device), peak_of(fast, device)
    times = compare(plain, fast, setting.repeats, device, least_seconds=sizes.least_seconds)
    what = f"training step of {count} clips: float32, compiled bfloat16"
    row = rated(Row(f"steps_{count}", what, *times), count, "clips", peak, "bf16")
    if plain_peak is not None:
        row.more["peak_bytes_float32"] = plain_peak
    return row


def same(what: str, one: Tensor, two: Tensor) -> None:
    """
    Raises:
        RuntimeError: the two sides did not compute the same.
    """
    one, two = (rows.float().cpu() for rows in (one, two))
    difference = ((one - two).abs().max() / one.abs().max()).item()
    if difference > TOLERANCE:
        raise RuntimeError(f"{what} of both sides differ by {difference:.3f} of the largest number")


def peak_of(call: Callable[[], object], device: torch.device) -> int | None:
    """Largest memory of the GPU while a call runs, what lay there before included; None elsewhere."""
    if device.type != "cuda":
        call()
        return None
    torch.cuda.reset_peak_memory_stats(device)
    call()
    synchronize(device)
    return torch.cuda.max_memory_allocated(device)


def rated(row: Row, count: int, unit: str, peak: int | None, precision: str) -> Row:
    """The row with its rates, and with the memory of the GPU where there is one."""
    summary = row.summary()
    rates = {side: count / summary[side] for side in ("published", "ours")}
    row.more |= {f"{side}_per_second": rate for side, rate in rates.items()} | {"precision": precision}
    row.detail = f"{rates['published']:.4g} and {rates['ours']:.4g} {unit}/s, {precision}"
    if peak is not None:
        row.more["peak_bytes"] = peak
        row.detail += f", {peak / 2**30:.2f} GiB"
    return row
