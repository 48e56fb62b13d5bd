"""Pictures of videos: strips of frames, and a sheet of what a search found."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

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
    row = Image.new("RGB", (FRAMES * TILE, TILE), COLORS["ink"])
    for number, frame in enumerate(frames):
        picture = Image.fromarray(frame)
        picture.thumbnail((TILE - 2, TILE - 2), Image.Resampling.BICUBIC)
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
    draw.text((GAP, GAP), textwrap.shorten(query, 110, placeholder=" ..."), COLORS["ink"], ImageFont.load_default(18))
    font = ImageFont.load_default(15)
    for number, (name, file, similarity) in enumerate(ranked):
        x, y = GAP + number % columns * width, top + GAP + number // columns * height
        try:
            sheet.paste(strip(file), (x, y))
        except VideoError as error:
            draw.text((x, y), str(error), COLORS["wrong"], font)
        text = textwrap.shorten(f"{number + 1}  {similarity:.3f}  {name}", 70, placeholder=" ...")
        draw.text((x, y + TILE + 6), text, COLORS["ink"], font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
