"""A captioner for the notebooks: that of the demo if it has run, else a tiny one, trained in seconds and kept.

The tiny one looks at a few dozen drawn clips through networks that nobody trained. It shows how everything is used;
what it says is a guess.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

warnings.filterwarnings("ignore")  # what libraries say about themselves and where they lie
DEMO = ROOT / "results" / "demo" / "captioner" / "best"
FOLDER = Path(os.environ.get("NOTEBOOK_RUN", ROOT / "results" / "notebooks"))
CLIPS, SLOTS, RATE, EPOCHS = 60, 5, 2, 16


@dataclass(frozen=True)
class SmallRun:
    """Where a trained captioner is, and clips with captions that it can be tried on."""

    checkpoint: Path
    corpus: Path
    trained_by: str

    @property
    def features(self) -> Path:
        """The features that it was trained on."""
        return self.checkpoint.parent.parent / "features"

    @property
    def nodes(self) -> str:
        """What its nodes are: `GBased` for tiles, `OBased` for objects."""
        config = json.loads((self.checkpoint / "config.json").read_text(encoding="utf-8"))
        kind = config["features"]["settings"]["nodes"]["stage"]
        return "OBased" if kind == "object_nodes" else "GBased"


def find_or_train(folder: Path = FOLDER) -> SmallRun:
    """The demo's run where it is complete, else the one in `folder`, which is made if it is not there."""
    corpus = ROOT / "dataset" / "MiniMotion"
    if DEMO.is_dir() and (corpus / "metadata" / "captions.json").is_file():
        return SmallRun(DEMO, corpus, "make demo")
    run = SmallRun(folder / "captioner" / "best", folder / "MiniMotion", "this notebook, in seconds")
    if not run.checkpoint.is_dir():
        # Scores are not what it is for, and the one that needs Java takes longer than all the rest.
        quiet = (contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()))
        with quiet[0], quiet[1], mock.patch.dict(os.environ, {"PATH": ""}):
            train(folder)
        logging.getLogger().handlers.clear()  # what the programs set up would write below every cell
    return run


def train(folder: Path) -> None:
    """Draws clips, writes untrained networks, extracts, trains the captioner: the programs and their flags.

    Raises:
        RuntimeError: a program failed.
    """
    import main
    from dataset import mini_motion
    from extractors import extract

    corpus, features = folder / "MiniMotion", f"{folder.as_posix()}/features"
    data = ["--dataset", "minimotion", "--data_root", str(corpus), "--features", features, "--device", "cpu"]
    steps = [
        (mini_motion.main, ["--root", str(corpus), "--num_clips", str(CLIPS), "--workers", "1"]),
        (lambda words: untrained_networks(folder), []),
        (
            extract.main,
            [*data, "--backbone", str(folder / "backbone"), "--action_network", str(folder / "i3d")]
            + ["--slots", str(SLOTS), "--rate", str(RATE), "--precision", "fp32"],
        ),
        (
            main.main,
            ["--model_name", "MiniMotion_GBased+videomask", "--do_train", *data, "--epochs", str(EPOCHS)]
            + ["--batch_size", "40", "--output_dir", str(folder / "captioner"), "--tokenizer", "nltk"],
        ),
    ]
    for program, words in steps:
        if status := program(words):
            raise RuntimeError(f"{program.__module__} ended with status {status}: {' '.join(words)}")


def untrained_networks(folder: Path) -> None:
    """A small CLIP and a narrow I3D with random weights, as checkpoints that the extractors take."""
    import torch

    from model.backbone.clip import CLIP, small_config
    from model.backbone.i3d import I3D
    from pretrained.backbones import describe
    from utility.checkpoint import save_checkpoint

    torch.manual_seed(0)
    sizes = {"vision_width": 64, "vision_layers": 1, "vision_heads": 2, "stem": (16, 32, 64), "text_layers": 1}
    config = small_config(embed_dim=64, **sizes)
    clip = CLIP(config)
    spread(clip, sorted((folder / "MiniMotion" / "videos").glob("*.mp4"))[:30])
    described = describe(config, "untrained", (0.5,) * 3, (0.25,) * 3)
    save_checkpoint(folder / "backbone", tensors=clip.state_dict(), config={"backbone": described})
    settings = {"width": 0.0625, "pool": None, "resize": 48, "size": 48, "num_classes": 4}
    network = I3D(4, width=settings["width"], pool=None)
    save_checkpoint(folder / "i3d", tensors=network.state_dict(), config={"action_network": settings})


def spread(clip, videos: list[Path]) -> None:
    """Random weights see all pictures nearly alike: their norms are set so that tiles of the clips lie apart."""
    import torch

    from utility.images import grid_tiles, to_clip
    from utility.video import VideoReader

    with torch.inference_mode():
        edge = clip.config.resolution
        tiles = torch.cat([grid_tiles(VideoReader(path).frames([3]), edge)[0] for path in videos])
        pixels = to_clip(tiles, (0.5,) * 3, (0.25,) * 3)
        for module in clip.visual.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # plain averages, of this one batch
        clip.encode_image(pixels)
        clip.eval()
        before = []
        hook = clip.visual.ln_post.register_forward_hook(lambda module, given, made: before.append(made))
        clip.encode_image(pixels)
        hook.remove()
        rows = torch.cat(before)
        scale = 1 / rows.std(dim=0)
        clip.visual.ln_post.bias.copy_(-rows.mean(dim=0) * scale)
        clip.visual.ln_post.weight.copy_(scale)
