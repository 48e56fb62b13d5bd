"""Faster R-CNN with a ResNet-50 feature pyramid, and the features of the boxes that it finds."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.misc import FrozenBatchNorm2d

from model.detection.detections import Detections


class FasterRCNNDetector(nn.Module):
    """torchvision's Faster R-CNN; state-dict keys are those of its published files, below `network`.

    Features are those of the final boxes: aligned regions of the pyramid through the two layers of the box head. The
    longer edge of a picture fills the square, so that the network need not resize it again.

    Args:
        num_classes: with the background, 91 for COCO.
        size: edge of the pictures in pixels.
        max_objects: objects per picture at most; features are computed of these only.
        min_score: smallest score of an object.

    Source: Ren et al., Faster R-CNN (2015), https://arxiv.org/abs/1506.01497; Lin et al., Feature Pyramid Networks
    (2017), https://arxiv.org/abs/1612.03144
    """

    frames = 1
    feature_dim = 1024

    def __init__(self, num_classes: int = 91, size: int = 1024, max_objects: int = 9, min_score: float = 0.5):
        super().__init__()
        backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=0)
        for module in backbone.modules():
            if isinstance(module, FrozenBatchNorm2d):
                module.eps = 0.0  # as the published weights were trained
        self.network = FasterRCNN(
            backbone,
            num_classes,
            min_size=size,
            max_size=size,
            box_score_thresh=min_score,
            box_detections_per_img=max_objects,
        )
        self.eval()

    @torch.inference_mode()
    def detect(self, pictures: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        net = self.network
        seen = [picture[0, :, :h, :w] / 255 for picture, (h, w) in zip(pictures, sizes, strict=True)]
        images, _ = net.transform(seen)
        maps = net.backbone(images.tensors)
        proposals, _ = net.rpn(images, maps)
        found, _ = net.roi_heads(maps, proposals, images.image_sizes)
        boxes = [entry["boxes"] for entry in found]
        regions = net.roi_heads.box_roi_pool(maps, boxes, images.image_sizes)
        features = net.roi_heads.box_head(regions).split([len(rows) for rows in boxes])
        return [
            Detections(entry["boxes"], entry["scores"], entry["labels"], rows)
            for entry, rows in zip(found, features, strict=True)
        ]
