"""FastestDet's output map to objects, and the picture that it wants.

Source: FastestDet, https://github.com/dog-qiuqiu/FastestDet (the layout of its exported ONNX file)
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from model.detection.detections import Detections, suppress

OVERLAP = 0.45
# Cells below are noise, and comparing boxes takes time quadratic in their number.
LEAST = 0.05


def fastest_det_input(picture: Tensor, height: int, width: int) -> Tensor:
    """A picture resized without keeping its proportions: uint8 [3, h, w] RGB -> float32 [1, 3, height, width] BGR."""
    resized = F.interpolate(picture[None].float(), size=(height, width), mode="bilinear", antialias=True)
    return resized.flip(1) / 255


def fastest_det_objects(output: Tensor, size: tuple[int, int]) -> Detections:
    """Objects of one picture, overlapping ones of a class removed.

    Cell (i, j) holds objectness p, four numbers a, b, c, d and class probabilities q. Its score is
    p^0.6 max(q)^0.4, the centre of its box ((j + tanh a) / W, (i + tanh b) / H), width and height the logistic
    function of c and d, in shares of the picture.

    Shapes:
        output: [5 + classes, H, W]
        size:   (height, width) of the picture in pixels
    """
    _, rows, columns = output.shape
    share, label = output[5:].max(dim=0)
    score = output[0].clamp(min=0) ** 0.6 * share.clamp(min=0) ** 0.4
    i, j = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centre = torch.stack([(j + output[1].tanh()) / columns, (i + output[2].tanh()) / rows], dim=-1)
    extent = output[3:5].sigmoid().permute(1, 2, 0)
    boxes = torch.cat([centre - extent / 2, centre + extent / 2], dim=-1).view(-1, 4)
    height, width = size
    boxes = boxes * boxes.new_tensor([width, height, width, height])
    likely = score.flatten() >= LEAST
    return suppress(boxes[likely], score.flatten()[likely], label.flatten()[likely], size, OVERLAP)
