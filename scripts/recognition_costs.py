"""What the settings of a recogniser cost: work, time and memory of a training step, against the same step without them.

    python -m scripts.recognition_costs
    python -m scripts.recognition_costs --tower B/32 --repeats 3

A step is forward and backward pass of one clip of 8 frames in one view with 101 class names, by Dual-CoOp over a CLIP
with random weights; every row changes one thing and runs in a process of its own with one thread. Seconds are those of
the processor, memory is what a step takes above the loaded model, multiply-adds are those of both passes, counted and
not timed. Below, what a clip costs before it reaches the model. Prints Markdown tables on standard output and writes
results/recognition_costs.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from utility.arguments import parse

CLASSES, WORDS = 101, 5
CLIP_FRAMES, CLIP_SIZE = 250, (240, 320)


@dataclass(frozen=True)
class Step:
    """A training step: what the model is given, and the settings in which it differs from its method's."""

    method: str = "dual_coop"
    settings: Mapping[str, Any] = field(default_factory=dict)
    clips: int = 1
    views: int = 1
    frames: int = 8
    precision: str = "fp32"
    kept: bool = False  # frame features are there already (no prompts in the vision tower)


PLAIN = Step()
STEPS: dict[str, Step] = {
    "Dual-CoOp": PLAIN,
    "Video-CoOp": Step("video_coop"),
    "Video-CoOp, clip seen before": Step("video_coop", kept=True),
    "ViDOP": Step("vidop"),
    "ViDOP, --use_handcrafted_features": Step("vidop", {"use_handcrafted_features": True}),
    "ViLT": Step("vilt"),
    "ViTA": Step("vita"),
    "STT": Step("stt"),
    "--temporal_pooling mean": Step(settings={"temporal_pooling": "mean"}),
    "--ctx_len 16": Step(settings={"ctx_len": 16}),
    "--ctx_len_video 16": Step(settings={"ctx_len_video": 16}),
    "--keep_vision_prompts_throughout": Step(settings={"keep_vision_prompts_throughout": True}),
    "--learn_just_pooling": Step(settings={"learn_just_pooling": True}),
    "--precision bf16": Step(precision="bf16"),
    "--use_checkpointing": Step(settings={"use_checkpointing": True}),
    "--num_frames_temporal 16": Step(frames=16),
    "--num_temporal_views 4": Step(views=4),
    "the same with --use_checkpointing": Step(settings={"use_checkpointing": True}, views=4),
    "the same with --frames_per_chunk 8": Step(settings={"frames_per_chunk": 8}, views=4),
    "--batch_size 4": Step(clips=4),
}


@dataclass
class CostArguments:
    """Where it is measured."""

    tower: str = field(default="B/16", metadata={"help": "the CLIP's size: B/16 or B/32"})
    repeats: int = field(default=2, metadata={"help": "measurements of a row; the smallest counts"})
    rows: list[str] | None = field(default=None, metadata={"help": "only rows with one of these words in their name"})
    quick: bool = field(default=False, metadata={"help": "tiny sizes, to see that it runs; its numbers mean nothing"})
    output: str = field(default="results/recognition_costs.json", metadata={"help": "file of the results"})

    def __post_init__(self):
        if self.tower not in ("B/16", "B/32"):
            raise ValueError(f"--tower {self.tower}; known: B/16, B/32")
        if self.repeats < 1:
            raise ValueError(f"--repeats {self.repeats}; it must be 1 or more")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures the rows and prints them."""
    (args,) = parse(CostArguments, argv, prog="scripts.recognition_costs", description=__doc__.splitlines()[0])

    # Only now: torch takes seconds to import, and --help should not wait for it.
    import torch

    from scripts.benchmark import machine
    from scripts.benchmarks.storage_rows import in_own_process

    torch.set_num_threads(1)
    steps = {}
    for name, step in STEPS.items():
        if step is PLAIN or args.rows is None or any(word in name for word in args.rows):
            steps[name] = in_own_process(measure, step, args.tower, args.repeats, args.quick)
            print(f"{name}: {steps[name]['seconds']:.3g} s", file=sys.stderr)
    clips = in_own_process(clip_seconds, args.repeats, args.quick)
    output = Path(args.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine(torch.device("cpu")), "arguments": asdict(args), "steps": steps, "clips": clips}
    output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print("\n".join(table(steps, clips)))
    return 0


def measure(step: Step, tower: str, repeats: int, quick: bool) -> dict[str, float]:
    """{"seconds": of the processor, "bytes": peak above the loaded model, "multiply_adds", "learnt"} of a step."""
    import torch

    from model.backbone.clip import CLIP
    from model.recognition import METHODS, build
    from scripts.benchmarks.retrieval_rows import QUICK, TOWERS
    from utility.peak_memory import peak_bytes

    torch.manual_seed(0)
    config = QUICK if quick else TOWERS[tower]
    settings = dict(step.settings)
    if "num_frames" in METHODS[step.method].keys:
        settings["num_frames"] = step.frames
    model = build(step.method, CLIP(config), settings).train()
    ids = torch.randint(1, config.vocab_size - 1, (CLASSES, WORDS))
    ids[:, -1] = config.vocab_size - 1
    texts = model.class_texts_of_ids(ids, ids if model.needs_handcrafted else None)
    one = (config.embed_dim,) if step.kept else (3, config.resolution, config.resolution)
    pixels = torch.randn(step.clips, step.views, step.frames, *one)
    labels = torch.zeros(step.clips, dtype=torch.int64)

    def passes() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=step.precision == "bf16"):
            loss = model.loss(model(pixels, texts), labels, texts)
        loss.backward()
        model.zero_grad()

    learnt = sum(x.numel() for x in model.learner().values() if x.requires_grad)
    start = peak_bytes()
    seconds = least_seconds(passes, repeats)
    memory = peak_bytes() - start
    return {"seconds": seconds, "bytes": memory, "multiply_adds": multiply_adds(model, pixels, texts), "learnt": learnt}


def multiply_adds(model: Any, pixels: Any, texts: Any) -> int:
    """Of products and convolutions in the forward and backward pass of a step, what is computed again included."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.func import functional_call
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from model.recognition import ClassTexts

    def without_data(x: Any) -> Any:
        return None if x is None else torch.empty(x.shape, dtype=x.dtype, requires_grad=x.requires_grad)

    class BothPasses(torch.nn.Module):
        """The backward pass inside `forward`, because parameters are without data only there."""

        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixels: Any, classes: Any) -> None:
            self.model(pixels, classes).logits.sum().backward()

    step = BothPasses()
    # As in model.recognition.cost: the plain form of attention is made of products, which the counter knows.
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tensors = {name: without_data(x) for name, x in (*step.named_parameters(), *step.named_buffers())}
        classes = ClassTexts(without_data(texts.ids), without_data(texts.handcrafted))
        functional_call(step, tensors, (without_data(pixels), classes))
    return counter.get_total_flops() // 2


