"""A picture of clips with what people and the model say about them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataset.corpus import find_videos
from utility.contact_sheet import COLORS, FRAMES, GAP, TEXT, TILE, strip
from utility.video import VideoError


def contact_sheet(videos: Sequence[dict[str, Any]], folder: Path, path: Path, rows: int = 8, columns: int = 2) -> None:
    """Writes a sheet of `rows` x `columns` clips, drawn from `videos`, the same ones every time.

    Args:
        videos: dictionaries with id, caption (generated), references; a caption that is word for word one of the
            references is green. Where `correct` is given, it decides.
    """
    # Drawn, since steps of equal length fall in with whatever repeats itself in a list.
    order = np.random.default_rng(0).permutation(len(videos))[: rows * columns]
    chosen = [videos[k] for k in sorted(order)]
    files = find_videos(folder)
    width, height = FRAMES * TILE + GAP, TILE + TEXT + GAP
    sheet = Image.new("RGB", (columns * width + GAP, -(-len(chosen) // columns) * height + GAP), COLORS["paper"])
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for number, video in enumerate(chosen):
        x, y = GAP + number % columns * width, GAP + number // columns * height
        try:
            picture = strip(files[video["id"]][0])
            sheet.paste(picture, (x, y + (TILE - picture.height) // 2))
        except (VideoError, KeyError) as error:
            draw.text((x, y), f"{video['id']}: {error}", COLORS["wrong"], font)
        right = video.get("correct", video["caption"] in video["references"])
        for line, (label, text, color) in enumerate(
            (("model", video["caption"], "right" if right else "wrong"), ("person", video["references"][0], "ink"))
        ):
            top = y + TILE + 6 + line * 26
            draw.text((x, top), label, COLORS["grey"], font)
            draw.text((x + 62, top), textwrap.shorten(text, 66, placeholder=" ..."), COLORS[color], font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
