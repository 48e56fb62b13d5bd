import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
import torch
from launch import ENVIRONMENT, ROOT, torchrun
from tiny import FEATURES, LENGTHS, same_features, store

from extractors import (
    clip4clip_theta_2_feature_extractor,
    extract,
    grid_node_theta_1_feature_extractor,
    i3d_feature_extractor,
    runner,
)
from extractors.base import Sampling, prepare
from extractors.clip_features import GridNodes
from utility.manifest import Manifest
from utility.video import VideoError

# What becomes of videos that cannot be read

BROKEN = {
    "audio_only.mp4": "stream: no video stream",
    "corrupt_midway.mp4": "decode: after 28 frames",
    "empty.mp4": "open: the file is empty",
    "truncated.mp4": "open: ",
    "undecodable.mp4": "decode: after 0 frames",
    "unopenable.mp4": "open: ",
}
WHOLE = ("counter_10frames.mp4", "white_4frames.mov", "truncated.mkv", "keyboard_rot90.mov", "curves.flv")


def clip_id(name):
    return name.replace(".", "_")


def edge_corpus(shared_data, root, names):
    (root / "videos").mkdir(parents=True)
    for name in names:
        # "truncated" exists twice, so the ids carry the suffix
        link = root / "videos" / f"{clip_id(name)}{Path(name).suffix}"
        os.symlink(shared_data / "videos" / "edge" / name, link)
    return root


def test_broken_clips_are_recorded_failures_with_stage_and_cause(shared_data, weights, tmp_path, caplog):
    root = edge_corpus(shared_data, tmp_path / "Tiny", (*BROKEN, *WHOLE))
    command = ["--data_root", str(root), *weights, "--features", str(tmp_path), "--slots", "3"]
    with caplog.at_level(logging.WARNING):
        assert extract.main(command) == 0
    broken = {clip_id(name): cause for name, cause in BROKEN.items()}
    good = sorted(map(clip_id, WHOLE))
    for feature in FEATURES:
        latest = Manifest(tmp_path / f"Tiny_{feature}.manifest.jsonl").latest()
        assert sorted(n for n, e in latest.items() if e["status"] == "done") == good
        for name, cause in broken.items():
            entry = latest[name]
            assert entry["status"] == "failed" and entry["stage"] == feature, entry
            assert entry["cause"].startswith(cause), entry
            assert name in caplog.text
        assert store(tmp_path, feature).ids == good
    assert store(tmp_path, "GBased_graph").ids == good
    assert extract.main([*command, "--strict"]) == 1


def test_a_corpus_of_broken_clips_ends_with_an_error_and_no_file(weights, tmp_path):
    (tmp_path / "Tiny" / "videos").mkdir(parents=True)
    (tmp_path / "Tiny" / "videos" / "a.mp4").write_bytes(b"no video")
    command = ["--data_root", str(tmp_path / "Tiny"), *weights, "--features", str(tmp_path / "f")]
    assert extract.main(command) == 1
    assert not list((tmp_path / "f").glob("*.hdf5*"))


def test_absent_files_are_missing_and_recorded_once(weights, tmp_path):
    root = tiny.save_corpus(tmp_path / "Tiny", {"a": 12}, absent=("gone",))
    command = ["--data_root", str(root), *weights, "--features", str(tmp_path / "f"), "--graphs", "0"]
    assert extract.main(command) == 0
    assert extract.main([*command, "--strict"]) == 1
    manifest = tmp_path / "f" / "Tiny_GBased.manifest.jsonl"
    entries = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [(e["video"], e["status"], e["cause"]) for e in entries] == [
        ("gone", "missing", "no video file"),
        ("a", "done", None),
    ]
    tiny.draw(root / "videos" / "gone.mp4", 1, 12)
    assert extract.main([*command, "--strict"]) == 0
    assert Manifest(manifest).latest()["gone"]["status"] == "done"


@pytest.mark.parametrize(
    ("fps", "height", "rule", "cause"),
    [(5, 2, "time", "18x2 pixels are too small for 3x3 tiles"), (0.5, 48, "reference", "at least 1")],
)
def test_videos_that_cannot_be_sampled_are_failures_too(networks, tmp_path, fps, height, rule, cause):
    tiny.draw(tmp_path / "v.mp4", 0, 3, fps, height, 18)
    with pytest.raises(VideoError, match=cause) as error:
        prepare(tmp_path / "v.mp4", [GridNodes(networks[0], torch.device("cpu"))], Sampling(rule, slots=3))
    assert error.value.stage == "sample"


# What ends a run, and how it goes on


def test_features_that_are_not_finite_end_the_run_and_name_the_video(corpus, weights, tmp_path, caplog):
    backbone = tiny.save_backbone(tmp_path / "nan", value=float("nan"))
    command = ["--data_root", str(corpus), "--backbone", str(backbone), "--features", str(tmp_path / "f")]
    assert grid_node_theta_1_feature_extractor.main(command) == 2
    assert "'a b': nodes holds NaN" in caplog.text or "'x-1': nodes holds NaN" in caplog.text


