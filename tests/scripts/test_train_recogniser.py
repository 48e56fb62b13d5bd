"""The recognition trainers: files of a run, resume, continuing, evaluation, and what their errors say."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from launch import ROOT, torchrun
from recogniser_scene import COLOURS, FRAMES, Scene, save_backbone

from dataset.action_videos import EvaluationClips
from model.recognition import Recogniser
from pretrained import zoo
from scripts.train_models import session, train_recogniser
from scripts.train_models.inputs import Inputs
from scripts.train_models.run_folder import find_run, load_recogniser, read_run
from scripts.train_models.settings import METHODS
from utility.checkpoint import load_checkpoint, read_plain, save_checkpoint
from utility.images import to_clip


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("recognition"))


@pytest.fixture(scope="module")
def trained(scene):
    return scene.train("dual_coop", run_id="trained", epochs=4, early_stop_patience=0)


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def tensors(folder, name="last"):
    return load_checkpoint(folder / name).tensors


def curves(folder):
    """Losses of training and validation. Not tensors: Adam steps on the rounding of gradients near zero."""
    return [epoch[key] for epoch in read(folder, "training_log.json")["epochs"] for key in ("train/loss", "val/loss")]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_writes_its_files(scene, method):
    folder = scene.train(method, run_id="first", epochs=2)
    content = read_plain(folder / "checkpoint.pth")
    assert set(content["context_state_dict"]) == set(tensors(folder))
    assert content["method"] == method and content["classes"] == list(COLOURS)
    for name, value in tensors(folder, "best").items():
        assert torch.equal(content["context_state_dict"][name], value)
    assert (
        len(content["training_history"]["val"]["acc"]) == content["epoch"] == read(folder, "best/metrics.json")["epoch"]
    )
    log = read(folder, "training_log.json")
    wanted = {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "epoch", "step", "seconds"}
    assert len(log["epochs"]) == 2 and wanted <= set(log["epochs"][0])
    scores = read(folder, "validation_results.json")
    assert {"top1", "top5", "per_class", "confusion", "calibration", "temperature", "cost"} <= set(scores)
    assert scores["samples"] == 8 and scores["top1"] == log["best_top1"]
    assert read(folder, "test_results.json")["temperature"] == scores["temperature"]
    assert scores["cost"]["multiply_adds"] > scores["cost"]["text_multiply_adds"] > 0
    for name in ("val_confusion.png", "val_reliability.png", "log.txt"):
        assert (folder / name).stat().st_size > 500
    assert list((folder / "curves").glob("events*"))
    line = next(line for line in (folder / "log.txt").read_text().splitlines() if "epoch 2/2  train/loss" in line)
    assert "train/accuracy" in line and "val/accuracy" in line and "val/loss" in line


def test_training_learns_colours(trained):
    log = read(trained, "training_log.json")["epochs"]
    assert log[-1]["train/loss"] < log[0]["train/loss"]
    assert read(trained, "validation_results.json")["top1"] >= 0.5


@pytest.mark.parametrize("calls", [3, 5])
def test_resumed_equals_uninterrupted(scene, monkeypatch, calls):
    flags = {
        "epochs": 3, "use_augmentation": 1, "videomix_type": "spatial", "save_every_n_steps": 1,
        "batches_per_backprop": 1, "early_stop_patience": 0,
    }  # fmt: skip
    whole = scene.train("vita", run_id="whole", **flags)
    loss, count = session.Session.loss, 0

    def stops(self, learner, batch):
        nonlocal count
        count += 1
        if count == calls:
            raise KeyboardInterrupt
        return loss(self, learner, batch)

    monkeypatch.setattr(session.Session, "loss", stops)
    cut = scene.train("vita", 130, run_id=f"cut{calls}", **flags)
    monkeypatch.undo()
    scene.train("vita", run_id=f"cut{calls}", resume=1, **flags)
    for name, value in tensors(whole).items():
        assert torch.equal(value, tensors(cut)[name]), name
    # Rates, losses and scores too; only the clock differs.
    histories = [[{**epoch, "seconds": 0} for epoch in read(f, "training_log.json")["epochs"]] for f in (whole, cut)]
    assert histories[0] == histories[1]


def test_a_resumed_run_must_be_the_same_but_for_what_memory_it_takes(scene):
    scene.train("dual_coop", run_id="other", batch_size=8)
    for flags, message in (
        ({"ctx_len_video": 3}, "settings.ctx_len_video was 8, is 3"),
        ({"num_temporal_views": 2}, "views.temporal was 1, is 2"),
        ({"class_protocol": "random", "num_classes": 3}, "classes was"),
    ):
        one = scene.session("dual_coop", run_id="other", batch_size=8, resume=1, epochs=2, **flags)
        with pytest.raises(ValueError, match=f"of another training: {message}"):
            one.train()
    memory = {"use_checkpointing": 1, "frames_per_chunk": 3}
    folder = scene.train("dual_coop", run_id="other", batch_size=8, resume=1, epochs=2, **memory)
    assert len(read(folder, "training_log.json")["epochs"]) == 2


def test_accumulated_equals_one_batch(scene):
    one = scene.train("video_coop", run_id="one", batch_size=8, batches_per_backprop=1, epochs=2)
    two = scene.train("video_coop", run_id="two", batch_size=2, batches_per_backprop=4, epochs=2)
    assert curves(one) == pytest.approx(curves(two), rel=1e-4)


@pytest.mark.parametrize(("method", "calls"), [("video_coop", 24), ("dual_coop", 0)])
def test_the_frozen_part_sees_a_clip_once_and_changes_nothing(scene, monkeypatch, method, calls):
    """16 training and 8 validation clips, three epochs; only where it saves the vision tower."""
    seen, part = [], Recogniser.frozen_part
    monkeypatch.setattr(Recogniser, "frozen_part", lambda self, pixels: seen.append(len(pixels)) or part(self, pixels))
    kept = scene.train(method, run_id="kept", epochs=3)
    assert seen == [1] * calls
    assert curves(kept) == pytest.approx(curves(scene.train(method, run_id="anew", epochs=3, cache_gb=0)), rel=1e-4)
    assert len(seen) == calls
    scene.train(method, run_id="mixed", videomix_type="spatial", epochs=2)
    assert len(seen) == calls * 4 // 3  # mixed clips are never the same; those that validate are


def test_kept_results_have_a_limit(scene):
    one = scene.session("video_coop")
    batch = next(iter(one.loader()))
    inputs = Inputs(one.model, one.normal, keep_bytes=2 * FRAMES * 16 * 4)
    torch.testing.assert_close(inputs(batch), one.model.frozen_part(to_clip(batch.frames, *one.normal)))
    assert inputs.bytes == 2 * FRAMES * 16 * 4


def test_the_rest_of_an_epoch_is_a_step_too(scene):
    folder = scene.train("video_coop", run_id="rest", batch_size=3, batches_per_backprop=4)
    assert read(folder, "training_log.json")["epochs"][0]["step"] == 2  # 16 clips: six batches, of 12 and of 4 clips


def test_continuing_takes_what_fits_and_says_so(scene, trained, caplog):
    mean = scene.train("dual_coop", run_id="mean", temporal_pooling="mean", continue_from=f"{trained}/checkpoint.pth")
    log = (mean / "log.txt").read_text()
    assert "loaded context_vectors_text, context_vectors_vision, logit_scale" in log
    assert "not loaded: unexpected temporal_pooling" in log
    assert len(read(mean, "training_log.json")["epochs"]) == 1  # parts only: it counts from the beginning


def test_continuing_a_whole_run_goes_on_with_its_epochs_and_this_runs_rate(scene, trained):
    spec = f"dual_coop/colours/{trained.name}"
    again = scene.train("dual_coop", run_id="again", continue_from=spec, epochs=6, lr=0.02)
    assert [epoch["epoch"] for epoch in read(again, "training_log.json")["epochs"]] == [1, 2, 3, 4, 5, 6]
    saved = load_checkpoint(again / "last").training
    assert saved["optimizer"]["param_groups"][0]["initial_lr"] == 0.02
    fresh = scene.train("dual_coop", run_id="fresh", continue_from=spec, epochs=2, use_fresh_lr_scheduler=1)
    assert len(read(fresh, "training_log.json")["epochs"]) == 2
    none = scene.session("dual_coop", run_id="none", continue_from=spec, epochs=4)
    with pytest.raises(ValueError, match="has trained 4 epochs, and --epochs is 4"):
        none.train()


def test_on_another_corpus_epochs_count_from_the_beginning(scene, trained, tmp_path):
    other = shutil.copytree(scene.corpus, tmp_path / "paints")
    folder = scene.train("dual_coop", run_id="moved", continue_from=trained, data_root=other)
    folder = folder.parent.parent / "paints" / "moved"
    log = (folder / "log.txt").read_text()
    assert "loaded context_vectors_text, context_vectors_vision" in log and "not loaded" not in log
    assert [epoch["epoch"] for epoch in read(folder, "training_log.json")["epochs"]] == [1]
    assert load_checkpoint(folder / "last").training["optimizer"]["state"][0]["step"] == 2  # of this run alone


def test_over_another_backbone_too_and_that_is_said(scene, trained, tmp_path, caplog):
    content = load_checkpoint(save_backbone(tmp_path / "other"))
    content.tensors["text_projection"].add_(1)
    save_checkpoint(tmp_path / "other", tensors=content.tensors, config=content.config)
    one = scene.session("dual_coop", continue_from=trained, backbone=tmp_path / "other")
    assert one.start_state(one.loader(), None).epoch == 0
    assert "learnt over another backbone, tiny" in caplog.text


def test_a_checkpoint_file_by_itself_can_be_continued_from(scene, trained, tmp_path):
    shutil.copy(trained / "checkpoint.pth", tmp_path)
    one = scene.session("dual_coop", continue_from=tmp_path / "checkpoint.pth", random_seed=7)
    one.start_state(one.loader(), None)
    for name, value in tensors(trained, "best").items():
        assert torch.equal(one.model.learner_state()[name], value)


def test_early_stopping_counts_from_the_best(scene):
    folder = scene.train("video_coop", run_id="patient", epochs=30, lr=1e-9, eta_min=0, early_stop_patience=2)
    log = read(folder, "training_log.json")
    assert len(log["epochs"]) == log["best_epoch"] + 2 < 30


def test_a_run_can_be_used_by_itself(scene, trained):
    run = read_run(find_run(f"dual_coop/colours/{trained.name}", str(scene.folder / "models")))
    model, backbone = load_recogniser(run)
    for name, value in tensors(trained, "best").items():
        assert torch.equal(model.learner_state()[name], value)
    assert run.views.frames == FRAMES and backbone.name == "tiny"
    with pytest.raises(FileNotFoundError, match="Runs: dual_coop/colours/"):
        find_run("dual_coop/colours/unknown", str(scene.folder / "models"))


def test_another_backbone_is_refused_by_name(scene, trained, tmp_path):
    other = save_backbone(tmp_path / "other")
    content = load_checkpoint(other)
    content.tensors["text_projection"].add_(1)
    save_checkpoint(other, tensors=content.tensors, config=content.config)
    with pytest.raises(ValueError, match=r"trained with the backbone tiny .* give that one with --backbone"):
        load_recogniser(read_run(trained), str(other))


def content(root):
    """Bytes and time of change of every file below a folder."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def test_broken_clips_are_left_out_and_named_and_no_file_of_the_corpus_changes(scene, tmp_path):
    root = tmp_path / "colours"
    shutil.copytree(scene.corpus, root)
    for split in ("train", "val"):
        (root / split / "red" / "broken.mp4").write_bytes(b"no video")
    before = content(root)
    flags = {"use_augmentation": 1, "videomix_type": "temporal", "remove_black_strips": 1, "use_cache": 1}
    flags |= {"save_to_cache": 1, "cache_dir": tmp_path / "cache", "num_frames_temporal": 30}  # clips are shorter
    folder = scene.train("video_coop", run_id="broken", data_root=root, **flags)
    assert list(read(folder, "validation_results.json")["unreadable"]) == ["val/red/broken.mp4"]
    assert "another clip takes its place" in (folder / "log.txt").read_text()
    assert content(root) == before


