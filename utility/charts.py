"""Pictures of a classifier's results: confusion matrix and reliability diagram, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utility.calibration import Reliability

PAPER, INK, GREY, BAR, DARK = (255, 255, 255), (40, 40, 44), (150, 150, 155), (70, 120, 190), (20, 50, 110)


def draw_confusion(confusion: np.ndarray, names: Sequence[str], path: Path, side: int = 720) -> None:
    """Writes the matrix with every row scaled to 1: rows are true classes. Names and counts where they are readable,
    else the classes that are confused most often."""
    counts = np.asarray(confusion)
    classes = len(counts)
    cell = max(side // classes, 2)
    font = ImageFont.load_default(max(min(cell - 4, 13), 6))
    readable = cell >= 12
    margin = int(max((font.getlength(name) for name in names), default=0)) + 16 if readable else 12
    notes = ["rows: true classes, columns: predicted ones; numbers: clips"]
    if not readable:
        notes = [f"{classes} classes; rows: true, columns: predicted; taken for another most often:"]
        notes += [f"{names[a]} for {names[b]}: {counts[a, b]} of {counts[a].sum()}" for a, b in most_confused(counts)]
    end = margin + cell * classes
    picture = Image.new("RGB", (end + 12, end + 16 + 17 * len(notes)), PAPER)
    draw = ImageDraw.Draw(picture)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for row in range(classes):
        for column in range(classes):
            x, y = margin + column * cell, margin + row * cell
            draw.rectangle((x, y, x + cell - 1, y + cell - 1), fill=_blend(share[row, column]))
            if cell >= 24 and counts[row, column]:
                colour = PAPER if share[row, column] > 0.5 else INK
                draw.text((x + cell / 2, y + cell / 2), str(counts[row, column]), colour, font, "mm")
    if readable:
        for k, name in enumerate(names):
            draw.text((margin - 6, margin + (k + 0.5) * cell), name, INK, font, "rm")
            label = Image.new("RGB", (margin - 8, cell), PAPER)
            ImageDraw.Draw(label).text((0, cell / 2), name, INK, font, "lm")
            picture.paste(label.rotate(90, expand=True), (margin + k * cell, 2))
    draw.rectangle((margin - 1, margin - 1, end, end), outline=GREY)
    for k, note in enumerate(notes):
        draw.text((margin, end + 8 + 17 * k), note, INK, ImageFont.load_default(12))
    _save(picture, path)


def most_confused(counts: np.ndarray, most: int = 5) -> list[tuple[int, int]]:
    """(true class, predicted class) of the largest counts beside the diagonal, in falling order."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [(int(a), int(b)) for a, b in pairs if wrong[a, b]]


def draw_reliability(bins: Reliability, path: Path, side: int = 420) -> None:
    """Writes accuracy per bin of confidence, the diagonal that a calibrated model would follow, and the counts."""
    left, top, low = 46, 16, 70
    picture = Image.new("RGB", (left + side + 16, top + side + low + 76), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    width = side / len(bins.count)
    floor, base = top + side, top + side + low + 26
    for k, (count, accuracy) in enumerate(zip(bins.count, bins.accuracy, strict=True)):
        x = left + k * width
        if count:
            draw.rectangle((x + 1, floor - side * accuracy, x + width - 1, floor), fill=BAR)
            draw.rectangle((x + 1, base - low * count / bins.count.max(), x + width - 1, base), fill=GREY)
    draw.line((left, floor, left + side, top), fill=DARK, width=2)
    draw.rectangle((left, top, left + side, floor), outline=INK)
    draw.line((left, base, left + side, base), fill=INK)
    for tick in (0.0, 0.5, 1.0):
        draw.text((left + side * tick, floor + 4), f"{tick:g}", INK, font, "ma")
        draw.text((left - 6, floor - side * tick), f"{tick:g}", INK, font, "rm")
    draw.text((left, base + 8), f"accuracy by confidence; below: samples per bin (most {bins.count.max()})", INK, font)
    draw.text((left, base + 24), f"expected calibration error {bins.expected_error():.3f}", INK, font)
    _save(picture, path)


def _blend(share: float) -> tuple[int, ...]:
    return tuple(round(a + (b - a) * float(share)) for a, b in zip(PAPER, DARK, strict=True))


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
