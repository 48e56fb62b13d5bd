"""Every documented key of the recognition trainers changes something, is a flag, and may stand in a config file."""

import json
import shutil
from dataclasses import fields

import numpy as np
import pytest
import torch
from recogniser_scene import Scene, make_corpus

from dataset import action_pictures
from dataset.action_split import SplitSettings
from model.recognition.settings import Settings
from scripts.train_models import train_recogniser
from scripts.train_models.settings import METHODS, PARTS, Arguments, PromptArguments, known_keys
from utility.arguments import parse
from utility.images import to_clip
from utility.training_run import TrainingRun


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("keys"))


def digest(value) -> float | str:
    if isinstance(value, torch.Tensor):
        return round(float((value.double().flatten() * torch.arange(1, value.numel() + 1)).sum()), 4)
    return str(value)


def signature(scene, method, **flags) -> dict[str, str | float]:
    """What a session is about to do, without training: splits, views, first batch, loss and gradient on it."""
    session = scene.session(method, **flags)
    session.model.train()
    loader = session.loader()
    loader.set_epoch(0)
    batch = next(iter(loader))
    pixels = to_clip(batch.frames, *session.normal)
    result = session.model(pixels, session.texts, batch.mask)
    loss = session.model.loss(result, batch.labels, session.texts, session.class_weights())
    loss.backward()
    found = {
        f"{split} clips": str([(clip.name, clip.label) for clip in clips])
        for split, clips in session.corpus.splits.items()
    }
    found |= {"classes": str(session.corpus.classes), "batches": str(len(loader))}
    found |= {"frames": digest(batch.frames), "mask": digest(batch.mask), "labels": digest(batch.labels)}
    found |= {"loss": digest(loss.detach()), "logits": digest(result.logits.detach()), "blocks": blocks_run(session)}
    for name, parameter in session.model.learner().items():
        found[name] = f"{digest(parameter.detach())} {None if parameter.grad is None else digest(parameter.grad)}"
    return found


def blocks_run(session) -> str:
    """How often blocks compute in a training step, in pieces of how many frames: what memory is traded for."""
    sizes = []
    hooks = [
        tower.resblocks[0].ln_1.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
        for tower in (session.model.clip.visual.transformer, session.model.clip.transformer)
    ]
    pixels = torch.zeros(2, 2, session.views.frames, 3, session.views.size, session.views.size)
    session.model(pixels, session.texts).logits.sum().backward()
    for hook in hooks:
        hook.remove()
    return str(sizes)


