"""Smaller videos: sizes, times, resume, failures, exit status."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from extractors.compress_video import main, target_size
from utility.manifest import Manifest
from utility.video import VideoReader
from utility.video_writer import VideoWriter, _temporary, leftovers, write_video


def flags(source, target, *more):
    return ["--input_root", str(source), "--output_root", str(target), *more]


def manifest(folder):
    return Manifest(folder / "compress_video.manifest.jsonl").latest()


def grey_video(path, seconds, size=(64, 96)):
    """One frame per given time, each 20 levels brighter than the one before."""
    with VideoWriter(path, fps=10, crf=1) as writer:
        for index, second in enumerate(seconds):
            writer.write(np.full((*size, 3), 20 * index, np.uint8), second)


@pytest.fixture
def real_folder(shared_data, tmp_path):
    videos = shared_data / "videos"
    source = tmp_path / "in"
    for name, place in {
        "dog_skateboard.mp4": "dog.mp4",  # portrait
        "carphone.mp4": "a b/ünder/car-phone.mp4",
        "eye_makeup.avi": "eye.avi",
        "edge/keyboard_rot90.mov": "a b/turned.mov",
        "edge/corrupt_midway.mp4": "broken/corrupt.mp4",
        "edge/audio_only.mp4": "broken/audio.mp4",
        "edge/empty.mp4": "broken/empty.mp4",
    }.items():
        (source / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(videos / name, source / place)
    (source / "notes.txt").write_text("not a video")
    return source


def test_folder_of_real_clips(real_folder, tmp_path, capsys):
    target = tmp_path / "out"
    assert main(flags(real_folder, target)) == 0
    expected = {  # width, height, frames at 3 per second
        "dog.mp4": (224, 398, 43),
        "a b/ünder/car-phone.mp4": (272, 224, 13),
        "eye.mp4": (298, 224, 20),
        "a b/turned.mov": (224, 396, 1),
    }
    made = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert made == {*expected, "compress_video.manifest.jsonl", "compress_video.settings.json"}
    for name, shape in expected.items():
        info = VideoReader(target / name).info
        assert (info.width, info.height, info.num_frames) == shape, name
        assert (info.codec, info.rotation, round(info.fps, 3)) == ("h264", 0, 3), name

    records = manifest(target)
    assert {name: record["status"] for name, record in records.items()} == {
        "dog.mp4": "done",
        "a b/ünder/car-phone.mp4": "done",
        "eye.avi": "done",
        "a b/turned.mov": "done",
        "broken/corrupt.mp4": "failed",
        "broken/audio.mp4": "failed",
        "broken/empty.mp4": "failed",
    }
    assert records["broken/corrupt.mp4"]["cause"].startswith("decode: after 28 frames")
    assert records["broken/empty.mp4"]["cause"] == "open: the file is empty"
    assert "7 videos: 4 compressed, 0 were finished, 3 failed" in capsys.readouterr().out

    # the broken ones are tried again, the finished ones are left alone
    before = {name: (target / name).stat().st_mtime_ns for name in expected}
    assert main(flags(real_folder, target, "--strict")) == 1
    assert "0 compressed, 4 were finished, 3 failed" in capsys.readouterr().out
    assert {name: (target / name).stat().st_mtime_ns for name in expected} == before


def test_frames_are_taken_by_time(tmp_path):
    """Half-second frames shown at 4 per second; then a fast run of which every second frame is on screen in time."""
    seconds = [0, 0.5, 1.0, 1.125, 1.25, 1.375, 1.5]
    (tmp_path / "in").mkdir()
    grey_video(tmp_path / "in" / "a.mkv", seconds)
    assert main(flags(tmp_path / "in", tmp_path / "out", "--fps", "4", "--short_side", "32", "--crf", "1")) == 0
    video = VideoReader(tmp_path / "out" / "a.mkv")
    levels = video.frames(range(video.info.num_frames)).float().mean(dim=(1, 2, 3)) / 20
    assert levels.round().int().tolist()[:7] == [0, 0, 1, 1, 2, 4, 6]
    assert (video.info.width, video.info.height) == (48, 32)


@pytest.mark.parametrize(
    ("height", "width", "short_side", "expected"),
    [
        (240, 320, 224, (224, 298)),
        (320, 240, 224, (298, 224)),
        (1920, 1080, 224, (398, 224)),
        (100, 100, 64, (64, 64)),
        (144, 176, 224, (224, 272)),
    ],
)
def test_size_keeps_the_proportion_in_both_orientations(height, width, short_side, expected):
    assert target_size(height, width, short_side) == expected


def test_killed_run_leaves_nothing_that_looks_finished(tmp_path, capsys):
    """A temporary file of a killed run and an empty output are both done again."""
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    grey_video(source / "a.mp4", [0, 0.1])
    grey_video(source / "b.mp4", [0, 0.1])
    half = _temporary(target / "a.mp4", "4711")
    half.write_bytes(b"half")
    (target / "b.mp4").touch()
    assert main(flags(source, target)) == 0
    assert "2 compressed" in capsys.readouterr().out
    assert sorted(path.name for path in target.glob("*.mp4")) == ["a.mp4", "b.mp4"]
    assert not list(target.glob(".*"))


def test_a_name_may_be_as_long_as_the_system_allows_and_begin_another_one(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    names = ["a.mp4", "a.b.mp4", "[a]*.mp4", "n" * 251 + ".mp4", "犬" * 80 + ".mkv"]
    for name in names:
        grey_video(source / name, [0, 0.1])
    assert main(flags(source, target)) == 0
    assert sorted(path.name for path in target.glob("*.m*")) == sorted([*names, "compress_video.manifest.jsonl"])
    other = _temporary(target / "a.b.mp4", "1")
    other.touch()
    assert leftovers(target / "a.mp4") == [] and leftovers(target / "a.b.mp4") == [other]


def test_two_processes_make_what_one_makes(tmp_path):
    source = tmp_path / "in"
    for name in ("a.mp4", "b.mkv", "c/d.mp4"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        grey_video(source / name, np.arange(12) / 10)
    (source / "broken.mp4").write_bytes(b"nothing")
    assert main(flags(source, tmp_path / "one")) == 0
    program = Path(__file__).resolve().parents[2] / "extractors" / "compress_video.py"
    command = [sys.executable, str(program), *flags(source, tmp_path / "two", "--workers", "2")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ), timeout=120)
    assert done.returncode == 0, done.stderr
    for name in ("a.mp4", "b.mkv", "c/d.mp4"):
        one, two = VideoReader(tmp_path / "one" / name), VideoReader(tmp_path / "two" / name)
        assert (one.frames(range(4)) == two.frames(range(4))).all()
    assert {name: entry["status"] for name, entry in manifest(tmp_path / "two").items()} == {
        "a.mp4": "done",
        "b.mkv": "done",
        "c/d.mp4": "done",
        "broken.mp4": "failed",
    }


def test_two_inputs_for_one_output(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    grey_video(source / "a.mp4", [0, 0.1])
    (source / "a.webm").write_bytes(b"another video")
    assert main(flags(source, tmp_path / "out")) == 0
    assert "already that of a.mp4" in manifest(tmp_path / "out")["a.webm"]["cause"]


def test_nothing_could_be_done(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"nothing")
    assert main(flags(tmp_path / "in", tmp_path / "out")) == 1


def test_output_below_the_input_is_not_compressed_again(tmp_path):
    write_video(tmp_path / "a.mp4", [np.zeros((32, 32, 3), np.uint8)] * 2, 10)
    for _ in range(2):
        assert main(flags(tmp_path, tmp_path / "small")) == 0
    assert [path.name for path in (tmp_path / "small").rglob("*.mp4")] == ["a.mp4"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--short_side", "223"], "positive even number"),
        (["--fps", "0"], "must be positive"),
        (["--crf", "60"], "between 0 and 51"),
        (["--workers", "0"], "--workers is 0; it must be at least 1"),
        (["--limit", "0"], "--limit is 0; it must be at least 1"),
    ],
)
def test_wrong_values_are_refused_before_any_work(tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as stopped:
        main(flags(tmp_path, tmp_path / "out", *more))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_wrong_folders_are_refused(tmp_path, capsys):
    for source, target, message in [
        (tmp_path / "none", tmp_path / "out", "is not a folder"),
        (tmp_path, tmp_path, "is the input itself"),
        (tmp_path, tmp_path / "out", "no videos below"),
    ]:
        assert main(flags(source, target)) == 2
        assert message in capsys.readouterr().err


def test_other_settings_are_not_mixed(tmp_path, capsys):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    grey_video(source / "a.mp4", [0, 0.1])
    assert main(flags(source, target)) == 0
    assert main(flags(source, target, "--short_side", "112")) == 2
    assert "were made with --short_side 224" in capsys.readouterr().err
    assert json.loads((target / "compress_video.settings.json").read_text())["short_side"] == 224


def test_limit_and_dry_run(tmp_path, capsys):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("b.mp4", "a.mp4", "c.m4v"):
        (source / name).write_bytes(b"nothing")
    grey_video(source / "a.mp4", [0, 0.1])
    assert main(flags(source, target, "--dry_run")) == 0
    assert "would compress 3 of 3 videos" in capsys.readouterr().out and not target.exists()
    assert main(flags(source, target, "--limit", "1")) == 0
    assert [path.name for path in target.glob("*.mp4")] == ["a.mp4"] and list(manifest(target)) == ["a.mp4"]
    assert main(flags(source, target, "--dry_run", "--fps", "9")) == 2  # refused, as the run itself would be
    assert main(flags(source, target)) == 0 and len(manifest(target)) == 3


def test_quality_flag_changes_the_file(tmp_path):
    source = tmp_path / "in"
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    write_video(source / "a.mp4", noise, 3)
    for crf in ("10", "40"):
        assert main(flags(source, tmp_path / crf, "--crf", crf)) == 0
    assert (tmp_path / "10" / "a.mp4").stat().st_size > 2 * (tmp_path / "40" / "a.mp4").stat().st_size
