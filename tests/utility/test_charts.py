"""Pictures of results: what they show where."""

import numpy as np
from PIL import Image

from utility.calibration import reliability
from utility.charts import BAR, DARK, PAPER, draw_confusion, draw_reliability, most_confused


def test_a_confusion_matrix_is_dark_where_clips_are(tmp_path):
    draw_confusion(np.array([[3, 0], [1, 3]]), ["run", "jump"], tmp_path / "sub" / "c.png")
    picture = Image.open(tmp_path / "sub" / "c.png")
    right = low = picture.size[0] - 12
    places = {(r, c): (right - 360 * (1 - c) - 10, low - 360 * (1 - r) - 10) for r in (0, 1) for c in (0, 1)}
    corner = {place: picture.getpixel(point) for place, point in places.items()}
    assert corner[0, 0] == DARK and corner[0, 1] == PAPER
    assert sum(corner[1, 0]) > sum(corner[1, 1])  # a quarter of the row is lighter than three quarters


def test_many_classes_fit_too(tmp_path):
    draw_confusion(np.eye(400, dtype=int), [f"class {k}" for k in range(400)], tmp_path / "c.png")
    assert max(Image.open(tmp_path / "c.png").size) < 1000


def test_most_confused_pairs_come_first_and_the_diagonal_not_at_all():
    counts = np.array([[9, 2, 0], [1, 9, 4], [0, 0, 9]])
    assert most_confused(counts) == [(1, 2), (0, 1), (1, 0)]
    assert most_confused(counts, most=1) == [(1, 2)]


def test_bars_reach_the_accuracy_of_their_bin(tmp_path):
    bins = reliability(np.array([0.95] * 4), np.array([1, 1, 0, 0]))
    draw_reliability(bins, tmp_path / "r.png", side=400)
    picture = Image.open(tmp_path / "r.png")
    x = 46 + 400 - 8
    assert picture.getpixel((x, 16 + 400 - 190)) == BAR and picture.getpixel((x, 16 + 400 - 210)) == PAPER
