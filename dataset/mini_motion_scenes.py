"""Drawing MiniMotion: signed distance fields of six shapes moving over textured backgrounds, all frames at once.

Letters in shapes: F frames, H and W pixels. Positions and sizes are fractions of the frame's short side; the centre of
the frame is the origin, x to the right and y down.
"""

import numpy as np

from dataset.mini_motion_places import room_above, with_place

RGB = {
    "red": (214, 32, 36),
    "orange": (248, 138, 18),
    "yellow": (244, 228, 48),
    "green": (34, 158, 52),
    "cyan": (44, 212, 222),
    "blue": (32, 56, 214),
    "purple": (138, 44, 186),
    "white": (248, 248, 246),
}
SIZES = ((128, 96), (104, 104), (96, 128), (144, 96), (120, 90))  # width, height in pixels
FRAME_RATES = (6, 8, 10, 12)
SECONDS = (2.0, 4.0)
DIAMETER = (0.12, 0.35)  # of the short side


def distance(shape: str, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Signed distance to an upright `shape` around the origin, in the units of x, y and radius; negative inside."""
    if shape == "circle":
        return np.hypot(x, y) - radius
    if shape == "ring":
        return np.abs(np.hypot(x, y) - 0.76 * radius) - 0.24 * radius
    ax, ay = np.abs(x), np.abs(y)
    if shape == "square":
        return np.maximum(ax, ay) - 0.82 * radius
    if shape == "cross":
        arm = 0.3 * radius
        return np.minimum(np.maximum(ax - radius, ay - arm), np.maximum(ax - arm, ay - radius))
    if shape == "triangle":
        return np.maximum(0.866 * ax + 0.5 * -y, y) - 0.5 * radius
    if shape == "star":
        # Fold the plane into one of ten equal sectors, in which the outline is a single line from tip to notch.
        half = np.pi / 5
        angle = np.abs((np.arctan2(x, -y) + half) % (2 * half) - half)
        rho = np.hypot(x, y)
        tip, notch = 1.0, 0.42
        edge = np.array([notch * np.cos(half) - tip, notch * np.sin(half)])
        normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
        return rho * np.cos(angle) * normal[0] + rho * np.sin(angle) * normal[1] - tip * normal[0] * radius
    raise ValueError(f"unknown shape {shape!r}; known are circle, ring, square, triangle, star, cross")


def _texture(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A muted background [H, W, 3]: a gradient, smooth blobs and stripes or checks of low contrast."""
    y, x = np.mgrid[0:height, 0:width] / min(height, width)
    base = rng.uniform(70, 140) + rng.uniform(-14, 14, 3)
    angle = rng.uniform(0, 2 * np.pi)
    picture = 25 * rng.uniform(-1, 1) * (np.cos(angle) * x + np.sin(angle) * y - 0.5)
    for _ in range(3):
        fx, fy, phase = *rng.uniform(-3, 3, 2), rng.uniform(0, 2 * np.pi)
        picture = picture + rng.uniform(3, 9) * np.sin(2 * np.pi * (fx * x + fy * y) + phase)
    kind, turn, frequency = rng.integers(3), rng.uniform(0, np.pi), rng.uniform(3, 9)
    u, v = np.cos(turn) * x + np.sin(turn) * y, -np.sin(turn) * x + np.cos(turn) * y
    if kind == 0:
        picture = picture + rng.uniform(4, 12) * np.sign(np.sin(2 * np.pi * frequency * u))
    elif kind == 1:
        picture = picture + rng.uniform(4, 10) * np.sign(np.sin(np.pi * frequency * u) * np.sin(np.pi * frequency * v))
    grain = rng.normal(0, 4, (height, width))
    return base + (picture + grain)[..., None]


def motion(action: str, frames: int, seconds: float, room: tuple[float, float], rng: np.random.Generator):
    """Path of one object.

    The six actions that come in pairs (left and right, rises and falls, grows and shrinks) are one another's films
    played backwards: nothing but the order of the frames tells them apart.

    Returns:
        position [F, 2] and diameter [F] in short sides, visible [F] in {0, 1}; `room` is half the frame (x, y).
    """
    t = np.linspace(0.0, 1.0, frames)
    low, high = DIAMETER
    grows = action in ("grows", "shrinks")
    diameter = np.full(frames, rng.uniform(low + 0.04, high))
    if grows:
        diameter = rng.uniform(low, low + 0.05) + t * (rng.uniform(high - 0.06, high) - low - 0.05)
    reach = np.maximum(np.array(room) - diameter.max() / 2 - 0.02, 0.02)
    start = rng.uniform(-0.8, 0.8, 2) * reach
    position = np.repeat(start[None], frames, 0)
    visible = np.ones(frames)
    clock = t * seconds
    if action in ("moves left", "moves right", "rises", "falls"):
        axis = 0 if action.startswith("moves") else 1
        span = rng.uniform(0.62, 0.98)
        ease = t + rng.uniform(-0.1, 0.1) * np.sin(np.pi * t) ** 2
        position[:, axis] = reach[axis] * span * (1 - 2 * ease)  # from right to left, from bottom to top
    elif action == "bounces":
        height = min(0.34, 1.2 * reach[1])
        base = rng.uniform(0.2, 1.0) * (reach[1] - height / 2) + height / 2
        position[:, 1] = base - height * np.abs(np.sin(np.pi * rng.uniform(0.9, 1.3) * clock + rng.uniform(0, np.pi)))
    elif action == "loops":
        radius = min(0.26, reach.min())
        centre = rng.uniform(-1, 1, 2) * (reach - radius)
        angle = rng.choice([-1, 1]) * 2 * np.pi * rng.uniform(0.5, 0.75) * clock + rng.uniform(0, 2 * np.pi)
        position = centre + radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    elif action == "blinks":
        visible = (np.sin(2 * np.pi * rng.uniform(0.7, 1.1) * clock + rng.uniform(0, 2 * np.pi)) > -0.1).astype(float)
    elif action == "shakes":
        phase = 2 * np.pi * rng.uniform(1.7, 2.3) * clock + rng.uniform(0, 2 * np.pi)
        position = position + 0.055 * np.stack([np.sin(phase), 0.35 * np.sin(1.7 * phase)], 1)
    if action in ("moves right", "falls", "shrinks"):
        position, diameter = position[::-1], diameter[::-1]
    return position, diameter, visible


def relation_motion(relation: str, action: str, frames: int, room: tuple[float, float], rng: np.random.Generator):
    """Paths of two objects in a relation; `action` (moves left or moves right) is that of the first.

    Returns:
        Two tuples as `motion` gives them; the second object is drawn over the first.
    """
    t = np.linspace(0.0, 1.0, frames)
    sign = -1.0 if action == "moves left" else 1.0
    diameter = rng.uniform(0.16, 0.26, 2)
    if relation == "passes behind":
        diameter[1] = rng.uniform(0.24, 0.34)
    edge = room[0] - diameter.max() / 2 - 0.02
    height = rng.uniform(-0.6, 0.6) * (room[1] - diameter.max() / 2 - 0.02)
    gap = diameter.mean() * 1.25
    if relation == "follows":
        first = -edge + t * (2 * edge - gap)
        second = first + gap
    elif relation == "passes behind":
        first = -edge + t * 2 * edge
        second = -0.6 * first
    elif relation == "meets":
        touch = diameter.mean() * 1.02
        close = np.minimum(t / 0.8, 1.0)
        first = -edge + close * (edge - touch / 2)
        second = -first
    else:
        raise ValueError(f"unknown relation {relation!r}; known are follows, passes behind, meets")
    y = np.full(frames, height)
    ones = np.ones(frames)
    return tuple(
        (np.stack([sign * x, y], 1), np.full(frames, size), ones)
        for x, size in zip((first, second), diameter, strict=True)
    )


def draw(
    things: list, relation: str | None, rng: np.random.Generator, place: str | None = None
) -> tuple[np.ndarray, int]:
    """A clip of one object, or of two in a relation; above a place, where there is one.

    Returns:
        uint8 [F, H, W, 3] RGB frames and their rate per second.
    """
    width, height = SIZES[rng.integers(len(SIZES))]
    rate = int(FRAME_RATES[rng.integers(len(FRAME_RATES))])
    seconds = rng.uniform(*SECONDS)
    frames = max(round(seconds * rate), 2)
    short = min(width, height)
    room, middle = (width / 2 / short, height / 2 / short), 0.0
    if place is not None:
        half, middle = room_above(height / short)
        room = (room[0], half)
    if relation is None:
        paths = (motion(things[0].action, frames, seconds, room, rng),)
    else:
        paths = relation_motion(relation, things[0].action, frames, room, rng)
    background = _texture(height, width, rng)
    if place is not None:
        background = with_place(background, place, rng)
    clip = np.repeat(background[None].astype(np.float32), frames, 0)
    for thing, (position, diameter, visible) in zip(things, paths, strict=True):
        position = position + (0.0, middle)
        turn = rng.uniform(0, 2 * np.pi)
        color = np.array(RGB[thing.color], np.float32) + rng.normal(0, 5, 3).astype(np.float32)
        _paint(clip, thing.shape, color, turn, position, diameter, visible)
    clip += rng.normal(0, 1.5, (frames, 1, 1, 1)).astype(np.float32)  # flicker
    clip += rng.standard_normal(clip.shape[:3], dtype=np.float32)[..., None] * np.float32(rng.uniform(1, 5))
    return np.clip(clip, 0, 255, out=clip).astype(np.uint8), rate


def _paint(
    clip: np.ndarray,
    shape: str,
    color: np.ndarray,
    turn: float,
    position: np.ndarray,
    diameter: np.ndarray,
    visible: np.ndarray,
) -> None:
    """Draws an object into every frame of `clip` [F, H, W, 3], in a window around it: the rest stays as it is."""
    frames, height, width = clip.shape[:3]
    short = min(height, width)
    # Corners of a square are 1.16 radii from its centre; two pixels more on each side for the soft edge.
    edge = int(np.ceil(1.2 * diameter.max() * short)) + 4
    wide, high = min(edge, width), min(edge, height)
    middle = position * short + (width / 2, height / 2)
    left = np.clip(np.round(middle[:, 0] - wide / 2), 0, width - wide).astype(int)
    top = np.clip(np.round(middle[:, 1] - high / 2), 0, height - high).astype(int)
    window = (
        np.arange(frames)[:, None, None],
        (top[:, None] + np.arange(high))[:, :, None],
        (left[:, None] + np.arange(wide))[:, None, :],
    )
    x = (window[2].astype(np.float32) + 0.5 - width / 2) / short
    y = (window[1].astype(np.float32) + 0.5 - height / 2) / short
    dx = x - position[:, 0, None, None].astype(np.float32)
    dy = y - position[:, 1, None, None].astype(np.float32)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    away = distance(shape, c * dx + s * dy, c * dy - s * dx, diameter[:, None, None].astype(np.float32) / 2)
    alpha = np.clip(0.5 - away * short, 0, 1) * visible[:, None, None].astype(np.float32)
    behind = clip[window]
    clip[window] = behind + alpha[..., None] * (color - behind)
