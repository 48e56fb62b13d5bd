"""Rows of the retrieval methods: TempMe's tower against CLIP's, a training step of STOP, and an evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from model.backbone.clip import CLIP, CLIPConfig
from model.prompts.lora import fold_lora
from model.prompts.spatial_temporal import direct_convolution
from model.retrieval.clip4clip import CLIP4Clip
from model.retrieval.cost import multiply_adds
from model.retrieval.methods import build_method
from model.retrieval.prompted import PromptedRetrieval
from scripts.benchmarks.network_rows import Setting
from scripts.benchmarks.timing import Row, compare

FRAMES, WORDS, PAIRS = 12, 32, 2
GALLERY, BLOCK = 1000, 16  # texts and videos of an evaluation, and how many of both the published one takes at a time
TOLERANCE = 1e-4
TOWERS = {
    "B/32": CLIPConfig(512, 224, 32, 768, 12, 12, 512, 12, 8),
    "B/16": CLIPConfig(512, 224, 16, 768, 12, 12, 512, 12, 8),
}
QUICK = CLIPConfig(16, 32, 8, 64, 3, 1, 64, 2, 1, vocab_size=60)
# The published flags for B/32; for B/16 those that give the paper's number of tokens and multiply-adds.
MERGING = {
    "B/32": {"tome_r": 2, "merge_token_proportion": "30-10"},
    "B/16": {"tome_r": 10, "merge_token_proportion": "40-20"},
}
AIMS = {"B/32": 1.3, "B/16": 1.5}


def tempme(setting: Setting) -> Iterator[Row]:
    """One video through TempMe's tower, additions folded, against its frames through CLIP's."""
    for name, config in TOWERS.items():
        config = QUICK if setting.sizes.small else config
        torch.manual_seed(0)
        plain = CLIP(config).eval().to(setting.device)
        model = build_method("tempme", CLIP(config), MERGING[name] | {"max_frames": FRAMES}).eval().to(setting.device)
        share = multiply_adds(model, FRAMES, WORDS)["tower"]
        fold_lora(model)
        model.clip.load_state_dict(plain.state_dict(), strict=False)
        frames = torch.randn(1, FRAMES, 3, config.resolution, config.resolution, device=setting.device)
        cost = multiply_adds(build_clip(config), FRAMES, WORDS)["tower"]

        @torch.inference_mode()
        def published(tower: CLIP = plain, pixels: Tensor = frames[0]) -> Tensor:
            return tower.encode_image(pixels)

        @torch.inference_mode()
        def ours(network: PromptedRetrieval = model, video: Tensor = frames) -> Tensor:
            return network.encode_video(video)

        times = compare(published, ours, setting.repeats, setting.device, least_seconds=5 * setting.sizes.least_seconds)
        what = f"vision tower {name}, {FRAMES} frames: CLIP, TempMe with additions folded"
        detail = f"{cost / 1e9:.1f} and {share / 1e9:.1f} G multiply-adds, {describe(MERGING[name])}"
        yield Row(f"tempme_{name.replace('/', '')}", what, *times, least=AIMS[name], detail=detail)


def stop_step(setting: Setting) -> Iterator[Row]:
    """A training step of STOP with its 3-D convolutions as sums over taps, and as products of spectra."""
    config = QUICK if setting.sizes.small else TOWERS["B/32"]
    torch.manual_seed(0)
    model = build_method("stop", CLIP(config), {"max_frames": FRAMES, "compat": "released"}).to(setting.device)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(model.is_new(name) and model.is_computed(name))
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=0.0)
    ids = torch.randint(1, config.vocab_size - 1, (PAIRS, WORDS))
    ids[:, -1] = config.vocab_size - 1
    frames = torch.randn(PAIRS, FRAMES, 3, config.resolution, config.resolution)
    batch = [x.to(setting.device) for x in (ids, frames, torch.ones(PAIRS, FRAMES))]
    fast = model.dynamic.convolution

    def step(convolution: Callable) -> Tensor:
        torch.manual_seed(1)  # the same dropout on both sides
        model.dynamic.convolution = convolution
        optimizer.zero_grad()
        loss, _ = model(*batch)
        loss.backward()
        optimizer.step()
        return loss.detach()

    difference = compare_steps(step, fast, trainable)
    times = compare(
        lambda: step(direct_convolution), lambda: step(fast), setting.repeats, setting.device, warm=setting.warm
    )
    what = f"STOP training step, {PAIRS} pairs, {FRAMES} frames of {config.resolution} pixels"
    detail = f"convolutions as sums and as spectra, all else the same; loss and gradients differ by {difference:.0e}"
    yield Row("stop_step", what, *times, least=1.3, detail=detail, more={"difference": difference})


def compare_steps(step: Callable[[Callable], Tensor], fast: Callable, trainable: list[Tensor]) -> float:
    """Largest difference of losses, and of gradients relative to the largest entry of all.

    Raises:
        RuntimeError: more than rounding.
    """
    losses, gradients = [], []
    for convolution in (direct_convolution, fast):
        losses.append(step(convolution))
        gradients.append([parameter.grad.clone() for parameter in trainable])
    scale = max(gradient.abs().max() for gradient in gradients[0])
    apart = [((a - b).abs().max() / scale).item() for a, b in zip(*gradients, strict=True)]
    difference = max((losses[0] - losses[1]).abs().item(), *apart)
    if difference > TOLERANCE:
        raise RuntimeError(f"the two training steps of STOP differ by {difference}")
    return difference


def evaluation(setting: Setting) -> Iterator[Row]:
    """Similarities of all texts with all videos from the towers' features, header seqTransf of the published size.

    The published evaluation is timed on the first row of its blocks, and that time is taken once per row.
    """
    config, count = (QUICK, 40) if setting.sizes.small else (TOWERS["B/32"], GALLERY)
    width = config.text_width
    torch.manual_seed(0)
    model = build_method("clip4clip", CLIP(replace(config, embed_dim=width)), {"sim_header": "seqTransf"})
    model.eval().to(setting.device)
    text = torch.randn(count, width, device=setting.device)
    frames = torch.randn(count, FRAMES, width, device=setting.device)
    mask = torch.ones(count, FRAMES, device=setting.device)
    blocks = math.ceil(count / BLOCK)

    def published() -> Tensor:
        return paired_blocks(model, text[:BLOCK], frames, mask, BLOCK)

    @torch.inference_mode()
    def ours() -> Tensor:
        return model.similarity_matrix(text, frames, mask)

    difference = (published() - ours()[:BLOCK]).abs().max().item()
    if difference > TOLERANCE * ours().abs().max():
        raise RuntimeError(f"the two evaluations differ by {difference}")
    times = compare(published, ours, setting.repeats, setting.device, factor=blocks, warm=setting.warm)
    what = f"{count} x {count} evaluation, seqTransf, blocks of {BLOCK}"
    detail = f"published: one of {blocks} rows of blocks timed, times {blocks}; similarities differ by {difference:.0e}"
    yield Row("evaluation", what, *times, least=40.0, detail=detail, more={"difference": difference})


@torch.inference_mode()
def paired_blocks(model: CLIP4Clip, text: Tensor, frames: Tensor, mask: Tensor, block: int) -> Tensor:
    """Similarities [A, B] as the published evaluation makes them: videos pass the header for every block of texts.

    Shapes:
        text: [A, E]; frames: [B, T, E]; mask: [B, T]
    """
    videos = list(zip(frames.split(block), mask.split(block), strict=True))
    return torch.cat([torch.cat([model.similarity(rows, *part) for part in videos], 1) for rows in text.split(block)])


def build_clip(config: CLIPConfig):
    with torch.device("meta"):
        return build_method("clip4clip", CLIP(config))


def describe(merging: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in merging.items())
