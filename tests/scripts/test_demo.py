"""The demo's own arithmetic: what counts as named, what is drawn on the sheet. CI runs the demo itself, in short."""

import numpy as np
from PIL import Image

from dataset.mini_motion_grammar import named_values
from scripts.contact_sheet import FRAMES, TILE, contact_sheet
from scripts.demo import accuracies, is_correct
from utility.video_writer import write_video


def clip(caption, *objects, unseen=False):
    things = [dict(zip(("color", "shape", "action"), thing, strict=True)) for thing in objects]
    return {"id": "v", "caption": caption, "references": ["a"], "objects": things, "unseen": unseen}


def test_synonyms_count_and_parts_of_words_do_not():
    assert named_values("A crimson plus sign is sliding to the left", "color") == {"red"}
    assert named_values("a crimson plus sign", "shape") == {"cross"}
    assert named_values("a crimson plus sign is sliding to the left", "action") == {"moves left"}
    assert named_values("the strings are bored", "color") == named_values("the strings are bored", "shape") == set()


def test_a_caption_that_names_two_values_is_wrong_and_two_objects_do_not_count():
    ring = ("red", "ring", "rises")
    videos = [
        clip("a red ring is rising", ring),
        clip("a red blue ring is rising", ring, unseen=True),
        clip("a red square follows a blue ring", ring, ("blue", "square", "rises")),
    ]
    counts = accuracies({"videos": videos})
    assert counts == {
        "color_accuracy": 0.5, "shape_accuracy": 1.0, "action_accuracy": 1.0, "one_object_videos": 2, "unseen_videos": 1
    }  # fmt: skip
    assert [is_correct(video) for video in videos] == [True, False, False]
    assert is_correct(clip("a blue square meets a red ring", ring, ("blue", "square", "rises")))
    assert is_correct(clip("the ring is crimson and it moves up", ring))
    assert not is_correct(clip("a red ring is falling", ring))


def test_the_sheet_shows_every_clip_and_names_what_cannot_be_read(tmp_path):
    write_video(tmp_path / "v.mp4", np.full((6, 48, 64, 3), 200, np.uint8), 6)
    videos = [
        clip("a red ring is rising", ("red", "ring", "rises")),
        clip("a ring", ("red", "ring", "rises")) | {"id": "w"},
    ]
    contact_sheet(videos, tmp_path, tmp_path / "out" / "sheet.png", columns=1)
    sheet = np.asarray(Image.open(tmp_path / "out" / "sheet.png"))
    middle = sheet[12 + TILE // 2, 12 + TILE // 2 : 12 + FRAMES * TILE : TILE]
    assert (abs(middle.astype(int) - 200) < 12).all()  # the four frames of the first clip
    reddish = (sheet[..., 0].astype(int) - sheet[..., 1]) > 80
    assert reddish[TILE + 100 :].any()  # the second clip is not there, which is written in red