# key: (method, value, other flags that both sides have)
BEFORE_TRAINING = {
    "K_train": ("video_coop", 2, {}),
    "K_val": ("video_coop", 1, {}),
    "K_test": ("video_coop", 1, {"data": "many"}),
    "skip_first_K_train": ("video_coop", 1, {}),
    "skip_first_K_val": ("video_coop", 1, {}),
    "has_validation": ("video_coop", 0, {"K_train": 2}),
    "val_proportion": ("video_coop", 0.5, {"data": "flat"}),
    "class_protocol": ("video_coop", "most-frequent", {"num_classes": 2}),
    "num_classes": ("video_coop", 3, {"class_protocol": "random", "base": {"num_classes": 2}}),
    "use_excess_for": ("video_coop", "train", {"K_train": 2}),
    "remove_class_if_insufficient": ("video_coop", 1, {"K_train": 3, "data": "flat"}),
    "limit": ("video_coop", 5, {}),
    "batch_size": ("video_coop", 2, {}),
    "remove_black_strips": ("video_coop", 1, {}),
    "num_frames_temporal": ("video_coop", 2, {}),
    "num_temporal_views": ("video_coop", 2, {}),
    "num_spatial_views": ("video_coop", 2, {}),
    "space_between_frames": ("video_coop", 1, {}),
    "use_augmentation": ("video_coop", 1, {}),
    "crop_scale": ("video_coop", 0.2, {"use_augmentation": 1}),
    "crop_ratio": ("video_coop", 2.0, {"use_augmentation": 1}),
    "horizontal_flip": ("video_coop", 1.0, {"use_augmentation": 1}),
    "vertical_flip": ("video_coop", 1.0, {"use_augmentation": 1}),
    "brightness": ("video_coop", 0.9, {"use_augmentation": 1}),
    "contrast": ("video_coop", 0.9, {"use_augmentation": 1}),
    "saturation": ("video_coop", 0.9, {"use_augmentation": 1}),
    "hue": ("video_coop", 0.4, {"use_augmentation": 1}),
    "blur": ("video_coop", 1.0, {"use_augmentation": 1}),
    "blur_kernel": ("video_coop", 3, {"use_augmentation": 1, "blur": 1.0}),
    "blur_sigma": ("video_coop", 3.0, {"use_augmentation": 1, "blur": 1.0}),
    "salt_and_pepper": ("video_coop", 0.3, {"use_augmentation": 1}),
    "cutout": ("video_coop", 1.0, {"use_augmentation": 1}),
    "cutout_scale": ("video_coop", (0.4, 0.5), {"use_augmentation": 1, "cutout": 1.0}),
    "cutout_ratio": ("video_coop", (0.3, 0.31), {"use_augmentation": 1, "cutout": 1.0}),
    "videomix_type": ("video_coop", "temporal", {}),
    "videomix_prob": ("video_coop", 1.0, {"videomix_type": "spatial", "base": {"videomix_prob": 0.0}}),
    "class_weights": ("video_coop", 1, {"limit": 6}),
    "random_seed": ("video_coop", 7, {}),
    "debug": ("video_coop", 1, {"batch_size": 2}),
    "text_path": ("video_coop", "recorded", {}),
    "summary_attention": ("vita", "frame", {}),
    "temporal_pooling": ("video_coop", "max", {}),
    "num_heads_attention_pooling": ("video_coop", 2, {}),
    "ctx_len": ("video_coop", 3, {}),
    "ctx_len_video": ("dual_coop", 3, {}),
    "std_init": ("video_coop", 0.5, {}),
    "keep_vision_prompts_throughout": ("dual_coop", 1, {}),
    "use_handcrafted_features": ("vidop", 1, {}),
    "regularisation_text": ("vidop", "look at", {"use_handcrafted_features": 1}),
    "regularisation_strength": ("video_coop", 3.0, {}),
    "cosine_regularisation_strength": ("video_coop", 3.0, {}),
    "num_frame_tokens": ("vita", 2, {}),
    "has_discriminative_conditioning": ("vita", 0, {}),
    "num_heads_summary_attention": ("vita", 4, {}),
    "layers_with_summary_to_text": ("stt", 2, {}),
    "modality_transfer_text": ("vilt", ("[[0],[]]", "[[],[]]", "[[],[]]"), {
        "modality_transfer_vision": ("[[],[0]]", "[[],[]]", "[[],[]]"), "base": {"modality_transfer_text": (
            "[[0],[]]", "[[1],[]]", "[[],[]]")},
    }),
    "modality_transfer_vision": ("vilt", ("[[],[0]]", "[[],[]]", "[[],[]]"), {
        "modality_transfer_text": ("[[0],[]]", "[[],[]]", "[[],[]]"), "base": {"modality_transfer_vision": (
            "[[],[0]]", "[[1],[]]", "[[],[]]")},
    }),
    "num_tokens_per_layer_text": ("vilt", 2, {}),
    "num_tokens_per_layer_vision": ("vilt", 2, {}),
    "loss_function": ("video_coop", "cosine-similarity", {}),
    "learn_just_pooling": ("video_coop", 1, {}),
    "use_checkpointing": ("video_coop", 1, {}),
    "frames_per_chunk": ("video_coop", 3, {}),
    "texts_per_chunk": ("stt", 4, {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def roots(scene):
    """Other corpora: one with more test clips, one without splits and with unequal classes."""
    many = make_corpus(scene.folder / "many", {"train": 1, "val": 1, "test": 2})
    flat = scene.folder / "flat"
    shutil.copytree(scene.corpus / "train", flat)
    (flat / "red" / "train3.mp4").unlink()
    return {"many": many, "flat": flat}


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.mark.parametrize("key", BEFORE_TRAINING)
def test_key_changes_what_a_training_starts_with(scene, roots, known, key):
    method, value, others = BEFORE_TRAINING[key]
    others = dict(others)
    base = others.pop("base", {})
    if "data" in others:
        others["data_root"] = roots[others.pop("data")]
    common = f"{method} {sorted(map(str, others.items()))} {base}"
    if common not in known:
        known[common] = signature(scene, method, **others, **base)
    changed = signature(scene, method, **others, **{key: value})
    assert changed != known[common]


def history(folder):
    epochs = json.loads((folder / "training_log.json").read_text(encoding="utf-8"))["epochs"]
    return [{**epoch, "seconds": 0} for epoch in epochs]


DURING_TRAINING = {
    "batches_per_backprop": 1, "epochs": 3, "lr": 0.1, "weight_decay": 5.0, "grad_norm_max": 1e-3, "fp16": 1,
    "precision": "bf16", "epochs_to_skip": 1, "start_train_step": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(scene):
    return history(scene.train("video_coop", run_id="plain", epochs=2))


@pytest.mark.parametrize("key", DURING_TRAINING)
def test_key_changes_a_training(scene, plain, key):
    flags = {"epochs": 2, key: DURING_TRAINING[key]}
    assert history(scene.train("video_coop", run_id=key, **flags)) != plain


def test_last_rate_of_the_cosine(scene):
    folders = [scene.train("video_coop", run_id=f"eta{end}", epochs=3, eta_min=end) for end in (0.0, 0.009)]
    assert history(folders[0]) != history(folders[1])


def test_keys_that_write_files_or_lines(scene):
    folder = scene.train(
        "video_coop", run_id="files", epochs=3, use_profiling=1, log_every_n_steps=3, use_cache=1, save_to_cache=1,
        cache_dir=scene.folder / "cache", cache_gb=0,
    )  # fmt: skip
    assert "aten::" in (folder / "profile.txt").read_text()
    assert (folder / "log.txt").read_text().count("clips/s") == 2
    files = list((scene.folder / "cache").glob("*.npz"))
    assert len(files) == 28
    small = sum(np.load(file)["frames"].size for file in files)
    for file in files:
        file.unlink()
    flags = {"use_cache": 1, "save_to_cache": 1, "cache_dir": scene.folder / "cache", "resized_cache_protocol": 0}
    scene.train("video_coop", run_id="large", **flags)
    assert sum(np.load(file)["frames"].size for file in (scene.folder / "cache").glob("*.npz")) > 2 * small


def test_the_cache_is_read_only_when_asked(scene, monkeypatch):
    flags = {"cache_dir": scene.folder / "read", "cache_gb": 0, "K_train": 1, "K_val": 1, "K_test": 1}
    first = history(scene.train("video_coop", run_id="stored", save_to_cache=1, **flags))
    decoded = []
    decode = action_pictures.decode
    monkeypatch.setattr(action_pictures, "decode", lambda *a: decoded.append(a) or decode(*a))
    assert history(scene.train("video_coop", run_id="read", use_cache=1, **flags)) == first
    assert not decoded
    scene.train("video_coop", run_id="unread", **flags)
    assert decoded


def test_memory_keeps_pictures(scene, monkeypatch):
    counts = {}
    decode = action_pictures.decode
    for size in (0, 1):
        decoded = []
        monkeypatch.setattr(action_pictures, "decode", lambda *a, seen=decoded: seen.append(a) or decode(*a))
        scene.train("video_coop", run_id=f"memory{size}", epochs=2, cache_gb=size, K_train=1, K_val=1)
        counts[size] = len(decoded)
    assert counts[1] < counts[0]


def test_workers_change_no_number(scene, plain):
    assert history(scene.train("video_coop", run_id="workers", epochs=2, num_workers=1)) == plain


def test_saving_inside_an_epoch(scene, monkeypatch):
    """With every step saved, a kill inside the first epoch leaves something to resume."""
    saves = []
    save = TrainingRun.save_last
    monkeypatch.setattr(TrainingRun, "save_last", lambda self: saves.append(self.state.position) or save(self))
    scene.train("video_coop", run_id="saves", save_every_n_steps=1)
    assert saves[:2] == [2, 4]


# Keys whose effect other tests show: places and names (test_train_recogniser), lists (test_action_lists).
ELSEWHERE = {
    "dataset", "data_root", "lists", "split_number", "backbone", "run_id", "models_root", "resume", "continue_from",
    "use_fresh_lr_scheduler", "early_stop_patience", "device", "dry_run", "print_config", "num_frames",
    "eta_min", "log_every_n_steps", "save_every_n_steps", "use_profiling", "use_cache", "save_to_cache",
    "resized_cache_protocol", "cache_dir", "cache_gb", "num_workers",
}  # fmt: skip


def test_no_key_is_forgotten():
    everything = {f.name for part in PARTS for f in fields(part)}
    assert set(BEFORE_TRAINING) | set(DURING_TRAINING) | ELSEWHERE == everything


def test_every_setting_of_the_models_is_a_flag():
    assert {f.name for f in fields(PromptArguments)} == {f.name for f in fields(Settings)}
    assert len(fields(SplitSettings)) == 12  # each has its flag: see RecognitionData.split_settings


def test_frames_must_agree(scene):
    with pytest.raises(ValueError, match="num-frames is 5, num-frames-temporal 3"):
        scene.session("vita", num_frames=5)


def test_a_key_that_the_method_does_not_read_is_said(scene, caplog):
    scene.session("video_coop", ctx_len_video=3)
    assert "Video-CoOp does not read ctx_len_video" in caplog.text


@pytest.mark.parametrize("method", METHODS)
def test_printed_configuration_is_a_config_file(scene, method, tmp_path, capsys):
    words = scene.words(K_train=3, videomix_type="spatial", brightness=0.7)
    assert train_recogniser.main(method, [*words, "--print_config", "1"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["dataset-config"]["K-train"] == 3 and printed["brightness"] == 0.7
    file = tmp_path / "config.json"
    file.write_text(json.dumps(printed))
    assert Arguments(method, *parse(PARTS, ["--config", str(file)])).filled().published() == printed


def test_documented_form_of_a_config_file(tmp_path):
    file = tmp_path / "guide.json"
    content = {
        "dataset": "ucf101", "continue-from": None, "use-augmentation": True, "videomix-type": "spatial", "lr": 0.001,
        "temporal-pooling": "attention", "num-temporal-views": 4, "num-frames-temporal": 8, "ctx-len": 16,
        "use-handcrafted-features": False, "use-checkpointing": False,
        "dataset-config": {"batch-size": 4, "num-workers": 4, "batches-per-backprop": 32, "K-train": None, "K-val": 4},
    }  # fmt: skip
    file.write_text(json.dumps(content))
    args = Arguments("video_coop", *parse(PARTS, ["--config", str(file), "--lr", "0.5"])).filled()
    assert (args.data.batch_size, args.data.K_train, args.data.K_val, args.prompts.ctx_len) == (4, None, 4, 16)
    assert (args.run.lr, args.run.epochs, args.views.videomix_type) == (0.5, 40, "spatial")
    assert {name for name in content if name != "dataset-config"} <= set(known_keys())


def test_published_defaults_of_methods_and_corpora():
    def filled(method, *words):
        return Arguments(method, *parse(PARTS, list(words))).filled()

    kinetics = filled("video_coop", "--dataset", "kinetics400")
    assert (kinetics.run.lr, kinetics.run.epochs, kinetics.data.batch_size) == (8e-4, 40, 2)
    assert kinetics.data.batches_per_backprop == 64 and kinetics.views.num_spatial_views == 3
    assert filled("vita", "--dataset", "ucf101").views.videomix_type == "spatial"
    drawn = filled("vita")
    assert drawn.data.dataset == "minimotion" and drawn.views.horizontal_flip == 0
