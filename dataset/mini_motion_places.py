"""The places of MiniMotion: what may stand still along the lower edge, below everything that moves.

Outlines and patterns are muted, as the backgrounds are: a detector of objects should find nothing in a place, and a
square around an object ends above it. Only who sees the whole frame knows where a clip was taken.

Lengths are short sides of the frame; x points to the right of its centre, y down. Lower case letters in shapes: h and w
pixels of a frame.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# What reaches highest lies below this line, in the centred square the lowest quarter, so that no crop loses it.
SKYLINE = 0.25
CLEARANCE = 0.05  # between the lowest that something moves and the skyline
FOOT = 0.5  # lower edge of the centred square

Field = np.ndarray  # [h, w]


def _saw(x: Field) -> Field:
    """A triangle wave of period 1: 1 at whole numbers, 0 halfway between them."""
    return np.abs(2 * (x % 1) - 1)


def _sea(x: Field, y: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    phase = rng.uniform(0, 2 * np.pi)
    crests = 0.02 * np.sin(2 * np.pi * 4 * x + phase)
    return y - SKYLINE - 0.04 - crests, np.sin(2 * np.pi * 13 * (y - crests))


def _mountain(x: Field, y: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    slopes = 0.6 * np.abs(x - rng.uniform(-0.2, 0.2))
    snow = y < SKYLINE + 0.07 + 0.02 * _saw(x / 0.09)
    return y - SKYLINE - np.minimum(slopes, FOOT - SKYLINE - 0.04), np.where(snow, 2.0, 0.0)


def _forest(x: Field, y: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    firs = _saw((x + rng.uniform()) / 0.14)
    return y - SKYLINE - 0.14 * (1 - firs), 0.6 * np.sign(firs - 0.5)


def _city(x: Field, y: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    column = (x + 2 + rng.uniform()) / 0.13
    roofs = rng.uniform(0, 0.13, 64)[column.astype(int)]
    windows = (column * 2 % 1 > 0.5) & (y / 0.065 % 1 > 0.5)
    return y - SKYLINE - roofs, np.where(windows, 1.5, -0.5)


def _desert(x: Field, y: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    dunes = 0.05 + 0.05 * np.sin(2 * np.pi * 1.1 * x + rng.uniform(0, 2 * np.pi))
    return y - SKYLINE - dunes, np.zeros_like(x)


def _meadow(x: Field, y: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    blades = _saw((x + 0.3 * (y - SKYLINE) + rng.uniform()) / 0.045)
    return y - SKYLINE - 0.07 - 0.05 * (1 - blades), 1.4 * (blades - 0.5)


def _wall(x: Field, y: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    course = (y - SKYLINE) / 0.065
    brick = x / 0.16 + 0.5 * (course.astype(int) % 2) + rng.uniform()
    return y - SKYLINE - 0.02, np.where((course % 1 < 0.25) | (brick % 1 < 0.12), 1.6, -0.4)


def _fence(x: Field, y: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    pales = 0.055 * (_saw((x + rng.uniform()) / 0.11) - 0.5)
    rails = 0.015 - np.abs(np.abs(y - SKYLINE - 0.12) - 0.06)
    return np.minimum(y - SKYLINE - 0.01, np.maximum(pales, rails)), np.zeros_like(x)


@dataclass(frozen=True)
class Place:
    """How a place looks.

    Attributes:
        draw: (x, y, rng) -> how far a point lies inside the place (positive there), and its pattern there.
        tint: change of colour that it brings.
        contrast: what its pattern adds to that, in grey levels.
    """

    draw: Callable[[Field, Field, np.random.Generator], tuple[Field, Field]]
    tint: tuple[int, int, int]
    contrast: int


DRAWINGS = {
    "sea": Place(_sea, (-24, -8, 24), 10),
    "mountain": Place(_mountain, (-21, -21, -16), 18),
    "forest": Place(_forest, (-24, -3, -24), 10),
    "city": Place(_city, (-14, -16, -6), 14),
    "desert": Place(_desert, (26, 14, -20), 0),
    "meadow": Place(_meadow, (-12, 22, -20), 10),
    "wall": Place(_wall, (22, -12, -16), 12),
    "fence": Place(_fence, (18, 17, 13), 0),
}


def with_place(background: np.ndarray, place: str, rng: np.random.Generator) -> np.ndarray:
    """The background with a place at its lower edge.

    Shapes:
        [h, w, 3] -> the same

    Raises:
        ValueError: unknown place.
    """
    if place not in DRAWINGS:
        raise ValueError(f"unknown place {place!r}; known are {', '.join(DRAWINGS)}")
    looks = DRAWINGS[place]
    height, width = background.shape[:2]
    short = min(height, width)
    y, x = (np.mgrid[0:height, 0:width] + 0.5 - np.array([height, width])[:, None, None] / 2) / short
    inside, pattern = looks.draw(x, y, rng)
    change = np.array(looks.tint) + (looks.contrast * pattern + rng.uniform(-5, 5))[..., None]
    return background + np.clip(inside * short + 0.5, 0, 1)[..., None] * change


def room_above(height: float) -> tuple[float, float]:
    """The room that a place leaves in a frame of that height: half of it, and how far down its middle lies."""
    half = (height / 2 + SKYLINE - CLEARANCE) / 2
    return half, half - height / 2
