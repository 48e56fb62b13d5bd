"""Naming actions of files, scoring runs on other corpora, the zero-shot path over real clips."""

import json
import shutil

import pytest
from recogniser_scene import COLOURS, Scene, make_corpus

from scripts import evaluate_recogniser, recognise
from utility.video import STAGES


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("recognise"))


@pytest.fixture(scope="module")
def run(scene):
    return scene.train("video_coop")


def answer(capsys, *words, status=0):
    assert recognise.main([*map(str, words), "--device", "cpu", "--json", "1"]) == status
    return json.loads(capsys.readouterr().out)


def test_a_file_gets_its_most_likely_actions(scene, run, capsys):
    file = scene.corpus / "test" / "red" / "test0.mp4"
    assert recognise.main([str(file), "--checkpoint", str(run), "--device", "cpu", "--top", "3"]) == 0
    name, *actions = capsys.readouterr().out.splitlines()
    assert name == str(file) and len(actions) == 3
    shares = [float(action.split(" %  ")[0]) for action in actions]
    assert shares == sorted(shares, reverse=True) and sum(shares) + shares[-1] > 99 and sum(shares) <= 100.1
    assert {action.split(" %  ")[1] for action in actions} < set(COLOURS)


def test_probabilities_are_those_of_the_evaluation(scene, run, capsys):
    found = answer(capsys, scene.corpus / "test", "--checkpoint", run)["videos"]
    assert len(found) == 4
    for video in found:
        assert sum(action["probability"] for action in video["actions"]) == pytest.approx(1, abs=1e-3)
    right = sum(f"/{video['actions'][0]['action']}/" in video["video"] for video in found)
    assert right / 4 == json.loads((run / "test_results.json").read_text())["top1"]


def test_names_that_were_never_trained_on(scene, run, capsys, tmp_path):
    file = scene.corpus / "test" / "red" / "test0.mp4"
    listed = answer(capsys, file, "--checkpoint", run, "--classes", "juggling, cooking,red ,juggling")
    names = {action["action"] for action in listed["videos"][0]["actions"]}
    assert names == {"juggling", "cooking", "red"}
    (tmp_path / "names.txt").write_text("juggling\n\ncooking, slowly\n")
    read = answer(capsys, file, "--checkpoint", run, "--classes", tmp_path / "names.txt")
    assert {action["action"] for action in read["videos"][0]["actions"]} == {"juggling", "cooking, slowly"}


def test_without_training_the_backbone_answers_and_broken_files_are_named(scene, capsys, tmp_path):
    shutil.copy(scene.corpus / "test" / "red" / "test0.mp4", tmp_path / "good.mp4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "noise.mp4").write_bytes(b"no video at all")
    found = answer(capsys, tmp_path, "--backbone", scene.backbone, "--classes", ",".join(COLOURS))
    assert [video["video"] for video in found["videos"]] == [str(tmp_path / "good.mp4")]
    assert set(found["unreadable"]) == {str(tmp_path / name) for name in ("empty.mp4", "noise.mp4")}
    assert found["unreadable"][str(tmp_path / "empty.mp4")] == {"stage": "open", "cause": "the file is empty"}
    assert answer(capsys, tmp_path, "--backbone", scene.backbone, "--classes", "a,b", "--strict", 1, status=1)
    (tmp_path / "good.mp4").unlink()
    assert not answer(capsys, tmp_path, "--backbone", scene.backbone, "--classes", "a,b", status=2)["videos"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clip.mp4"], "give --checkpoint RUN, or --backbone and --classes"),
        (["clip.mp4", "--checkpoint", "no/such/run"], "no run no/such/run"),
        (["--checkpoint", "run"], "--videos"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys):
    try:
        assert recognise.main(words) == 2
    except SystemExit as stop:
        assert stop.code == 2
    assert message in capsys.readouterr().err


def test_transfer_to_other_classes(scene, run, capsys, tmp_path):
    root = make_corpus(tmp_path / "other", {"test": 1})
    shutil.move(root / "test" / "red", root / "test" / "crimson")
    words = ["--checkpoint", str(run), "--data_root", str(root), "--device", "cpu"]
    with pytest.raises(SystemExit):
        evaluate_recogniser.main(words[2:])
    shutil.copytree(root / "test", root / "train")  # a corpus needs training clips to be one
    assert evaluate_recogniser.main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["classes_never_trained_on"] == 1 and printed["samples"] == 4
    assert json.loads((run / "test_other.json").read_text()) == printed
    assert evaluate_recogniser.main([*words, "--split", "val"]) in (0, 2)


@pytest.mark.slow
def test_zero_shot_over_all_real_clips(shared_data, scene, capsys):
    """Every clip with content is named among the 400 actions of Kinetics; every broken one is reported."""
    names = shared_data / "annotations" / "kinetics400" / "label_map.txt"
    found = answer(capsys, shared_data / "videos", "--backbone", scene.backbone, "--classes", names)
    named = {video["video"].rsplit("/", 1)[1] for video in found["videos"]}
    broken = {path.rsplit("/", 1)[1] for path in found["unreadable"]}
    content = {file.name for file in (shared_data / "videos").iterdir() if file.is_file() and file.suffix != ".jpg"}
    assert content <= named and len(content) == 34
    assert {"undecodable.mp4", "unopenable.mp4", "truncated.mp4", "audio_only.mp4", "empty.mp4"} <= broken
    assert not named & broken and len(named | broken) == 34 + 15
    assert all(why["stage"] in STAGES and why["cause"] for why in found["unreadable"].values())
    assert all(len(video["actions"]) == 5 for video in found["videos"])
