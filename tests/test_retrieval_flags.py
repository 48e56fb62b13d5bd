"""Every flag of the retrieval trainer changes something: weights, scores, what is said, or which files there are."""

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from launch import ROOT
from retrieval_samples import flags

import train_unified_model as program
from train_unified_model import FLAGS
from utility.checkpoint import load_checkpoint
from utility.video_writer import write_video

FEW = ["--text_prompt_length", "2", "--local_each_frame_prompt_length", "2", "--global_visual_prompt_length", "2"]
CROPS = ["--crop_min", "0.4"]
# What a flag is compared with: the same run without it.
BASES = {
    "clip4clip": [],
    "seqTransf": ["--sim_header", "seqTransf"],
    "frozen": ["--freeze_clip", "1"],
    "crops": CROPS,
    "bank": ["--qb_norm", "4"],
    "two": ["--epochs", "2"],
    "stop": ["--method", "stop", *FEW],
    "tempme": ["--method", "tempme", "--tome_r", "0"],
    "joined": ["--method", "tempme", "--tome_r", "0", "--merge_layer", "1", "--merge_frame_num", "2"],
    "unified": ["--method", "unified", *FEW, "--pixel_prompt", "0", "--tome_r", "0"],
    "texts": ["--method", "dgl", *FEW, "--text_prompt_length", "4"],
}
# flag -> (base, its value, what it must change). Words in braces are paths of the fixture `places`.
CHANGES = {
    "method": ("clip4clip", "dgl", "weights"),
    "training_mode": ("unified", "stop_only", "weights"),
    "backbone": ("clip4clip", "{other_run}", "weights"),
    "linear_patch": ("clip4clip", "2d", "weights"),
    "sim_header": ("clip4clip", "seqLSTM", "weights"),
    "cross_num_hidden_layers": ("seqTransf", "1", "weights"),
    "freeze_clip": ("clip4clip", "1", "weights"),
    "freeze_substrings": ("clip4clip", "visual.", "weights"),
    "keep_substrings": ("frozen", "ln_final", "weights"),
    "freeze_layer_num": ("clip4clip", "1", "weights"),
    "freeze_token_embedding": ("clip4clip", "0", "weights"),
    "word_weight": ("clip4clip", "1", "weights"),
    "temperature_new": ("clip4clip", "2.5", "weights"),
    "shared_latent_space": ("texts", "linear", "weights"),
    "text_prompt_length": ("unified", "4", "weights"),
    "local_each_frame_prompt_length": ("unified", "1", "weights"),
    "global_visual_prompt_length": ("unified", "1", "weights"),
    "unified_transformer_layers": ("unified", "1", "weights"),
    "temporal_prompt": ("unified", "DGL", "weights"),
    "adapter": ("unified", "0", "weights"),
    "regions": ("stop", "1", "weights"),
    "pixel_prompt": ("unified", "1", "weights"),
    "visual_output_type": ("stop", "average_frame_cls_token", "weights"),
    "compat": ("stop", "released", "weights"),
    "lora_dim": ("tempme", "2", "weights"),
    "tome_r": ("tempme", "1", "weights"),
    "tome_propattn": ("tempme", "0", "weights"),
    "merge_layer": ("joined", "0", "weights"),
    "merge_frame_num": ("joined", "4", "weights"),
    "merge_token_proportion": ("tempme", "50-10", "weights"),
    "frame_pos": ("tempme", "0", "weights"),
    "merge": ("unified", "0", "weights"),
    "prompts": ("unified", "0", "weights"),
    "video_readout": ("unified", "frame_cls_mean", "weights"),
    "datatype": ("clip4clip", "minimotion", "scores"),
    "data_root": ("clip4clip", "{other}", "weights"),
    "captions": ("clip4clip", "{other}/metadata/captions.json", "weights"),
    "videos_path": ("clip4clip", "{other}/videos", "weights"),
    "lmdb_dataset": ("clip4clip", "{archive} --videos_path {empty}", "weights"),
    "limit": ("clip4clip", "3", "scores"),
    "eval_split": ("clip4clip", "val", "files"),
    "max_words": ("clip4clip", "4", "weights"),
    "max_frames": ("clip4clip", "2", "weights"),
    "train_frames": ("clip4clip", "2", "weights"),
    "feature_framerate": ("clip4clip", "1", "weights"),
    "frame_sampling": ("clip4clip", "segments", "weights"),
    "slice_framepos": ("clip4clip", "0", "weights"),
    "train_frame_order": ("clip4clip", "1", "weights"),
    "eval_frame_order": ("clip4clip", "1", "matrix"),
    "short_clips": ("clip4clip", "repeat", "weights"),
    "every_sentence": ("clip4clip", "1", "weights"),
    "augmentation": ("clip4clip", "randaugment", "weights"),
    "random_frames": ("clip4clip", "1", "weights"),
    "crop_min": ("clip4clip", "0.4", "weights"),
    "crop_max": ("crops", "0.5", "weights"),
    "whole_share": ("crops", "1.0", "weights"),
    "crop_each_frame": ("crops", "0", "weights"),
    "crop_on_motion": ("crops", "1", "weights"),
    "cache_size": ("clip4clip", "12", "weights"),
    "cache_frames": ("clip4clip", "8", "weights"),
    "cache_gb": ("clip4clip", "0", "log"),
    "cache_dir": ("clip4clip", "{output}/kept", "files"),
    "output_dir": ("clip4clip", "{output}/deeper", "files"),
    "load_from_pretrained": ("clip4clip", "1 --resume {other_run}/last_model.pth", "weights"),
    "init_model": ("clip4clip", "{other_run}/best_model.pth", "weights"),
    "epochs": ("clip4clip", "2", "weights"),
    "batch_size": ("clip4clip", "2", "weights"),
    "lr": ("clip4clip", "1e-4", "weights"),
    "coef_lr": ("clip4clip", "0.1", "weights"),
    "optim": ("clip4clip", "BertAdam", "weights"),
    "beta1": ("clip4clip", "0.5", "weights"),
    "beta2": ("clip4clip", "0.5", "weights"),
    "eps": ("clip4clip", "0.01", "weights"),
    "weight_decay": ("clip4clip", "0.5", "weights"),
    "warmup_proportion": ("clip4clip", "0.9", "weights"),
    "clip_norm": ("clip4clip", "0.001", "weights"),
    "precision": ("clip4clip", "bf16", "weights"),
    "seed": ("clip4clip", "1", "weights"),
    "log_steps": ("clip4clip", "2", "log"),
    "debug": ("clip4clip", "1", "log"),
    "eval_epochs": ("two", "2", "log"),
    "ties": ("clip4clip", "best", "scores"),
    "dual_softmax": ("clip4clip", "1", "scores"),
    "qb_norm": ("clip4clip", "4", "scores"),
    "qb_beta": ("bank", "50", "scores"),
    "save_matrix": ("clip4clip", "0", "files"),
    "save_feature_path": ("clip4clip", "{output}/features", "files"),
    "export_published": ("clip4clip", "{output}/pytorch_model.bin.0", "files"),
    "resolution": ("clip4clip", "24", "weights"),
    "patch": ("clip4clip", "4", "weights"),
    "stem": ("clip4clip", "4 --linear_patch 2d", "weights"),
    "embed_dim": ("clip4clip", "16", "weights"),
    "vision_width": ("clip4clip", "16", "weights"),
    "vision_layers": ("clip4clip", "1", "weights"),
    "vision_heads": ("clip4clip", "2", "weights"),
    "text_width": ("clip4clip", "16", "weights"),
    "text_layers": ("clip4clip", "1", "weights"),
    "text_heads": ("clip4clip", "2", "weights"),
}
# Where the others are shown to act.
ELSEWHERE = {
    "pretrained_dir": "test_retrieval_flags.py",
    "batch_size_val": "test_retrieval_flags.py",
    "video_features": "test_retrieval_methods.py",
    "train_csv": "dataset/test_retrieval_corpora.py",
    "val_csv": "dataset/test_retrieval_corpora.py",
    "protocol": "dataset/test_retrieval_corpora.py",
    "strict": "test_retrieval_methods.py",
    "dry_run": "test_train_unified_model.py",
    "do_train": "test_retrieval_commands.py",
    "do_eval": "test_train_unified_model.py",
    "resume": "test_retrieval_methods.py",
    "device": "utility/test_distributed.py",
    "micro_batch_size": "test_train_unified_model.py",
    "gradient_accumulation_steps": "test_train_unified_model.py",
    "num_workers": "utility/test_loader.py",
    "save_steps": "utility/test_engine.py",
    "patience": "utility/test_engine.py",
    "inference_speed_test": "test_retrieval_methods.py",
    "gpu": "utility/test_processes.py",
    "multigpu": "utility/test_processes.py",
    "dp": "utility/test_processes.py",
    "world_size": "utility/test_processes.py",
    "node_rank": "utility/test_processes.py",
    "init_method": "utility/test_processes.py",
    "search": "test_retrieval_methods.py",
    "checkpoint": "test_retrieval_methods.py",
    "videos": "test_retrieval_methods.py",
    "index": "test_retrieval_methods.py",
    "top": "test_retrieval_methods.py",
    "sheet": "test_retrieval_methods.py",
}
# Norms over several processes exist on GPUs only.
GPUS = {"use_bn_sync"}


