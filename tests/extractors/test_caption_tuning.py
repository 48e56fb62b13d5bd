"""`main.py --tune`: frames in, a backbone's prompts learn from captions, and the run is a retrieval checkpoint too."""

import json
import shutil
from dataclasses import asdict

import pytest
import torch
from launch import ROOT, launch
from no_java import without_java
from tiny_networks import make_backbone
from tuned_films import TRAINING, caption_run, extract_films, make_films

import main
import train_unified_model
from extractors.caption_tuning import Tuning
from extractors.in_memory import FileCaptioner
from extractors.video_search import VideoIndex
from model.backbone.clip import CLIP, CLIPConfig
from model.captioner import CaptionerConfig
from model.retrieval.methods import build_method
from model.retrieval.settings import MethodSettings
from pretrained.backbones import describe, load_backbone
from pretrained.captioners import load_captioner
from pretrained.retrieval_runs import build_stored, open_run
from utility.checkpoint import load_checkpoint, save_checkpoint
from utility.feature_store import FeatureStore


@pytest.fixture(scope="module", autouse=True)
def no_java():
    with without_java():
        yield


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return make_films(tmp_path_factory.mktemp("tuned") / "films")


@pytest.fixture(scope="module")
def cached(films, tmp_path_factory):
    """A run on stored nodes."""
    output = tmp_path_factory.mktemp("cached")
    caption_run(films, output)
    return output


@pytest.fixture(scope="module", params=["lora", "prompts"])
def tuned(request, films, tmp_path_factory):
    """(kind, folder of a run that tunes)."""
    output = tmp_path_factory.mktemp("tuned") / f"{request.param}_run"
    caption_run(films, output, "--tune", request.param, "--epochs", "2", "--tune_lr", "0.01")
    return request.param, output


def graphs(root):
    """The file of the films' graphs."""
    return root / "features/plain" / f"{root.name}_GBased_graph.hdf5"


def captioner_tensors(folder):
    return load_captioner(folder).tensors


def test_a_backbone_that_stays_without_effect_gives_the_run_on_stored_nodes(films, cached, tmp_path):
    caption_run(films, tmp_path, "--tune", "lora", "--tune_lr", "0", "--tune_batch_size", "5")
    one, other = (load_checkpoint(folder / "last").metrics["history"][0] for folder in (cached, tmp_path))
    for key in ("train/loss", "train/l2r", "train/r2l", "val/CIDEr"):
        assert other[key] == pytest.approx(one[key], abs=1e-5)
    said = [json.loads((folder / "test_predictions.json").read_text()) for folder in (cached, tmp_path)]
    assert said[0] == said[1] and len(said[0]) == 6
    first, second = captioner_tensors(cached / "last"), captioner_tensors(tmp_path / "last")
    assert first.keys() == second.keys()
    # AdamW brings a gradient that is rounding only (that of these biases) to full size.
    parted = {name: float((value - second[name]).abs().mean()) for name, value in first.items()}
    assert max(value for name, value in parted.items() if not name.endswith("key.bias")) < 1e-6


def test_only_the_chosen_part_of_the_backbone_has_learnt(films, tuned):
    kind, run = tuned
    before = load_backbone(films / "clip").model.state_dict()
    after = open_run(run).checkpoint.tensors
    assert all(torch.equal(after[f"clip.{name}"], value) for name, value in before.items())
    new = {name for name in after if name.removeprefix("clip.") not in before}
    if kind == "lora":
        assert after["clip.visual.transformer.resblocks.0.attn.TVPt_LoRA_b"].any()
        assert not after["clip.transformer.resblocks.0.attn.TVPt_LoRA_b"].any()
    else:
        assert not any("TVPt" in name for name in new)
    assert f"{kind}: " in (run / "log.txt").read_text()


def test_the_run_is_a_backbone_and_a_retrieval_checkpoint_with_the_same_outputs(films, tuned):
    _, run = tuned
    stored = load_captioner(run)
    config = CaptionerConfig.from_dict(stored.config["captioner"])
    captioner = Tuning.stored(stored, torch.device("cpu"), 256).captioner(config).eval()
    captioner.load_state_dict(stored.all_tensors)
    pixels = torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = captioner.backbone.encode_image(pixels)
        for place in (run, run / "best"):
            assert torch.equal(build_stored(open_run(place)).encode_image(pixels), expected)
        backbone = load_backbone(run)
        torch.testing.assert_close(backbone.model.encode_image(pixels), expected)
    assert stored.config["features"]["settings"]["nodes"]["backbone"] == {"name": run.name, "hash": backbone.hash}
    assert backbone.trained_on == sorted({"a ball 11", "a ball 2"} | {f"clip{i}" for i in range(12)})
    assert open_run(run / "last", training=True).checkpoint.training is None