def clip_seconds(repeats: int, quick: bool) -> dict[str, float]:
    """{what: processor seconds} of a clip of ten seconds on its way to the model, four views of 8 frames."""
    import torch

    from dataset.action_pictures import ActionPictures, CacheSettings, ViewSettings, decode
    from dataset.action_videos import TrainingClips
    from dataset.actions import ActionClip
    from scripts.benchmarks.extraction_rows import write_clip
    from utility.clip_augmentation import ClipAugmentation

    torch.manual_seed(0)
    views = ViewSettings(32 if quick else 224, temporal=4, spatial=1)
    with tempfile.TemporaryDirectory() as name:
        clips = []
        for number in range(2):
            path = Path(name) / f"{number}.mp4"
            write_clip(path, *((40, 48, 64) if quick else (CLIP_FRAMES, *CLIP_SIZE)))
            clips.append(ActionClip(path.stem, 0, path.stem, path))
        memory = ActionPictures(views, CacheSettings(2**30))
        files = ActionPictures(views, CacheSettings(0, Path(name) / "cache", read=True, write=True))

        def training(augmentation: Any = None, mix: str = "none") -> Callable[[], object]:
            data = TrainingClips(clips, memory, 2, augmentation, mix, 1.0)
            return lambda: data[0]

        work = {
            "decoded": lambda: decode(clips[0].path, views),
            "from --save_to_cache --use_cache": lambda: files(clips[0]),
            "views from memory": training(),
            "the same with --use_augmentation": training(ClipAugmentation()),
            "the same with --videomix_type spatial": training(mix="spatial"),
        }
        for what in work.values():
            what()  # fills memory and files
        seconds = {what: least_seconds(how, repeats) for what, how in work.items()}
        stored = sum(file.stat().st_size for file in (Path(name) / "cache").glob("*.npz"))
    return seconds | {"bytes": stored}


def least_seconds(work: Callable[[], object], repeats: int) -> float:
    """The smallest of several measurements, in seconds of the processor."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def table(steps: Mapping[str, Mapping[str, float]], clips: Mapping[str, float]) -> list[str]:
    """Both tables as Markdown."""
    plain = steps["Dual-CoOp"]
    heads = ["a training step", "multiply-adds, 10⁹", "seconds", "of Dual-CoOp's", "memory, GiB", "learnt"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [
        f"| {name} | {row['multiply_adds'] / 1e9:.0f} | {row['seconds']:.3g} | {row['seconds'] / plain['seconds']:.2f} "
        f"| {row['bytes'] / 2**30:.2f} | {row['learnt']:,} |"
        for name, row in steps.items()
    ]
    lines += ["", "| a clip of ten seconds, four views | milliseconds |", "|---|---|"]
    lines += [f"| {what} | {1000 * value:.0f} |" for what, value in clips.items() if what != "bytes"]
    return [*lines, "", f"A stored clip takes {clips['bytes'] / 2**20:.1f} MiB."]


if __name__ == "__main__":
    sys.exit(main())
