"""Training under hardship ends in a message, leaves whole checkpoints only, and a rerun ends with what it should."""

import json
import os
import shutil
import sys

import hardships
import numpy as np
import pytest
import torch
from caption_corpus import make_corpus
from launch import ROOT
from no_java import without_java

import main
from utility.checkpoint import is_checkpoint, load_checkpoint
from utility.feature_store import FeatureStore, FeatureWriter, feature_path
from utility.file_lock import FolderLock

PROGRAM = [sys.executable, ROOT / "main.py"]
FLAGS = ["--tokenizer", "nltk", "--device", "cpu", "--batch_size", "18", "--captions_per_video", "3", "--epochs", "2"]


@pytest.fixture(scope="module", autouse=True)
def no_java():
    with without_java("/usr/bin:/bin"):
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("disturbed"), count=40)


def words(corpus, output, *more):
    data = ["--data_root", str(corpus), "--output_dir", str(output)]
    return ["--model_name", f"{corpus.name}_GBased+videomask", "--do_train", *data, *FLAGS, *more]


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """Parameters of an undisturbed run with a checkpoint after every step."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert main.main(words(corpus, folder, "--save_steps", "1", "--dropout", "0.1")) == 0
    return load_checkpoint(folder / "last").tensors


@pytest.fixture(scope="module")
def short(corpus, tmp_path_factory):
    """Folder of an undisturbed run of one epoch."""
    folder = tmp_path_factory.mktemp("short")
    assert main.main(words(corpus, folder, "--save_steps", "1", "--dropout", "0.1", "--epochs", "1")) == 0
    return folder


def same_parameters(whole, folder):
    now = load_checkpoint(folder / "last").tensors
    assert now.keys() == whole.keys() and all(torch.equal(value, now[name]) for name, value in whole.items())


def test_a_full_disk_while_a_checkpoint_is_written_keeps_the_one_before(corpus, whole, tmp_path, capsys):
    disturbed = words(corpus, tmp_path, "--save_steps", "1", "--dropout", "0.1")
    size = os.path.getsize(ROOT / "README.md")  # more than texts and curves need, less than the weights
    result = hardships.run([*PROGRAM, *disturbed], file_bytes=size)
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert "while writing the checkpoint" in result.stderr and "--resume" in result.stderr
    assert not (tmp_path / "last").exists() and not list(tmp_path.glob(".*"))
    assert main.main([*disturbed, "--resume"]) == 0
    same_parameters(whole, tmp_path)


def test_ctrl_c_saves_after_the_step_and_the_run_continues_to_the_same_parameters(corpus, whole, tmp_path, capsys):
    disturbed = words(corpus, tmp_path, "--dropout", "0.1")
    with hardships.ctrl_c_in("utility.engine.to_device", 3):
        assert main.main(disturbed) == 130
    assert f"stopped at step 3; {tmp_path / 'last'} continues with --resume" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "last").training["state"]["step"] == 3
    assert main.main([*disturbed, "--resume"]) == 0
    same_parameters(whole, tmp_path)


@pytest.mark.parametrize(("moment", "call"), [("scores of an epoch", 1), ("scores of the test split", 3)])
def test_ctrl_c_while_captions_are_made(corpus, whole, tmp_path, capsys, moment, call):
    disturbed = words(corpus, tmp_path, "--save_steps", "1", "--dropout", "0.1")
    with hardships.ctrl_c_in("utility.caption_evaluation.shared_out", call):
        assert main.main(disturbed) == 130
    assert "stopped" in capsys.readouterr().err
    assert main.main([*disturbed, "--resume"]) == 0
    same_parameters(whole, tmp_path)


def test_ctrl_c_while_a_checkpoint_is_scored(corpus, short, tmp_path, capsys):
    score = ["--do_eval", "--checkpoint", str(short / "best"), "--data_root", str(corpus), *FLAGS[:4]]
    score += ["--output_dir", str(tmp_path / "scores")]
    with hardships.ctrl_c_in("utility.caption_evaluation.shared_out"):
        assert main.main(score) == 130
    assert "stopped" in capsys.readouterr().err and not list(tmp_path.rglob("*.json"))
    assert main.main(score) == 0
    assert (tmp_path / "scores" / "test_scores.json").is_file()


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_lets_the_processes_that_load_finish_the_step(corpus, tmp_path):
    flags = ["--num_workers", "2", "--micro_batch_size", "3", "--epochs", "4", "--dropout", "0.1"]
    runs = {name: [*PROGRAM, *words(corpus, tmp_path / name, *flags)] for name in ("whole", "cut")}
    assert hardships.run(runs["whole"]).returncode == 0
    result = hardships.press_ctrl_c([*runs["cut"], "--save_steps", "1"], (tmp_path / "cut" / "last").exists)
    assert result.returncode == 130 and "Traceback" not in result.stderr, result.stderr
    assert "continues with --resume" in result.stderr
    again = hardships.run([*runs["cut"], "--resume"])
    assert again.returncode == 0, again.stderr
    same_parameters(load_checkpoint(tmp_path / "whole" / "last").tensors, tmp_path / "cut")


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_stops_all_processes_of_torchrun(corpus, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    flags = ["--micro_batch_size", "3", "--epochs", "4", "--save_steps", "1", "--dropout", "0.1"]
    runs = {name: [ROOT / "main.py", *words(corpus, tmp_path / name, *flags)] for name in ("whole", "cut")}
    assert hardships.run([*launcher, *runs["whole"]]).returncode == 0
    last = tmp_path / "cut" / "last"
    result = hardships.press_ctrl_c([*launcher, *runs["cut"]], last.exists)
    assert result.returncode and "continues with --resume" in result.stderr, result.stderr
    assert not list((tmp_path / "cut").glob(".*"))
    again = hardships.run([*launcher, *runs["cut"], "--resume"])
    assert again.returncode == 0, again.stderr
    same_parameters(load_checkpoint(tmp_path / "whole" / "last").tensors, tmp_path / "cut")


def test_what_a_kill_left_half_written_is_cleared_away(corpus, whole, tmp_path):
    disturbed = words(corpus, tmp_path, "--save_steps", "1", "--dropout", "0.1")
    (tmp_path / ".last.writing.abc").mkdir(parents=True)
    (tmp_path / ".last.writing.abc" / "model.safetensors").write_bytes(b"half")
    assert main.main([*disturbed, "--resume"]) == 0
    same_parameters(whole, tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be_written_to_is_a_message(corpus, tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    with hardships.read_only(folder):
        result = hardships.run([*PROGRAM, *words(corpus, folder / "run")])
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert "Permission denied" in result.stderr and str(folder) in result.stderr


@pytest.mark.slow
def test_a_disk_that_is_really_full(corpus, whole, short, tmp_path):
    disk, flags = tmp_path / "disk", ("--save_steps", "1", "--dropout", "0.1")
    # One checkpoint has room there, a second one beside it has not.
    kilobytes = sum(file.stat().st_size for file in (short / "last").iterdir()) // 1024 * 3 // 2
    command = [*PROGRAM, *words(corpus, disk / "run", *flags)]
    result = hardships.run(hardships.on_a_small_disk(disk, kilobytes, command))
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert "while writing the checkpoint" in result.stderr and "--resume" in result.stderr
    assert load_checkpoint(tmp_path / "kept" / "run" / "last").training["state"]["step"] == 1
    assert main.main([*words(corpus, tmp_path / "kept" / "run", *flags), "--resume"]) == 0
    same_parameters(whole, tmp_path / "kept" / "run")


BARE = """
import socket, sys

