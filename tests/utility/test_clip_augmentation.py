"""Augmentation: each strength does something, frames of a clip agree, neutral strengths change nothing."""

from dataclasses import fields

import pytest
import torch

from utility.clip_augmentation import ClipAugmentation, gaussian_blur
from utility.random_state import seed_all

NEUTRAL = {
    "crop_scale": 1.0, "horizontal_flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0,
}  # fmt: skip


def picture(frames=3):
    torch.manual_seed(0)
    return torch.randint(0, 256, (1, 3, 24, 32), dtype=torch.uint8).expand(frames, 3, 24, 32)


def augmented(**strengths):
    seed_all(3)
    how = ClipAugmentation(**{**NEUTRAL, **strengths})
    return how(how.crop(picture()))


def test_neutral_strengths_change_nothing():
    assert torch.equal(augmented(), picture())


STRONG = {
    "crop_scale": 0.4, "horizontal_flip": 1.0, "vertical_flip": 1.0, "brightness": 0.5, "contrast": 0.5,
    "saturation": 0.5, "hue": 0.3, "blur": 1.0, "salt_and_pepper": 0.2, "cutout": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("name", STRONG)
def test_every_strength_changes_the_clip_and_all_frames_alike(name):
    clip = augmented(**{name: STRONG[name]})
    assert clip.dtype == torch.uint8
    assert clip.shape != picture().shape or not torch.equal(clip, picture())
    if name != "salt_and_pepper":  # noise, drawn anew for every frame
        assert all(torch.equal(frame, clip[0]) for frame in clip)


@pytest.mark.parametrize(
    ("name", "value", "base"),
    [
        ("crop_ratio", 1.0, {"crop_scale": 0.4}),
        ("blur_kernel", 3, {"blur": 1.0, "blur_sigma": 3.0}),
        ("blur_sigma", 3.0, {"blur": 1.0}),
        ("cutout_scale", (0.5, 0.6), {"cutout": 1.0}),
        ("cutout_ratio", (0.3, 0.31), {"cutout": 1.0, "cutout_scale": (0.3, 0.31)}),
    ],
)
def test_every_shape_changes_the_clip(name, value, base):
    plain, changed = augmented(**base), augmented(**base, **{name: value})
    assert plain.shape != changed.shape or not torch.equal(plain, changed)


def test_the_tests_cover_every_field():
    assert {f.name for f in fields(ClipAugmentation)} == set(STRONG) | {
        "crop_ratio", "blur_kernel", "blur_sigma", "cutout_scale", "cutout_ratio",
    }  # fmt: skip


def test_shipped_strengths_are_not_neutral():
    shipped = ClipAugmentation()
    assert all(getattr(shipped, name) != value for name, value in NEUTRAL.items())


def test_jitter_equals_its_parts_one_after_another(monkeypatch):
    draws = torch.tensor([0.5, -0.8, 0.6, 0.0]).double().numpy()
    monkeypatch.setattr("numpy.random.uniform", lambda *a: draws)
    how = ClipAugmentation(**{**NEUTRAL, "brightness": 0.2, "contrast": 0.4, "saturation": 0.3})
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    x = picture().float() * 1.1
    mean = (x * weights).sum(1).mean()
    x = (1 - 0.32) * x + 0.32 * mean
    grey = (x * weights).sum(1, keepdim=True)
    x = 1.18 * x - 0.18 * grey
    assert (how._jitter(picture()).float() - x.clamp(0, 255)).abs().max() <= 0.51


def test_a_turn_of_the_hue_keeps_grey_and_brightness():
    how = ClipAugmentation(**{**NEUTRAL, "hue": 0.5})
    seed_all(1)
    grey = torch.full((1, 3, 4, 4), 90, dtype=torch.uint8)
    assert (how(grey).int() - 90).abs().max() <= 1


def test_blur_keeps_flat_pictures():
    flat = torch.full((2, 3, 9, 9), 77, dtype=torch.uint8)
    assert torch.equal(gaussian_blur(flat, 5, 1.0), flat)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"horizontal_flip": 1.5}, "horizontal-flip is 1.5"),
        ({"crop_scale": 0}, "crop-scale is 0"),
        ({"blur_kernel": 4}, "odd number"),
        ({"hue": 0.7}, "hue is 0.7"),
        ({"cutout_scale": (0.4, 0.2)}, "cutout-scale is 0.4 0.2"),
    ],
)
def test_impossible_strengths_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ClipAugmentation(**wrong)
