"""Pictures for CLIP and I3D against Pillow, and what the functions refuse."""

import numpy as np
import pytest
import torch
from PIL import Image

from utility.images import (
    CLIP_MEAN,
    CLIP_STD,
    centre_crop,
    centre_square,
    clip_frames,
    grid_boxes,
    grid_tiles,
    i3d_frames,
    letterbox,
    resize_short,
    to_clip,
    to_i3d,
)


def blocky_frames(num_frames, height, width, seed=0):
    generator = np.random.default_rng(seed)
    cells = generator.integers(0, 256, (num_frames, -(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    frames = cells.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)


def pillow_resize_short(frame, size, resample):
    height, width = frame.shape[-2:]
    target = (int(size * width / min(height, width)), int(size * height / min(height, width)))
    picture = Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).resize(target, resample)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@pytest.mark.parametrize(("height", "width"), [(90, 60), (61, 97), (200, 33), (64, 64)])
@pytest.mark.parametrize(("name", "resample"), [("bicubic", Image.BICUBIC), ("bilinear", Image.BILINEAR)])
@pytest.mark.parametrize("contiguous", [True, False])
def test_resize_is_pillows_to_one_level(height, width, name, resample, contiguous):
    frames = blocky_frames(2, height, width)
    frames = frames.contiguous() if contiguous else frames
    resized = resize_short(frames, 48, name)
    for frame, result in zip(frames, resized, strict=True):
        expected = pillow_resize_short(frame, 48, resample)
        assert result.shape == expected.shape
        difference = (result.int() - expected.int()).abs()
        assert difference.max() <= 1
        assert difference.float().mean() < 0.02


@pytest.mark.parametrize(("height", "width"), [(90, 120), (121, 75), (64, 64)])
@pytest.mark.parametrize(("patch", "overlap"), [(3, 0.5), (2, 0.0), (1, 0.5), (4, 1.0)])
def test_tiles_are_each_box_resized_and_cropped(height, width, patch, overlap):
    frames = blocky_frames(3, height, width)
    tiles = grid_tiles(frames, 32, patch, overlap)
    assert tiles.shape == (3, patch * patch, 3, 32, 32)
    for node, (top, left, bottom, right) in enumerate(grid_boxes(height, width, patch, overlap).tolist()):
        for frame in range(3):
            expected = centre_crop(resize_short(frames[frame, :, top:bottom, left:right], 32), 32)
            assert torch.equal(tiles[frame, node], expected)


def test_boxes_cover_the_centred_square_and_no_more():
    boxes = grid_boxes(100, 160)
    assert boxes[:, :2].min(dim=0).values.tolist() == [0, 30]
    assert boxes[:, 2:].max(dim=0).values.tolist() == [100, 130]
    assert boxes[4].tolist() == [17, 47, 82, 112]  # b = 33, o = 16


def test_centres_round_half_pixels_to_even():
    frames = torch.arange(5 * 8).reshape(1, 5, 8)
    assert centre_square(frames)[0, 0].tolist() == [2, 3, 4, 5, 6]  # offset 1.5 -> 2
    assert centre_crop(frames, 3)[0, 0].tolist() == [10, 11, 12]  # offsets 1, 2.5 -> 2


def test_whole_frames_for_clip_lose_the_long_ends():
    frames = torch.zeros(2, 3, 60, 100, dtype=torch.uint8)
    frames[..., :20] = frames[..., 80:] = 255
    assert clip_frames(frames, 30).max() == 0
    assert i3d_frames(frames, resize=60, size=60).max() == 0
    assert i3d_frames(frames, resize=60, size=50).shape == (2, 3, 50, 50)


def test_normalisation():
    frames = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1)
    expected = [(value - mean) / std for value, mean, std in zip([0, 0.2, 1], CLIP_MEAN, CLIP_STD, strict=True)]
    assert to_clip(frames).flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert to_clip(frames, (0, 0, 0), (1, 1, 1)).flatten().tolist() == pytest.approx([0, 0.2, 1], abs=1e-6)
    assert to_i3d(frames).flatten().tolist() == pytest.approx([-1, -0.6, 1], abs=1e-6)
    assert frames.flatten().tolist() == [0, 51, 255]  # the bytes stay as they are


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grid_boxes(2, 5, patch=3), "3 x 3 grid does not fit frames of 5x2"),
        (lambda: grid_boxes(9, 9, overlap=1.5), "between 0 and 1, got 1.5"),
        (lambda: resize_short(torch.zeros(3, 8, 8), 4), "must be uint8"),
        (lambda: resize_short(torch.zeros(3, 8, 8, dtype=torch.uint8), 4, "lanczos"), "use one of bicubic, bilinear"),
        (lambda: centre_crop(torch.zeros(3, 8, 20), 16), "cannot cut 16x16 out of frames of 20x8"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("height", "width"), [(30, 60), (90, 20), (40, 40), (1, 300)])
def test_letterbox_keeps_proportions_and_says_where_the_picture_is(height, width):
    frame = blocky_frames(1, height, width)[0].clamp(min=1)
    square = letterbox(frame, 48)
    inside = square[3] > 0
    rows, columns = int(inside[:, 0].sum()), int(inside[0].sum())
    assert max(rows, columns) == 48 and rows == max(1, round(48 * height / max(height, width)))
    assert inside[:rows, :columns].all() and inside.sum() == rows * columns
    assert not square[:3, ~inside].any() and square[:3, inside].all()
