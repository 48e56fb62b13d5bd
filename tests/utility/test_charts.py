"""Pictures of results: what they show where."""

import numpy as np
from PIL import Image

from utility.calibration import reliability
from utility.charts import BAR, DARK, FAINT, PAPER, draw_confusion, draw_reliability, most_confused


def test_a_confusion_matrix_is_dark_where_clips_are(tmp_path):
    draw_confusion(np.array([[3, 0], [1, 3]]), ["run", "jump"], tmp_path / "sub" / "c.png")
    picture = Image.open(tmp_path / "sub" / "c.png")
    right = low = picture.size[0] - 12
    places = {(r, c): (right - 360 * (1 - c) - 10, low - 360 * (1 - r) - 10) for r in (0, 1) for c in (0, 1)}
    corner = {place: picture.getpixel(point) for place, point in places.items()}
    assert corner[0, 0] == DARK and corner[0, 1] == PAPER
    assert sum(corner[1, 0]) > sum(corner[1, 1])  # a quarter of the row is lighter than three quarters


def test_many_classes_fit_and_one_clip_among_hundreds_is_seen(tmp_path):
    counts = 100 * np.eye(400, dtype=int)
    counts[7, 301] = 1
    draw_confusion(counts, [f"class {k}" for k in range(400)], tmp_path / "c.png")
    picture = Image.open(tmp_path / "c.png")
    assert max(picture.size) < 1600
    margin = picture.width - 12 - 3 * 400
    cells = [picture.getpixel((margin + 3 * column + 1, margin + 3 * 7 + 1)) for column in (301, 302)]
    assert sum(cells[0]) < sum(PAPER) - 40 and cells[1] == PAPER


def test_names_stand_beside_as_many_rows_as_have_room(tmp_path):
    """A band left of the matrix is dark where names are: beside every row of 101, beside one in four of 400."""
    for classes, cell, step in ((101, 12, 1), (400, 3, 4)):
        draw_confusion(np.eye(classes, dtype=int), ["wwww"] * classes, tmp_path / "c.png")
        pixels = np.asarray(Image.open(tmp_path / "c.png").convert("L"))
        margin = pixels.shape[1] - 12 - classes * cell
        band = pixels[margin : margin + classes * cell, 2 : margin - 4].min(1) < 150
        named = int((np.diff(band.astype(int)) == 1).sum()) + int(band[0])
        assert abs(named - classes / step) <= 1


def test_lines_guide_the_eye_where_cells_have_no_counts(tmp_path):
    for classes, guided in ((10, False), (40, True)):
        draw_confusion(3 * np.eye(classes, dtype=int), ["n"] * classes, tmp_path / "c.png")
        drawn = {colour for _, colour in Image.open(tmp_path / "c.png").getcolors(1 << 20)}
        assert (FAINT in drawn) == guided


def test_most_confused_pairs_come_first_and_the_diagonal_not_at_all():
    counts = np.array([[9, 2, 0], [1, 9, 4], [0, 0, 9]])
    assert most_confused(counts) == [(1, 2), (0, 1), (1, 0)]
    assert most_confused(counts, most=1) == [(1, 2)]


def test_bars_reach_the_accuracy_of_their_bin(tmp_path):
    bins = reliability(np.array([0.95] * 4), np.array([1, 1, 0, 0]))
    draw_reliability(bins, tmp_path / "r.png", side=400)
    picture = Image.open(tmp_path / "r.png")
    x = 46 + 400 - 8
    assert picture.getpixel((x, 20 + 400 - 190)) == BAR and picture.getpixel((x, 20 + 400 - 210)) == PAPER
