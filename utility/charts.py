"""Pictures of a classifier's results: confusion matrix and reliability diagram, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utility.calibration import Reliability

PAPER, INK, GREY, BAR, DARK = (255, 255, 255), (40, 40, 44), (150, 150, 155), (70, 120, 190), (20, 50, 110)
FAINT = (228, 228, 232)
NAMED_IN_FULL = 130  # classes
FINER = 4  # small letters are drawn larger and reduced: at their own size blanks between words are lost


def draw_confusion(confusion: np.ndarray, names: Sequence[str], path: Path, side: int = 720) -> None:
    """Writes the matrix [C, C] with every row scaled to 1: rows are true classes.

    Cells have their counts, and classes their names, as far as there is room: of many classes every second or further
    one is named, and below stand the pairs that are confused most often. Shades are square roots of shares, so that
    single clips among many are seen.
    """
    counts = np.asarray(confusion)
    classes = len(counts)
    cell = max(side // classes, 12 if classes <= NAMED_IN_FULL else 3)
    numbers, step = cell >= 24, -(-12 // cell)
    height = min(cell * step - 2, 13)
    labels = {k: _label(names[k], height) for k in range(0, classes, step)}
    margin = max((label.width for label in labels.values()), default=0) + 14
    end = margin + cell * classes
    notes = _notes(counts, names, numbers, step)
    picture = Image.new("RGB", (end + 12, end + 16 + 17 * len(notes)), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for row, column in np.argwhere(counts):
        x, y = margin + column * cell, margin + row * cell
        draw.rectangle((x, y, x + cell - 1, y + cell - 1), fill=_blend(share[row, column] ** 0.5))
        if numbers:
            colour = PAPER if share[row, column] > 0.25 else INK
            draw.text((x + cell / 2, y + cell / 2), str(counts[row, column]), colour, font, "mm")
    if not numbers:  # long rows are hard to follow
        for k in range(5 * step, classes, 5 * step):
            at = margin + k * cell - 1
            draw.line((margin, at, end, at), fill=FAINT)
            draw.line((at, margin, at, end), fill=FAINT)
    for k, label in labels.items():
        at = margin + int((k + 0.5) * cell) - label.height // 2
        picture.paste(label, (margin - 6 - label.width, at))
        picture.paste(label.rotate(90, expand=True), (at, margin - 6 - label.width))
    draw.rectangle((margin - 1, margin - 1, end, end), outline=GREY)
    for k, note in enumerate(notes):
        draw.text((margin, end + 8 + 17 * k), note, INK, ImageFont.load_default(12))
    _save(picture, path)


def _notes(counts: np.ndarray, names: Sequence[str], numbers: bool, step: int) -> list[str]:
    """Lines below a confusion matrix."""
    total = int(counts.sum())
    lines = [
        f"{total} clips, {100 * np.trace(counts) / max(total, 1):.1f} % of them right",
        "rows: true classes, columns: predicted ones" + ("; numbers: clips" if numbers else ""),
    ]
    if step > 1:
        lines.append(f"{len(counts)} classes; one in {step} is named")
    if not numbers:
        pairs = most_confused(counts)
        lines += [f"{names[a]} taken for {names[b]}: {counts[a, b]} of {counts[a].sum()}" for a, b in pairs]
    return lines


def most_confused(counts: np.ndarray, most: int = 5) -> list[tuple[int, int]]:
    """(true class, predicted class) of the largest counts beside the diagonal, in falling order."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [(int(a), int(b)) for a, b in pairs if wrong[a, b]]


def draw_reliability(bins: Reliability, path: Path, side: int = 420) -> None:
    """Writes accuracy per bin of confidence, the diagonal that a calibrated model would follow, and the counts."""
    left, top, low = 46, 20, 70
    picture = Image.new("RGB", (left + side + 16, top + side + low + 88), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    width = side / len(bins.count)
    floor, base = top + side, top + side + low + 38
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
    draw.text((left + side / 2, floor + 18), "confidence", INK, font, "ma")
    draw.text((left, 3), "accuracy", INK, font)
    draw.text((left, base + 8), f"below: samples per bin, at most {bins.count.max()}, of {bins.count.sum()}", INK, font)
    draw.text((left, base + 24), f"expected calibration error {bins.expected_error():.3f}", INK, font)
    _save(picture, path)


def _label(name: str, height: int) -> Image.Image:
    """A name in letters of so many pixels."""
    font = ImageFont.load_default(FINER * height)
    size = (int(font.getlength(name)) + FINER, FINER * (height + 2))
    large = Image.new("RGB", size, PAPER)
    ImageDraw.Draw(large).text((0, size[1] / 2), name, INK, font, "lm")
    return large.reduce(FINER)


def _blend(share: float) -> tuple[int, ...]:
    return tuple(round(a + (b - a) * float(share)) for a, b in zip(PAPER, DARK, strict=True))


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