def test_default_backbone_and_what_to_do_without_one(monkeypatch, tmp_path):
    monkeypatch.setattr(session, "ROOT", tmp_path)
    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "pretrained")
    with pytest.raises(FileNotFoundError, match="make demo"):
        session.default_backbone()
    (tmp_path / "results/demo/clip4clip/best").mkdir(parents=True)
    assert session.default_backbone() == str(tmp_path / "results/demo/clip4clip")
    file = tmp_path / "pretrained" / zoo.find("ViT-B-16-quickgelu").file
    file.parent.mkdir()
    file.write_bytes(b"")
    assert session.default_backbone() == "ViT-B-16-quickgelu"


def test_weights_of_classes_have_mean_one(scene):
    session = scene.session("video_coop", class_weights=1)
    assert session.class_weights().tolist() == pytest.approx([1] * 4)
    few = scene.session("video_coop", class_weights=1, limit=6)
    weights = few.class_weights()
    labels = [clip.label for clip in few.corpus.splits["train"]]
    assert np.mean([weights[label].item() for label in labels]) == pytest.approx(1)


def test_clips_of_different_length_in_one_batch_equal_one_by_one(scene):
    """With a stride, short clips are padded: what lies behind their end must not count."""
    found = []
    for size in (1, 4):
        one = scene.session("vita", space_between_frames=5, batch_size=size)
        found.append(one.predict(EvaluationClips(one.corpus.splits["train"], one.pictures())))
    masks = [one.pictures()(clip).mask.sum().item() for clip in one.corpus.splits["train"]]
    assert set(masks) == {2, 3}
    np.testing.assert_allclose(found[0].logits, found[1].logits, atol=1e-5)