def test_any_other_exception_ends_the_run_and_what_is_stored_stays(flags, whole, tmp_path, monkeypatch):
    command = [*flags, "--features", str(tmp_path), "--graphs", "0", "--decode_workers", "1", "--batch_size", "1"]
    original = runner.prepare

    def failing(path, *arguments):
        if path.stem == "long":
            raise ZeroDivisionError("a bug")
        return original(path, *arguments)

    monkeypatch.setattr(runner, "prepare", failing)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        extract.main(command)
    assert list(tmp_path.glob("*.part")) and not list(tmp_path.glob("*.hdf5"))
    seen = []
    monkeypatch.setattr(runner, "prepare", lambda path, *more: (seen.append(path.stem), original(path, *more))[1])
    assert extract.main(command) == 0
    assert "long" in seen and len(seen) < len(LENGTHS)
    same_features(tmp_path, whole, FEATURES)


def test_too_little_memory_names_the_flag(flags, tmp_path, monkeypatch, caplog):
    def full(self, units):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(GridNodes, "extract", full)
    assert extract.main([*flags, "--features", str(tmp_path)]) == 2
    assert "--batch_size 20" in caplog.text and "Tried to allocate 2.00 GiB" in caplog.text


def test_a_second_run_reads_no_video_and_a_fresh_one_all(flags, whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "f")
    seen = []
    original = runner.prepare
    monkeypatch.setattr(runner, "prepare", lambda path, *more: (seen.append(path.stem), original(path, *more))[1])
    command = [*flags, "--features", str(tmp_path / "f"), "--graphs", "0"]
    assert extract.main(command) == 0 and seen == []
    assert extract.main([*command, "--resume", "0"]) == 0
    assert sorted(seen) == sorted(LENGTHS)
    same_features(tmp_path / "f", whole)


def test_only_the_missing_stage_is_run(flags, whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "f")
    os.remove(tmp_path / "f" / "Tiny_theta2.hdf5")
    stages = []
    original = runner.prepare

    def watched(path, extractors, sampling):
        stages.append([e.feature for e in extractors])
        return original(path, extractors, sampling)

    monkeypatch.setattr(runner, "prepare", watched)
    assert extract.main([*flags, "--features", str(tmp_path / "f"), "--graphs", "0"]) == 0
    assert stages == [["theta2"]] * len(LENGTHS)
    same_features(tmp_path / "f", whole)


def test_limits_and_splits_can_be_widened_later(flags, whole, tmp_path):
    command = [*flags, "--features", str(tmp_path)]
    assert extract.main([*command, "--limit", "1"]) == 0
    assert store(tmp_path, "GBased_graph").ids == sorted(["x-1", "a b"])
    assert extract.main([*command, "--split", "train"]) == 0
    assert store(tmp_path, "GBased_graph").ids == sorted(["x-1", "a b", "видео", "e"])
    assert extract.main(command) == 0
    same_features(tmp_path, whole)


def test_another_setting_is_refused_and_named(flags, whole, tmp_path, caplog):
    shutil.copytree(whole, tmp_path / "f")
    assert extract.main([*flags, "--features", str(tmp_path / "f"), "--rate", "2"]) == 2
    assert "rate was 1.0, now 2.0" in caplog.text and "--features" in caplog.text
    caplog.clear()
    planned = [*flags, "--features", str(tmp_path / "f"), "--rate", "2", "--dry_run"]
    assert extract.main(planned) == 2 and "rate was 1.0, now 2.0" in caplog.text  # refused, as the run itself would be
    assert extract.main([*planned, "--resume", "0"]) == 0
    same_features(tmp_path / "f", whole)


def test_a_dry_run_says_what_it_would_do_and_does_nothing(flags, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert extract.main([*flags, "--features", str(tmp_path / "f"), "--dry_run"]) == 0
    assert "would extract 5 of 5 videos" in caplog.text and "Tiny_GBased.hdf5" in caplog.text
    assert not (tmp_path / "f").exists()


def test_videos_that_the_backbone_was_trained_on_are_counted(flags, whole, tmp_path, caplog):
    # the backbone saw "a b", "long" and "e"; the first two are test videos, whatever --split and --limit choose
    noted = json.loads((whole / "Tiny_trained_on.json").read_text())
    assert set(noted) == {"backbone"} and noted["backbone"]["videos"] == ["a b", "long", "e"]
    assert noted["backbone"]["hash"] == store(whole, "GBased").settings["backbone"]["hash"]
    assert extract.main([*flags, "--features", str(tmp_path / "f"), "--limit", "1", "--dry_run"]) == 0
    assert "the backbone was trained on 2 of the 2 test videos" in caplog.text and not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sampling", "random"], "--sampling is 'random'; it must be one of time, reference"),
        (["--rate", "0"], "--rate is 0.0; it must be positive"),
        (["--slots", "0"], "--slots is 0"),
        (["--precision", "fp16"], "--precision is 'fp16'"),
        (["--compat", "beam"], "--compat is 'beam'"),
        (["--patch", "0"], "--patch is 0"),
        (["--nodes", "tile"], "--nodes is 'tile'; it must be grid or object or both"),
        (["--nodes", "object", "--detector", "nowhere"], "no detector nowhere"),
        (["--compat", "square_crop"], "--compat is 'square_crop'; it must be one of reference, sampling, i3d_bn"),
        (["--slot", "3"], "did you mean --slots"),
        (["--backbone", "nowhere"], "no backbone nowhere"),
        (["--i3d", "nowhere"], "no action network nowhere"),
    ],
)
def test_wrong_flags_are_answered(flags, tmp_path, words, message, capsys, caplog):
    try:
        status = extract.main([*flags, "--features", str(tmp_path), *words])
    except SystemExit as end:
        status = end.code
    assert status == 2 and message in capsys.readouterr().err + caplog.text
    assert not list(tmp_path.iterdir())


