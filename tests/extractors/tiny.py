"""A small corpus of drawn clips, a tiny backbone and a tiny action network, as the programs would find them on disk."""

import json
from pathlib import Path

import numpy as np
import torch

from model.backbone.clip import CLIP, CLIPConfig
from model.backbone.i3d import I3D
from pretrained.backbones import describe
from utility.checkpoint import save_checkpoint
from utility.feature_store import FeatureStore
from utility.images import CLIP_MEAN, CLIP_STD
from utility.video_writer import write_video

# "a b" is shorter than a window of the action network, "x-1" has fewer seconds than slots, "long" more
LENGTHS = {"x-1": 23, "a b": 9, "видео": 40, "long": 75, "e": 17}
FEATURES = ("GBased", "theta2", "actions")
# Half precision has a step of 2^-11; batches of other sizes may round differently.
CLOSE = {"rtol": 2e-3, "atol": 2e-3}
PIXELS = 32
WIDTH = 24
SLOTS = 4


def save_backbone(folder: Path, trained_on=None, value: float | None = None) -> Path:
    """A checkpoint folder with a CLIP of 32 pixels; `value` replaces its projection."""
    config = CLIPConfig(WIDTH, PIXELS, 16, 32, 2, 2, 32, 1, 2, context_length=8, vocab_size=50)
    torch.manual_seed(0)
    model = CLIP(config)
    if value is not None:
        model.visual.proj.data.fill_(value)
    settings = {"backbone": describe(config, "tiny", CLIP_MEAN, CLIP_STD)}
    settings |= {} if trained_on is None else {"trained_on": trained_on}
    save_checkpoint(folder, tensors=model.state_dict(), config=settings)
    return folder


def save_action_network(folder: Path) -> Path:
    """A checkpoint folder with an I3D of width 1/8 for clips of 64 pixels."""
    torch.manual_seed(1)
    network = I3D(5, width=0.125, pool=(2, 2, 2))
    config = {"width": 0.125, "pool": [2, 2, 2], "resize": 72, "size": 64, "num_classes": 5}
    save_checkpoint(folder, tensors=network.state_dict(), config={"action_network": config})
    return folder


def draw(path: Path, seed: int, num_frames: int = 40, fps: float = 10, height: int = 48, width: int = 64) -> None:
    """A clip in which a bright square moves over noise."""
    generator = np.random.default_rng(seed)
    background = generator.integers(0, 120, (height, width, 3), dtype=np.uint8)
    frames = np.repeat(background[None], num_frames, axis=0)
    for number, frame in enumerate(frames):
        left = (3 * number + 7 * seed) % (width - 16)
        frame[8:24, left : left + 16] = generator.integers(150, 255, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, fps)


def save_corpus(root: Path, lengths: dict[str, int], absent: tuple[str, ...] = ()) -> Path:
    """Clips named by id and an annotation in which every second video is a test video."""
    for seed, (name, num_frames) in enumerate(lengths.items()):
        draw(root / "videos" / f"{name}.mp4", seed, num_frames)
    names = [*lengths, *absent]
    annotation = {
        "videos": [{"video_id": n, "split": "test" if i % 2 else "train"} for i, n in enumerate(names)],
        "sentences": [{"video_id": n, "sen_id": i, "caption": "a square moves"} for i, n in enumerate(names)],
    }
    (root / "metadata").mkdir(parents=True, exist_ok=True)
    (root / "metadata" / "captions.json").write_text(json.dumps(annotation))
    return root


def store(folder, feature):
    """The feature file of the corpus in a folder."""
    return FeatureStore(Path(folder) / f"Tiny_{feature}.hdf5")


def same_features(one, two, features=(*FEATURES, "GBased_graph")):
    """Asserts that two folders hold the same videos, settings and arrays."""
    for feature in features:
        a, b = store(one, feature), store(two, feature)
        assert a.ids == b.ids and a.settings == b.settings
        for name in a.ids:
            x, y = a[name], b[name]
            assert {k: (v.shape, v.dtype) for k, v in x.items()} == {k: (v.shape, v.dtype) for k, v in y.items()}
            for key in x:
                np.testing.assert_allclose(x[key], y[key], **CLOSE, err_msg=f"{feature} {name} {key}")
