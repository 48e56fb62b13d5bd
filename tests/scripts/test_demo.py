"""The demo's own arithmetic: what counts as named, what is drawn on the sheet. CI runs the demo itself, in short."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from dataset import mini_motion
from dataset.mini_motion_grammar import named_values
from scripts import demo
from scripts.contact_sheet import FRAMES, TILE, contact_sheet
from scripts.demo import accuracies, is_correct
from utility.caption_evaluation import write_json
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


def test_the_summary_is_one_line_and_the_files_that_the_readme_names(tmp_path, monkeypatch, capsys):
    def trained(args, sizes, root, work, stages):
        """What the programs leave behind, with true sentences for captions."""
        with stages.stage("captioner"):
            videos = json.loads((root / "metadata/attributes.json").read_text())["videos"]
            splits = json.loads((root / "metadata/captions.json").read_text())["videos"]
            test = [video["video_id"] for video in splits if video["split"] == "test"]
            scores = {"BLEU_4": 0.5, "METEOR": None, "ROUGE_L": 0.6, "CIDEr": 2.0}
            for name, own in (("captioner", scores), ("blind", {"CIDEr": -1.0})):
                write_json(work / name / "test_scores.json", own)
            write_json(work / "captioner/test_predictions.json", {name: videos[name]["true_sentence"] for name in test})
        return work / "captioner"

    monkeypatch.setattr(demo, "train_everything", trained)
    monkeypatch.setattr(demo, "ProcessPoolExecutor", lambda workers, context: ThreadPoolExecutor(workers))
    root, results = tmp_path / "MiniMotion", tmp_path / "results"
    assert mini_motion.main(["--num_clips", "20", "--seed", "4", "--root", str(root), "--workers", "1"]) == 0
    assert demo.main(["--seed", "4", "--root", str(root), "--results", str(results)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert (results / "demo.json").read_text() == line + "\n"
    summary = json.loads(line)
    assert summary["corpus"] == "MiniMotion" and summary["split"] == "test" and summary["seed"] == 4
    assert (summary["num_videos"], summary["CIDEr"], summary["METEOR"]) == (2, 2.0, None)
    assert summary["blind_CIDEr"] > 0 and summary["truth_CIDEr"] > 0
    for kind in ("color", "shape", "action"):
        assert summary[f"{kind}_accuracy"] == (1.0 if summary["one_object_videos"] else 0.0)
    seconds = summary["seconds"]
    assert list(seconds) == ["captioner", "scores and pictures", "total"]
    assert seconds["total"] == round(seconds["captioner"] + seconds["scores and pictures"], 1)
    predictions = json.loads((results / "demo_predictions.json").read_text())
    assert set(predictions["synonyms"]) >= {"color", "shape", "action"}
    assert all(len(video["references"]) == 5 for video in predictions["videos"])
    assert Image.open(results / "demo.png").width > 100
