import numpy as np
import pytest
from PIL import Image

from utility.contact_sheet import FRAMES, GAP, LABEL, LINE, TILE, font_for, ranked_sheet, strip, wrapped
from utility.video_writer import write_video


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A wide clip and a high one."""
    folder = tmp_path_factory.mktemp("films")
    for name, height, width in (("wide", 32, 64), ("high", 64, 32)):
        write_video(folder / f"{name}.mp4", np.full((6, height, width, 3), 90, np.uint8), 6, preset="ultrafast")
    return folder


def test_a_strip_is_as_high_as_its_frames(films):
    assert [strip(films / f"{name}.mp4").height for name in ("wide", "high")] == [TILE // 2, TILE - 2]
    assert strip(films / "wide.mp4").width == FRAMES * TILE


def test_a_row_is_as_high_as_its_highest_clip_and_a_single_find_fills_the_sheet(films, tmp_path):
    wide, high = ((name, films / f"{name}.mp4", 0.5) for name in ("wide", "high"))
    heights = {}
    for number, found in enumerate(([wide], [wide, wide], [wide, high], [wide, high, wide])):
        ranked_sheet("a sentence", found, tmp_path / f"{number}.png")
        sheet = Image.open(tmp_path / f"{number}.png")
        assert sheet.width == min(2, len(found)) * (FRAMES * TILE + GAP) + GAP
        heights[number] = sheet.height
    flat = 2 * GAP + LINE + TILE // 2 + LABEL + GAP
    assert heights == {0: flat, 1: flat, 2: flat + TILE // 2 - 2, 3: flat + TILE // 2 - 2 + TILE // 2 + LABEL + GAP}


def test_a_video_that_has_gone_since_is_named_in_red(films, tmp_path):
    ranked_sheet("a sentence", [("gone", tmp_path / "gone.mp4", 0.5)], tmp_path / "sheet.png")
    pixels = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    assert ((pixels[..., 0] - pixels[..., 1]) > 80).any()


@pytest.mark.parametrize("text", ["a man cooks and talks all the while", "w" * 90, "кошка спит на крыше " * 5, ""])
@pytest.mark.parametrize("lines", [1, 3])
def test_text_is_cut_into_lines_that_fit(text, lines):
    font = font_for(text, 15)
    found = wrapped(text, font, 140, lines)
    assert 1 <= len(found) <= lines and all(font.getlength(line) <= 140 for line in found)
    words = " ".join(text.split())
    together = " ".join(found) if " " in words else "".join(found)
    assert together == words or (found[-1].endswith("...") and words.startswith(together[:-3]))


def test_other_alphabets_have_letters_of_their_own():
    """A font without them draws the same box for all."""
    assert len({bytes(font_for("кош", 15).getmask(letter)) for letter in "кош"}) == 3