def refuse(*more, **options):
    raise OSError("this machine has no network")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
for name in ("torch_scatter", "torch_sparse", "torch_cluster", "pyg_lib", "torch_spline_conv"):
    sys.modules[name] = None

import torch
import main
from pretrained import zoo

assert not torch.cuda.is_available()
status = main.main(sys.argv[1:])
try:
    zoo.get(zoo.RECORDS[0])
except ConnectionError as error:
    print(error, file=sys.stderr)
sys.exit(status)
"""


def test_without_gpu_network_java_and_extensions_it_trains_and_scores(corpus, tmp_path, monkeypatch):
    script = tmp_path / "bare.py"
    script.write_text(BARE)
    for name in ("CUDA_VISIBLE_DEVICES", "PATH"):
        monkeypatch.setitem(hardships.ENVIRONMENT, name, "")
    flags = words(corpus, tmp_path / "run", "--epochs", "1")
    flags[flags.index("--device") + 1] = "auto"
    flags[flags.index("--tokenizer") + 1] = "auto"
    result = hardships.run([sys.executable, script, *flags])
    assert result.returncode == 0, result.stderr
    scores = json.loads((tmp_path / "run" / "test_scores.json").read_text())
    assert scores["METEOR"] is None and np.isfinite(scores["CIDEr"])
    assert "no java" in result.stderr and "this machine has no network" in result.stderr


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "training.pt"])
def test_a_truncated_checkpoint_is_named(corpus, short, tmp_path, capsys, file):
    run = tmp_path / "run"
    shutil.copytree(short, run)
    for name in ("best", "last"):
        path = run / name / file
        if path.exists():
            os.truncate(path, path.stat().st_size // 2)
    capsys.readouterr()
    if file == "training.pt":
        again = [*words(corpus, run, "--save_steps", "1", "--dropout", "0.1"), "--resume"]
    else:
        again = ["--do_eval", "--checkpoint", str(run / "best"), "--data_root", str(corpus), *FLAGS[:4]]
    assert main.main(again) == 2
    message = capsys.readouterr().err
    assert "is damaged" in message and str(run) in message


def test_two_trainings_into_one_folder_are_refused(corpus, whole, tmp_path, capsys):
    first = FolderLock(tmp_path)
    assert first.take()
    disturbed = words(corpus, tmp_path, "--save_steps", "1", "--dropout", "0.1")
    for more in ([], ["--resume"]):
        assert main.main([*disturbed, *more]) == 2
        assert f"{tmp_path} is being written by another run" in capsys.readouterr().err
    assert not (tmp_path / "last").exists()
    first.leave()
    assert main.main(disturbed) == 0
    same_parameters(whole, tmp_path)
    assert not (tmp_path / ".lock").exists()


def change_annotation(corpus, root, change):
    shutil.copytree(corpus, root)
    file = root / "metadata" / "captions.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    for path in root.glob("features/*/*"):
        path.rename(path.with_name(path.name.replace(f"{corpus.name}_", f"{root.name}_")))
    return root


def test_without_a_validation_split_the_last_epoch_counts(corpus, tmp_path, capsys):
    def change(content):
        content["videos"] = [video for video in content["videos"] if video["split"] != "validate"]
        kept = {video["video_id"] for video in content["videos"]}
        content["sentences"] = [s for s in content["sentences"] if s["video_id"] in kept]

    root = change_annotation(corpus, tmp_path / "noval", change)
    assert main.main(words(root, tmp_path / "run")) == 0
    assert "no validation captions: the last epoch counts as the best" in capsys.readouterr().err
    best, last = (load_checkpoint(tmp_path / "run" / name).tensors for name in ("best", "last"))
    assert all(torch.equal(value, last[name]) for name, value in best.items())


def test_a_single_video_with_a_single_caption_trains_and_is_captioned(corpus, tmp_path):
    def change(content):
        names = [video["video_id"] for video in content["videos"]]
        chosen = {names[0]: "train", names[-1]: "test"}
        content["videos"] = [{"video_id": name, "split": split} for name, split in chosen.items()]
        content["sentences"] = [{"video_id": name, "caption": "a red ball jumps"} for name in chosen]

    root = change_annotation(corpus, tmp_path / "one", change)
    flags = ["--batch_size", "1", "--captions_per_video", "1", "--min_count", "1", "--epochs", "12", "--lr", "0.003"]
    assert main.main(words(root, tmp_path / "run", *flags)) == 0
    said = json.loads((tmp_path / "run" / "test_predictions.json").read_text())
    assert len(said) == 1 and set(next(iter(said.values())).split()) <= {"a", "red", "ball", "jumps"}


def test_captions_of_every_kind_train(corpus, tmp_path, capsys):
    def change(content):
        names = [video["video_id"] for video in content["videos"]]
        content["sentences"] += [
            {"video_id": names[0], "caption": ""},
            {"video_id": names[0], "caption": "a red ball " + "spins " * 500},
            {"video_id": names[1], "caption": "qwx zzt"},
            {"video_id": "nobody", "caption": "a ball"},
        ]
        content["sentences"] = [s for s in content["sentences"] if s["video_id"] != names[2]]

    root = change_annotation(corpus, tmp_path / "odd", change)
    assert main.main(words(root, tmp_path / "run", "--min_count", "2")) == 0
    said = capsys.readouterr().err
    assert "1 captions belong to videos that" in said and "nobody" in said and "1 videos have no caption" in said
    assert "1 blank captions" in said and "1 training captions without a known word are left out" in said
    assert load_checkpoint(tmp_path / "run" / "best").config["max_words"] == 20


def edited_features(corpus, root, change):
    """The corpus with the graph of every video changed, for features that a user might hand in."""
    change_annotation(corpus, root, lambda content: None)
    path = feature_path(root / "features/tiny", root.name, "GBased_graph")
    old = FeatureStore(path)
    settings, graphs = old.settings, {name: old[name] for name in old}
    old.close()
    path.unlink()
    with FeatureWriter(path, settings) as writer:
        for number, (name, arrays) in enumerate(graphs.items()):
            writer.write(name, change(number, arrays))
        writer.finish()
    return root


def test_features_that_are_all_zero_train_to_finite_numbers(corpus, tmp_path):
    def nothing(number, arrays):
        return {name: np.zeros_like(array) for name, array in arrays.items()}

    root = edited_features(corpus, tmp_path / "zero", nothing)
    assert main.main(words(root, tmp_path / "run")) == 0
    stored = load_checkpoint(tmp_path / "run" / "last")
    assert all(np.isfinite(epoch["train/loss"]) for epoch in stored.metrics["history"])
    assert all(value.isfinite().all() for value in stored.tensors.values())


@pytest.mark.parametrize("kept", [1, 2])
def test_graphs_without_edges_and_videos_without_nodes_train_to_finite_numbers(corpus, tmp_path, kept):
    """Two of three videos are empty; the third has one node, or two that no edge joins."""

    def lonely(number, arrays):
        arrays = {name: np.array(array) for name, array in arrays.items()}
        for name in ("slot_mask", "node_mask"):
            arrays[name][:] = False
        if number % 3 == 0:
            for slot, node in [(0, 0), (2, 1)][:kept]:
                arrays["slot_mask"][slot] = arrays["node_mask"][slot, node] = True
        return arrays

    root = edited_features(corpus, tmp_path / "lonely", lonely)
    assert main.main(words(root, tmp_path / "run", "--epochs", "1")) == 0
    stored = load_checkpoint(tmp_path / "run" / "last")
    assert np.isfinite(stored.metrics["history"][0]["train/loss"])
    assert all(value.isfinite().all() for value in stored.tensors.values())
    said = json.loads((tmp_path / "run" / "test_predictions.json").read_text())
    assert said and all(said.values())


def test_features_of_another_width_in_one_video_are_refused_by_name(corpus, tmp_path, capsys):
    def wider(number, arrays):
        return arrays | ({"nodes": np.zeros((5, 4, 13))} if number == 3 else {})

    root = edited_features(corpus, tmp_path / "wide", wider)
    assert main.main(words(root, tmp_path / "run")) == 2
    message = capsys.readouterr().err
    assert "nodes is (5, 4, 13), in the other videos" in message and "extract the video again" in message
    assert not is_checkpoint(tmp_path / "run" / "last")


@pytest.mark.slow
def test_ten_kills_at_random_moments_come_to_the_same_parameters(corpus, whole, tmp_path):
    command = [*PROGRAM, *words(corpus, tmp_path, "--save_steps", "1", "--dropout", "0.1", "--resume")]
    moments = []
    for kill in range(10):
        if kill % 3 == 2:  # a run has eight steps only
            shutil.rmtree(tmp_path, ignore_errors=True)
        log = tmp_path / "log.txt"
        before = log.stat().st_size if log.exists() else 0
        begun = lambda log=log, before=before: log.exists() and log.stat().st_size > before  # noqa: E731
        moments.append(hardships.kill_at_random(command, begun, 2.0))
        for name in ("last", "best"):
            if (tmp_path / name).exists():
                load_checkpoint(tmp_path / name)
    print("killed after", moments)
    assert sum(moment is not None for moment in moments) >= 7
    result = hardships.run(command)
    assert result.returncode == 0, result.stderr
    same_parameters(whole, tmp_path)
    assert not list(tmp_path.glob(".*"))
