"""Drawing and compressing in several processes: Ctrl-C and killed processes are answers, and a rerun completes."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import hardships
import numpy as np
import pytest
from launch import ENVIRONMENT, ROOT

from dataset import mini_motion
from extractors import compress_video
from utility.video import VideoReader
from utility.video_writer import write_video


def dying(*job):
    """In place of the work of a process."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_ctrl_c_keeps_what_is_drawn(tmp_path):
    command = [sys.executable, "-m", "dataset.mini_motion", "--num_clips", "2000", "--root", tmp_path, "--workers", "1"]
    # Jobs in the background of a shell are started deaf to Ctrl-C, and tests may run in one.
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, preexec_fn=hear)
    while process.poll() is None and len(list((tmp_path / "videos").glob("video*.mp4"))) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "what is drawn stays, the same command continues" in said and "Traceback" not in said
    drawn = sorted((tmp_path / "videos").glob("video*.mp4"))
    assert 3 <= len(drawn) < 1000 and all(VideoReader(path).info.num_frames for path in drawn)
    assert not (tmp_path / "metadata" / "captions.json").exists()


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_while_processes_compress(tmp_path):
    films, program = tmp_path / "in", ROOT / "extractors" / "compress_video.py"
    films.mkdir()
    for number in range(40):
        write_video(films / f"{number}.mp4", [np.full((64, 96, 3), 99, np.uint8)] * 90, fps=30)
    command = [sys.executable, program, "--input_root", films, "--output_root", tmp_path / "out", "--workers", "2"]
    result = hardships.press_ctrl_c(command, lambda: len(list((tmp_path / "out").glob("[0-9]*.mp4"))) > 2)
    assert result.returncode == 130 and "Traceback" not in result.stderr, result.stderr
    assert "what is finished stays, the same command continues" in result.stderr
    assert not list((tmp_path / "out").glob(".*"))
    assert hardships.run(command).returncode == 0
    assert len(list((tmp_path / "out").glob("[0-9]*.mp4"))) == 40


@pytest.mark.parametrize("program", ["drawing", "compressing"])
def test_a_full_disk_is_a_message_and_the_rerun_completes(tmp_path, capsys, program):
    if program == "drawing":
        main, made = mini_motion.main, tmp_path / "videos"
        words = ["--num_clips", "20", "--root", str(tmp_path), "--workers", "1"]
    else:
        noise = np.random.default_rng(0).integers(0, 255, (9, 64, 96, 3), dtype=np.uint8)
        write_video(tmp_path / "in" / "a.mp4", noise, fps=9)
        main, made = compress_video.main, tmp_path / "out"
        words = ["--input_root", str(tmp_path / "in"), "--output_root", str(made)]
    with hardships.full_disk(3000):
        assert main(words) == 2
    said = capsys.readouterr().err
    assert "File too large" in said and str(made) in said
    assert not [path.name for path in tmp_path.rglob(".*")]
    assert main(words) == 0
    assert len(list(made.glob("*.mp4"))) == (20 if program == "drawing" else 1)


def test_a_killed_process_that_draws_is_a_message_and_the_rerun_completes(tmp_path, monkeypatch, capsys):
    words = ["--num_clips", "20", "--root", str(tmp_path), "--workers", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(mini_motion, "_draw_and_write", dying)
        assert mini_motion.main(words) == 2
    assert "a process that draws was killed" in capsys.readouterr().err
    assert mini_motion.main(words) == 0
    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 20


@pytest.mark.parametrize("moment", [pytest.param("killed", marks=pytest.mark.slow), "interrupted"])
def test_compressing_stops_with_a_message_and_the_rerun_completes(tmp_path, monkeypatch, capsys, moment):
    for name in "abc":
        (tmp_path / "in").mkdir(exist_ok=True)
        write_video(tmp_path / "in" / f"{name}.mp4", [np.full((64, 96, 3), 99, np.uint8)] * 9, fps=9)
    words = ["--input_root", str(tmp_path / "in"), "--output_root", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        if moment == "killed":
            patch.setattr(compress_video, "compress", dying)
            assert compress_video.main([*words, "--workers", "2"]) == 2
        else:
            patch.setattr(compress_video, "compress", lambda job: (_ for _ in ()).throw(KeyboardInterrupt))
            assert compress_video.main([*words, "--workers", "1"]) == 130
    said = capsys.readouterr().err
    assert ("a process that compresses was killed" if moment == "killed" else "what is finished stays") in said
    assert compress_video.main([*words, "--workers", "1"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.mp4")) == ["a.mp4", "b.mp4", "c.mp4"]
