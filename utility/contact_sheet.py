"""Pictures of videos: strips of frames, and a sheet of what a search found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from utility.video import VideoError, VideoReader

TILE = 132  # edge of a frame on the sheet, in pixels
FRAMES = 4
GAP = 12
TEXT = 64  # pixels below a strip
COLORS = {
    "paper": (250, 250, 248),
    "ink": (40, 40, 44),
    "grey": (120, 120, 126),
    "right": (22, 120, 60),
    "wrong": (176, 48, 32),
}


def strip(path: Path) -> Image.Image:
    """`FRAMES` evenly spread frames of a video side by side, each fitted into a square.

    Raises:
        VideoError: the video cannot be read.
    """
    with VideoReader(path) as video:
        places = np.linspace(0, len(video.times) - 1, FRAMES).round().astype(int)
        frames = video.frames(places).permute(0, 2, 3, 1).numpy()
    row = Image.new("RGB", (FRAMES * TILE, TILE), COLORS["paper"])
    for number, frame in enumerate(frames):
        picture = ImageOps.contain(Image.fromarray(frame), (TILE - 4, TILE - 4), Image.Resampling.BICUBIC)
        # A line around it: a white frame should not vanish on the paper.
        picture = ImageOps.expand(picture, 1, COLORS["grey"])
        row.paste(picture, (number * TILE + (TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return row


def ranked_sheet(query: str, ranked: Sequence[tuple[str, Path, float]], path: Path, columns: int = 2) -> None:
    """Writes a sheet of the videos that a search found, best first.

    Args:
        ranked: (id, file, similarity) of each.
    """
    width, height, top = FRAMES * TILE + GAP, TILE + TEXT // 2 + GAP, 40
    rows = -(-len(ranked) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, top + rows * height + GAP), COLORS["paper"])
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), _cut(query, 110), COLORS["ink"], ImageFont.load_default(18))
    font = ImageFont.load_default(15)
    for number, (name, file, similarity) in enumerate(ranked):
        x, y = GAP + number % columns * width, top + GAP + number // columns * height
        try:
            sheet.paste(strip(file), (x, y))
        except VideoError as error:
            draw.text((x, y), _cut(str(error), 66), COLORS["wrong"], font)
        words = (0, f"{number + 1}", "ink"), (28, f"{similarity:.3f}", "grey"), (88, _cut(name, 56), "ink")
        for indent, word, colour in words:
            draw.text((x + indent, y + TILE + 4), word, COLORS[colour], font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