def accepted():
    """Flags of published commands whose help says that they change nothing, or that there is one choice."""
    return {f.name for part in FLAGS for f in fields(part) if f.metadata["help"].startswith("accepted")}


def test_no_flag_is_forgotten():
    known = {f.name for part in FLAGS for f in fields(part)}
    assert known == {*CHANGES, *ELSEWHERE, *GPUS, *accepted()}
    assert not set(CHANGES) & set(ELSEWHERE)
    for name, file in ELSEWHERE.items():
        assert name in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{name} is not in tests/{file}"


def make_corpus(root: Path, seed: int) -> Path:
    """Clips whose every frame is another picture, one of them too short, with two sentences of many words each."""
    rng = np.random.default_rng(seed)
    (root / "videos").mkdir(parents=True)
    (root / "metadata").mkdir()
    videos, sentences = [], []
    for number, split in enumerate(["train"] * 8 + ["validate"] * 3 + ["test"] * 4):
        count = 2 if number in (0, 11) else 11
        small = rng.integers(0, 256, (count, 3, 4, 3)).astype(np.uint8)
        frames = list(small.repeat(12, 1).repeat(12, 2))
        write_video(root / "videos" / f"clip{number}.mp4", frames, 4, preset="ultrafast")
        videos.append({"video_id": f"clip{number}", "split": split})
        for _ in range(2):
            words = " ".join(f"{rng.choice(['red', 'old', 'big'])} {chr(97 + rng.integers(26))}" for _ in range(3))
            sentences.append({"video_id": f"clip{number}", "caption": words})
    content = {"videos": videos, "sentences": sentences}
    (root / "metadata" / "captions.json").write_text(json.dumps(content), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Two corpora and a run on the first of them with other first values."""
    root = tmp_path_factory.mktemp("flags")
    found = {"corpus": make_corpus(root / "corpus", 0), "other": make_corpus(root / "other", 1)}
    argv = flags(found["corpus"], root / "other_run", "--seed", "9", "--lr", "1e-2", "--batch_size", "4")
    assert program.main(argv) == 0
    (root / "empty").mkdir()
    with lmdb.open(str(root / "archive.lmdb"), subdir=False, map_size=2**24) as file, file.begin(write=True) as archive:
        for path in (found["other"] / "videos").iterdir():
            archive.put(path.stem.encode(), path.read_bytes())
    more = {"other_run": root / "other_run", "empty": root / "empty", "archive": root / "archive.lmdb"}
    return found | more


def outcome(places, output: Path, words: list[str]) -> dict:
    """What a run left behind, without its times, its folder and the flags it wrote down."""
    places = places | {"output": output}
    words = [word.format(**places) for word in words]
    argv = flags(places["corpus"], output, "--batch_size", "4", "--lr", "1e-2", "--save_matrix", *words)
    if "--backbone" in words:  # sizes belong to a tower from nothing
        for name in ("resolution", "patch", "vision_width", "vision_layers", "text_width", "text_layers", "embed_dim"):
            start = argv.index(f"--{name}")
            del argv[start : start + 2]
    assert program.main(argv) == 0, words
    run = output / "deeper" if (output / "deeper").is_dir() else output
    lines = [line.split(" | ", 2)[-1].replace(str(output), "") for line in (run / "log.txt").read_text().splitlines()]
    scores = {path.name: path.read_text() for path in sorted(run.glob("*_retrieval.json"))}
    matrix = run / "test_similarity.npy"
    return {
        "weights": load_checkpoint(run / "last").tensors,
        "scores": scores,
        "matrix": np.load(matrix) if matrix.is_file() else None,
        "log": [re.sub(r"\(t\) \d+\.\d+|tensorboard/\S+|[\d.,]+ clips/s", "", line) for line in lines],
        "files": sorted(str(path.relative_to(output)) for path in output.rglob("*") if "tensorboard" not in str(path)),
    }


@pytest.fixture(scope="module")
def bases(places, tmp_path_factory):
    made = {}

    def base(name):
        if name not in made:
            made[name] = outcome(places, tmp_path_factory.mktemp(name), BASES[name])
        return made[name]

    return base


def same(one, other) -> bool:
    if isinstance(one, dict) and one and isinstance(next(iter(one.values())), torch.Tensor):
        return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


def test_a_run_without_a_change_comes_out_the_same(places, bases, tmp_path):
    again = outcome(places, tmp_path, [])
    assert {name for name, value in bases("clip4clip").items() if not same(value, again[name])} == set()


@pytest.mark.parametrize("name", CHANGES)
def test_a_flag_changes_something(name, places, bases, tmp_path, capsys):
    base, value, changed = CHANGES[name]
    output = tmp_path / "run"
    got = outcome(places, output, [*BASES[base], f"--{name}", *value.split()])
    assert not same(bases(base)[changed], got[changed])
    shutil.rmtree(output)


def test_accepted_flags_change_nothing(places, bases, tmp_path):
    values = {"dist_backend": "gloo", "cross_model": "cross-base", "task_type": "retrieval"}
    words = [word for name in sorted(accepted()) for word in (f"--{name}", values.get(name, "1"))]
    assert same(bases("clip4clip")["weights"], outcome(places, tmp_path, words)["weights"])


def test_clips_are_scored_so_many_at_a_time(places, bases, tmp_path, monkeypatch):
    from model import CLIP4Clip

    sizes = set()
    original = CLIP4Clip.encode_video
    monkeypatch.setattr(CLIP4Clip, "encode_video", lambda self, x, *a: sizes.add(len(x)) or original(self, x, *a))
    got = outcome(places, tmp_path, ["--batch_size_val", "2"])
    assert sizes == {4, 2, 1}  # a training batch; of 3 and of 4 clips
    np.testing.assert_allclose(got["matrix"], bases("clip4clip")["matrix"], atol=1e-4)


def test_published_files_are_looked_for_in_their_folder(places, tmp_path, capsys, monkeypatch):
    from pretrained import zoo

    monkeypatch.setattr(zoo, "FOLDER", zoo.FOLDER)
    argv = ["--data_root", places["corpus"], "--output_dir", tmp_path, "--pretrained_dir", tmp_path / "weights"]
    assert program.main([*map(str, argv), "--backbone", "ViT-B/32", "--device", "cpu"]) == 2
    assert str(tmp_path / "weights") in capsys.readouterr().err
