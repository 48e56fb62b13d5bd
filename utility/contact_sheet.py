"""Pictures of videos: strips of frames, and a sheet of what a search found."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from utility.video import VideoError, VideoReader

TILE = 132  # edge of a frame on the sheet, in pixels
FRAMES = 4
GAP = 12
TEXT = 64  # pixels below a strip, for two lines of captions
LABEL = 28  # for one line
LINE = 26  # pixels from a line of text to the next
QUERY_LINES = 3
NAME_INDENT = 92
COLORS = {
    "paper": (250, 250, 248),
    "ink": (40, 40, 44),
    "grey": (120, 120, 126),
    "right": (22, 120, 60),
    "wrong": (176, 48, 32),
}


def strip(path: Path) -> Image.Image:
    """`FRAMES` evenly spread frames of a video side by side, each fitted into a square; as high as they are.

    Raises:
        VideoError: the video cannot be read.
    """
    with VideoReader(path) as video:
        places = np.linspace(0, len(video.times) - 1, FRAMES).round().astype(int)
        frames = video.frames(places).permute(0, 2, 3, 1).numpy()
    # A line around each: a white frame should not vanish on the paper.
    pictures = [
        ImageOps.expand(
            ImageOps.contain(Image.fromarray(frame), (TILE - 4, TILE - 4), Image.Resampling.BICUBIC), 1, COLORS["grey"]
        )
        for frame in frames
    ]
    row = Image.new("RGB", (FRAMES * TILE, pictures[0].height), COLORS["paper"])
    for number, picture in enumerate(pictures):
        row.paste(picture, (number * TILE + (TILE - picture.width) // 2, 0))
    return row


def ranked_sheet(query: str, ranked: Sequence[tuple[str, Path, float]], path: Path, columns: int = 2) -> None:
    """Writes a sheet of the videos that a search found, best first: left to right, then down.

    Args:
        ranked: (id, file, similarity) of each.
    """
    columns = min(columns, len(ranked))
    strips = [_strip_or_cause(file) for _, file, _ in ranked]
    # Wide clips make flat strips: a row is as high as the highest in it.
    rows = [max(one.height for one in strips[k : k + columns]) for k in range(0, len(strips), columns)]
    inside = columns * (FRAMES * TILE + GAP) - GAP
    large, font = font_for(query, 18), font_for("", 15)
    title = wrapped(query, large, inside, QUERY_LINES)
    top = 2 * GAP + len(title) * LINE
    height = top + sum(rows) + len(rows) * (LABEL + GAP)
    sheet = Image.new("RGB", (inside + 2 * GAP, height), COLORS["paper"])
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(title):
        draw.text((GAP, GAP + number * LINE), line, COLORS["ink"], large)
    for number, ((name, _, similarity), picture) in enumerate(zip(ranked, strips, strict=True)):
        row, column = divmod(number, columns)
        x, y = GAP + column * (FRAMES * TILE + GAP), top + sum(rows[:row]) + row * (LABEL + GAP)
        sheet.paste(picture, (x, y + rows[row] - picture.height))
        own = font_for(name, 15)
        shown = wrapped(name, own, FRAMES * TILE - NAME_INDENT, 1)[0]
        draw.text((x, y + rows[row] + 4), f"{number + 1}", COLORS["ink"], font)
        draw.text((x + 34, y + rows[row] + 4), f"{similarity:.3f}", COLORS["grey"], font)
        draw.text((x + NAME_INDENT, y + rows[row] + 4), shown, COLORS["ink"], own)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, or for letters beyond western Europe the one that comes with matplotlib."""
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        import matplotlib  # takes a while, and few need it

        return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
    return ImageFont.load_default(size)


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """A text in at most so many lines of so many pixels, what is left over cut off with three dots."""
    found, rest = [], " ".join(text.split())
    while rest and len(found) < lines:
        line = _head(rest, font, width)
        if line != rest:
            if len(found) == lines - 1:
                found.append(_head(rest, font, width - int(font.getlength("..."))).rstrip() + "...")
                break
            line = line[: line.rfind(" ")] if " " in line.strip() and rest[len(line)] != " " else line
        found.append(line.strip())
        rest = rest[len(line) :].strip()
    return found or [""]


def _head(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """As much of a text as fits, one letter at least."""
    fits = bisect_right(range(1, len(text) + 1), width, key=lambda count: font.getlength(text[:count]))
    return text[: max(1, fits)]


def _strip_or_cause(file: Path) -> Image.Image:
    try:
        return strip(file)
    except VideoError as error:
        font = font_for(str(error), 15)
        lines = wrapped(str(error), font, FRAMES * TILE, 3)
        picture = Image.new("RGB", (FRAMES * TILE, len(lines) * LINE), COLORS["paper"])
        ImageDraw.Draw(picture).text((0, 0), "\n".join(lines), COLORS["wrong"], font)
        return picture
