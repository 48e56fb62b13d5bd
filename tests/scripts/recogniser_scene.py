"""A folder per colour, a tiny backbone, and sessions of the recognition trainers over them."""

from pathlib import Path

import numpy as np
import torch

from model.backbone.clip import CLIP, CLIPConfig
from pretrained.backbones import describe
from scripts.train_models.session import Session
from scripts.train_models.settings import PARTS, Arguments
from scripts.train_models.train_recogniser import main
from utility.arguments import parse
from utility.checkpoint import save_checkpoint
from utility.distributed import Distributed
from utility.images import CLIP_MEAN, CLIP_STD
from utility.video_writer import write_video

COLOURS = {"blue": (40, 60, 230), "green": (30, 180, 30), "red": (220, 30, 30), "yellow": (230, 220, 40)}
FRAMES = 3


def save_backbone(folder: Path) -> Path:
    """A checkpoint folder with a CLIP of 16 pixels that reads real sub-words."""
    config = CLIPConfig(
        embed_dim=16, resolution=16, patch=8, vision_width=16, vision_layers=3, vision_heads=2,
        text_width=16, text_layers=3, text_heads=2, context_length=20,
    )  # fmt: skip
    torch.manual_seed(0)
    settings = {"backbone": describe(config, "tiny", CLIP_MEAN, CLIP_STD)}
    save_checkpoint(folder, tensors=CLIP(config).state_dict(), config=settings)
    return folder


def make_corpus(root: Path, per_split: dict[str, int] | None = None) -> Path:
    """`root/SPLIT/COLOUR/k.mp4`: noisy wide clips of 9 frames and more, black strips, a white spot that wanders."""
    rng = np.random.default_rng(0)
    for split, count in (per_split or {"train": 4, "val": 2, "test": 1}).items():
        for colour, value in COLOURS.items():
            for number in range(count):
                noise = rng.normal(0, 12, (9 + number, 32, 48, 3))
                frames = np.clip(np.array(value) + noise, 0, 255).astype(np.uint8)
                frames[:, :6] = frames[:, -6:] = 0
                for k, frame in enumerate(frames):
                    frame[10:16, 4 * k : 4 * k + 6] = 255
                path = root / split / colour / f"{split}{number}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, frames, 6, preset="ultrafast")
    return root


class Scene:
    """Where corpus and backbone are, and the flags that every run here has."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.corpus, self.backbone = make_corpus(folder / "colours"), save_backbone(folder / "tiny")

    def words(self, **flags) -> list[str]:
        given = {
            "data_root": self.corpus, "backbone": self.backbone, "models_root": self.folder / "models",
            "run_id": "run", "device": "cpu", "precision": "fp32", "log_every_n_steps": 1, "lr": 0.01, "epochs": 1,
            "num_frames_temporal": FRAMES, "num_temporal_views": 1, "num_spatial_views": 1,
            "batch_size": 4, "batches_per_backprop": 2,
        } | flags  # fmt: skip
        words = []
        for name, value in given.items():
            if value is not None:
                values = value if isinstance(value, list | tuple) else [value]
                words += [f"--{name}", *map(str, values)]
        return words

    def train(self, method: str, status: int = 0, **flags) -> Path:
        """Runs a launcher's program to its end; the run's folder."""
        assert main(method, self.words(**flags)) == status
        return self.folder / "models" / method / "colours" / str(flags.get("run_id", "run"))

    def session(self, method: str, **flags) -> Session:
        """A session that has not trained."""
        args = Arguments(method, *parse(PARTS, self.words(dry_run=1, **flags))).filled()
        return Session(args, Distributed())
