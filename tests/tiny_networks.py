"""A CLIP and an action network of a few thousand random weights, as checkpoint folders."""

import torch

from model.backbone.clip import CLIP, small_config
from model.backbone.i3d import I3D
from pretrained.backbones import describe
from utility.checkpoint import save_checkpoint


def make_backbone(folder, seed):
    torch.manual_seed(seed)
    config = small_config(
        embed_dim=32, vision_width=32, vision_layers=1, vision_heads=2, stem=(8, 16, 32), text_layers=1
    )
    described = describe(config, f"tiny{seed}", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    tensors = CLIP(config).state_dict()
    save_checkpoint(folder, tensors=tensors, config={"backbone": described, "trained_on": ["a ball 2", "a ball 11"]})
    return folder


def make_action_network(folder):
    torch.manual_seed(5)
    config = {"width": 0.0625, "pool": None, "resize": 32, "size": 32, "num_classes": 4}
    network = I3D(4, width=config["width"], pool=None)
    trained_on = {"trained_on": ["a ball 11"], "corpus": "films of others"}
    save_checkpoint(folder, tensors=network.state_dict(), config={"action_network": config, **trained_on})
    return folder
