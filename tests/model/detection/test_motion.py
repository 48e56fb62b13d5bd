"""What moves and what stands out becomes a box; still, even and empty pictures hold nothing."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from model.detection import MotionDetector
from model.detection.motion import CHUNK, connected


def pictures(*boxes, size=96, noise=3, color=(220, 60, 40), height=96, checks=0):
    """[1, 3, 3, size, size]: patches at three moments on grey noise, with a pattern of `checks` grey levels."""
    rng = np.random.default_rng(0)
    frames = np.zeros((3, size, size, 3))
    y, x = np.mgrid[:height, :size] // 4
    frames[:, :height] = 110 + checks * (-1.0) ** (x + y)[..., None]
    for frame, places in zip(frames, boxes * (3 // len(boxes)), strict=True):
        for left, top, right, bottom in places:
            frame[top:bottom, left:right] = color
    frames[:, :height] += rng.normal(0, noise, (3, height, size, 3))
    return torch.from_numpy(frames.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2)[None]


def test_a_coloured_patch_is_found_where_it_is():
    (found,) = MotionDetector().detect(pictures([(30, 20, 50, 44), (70, 60, 84, 74)]), [(96, 96)])
    best = found.best(9, 0.5)
    assert len(best) == 2
    overlap = box_iou(best.boxes, torch.tensor([[30.0, 20, 50, 44], [70, 60, 84, 74]])).amax(0)
    assert overlap.min() > 0.7


def test_a_grey_patch_is_found_by_its_motion_alone():
    grey = {"color": (150, 150, 150), "noise": 1, "checks": 20}
    moving = pictures([(20, 30, 36, 46)], [(40, 30, 56, 46)], [(60, 30, 76, 46)], **grey)
    still = pictures([(40, 30, 56, 46)], **grey)
    detector = MotionDetector()
    (found,), (nothing,) = (detector.detect(seen, [(96, 96)]) for seen in (moving, still))
    assert len(nothing.best(9, 0.5)) == 0
    (box,) = found.best(9, 0.3).boxes
    assert box_iou(box[None], torch.tensor([[40.0, 30, 56, 46]])).item() > 0.5


@pytest.mark.parametrize("noise", [0, 8])
def test_an_even_picture_holds_nothing(noise):
    (found,) = MotionDetector().detect(pictures([], noise=noise), [(96, 96)])
    assert len(found.best(9, 0.5)) == 0 and found.boxes.shape[1] == 4


def test_what_lies_beside_the_picture_is_no_object():
    (found,) = MotionDetector().detect(pictures([(30, 10, 50, 30)], height=40), [(40, 96)])
    assert len(found.best(9, 0.5)) == 1 and found.boxes[:, 3].max() <= 40


def test_large_pictures_give_the_same_boxes_in_their_pixels():
    small = pictures([(30, 20, 50, 44)])
    large = small.repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2)
    (a,), (b,) = MotionDetector().detect(small, [(96, 96)]), MotionDetector().detect(large, [(384, 384)])
    assert torch.allclose(a.best(1, 0).boxes * 4, b.best(1, 0).boxes, atol=8)


def test_a_batch_equals_its_pictures_one_by_one():
    seen = torch.cat([pictures([(30, 20, 50, 44)]), pictures([]), pictures([(5, 5, 25, 25)])])
    together = MotionDetector().detect(seen, [(96, 96)] * 3)
    for picture, found in zip(seen, together, strict=True):
        (alone,) = MotionDetector().detect(picture[None], [(96, 96)])
        assert torch.equal(alone.boxes, found.boxes) and torch.equal(alone.scores, found.scores)


def flood(mask):
    """Regions of eight neighbours, pixel by pixel."""
    regions, left = [], {tuple(place) for place in mask.nonzero().tolist()}
    while left:
        front, region = [left.pop()], set()
        while front:
            y, x = front.pop()
            region.add((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            front += near
        regions.append(region)
    return {frozenset(region) for region in regions}


def test_regions_equal_those_of_a_flood():
    masks = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0)) < 0.3
    for mask, labels in zip(masks, connected(masks), strict=True):
        found = {frozenset(map(tuple, (labels == n).nonzero().tolist())) for n in labels.unique().tolist() if n}
        assert found == flood(mask)


def test_a_winding_region_is_one():
    spiral = torch.zeros(1, 41, 41, dtype=torch.bool)
    for ring in range(0, 20, 2):  # every ring is open at one place and joined there to the next
        spiral[0, ring, ring : 41 - ring] = spiral[0, 40 - ring, ring : 41 - ring] = True
        spiral[0, ring + 2 : 41 - ring, ring] = spiral[0, ring : 41 - ring, 40 - ring] = True
        spiral[0, ring + 2, ring : ring + 3] = True
    assert len(flood(spiral[0])) == len(connected(spiral).unique()) - 1 == 1


def test_many_pictures_equal_a_few_at_a_time():
    seen = torch.cat([pictures([(5 + 2 * n, 20, 25 + 2 * n, 44)]) for n in range(CHUNK + 3)])
    sizes = [(96, 96)] * len(seen)
    together = MotionDetector().detect(seen, sizes)
    apart = [found for picture in seen for found in MotionDetector().detect(picture[None], sizes[:1])]
    assert len(together) == len(apart) == CHUNK + 3
    for one, other in zip(together, apart, strict=True):
        assert torch.equal(one.boxes, other.boxes) and len(one.boxes) == 1
