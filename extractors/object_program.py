"""Opens detector and, where its view is wanted, backbone: what the flags of the object stage stand for."""

from __future__ import annotations

from typing import Any

import torch

from extractors.arguments import BackboneArguments, DetectorArguments
from extractors.object_features import ObjectNodes
from extractors.program import Opened
from pretrained.backbones import load_backbone
from pretrained.detectors import load_detector


def open_objects(
    args: BackboneArguments,
    objects: DetectorArguments,
    device: torch.device,
    precision: str,
    backbone: Any | None = None,
) -> Opened:
    """The extractor of object nodes with its networks.

    Args:
        backbone: one that is open already.

    Raises:
        FileNotFoundError, ValueError: weights that are absent, or are none.
    """
    detector = load_detector(objects.detector, device, objects.detector_size, objects.max_objects, objects.min_score)
    own = detector.model.feature_dim is not None if objects.object_features == "auto" else None
    networks, weights = {"detector": detector}, {"detector": objects.detector}
    if own or objects.object_features == "detector":
        backbone = None
    else:
        backbone = backbone or load_backbone(args.backbone, device)
        networks["backbone"], weights["backbone"] = backbone, args.backbone
    square_crop = "square_crop" in args.compat
    extractor = ObjectNodes(detector, backbone, device, precision, args.batch_size, square_crop)
    return Opened([extractor], networks, weights)