def test_the_trainer_of_retrieval_goes_on_with_it(films, tuned, tmp_path, capsys):
    kind, run = tuned
    words = ["--data_root", films, "--resume", run, "--output_dir", tmp_path, "--epochs", "1", "--batch_size", "6"]
    words += ["--max_words", "8", "--device", "cpu", "--precision", "fp32", "--freeze_clip", "1", "--lr", "1e-9"]
    assert train_unified_model.main(list(map(str, words))) == 0
    before, after = open_run(run).checkpoint.tensors, open_run(tmp_path).checkpoint.tensors
    assert before.keys() == after.keys()
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6)
    assert open_run(tmp_path).config["method"] == {"lora": "unified", "prompts": "stop"}[kind]
    words = ["--data_root", films, "--do_eval", "--resume", run, "--output_dir", tmp_path / "scores", "--device", "cpu"]
    assert train_unified_model.main(list(map(str, words))) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["videos"] == 6
    shutil.copytree(films / "videos", tmp_path / "films")
    assert len(VideoIndex(run, tmp_path / "films", torch.device("cpu")).rank("a red clip")) == 24


def test_a_split_and_a_file_are_captioned_from_frames_and_from_features_of_the_new_backbone(films, tuned, tmp_path):
    _, run = tuned
    words = ["--do_eval", "--checkpoint", run / "best", "--data_root", films, "--device", "cpu", "--tokenizer", "nltk"]
    assert main.main(list(map(str, [*words, "--features", "plain", "--output_dir", tmp_path / "frames"]))) == 0
    features = f"of_{run.parent.name}"
    extract_films(films, run, features)
    assert main.main(list(map(str, [*words, "--features", features, "--output_dir", tmp_path / "stored"]))) == 0
    scores = [json.loads((tmp_path / name / "test_scores.json").read_text()) for name in ("frames", "stored")]
    assert scores[0] == scores[1] and scores[0]["backbone"] == run.name
    assert scores[0]["CIDEr"] == json.loads((run / "test_scores.json").read_text())["CIDEr"]
    said = json.loads((tmp_path / "frames/test_predictions.json").read_text())
    captioner = FileCaptioner(run, {}, "cpu")
    assert {name: captioner.caption(films / f"videos/{name}.mp4").caption for name in said} == said
    shutil.rmtree(films / "features" / features)


def test_an_export_holds_captioner_and_backbone(films, tuned, tmp_path):
    _, run = tuned
    words = ["--do_eval", "--checkpoint", run, "--data_root", films, "--device", "cpu", "--tokenizer", "nltk"]
    words += ["--output_dir", tmp_path, "--features", "plain", "--export_pth"]
    assert main.main(list(map(str, words))) == 0
    file, best = load_captioner(tmp_path / "best_model.pth"), load_captioner(run)
    assert all(torch.equal(file.all_tensors[name], value) for name, value in best.all_tensors.items())
    assert open_run(tmp_path / "best_model.pth").config["method"] == best.backbone.config["method"]


@pytest.mark.parametrize("kind", ["prompts", "lora"])
def test_a_retrieval_checkpoint_goes_on_learning_from_captions(films, kind, tmp_path):
    """Its own prompts, not new ones; from features of another backbone, whose actions are all that is used."""
    torch.manual_seed(1)
    clip = load_backbone(films / "clip").model
    settings = MethodSettings(max_frames=4, lora_dim=2, regions=2, pixel_prompt=False)
    model = build_method("unified", CLIP(clip.config), settings)
    described = json.loads((films / "clip/config.json").read_text())["backbone"]
    config = {"method": "unified", "method_settings": asdict(settings), "backbone": described}
    save_checkpoint(tmp_path / "start/best", tensors=model.state_dict(), config=config)
    start = tmp_path / "start"
    caption_run(films, tmp_path / "run", "--tune", kind, "--backbone", start, "--tune_lr", "0.01")
    before, after = open_run(start).checkpoint.tensors, open_run(tmp_path / "run").checkpoint.tensors
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed and all(("TVPt_LoRA" in name) == (kind == "lora") for name in changed)
    assert open_run(tmp_path / "run").config["method_settings"]["lora_dim"] == 2


