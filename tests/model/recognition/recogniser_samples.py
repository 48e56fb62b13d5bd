"""A small CLIP, videos and classes for tests of recognisers."""

from dataclasses import replace

import torch

from model.backbone.clip import CLIP, CLIPConfig
from model.recognition import build

CONFIG = CLIPConfig(
    embed_dim=24, resolution=16, patch=8, vision_width=32, vision_layers=3, vision_heads=2,
    text_width=48, text_layers=3, text_heads=3, context_length=20, vocab_size=60,
)  # fmt: skip
FRAMES = 3
START, END = 58, 59


def small_clip(**changes):
    torch.manual_seed(0)
    clip = CLIP(replace(CONFIG, **changes)).eval()
    # Norms and biases of a new network are trivial, and class tokens nearly alike; neither would show a mistake.
    for parameter in clip.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return clip


def recogniser(name, clip=None, **settings):
    clip = clip or small_clip()
    if name in ("vita", "stt"):
        settings = {"num_frames": FRAMES} | settings
    torch.manual_seed(1)
    model = build(name, clip, settings)
    with torch.no_grad():  # as if it had learnt something
        for key, parameter in model.learner().items():
            if parameter.ndim > 1 and "weight" not in key:
                parameter += 0.3 * torch.randn_like(parameter)
    return model


def videos(count=2, views=2, frames=FRAMES, size=16):
    return torch.randn(count, views, frames, 3, size, size, generator=torch.Generator().manual_seed(2))


def rows(*names):
    """Ids of names given as lists of ids, zero behind the end."""
    longest = max(map(len, names)) + 2
    return torch.tensor([[START, *name, END] + [0] * (longest - len(name) - 2) for name in names])


NAMES = ([3], [4, 5], [6, 7, 8], [9, 3, 4, 5])


def texts(model, names=NAMES):
    hand = rows(*([20, 21, *name] for name in names)) if model.needs_handcrafted else None
    return model.class_texts_of_ids(rows(*names), hand)