def test_a_dry_run_says_its_settings_and_writes_nothing(scene, capsys):
    folder = scene.train("vita", run_id="dry", dry_run=1)
    said = capsys.readouterr().err
    assert '"num-frames-temporal": 3' in said and "parameters learn" in said
    assert not folder.exists()


def test_a_backbone_that_is_not_there_is_answered_and_leaves_no_folder(scene, capsys):
    folder = scene.train("vita", 2, run_id="unbegun", backbone=scene.folder / "nowhere")
    assert "error: " in capsys.readouterr().err and not folder.exists()


def test_a_device_that_is_not_there_is_answered(scene, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    scene.train("vita", 2, run_id="gpu", device="cuda")
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("method", METHODS)
def test_launchers_run_from_any_folder(tmp_path, method):
    script = ROOT / "scripts" / "train_models" / f"run_{method}.py"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, script, "--print-config", "1"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["weight-decay"] == 0.01 and done.stderr == ""


@pytest.mark.slow
def test_two_processes_equal_one(scene):
    script = train_recogniser.__file__.replace("train_recogniser", "run_video_coop")
    flags = {"batch_size": 2, "batches_per_backprop": 1, "run_id": "pair"}
    torchrun(script, *scene.words(**flags), processes=2)
    one = scene.train("video_coop", run_id="single", batch_size=4, batches_per_backprop=1)
    assert curves(one) == pytest.approx(curves(one.with_name("pair")), rel=1e-4)