@pytest.mark.parametrize("flags", [[], ["--num_workers", "1", "--cache_gb", "0"]])
def test_a_resumed_run_gives_the_numbers_of_an_uninterrupted_one(films, tmp_path, flags):
    """Dropout in the captioner and in STOP's pixel prompts, two pieces per step, the first passes computed again."""
    from utility.training_run import TrainingRun

    settings = MethodSettings(max_frames=2, regions=2, visual_output_type="average_frame_cls_token")
    tower = CLIPConfig(16, 16, 8, 16, 1, 2, 16, 1, 2, context_length=8, vocab_size=50)
    torch.manual_seed(1)
    model = build_method("stop", CLIP(tower), settings)
    described = describe(tower, "small", (0.5,) * 3, (0.25,) * 3)
    config = {"method": "stop", "method_settings": asdict(settings), "backbone": described}
    save_checkpoint(tmp_path / "start", tensors=model.state_dict(), config=config)
    flags = ["--tune", "prompts", "--backbone", tmp_path / "start", "--save_steps", "1", "--dropout", "0.1", *flags]
    flags += ["--micro_batch_size", "3", "--tune_batch_size", "7"]
    caption_run(films, tmp_path / "whole", *flags)
    save = TrainingRun.save_last

    def stop(run):
        save(run)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingRun, "save_last", stop)
        caption_run(films, tmp_path / "cut", *flags, status=130)
    assert load_checkpoint(tmp_path / "cut/last").training["state"]["step"] == 1
    caption_run(films, tmp_path / "cut", *flags, "--resume")
    first, second = (load_checkpoint(tmp_path / name / "last").tensors for name in ("whole", "cut"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_shuffled_frames_and_a_cache_of_nothing_change_what_they_should(films, cached, tmp_path):
    base = ["--tune", "lora", "--tune_lr", "0"]
    losses = {}
    for name, flags in {"kept": [], "decoded": ["--cache_gb", "0"], "shuffled": ["--shuffle_videos"]}.items():
        caption_run(films, tmp_path / name, *base, *flags)
        losses[name] = load_checkpoint(tmp_path / name / "last").metrics["history"][0]["train/loss"]
    assert losses["kept"] == losses["decoded"] != losses["shuffled"]


def test_what_cannot_be_tuned_is_said(films, tuned, tmp_path, capsys):
    kind, run = tuned
    other = {"lora": "prompts", "prompts": "lora"}[kind]
    caption_run(films, tmp_path / "a", "--tune", other, "--backbone", run, status=2)
    assert f"no {other} that a picture's feature depends on; --tune {kind}?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main.main(["--do_eval", "--checkpoint", str(run), "--tune", kind])
    assert "give --do_train" in capsys.readouterr().err


@pytest.mark.parametrize("cause", ["hold other frames", "cannot be read any more"])
def test_a_file_that_changed_is_refused_by_name(films, tmp_path, capsys, cause):
    root = shutil.copytree(films, tmp_path / films.name)
    store = FeatureStore(graphs(root))
    index = {name: arrays["frame_index"].tolist() for name, arrays in ((name, store[name]) for name in store.ids)}
    longer = next(name for name, frames in index.items() if frames != index["clip0"])
    content = b"" if "read" in cause else (films / f"videos/{longer}.mp4").read_bytes()
    (root / "videos/clip0.mp4").write_bytes(content)
    caption_run(root, tmp_path / "run", "--tune", "lora", status=2)
    message = capsys.readouterr().err
    assert "video 'clip0'" in message and cause in message


def test_another_backbone_in_the_old_place_is_refused(films, tmp_path, capsys, monkeypatch):
    place = tmp_path / "moved"
    make_backbone(place, 3)
    monkeypatch.setattr(
        "dataset.caption_features.CaptionFeatures.weights", lambda self, **given: {"backbone": str(place)}
    )
    caption_run(films, tmp_path / "run", "--tune", "lora", status=2)
    message = capsys.readouterr().err
    assert "made with the backbone tiny0" in message and "there is now tiny3" in message and "--backbone" in message


def test_object_nodes_cannot_be_tuned(films):
    with pytest.raises(ValueError, match="give a --model_name with GBased"):
        Tuning.begin("lora", None, str(films / "clip"), {"stage": "object_nodes"}, "fp32", 8)


def plain_words(films):
    """Flags of a training on the films' features."""
    return [
        "--model_name",
        f"{films.name}_GBased",
        "--do_train",
        "--data_root",
        films,
        "--features",
        "plain",
        *TRAINING,
    ]


@pytest.mark.slow
def test_two_processes_tune_the_same_backbone(films, tmp_path):
    words = [
        *plain_words(films),
        "--tune",
        "lora",
        "--tune_batch_size",
        "5",
        "--tune_lr",
        "0.01",
        "--micro_batch_size",
        "3",
    ]
    for count in (1, 2):
        launch(ROOT / "main.py", *words, "--output_dir", tmp_path / str(count), processes=count)
    one, two = (load_checkpoint(tmp_path / str(count) / "last") for count in (1, 2))
    assert two.training["cut"]["processes"] == 2
    for key in ("train/loss", "train/l2r", "train/r2l"):
        assert two.metrics["history"][0][key] == pytest.approx(one.metrics["history"][0][key], abs=1e-4)
    learnt = [name for name in one.tensors if name.endswith("TVPt_LoRA_b") and ".visual." in name]
    assert learnt and all(one.tensors[name].any() for name in learnt)
    # AdamW brings a gradient that is rounding only to full size, so single weights may part, their means may not.
    assert all((two.tensors[name] - one.tensors[name]).abs().mean() < 2e-4 for name in learnt)


def test_a_dry_run_decodes_nothing_and_says_what_would_learn(films, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("extractors.frame_graphs.prepare", None)
    words = [*plain_words(films), "--tune", "prompts", "--dry_run", "--output_dir", tmp_path / "run"]
    assert main.main(list(map(str, words))) == 0
    assert "prompts: " in capsys.readouterr().err and not (tmp_path / "run").exists()
