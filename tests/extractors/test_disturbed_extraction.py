"""Extraction under hardship ends in a message, leaves nothing corrupt, and a rerun completes it."""

import errno
import logging
import os
import shutil
import sys

import hardships
import pytest
import tiny
from launch import ROOT, torchrun
from tiny import FEATURES, LENGTHS, same_features, store

from extractors import (
    clip4clip_theta_2_feature_extractor,
    extract,
    grid_node_theta_1_feature_extractor,
    i3d_feature_extractor,
    object_node_theta_1_feature_extractor,
    runner,
)
from graphs import temporal_similarity_graph
from utility import manifest
from utility.feature_store import FeatureStore
from utility.manifest import Manifest

PROGRAM = [sys.executable, ROOT / "extractors" / "extract.py"]
SINGLE_PROGRAMS = (
    grid_node_theta_1_feature_extractor,
    clip4clip_theta_2_feature_extractor,
    i3d_feature_extractor,
    object_node_theta_1_feature_extractor,
)


def statuses(folder, feature="GBased"):
    return {name: e["status"] for name, e in Manifest(folder / f"Tiny_{feature}.manifest.jsonl").latest().items()}


def test_a_video_that_vanishes_between_listing_and_opening_is_a_recorded_failure(
    corpus, weights, tmp_path, monkeypatch
):
    root = tmp_path / "Tiny"
    shutil.copytree(corpus, root)
    original = runner.prepare

    def vanishing(path, *more):
        if path.stem == "long":
            os.remove(path)
        return original(path, *more)

    command = ["--data_root", str(root), *weights, "--features", str(tmp_path / "f"), "--slots", "3", "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(runner, "prepare", vanishing)
        assert extract.main(command) == 0
    entry = Manifest(tmp_path / "f" / "Tiny_GBased.manifest.jsonl").latest()["long"]
    assert entry["status"] == "failed" and entry["cause"].startswith("open: No such file")
    assert set(store(tmp_path / "f", "GBased_graph").ids) == set(LENGTHS) - {"long"}
    tiny.draw(root / "videos" / "long.mp4", 3, LENGTHS["long"])
    assert extract.main(command) == 0
    assert set(statuses(tmp_path / "f").values()) == {"done"}


def test_a_strict_run_with_a_broken_video_builds_all_graphs_of_the_others(corpus, weights, tmp_path):
    root = tmp_path / "Tiny"
    shutil.copytree(corpus, root)
    (root / "videos" / "long.mp4").write_bytes(b"no video")
    command = ["--data_root", str(root), *weights, "--features", str(tmp_path / "f"), "--slots", "3", "--device", "cpu"]
    assert extract.main([*command, "--strict"]) == 1
    assert set(store(tmp_path / "f", "GBased_graph").ids) == set(LENGTHS) - {"long"}
    assert statuses(tmp_path / "f", "GBased_graph")["long"] == "missing"


NAMES = ("a blank", 'it\'s "quoted"', "犬 и собака", "n" * 251, "50%", "-x", "x/same", "y/same")


def test_files_of_any_name_are_extracted_under_their_own(weights, tmp_path, capsys):
    root = tmp_path / "Tiny"
    for seed, name in enumerate(NAMES):
        tiny.draw(root / "videos" / f"{name}.mp4", seed, 12)
    command = ["--data_root", str(root), *weights, "--features", str(tmp_path / "f"), "--slots", "2", "--device", "cpu"]
    assert extract.main(command) == 0
    # Where two files share a stem, their ids are paths with the ending.
    ids = {f"{name}.mp4" if "/" in name else name for name in NAMES}
    assert set(store(tmp_path / "f", "GBased_graph").ids) == ids
    assert manifest.main(["status", str(tmp_path / "f")]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("moment", ["extraction", "graphs"])
def test_ctrl_c_keeps_what_is_stored_and_says_how_to_go_on(flags, whole, tmp_path, monkeypatch, caplog, moment):
    command = [*flags, "--features", str(tmp_path), "--decode_workers", "0", "--batch_size", "1"]
    with monkeypatch.context() as patch:
        if moment == "extraction":
            original = runner.prepare

            def stopped(path, *more):
                if path.stem == "long":
                    raise KeyboardInterrupt
                return original(path, *more)

            patch.setattr(runner, "prepare", stopped)
        else:
            patch.setattr("graphs.stage._compute", lambda *more: (_ for _ in ()).throw(KeyboardInterrupt))
        assert extract.main(command) == 130
    assert "stopped; what is stored stays, the same command continues" in caplog.text
    parts, finished = list(tmp_path.glob("*.part")), list(tmp_path.glob("*.hdf5"))
    assert parts if moment == "extraction" else len(finished) == len(FEATURES)
    assert extract.main(command) == 0
    same_features(tmp_path, whole)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("program", SINGLE_PROGRAMS, ids=lambda program: program.__name__.partition(".")[2])
def test_ctrl_c_in_the_program_of_a_single_stage(program, corpus, weights, tmp_path, capsys):
    words = ["--data_root", str(corpus), "--features", str(tmp_path / "f"), "--slots", "3", "--device", "cpu"]
    words += ["--decode_workers", "0", "--batch_size", "1"]
    words += weights[2:] if program is i3d_feature_extractor else weights[:2]
    if program is object_node_theta_1_feature_extractor:
        words += ["--detector", "motion", "--detector_size", "64", "--batch_size", "8"]
    with hardships.ctrl_c_in("utility.feature_store.FeatureWriter.write", 2):
        assert program.main(words) == 130
    assert "stopped; what is stored stays, the same command continues" in capsys.readouterr().err
    assert len(list((tmp_path / "f").glob("*.part"))) == 1 and not list((tmp_path / "f").glob("*.hdf5"))
    assert program.main(words) == 0
    assert "1 before" in capsys.readouterr().err
    for lines in (tmp_path / "f").glob("*.manifest.jsonl"):
        assert {entry["status"] for entry in Manifest(lines).latest().values()} == {"done"}


def test_a_video_that_was_stored_when_a_kill_came_gets_its_line_in_the_manifest(flags, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "f")
    command = [*flags, "--features", str(tmp_path / "f")]
    for path in (tmp_path / "f").glob("*.manifest.jsonl"):
        path.write_text("".join(line for line in path.open() if '"long"' not in line))
    assert "long" not in statuses(tmp_path / "f")
    assert extract.main(command) == 0
    for feature in ("GBased", "actions", "GBased_graph"):
        assert statuses(tmp_path / "f", feature) == dict.fromkeys(LENGTHS, "done")
    before = (tmp_path / "f" / "Tiny_GBased.manifest.jsonl").read_bytes()
    assert extract.main(command) == 0
    assert (tmp_path / "f" / "Tiny_GBased.manifest.jsonl").read_bytes() == before


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_reaches_all_threads(flags, whole, tmp_path):
    command = [*PROGRAM, *flags, "--features", tmp_path, "--batch_size", "1", "--decode_workers", "2"]
    result = hardships.press_ctrl_c(command, lambda: len(list(tmp_path.glob("*.part"))) == len(FEATURES))
    assert result.returncode == 130 and "Traceback" not in result.stderr, result.stderr
    assert "stopped; what is stored stays, the same command continues" in result.stderr
    assert extract.main([*map(str, command[2:])]) == 0
    same_features(tmp_path, whole)


def test_a_full_disk_during_the_features_is_a_message_and_the_rerun_completes(flags, whole, tmp_path):
    command = [*PROGRAM, *flags, "--features", tmp_path, "--decode_workers", "0", "--batch_size", "9", "--graphs", "0"]
    result = hardships.run(command, file_bytes=6000)
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert "File too large while writing" in result.stderr and "run the same command again" in result.stderr
    assert list(tmp_path.glob("*.part")) and not list(tmp_path.glob("*.hdf5"))
    assert extract.main([*map(str, command[2:])]) == 0
    same_features(tmp_path, whole, FEATURES)


def test_a_folder_that_cannot_be_written_to_is_a_message(flags, whole, tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    with hardships.read_only(folder):
        result = hardships.run([*PROGRAM, *flags, "--features", folder])
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert "Permission denied" in result.stderr and str(folder) in result.stderr
    assert not list(folder.iterdir())


def test_a_full_disk_during_a_graph_stage_is_a_message_too(flags, whole, tmp_path, monkeypatch, caplog):
    shutil.copytree(whole, tmp_path / "f")
    os.remove(tmp_path / "f" / "Tiny_GBased_temporal.hdf5")

    def full(self, key, body):
        raise OSError(errno.ENOSPC, "No space left on device")

    command = [*flags[:2], "--features", str(tmp_path / "f"), "--device", "cpu"]
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr("utility.record_log.RecordLog.append", full)
        assert temporal_similarity_graph.main(command) == 2
    assert "No space left on device" in caplog.text
    assert temporal_similarity_graph.main(command) == 0
    same_features(tmp_path / "f", whole, ["GBased_temporal"])


@pytest.mark.slow
def test_ten_kills_at_random_moments_lose_nothing(flags, whole, tmp_path):
    command = [*PROGRAM, *flags, "--features", tmp_path, "--batch_size", "9", "--decode_workers", "1"]
    manifests = tmp_path / "Tiny_GBased.manifest.jsonl.rank0.part"
    moments = []
    for kill in range(10):
        for path in tmp_path.glob("*_graph.hdf5"):  # so that there is something left to do
            path.unlink()
        if kill % 3 == 2:
            shutil.rmtree(tmp_path)
            tmp_path.mkdir()
        before = set(tmp_path.iterdir())
        begun = lambda before=before: set(tmp_path.iterdir()) != before or manifests.exists()  # noqa: E731
        moments.append(hardships.kill_at_random(command, begun, 0.6))
        for path in tmp_path.glob("*.hdf5"):
            assert FeatureStore(path).ids, "a file under its own name is whole"
    print("killed after", moments)
    assert sum(moment is not None for moment in moments) >= 8
    result = hardships.run(command)
    assert result.returncode == 0, result.stderr
    same_features(tmp_path, whole)
    assert statuses(tmp_path) == dict.fromkeys(LENGTHS, "done")
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob("*.merging"))


DYING = """
import os, sys
from extractors import (
    clip4clip_theta_2_feature_extractor,
    extract,
    grid_node_theta_1_feature_extractor,
    i3d_feature_extractor,
    object_node_theta_1_feature_extractor,
    runner,
)

original = runner.prepare

def dying(path, *more):
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), 9)
    return original(path, *more)

runner.prepare = dying
sys.exit(extract.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_run_and_any_number_of_processes_completes_it(flags, whole, tmp_path):
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    words = [*flags, "--features", str(tmp_path / "f"), "--batch_size", "9"]
    result = torchrun(script, *words, check=False)
    assert result.returncode and "SIGKILL" in result.stderr
    assert not list((tmp_path / "f").glob("*.hdf5"))
    assert extract.main(words) == 0
    same_features(tmp_path / "f", whole)


@pytest.mark.slow
def test_a_disk_that_is_really_full(flags, tmp_path, weights):
    small, root = tmp_path / "small", tmp_path / "Many"
    shutil.copytree(flags[1], root)
    for number in range(60):
        shutil.copy(root / "videos" / "long.mp4", root / "videos" / f"copy{number}.mp4")
    words = ["--data_root", root, *weights, "--slots", 20, "--rate", 5, "--device", "cpu", "--graphs", 0]
    result = hardships.run(hardships.on_a_small_disk(small, 1024, [*PROGRAM, *words, "--features", small]))
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert "No space left on device" in result.stderr
    assert list((tmp_path / "kept").glob("*.part"))
    assert extract.main([*map(str, words), "--features", str(tmp_path / "kept")]) == 0
    assert len(FeatureStore(tmp_path / "kept" / "Many_GBased.hdf5")) == 60 + len(LENGTHS)