def test_without_a_name_for_the_features_the_action_program_asks_for_one(corpus, weights, tmp_path, caplog):
    root = tmp_path / "Tiny"
    shutil.copytree(corpus, root)
    command = ["--data_root", str(root), "--slots", "2"]
    assert i3d_feature_extractor.main([*command, *weights[2:]]) == 2 and "--features NAME" in caplog.text
    assert grid_node_theta_1_feature_extractor.main([*command, *weights[:2]]) == 0
    assert i3d_feature_extractor.main([*command, *weights[2:]]) == 0
    assert (root / "features" / "tiny" / "Tiny_actions.hdf5").is_file()
    assert i3d_feature_extractor.main([*command, *weights[2:], "--backbone", "of another", "--dry_run"]) == 0
    assert "features/of_another/Tiny_actions.hdf5" in caplog.text
    for program in (grid_node_theta_1_feature_extractor, clip4clip_theta_2_feature_extractor, i3d_feature_extractor):
        words = [*command, *(weights[2:] if program is i3d_feature_extractor else weights[:2]), "--nodes", "object"]
        if program is grid_node_theta_1_feature_extractor:
            with pytest.raises(SystemExit):
                program.main(words)
        else:  # whole frames and actions are the same for all nodes
            assert program.main([*words, "--dry_run"]) == 0


def test_help_comes_without_importing_torch():
    code = (
        "import sys\nfrom extractors import extract\n"
        "try:\n    extract.main(['--help'])\nfinally:\n    assert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "--backbone" in result.stdout and "--i3d" in result.stdout


# Processes

WATCHED = """
import sys
from extractors import extract, runner
from utility import distributed

folder, words = sys.argv[1], sys.argv[2:]
original, start = runner.prepare, distributed.start
dist = None

def watched(path, *more):
    import os
    with open(f"{folder}/rank{os.environ['RANK']}.txt", "a") as file:
        print(path.stem, os.environ["WORLD_SIZE"], file=file)
    return original(path, *more)

runner.prepare = watched
sys.exit(extract.main(words))
"""


def test_two_processes_share_the_videos_and_make_the_same_files(flags, whole, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WATCHED)
    torchrun(script, tmp_path, *flags, "--features", str(tmp_path / "f"))
    lines = [(tmp_path / f"rank{rank}.txt").read_text().splitlines() for rank in range(2)]
    videos = [{line.rsplit(" ", 1)[0] for line in part} for part in lines]
    assert videos[0] and videos[1] and not videos[0] & videos[1] and videos[0] | videos[1] == set(LENGTHS)
    assert {line.rsplit(" ", 1)[1] for part in lines for line in part} == {"2"}
    same_features(tmp_path / "f", whole)
    assert not list((tmp_path / "f").glob("*.part")) and not list((tmp_path / "f").glob("*.rank*"))


def test_a_run_killed_at_random_moments_ends_like_an_undisturbed_one(flags, whole, tmp_path):
    command = [sys.executable, str(ROOT / "extractors" / "extract.py"), *flags, "--features", str(tmp_path)]
    command += ["--batch_size", "9", "--decode_workers", "1"]
    for _ in range(2):
        process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        part = tmp_path / "Tiny_GBased.hdf5.rank0.part"
        begin = part.stat().st_size if part.exists() else 0
        while process.poll() is None and (not part.exists() or part.stat().st_size <= begin):
            time.sleep(0.005)
        time.sleep(random.random() * 0.15)
        process.send_signal(signal.SIGKILL)
        process.wait()
    shutil.copytree(tmp_path, tmp_path / "killed")
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    same_features(tmp_path, whole)
    statuses = Manifest(tmp_path / "Tiny_GBased.manifest.jsonl").latest()
    assert {name: e["status"] for name, e in statuses.items()} == dict.fromkeys(LENGTHS, "done")
    assert not list(tmp_path.glob("*.part"))
