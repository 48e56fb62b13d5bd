"""Name what happens in videos.

    python -m scripts.recognise clip.mp4 --checkpoint models/video_coop/MiniMotion/first
    python -m scripts.recognise clip.mp4 --checkpoint video_coop/UCF101/first --classes "juggling,cooking,riding a bike"
    python -m scripts.recognise my_videos --backbone ViT-B-16-quickgelu --classes kinetics_names.txt

Prints the five most likely actions of every video with their probabilities. `--classes` scores names that were never
trained on; with `--backbone` and no `--checkpoint` the backbone alone names them (zero-shot). Of a folder every video
is read; what cannot be read is said on standard error, with stage and cause.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utility.arguments import parse

log = logging.getLogger(__name__)


def flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class RecogniseArguments:
    """Which videos, with what, among which names."""

    checkpoint: str | None = flag(None, "run of a recogniser: METHOD/DATASET/RUN_ID or its folder")
    backbone: str | None = flag(
        None, "without --checkpoint: the CLIP that names actions by itself; with it: where the run's backbone is"
    )
    classes: str | None = flag(None, "names, separated by commas, or a text file with one per line; default: the run's")
    top: int = flag(5, "how many actions are shown")
    num_temporal_views: int | None = flag(None, "parts of the video that are looked at; default: as in training, or 4")
    num_spatial_views: int | None = flag(None, "squares along the long side; default: as in training, or 3")
    json: bool = flag(False, "print one JSON object and nothing else")
    strict: bool = flag(False, "end with status 1 if a video cannot be read")
    device: str = flag("auto", "auto, cpu, cuda or cuda:N")

    def __post_init__(self):
        if not self.checkpoint and not (self.backbone and self.classes):
            raise ValueError("give --checkpoint RUN, or --backbone and --classes to name actions without training")
        if self.top < 1:
            raise ValueError(f"--top {self.top}: at least 1")


@dataclass
class Videos:
    """The positional words."""

    videos: list[str] = field(metadata={"help": "video files, or folders of them (folders below included)"})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Flags from dataclasses have names; bare words in front are the videos.
    bare = next((k for k, word in enumerate(words) if word.startswith("-")), len(words))
    words = (["--videos", *words[:bare]] if bare else []) + words[bare:]
    args, videos = parse(
        (RecogniseArguments, Videos), words, prog="scripts.recognise", description=__doc__.split("\n")[0]
    )

    from utility.program import run_program

    return run_program(lambda dist: run(args, videos.videos, dist), args.device)


def run(args: RecogniseArguments, videos: Sequence[str], dist: Any) -> int:
    """Exit status: 2 if not one video could be read, with `strict` 1 if one could not."""
    from utility.video import VideoError

    model, backbone, classes, views = load(args, dist.device)
    classes = class_names(args.classes) if args.classes else classes
    files = list(video_files(videos))
    shown, failed = [], {}
    for path, outcome in probabilities(model, backbone, classes, views, files, dist.device):
        if isinstance(outcome, VideoError):
            failed[str(path)] = {"stage": outcome.stage, "cause": outcome.cause}
            log.warning("%s", outcome)
            continue
        best = outcome.argsort(descending=True)[: args.top].tolist()
        actions = [{"action": classes[k], "probability": round(outcome[k].item(), 4)} for k in best]
        shown.append({"video": str(path), "actions": actions})
        if not args.json:
            print(path, *(f"{100 * a['probability']:6.1f} %  {a['action']}" for a in actions), sep="\n", flush=True)
    if args.json:
        print(json.dumps({"videos": shown, "unreadable": failed}, ensure_ascii=False))
    if failed:
        log.warning("%d of %d videos cannot be read", len(failed), len(files))
    if not shown:
        return 2
    return 1 if failed and args.strict else 0


def load(args: RecogniseArguments, device: Any) -> tuple[Any, Any, list[str], Any]:
    """(recogniser in eval mode, backbone, classes it was trained on, views)."""
    from dataclasses import replace

    from dataset.action_pictures import ViewSettings
    from model.recognition import build
    from pretrained.backbones import load_backbone
    from scripts.train_models.run_folder import find_run, load_recogniser, read_run

    if args.checkpoint:
        run = read_run(find_run(args.checkpoint))
        model, backbone = load_recogniser(run, args.backbone, device)
        classes, views = run.classes, run.views
    else:
        backbone = load_backbone(args.backbone)
        # Without context and with mean pooling a recogniser is its backbone.
        model = build("video_coop", backbone.model, {"ctx_len": 0, "temporal_pooling": "mean"}).to(device).eval()
        classes, views = [], ViewSettings(backbone.resolution)
    views = replace(
        views, temporal=args.num_temporal_views or views.temporal, spatial=args.num_spatial_views or views.spatial
    )
    return model, backbone, classes, views


def class_names(given: str) -> list[str]:
    """Names of `--classes`: the lines of a file of that name, else what commas separate.

    Raises:
        ValueError: no name.
    """
    is_file = len(given) < 1024 and Path(given).expanduser().is_file()
    text = Path(given).expanduser().read_text(encoding="utf-8-sig") if is_file else given
    names = [name.strip() for name in (text.splitlines() if is_file else text.split(","))]
    names = list(dict.fromkeys(name for name in names if name))
    if not names:
        raise ValueError(f"--classes {given}: no name in it")
    return names


def video_files(words: Sequence[str]) -> Iterator[Path]:
    """Files as given, and all videos below folders, in order.

    Raises:
        ValueError: a folder without a video.
        FileNotFoundError: nothing of that name.
    """
    from dataset.corpus import find_videos

    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            found = sorted(file for files in find_videos(path).values() for file in files)
            if not found:
                raise ValueError(f"{path} holds no video file")
            yield from found
        elif path.exists():
            yield path
        else:
            raise FileNotFoundError(f"no video {path}")


def probabilities(
    model: Any, backbone: Any, classes: Sequence[str], views: Any, files: Sequence[Path], device: Any
) -> Iterator[tuple[Path, Any]]:
    """(file, probabilities [C], or the `VideoError` that says why it cannot be read) of every file."""
    import torch

    from dataset.action_pictures import decode
    from dataset.action_videos import assemble, view_mask
    from utility.images import to_clip
    from utility.video import VideoError

    texts = model.cached(model.class_texts(classes, backbone.tokenizer))
    for path in files:
        try:
            pictures = decode(path, views)
        except VideoError as error:
            yield path, error
            continue
        pixels = to_clip(assemble(pictures, views).to(device), backbone.mean, backbone.std)[None]
        with torch.inference_mode():
            logits = model(pixels, texts, view_mask(pictures, views).to(device)[None]).logits[0]
        yield path, logits.float().softmax(-1).cpu()


if __name__ == "__main__":
    sys.exit(main())
