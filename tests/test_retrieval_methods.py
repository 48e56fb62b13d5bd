"""The retrieval trainer with each of its methods: training, resuming, freezing, first gradients, searching."""

import json
import re
import shutil
import time

import numpy as np
import pytest
import torch
from colour_clips import COLOURS, make_colour_corpus
from first_gradient import first_gradient
from launch import ROOT, launch
from retrieval_samples import TOWER, flags, train

import train_unified_model as program
from model.retrieval.prompted import NEW_PARTS
from pretrained.backbones import load_backbone
from pretrained.retrieval_runs import open_run
from utility.check_run import main as check_run
from utility.checkpoint import load_checkpoint, read_tensors
from utility.feature_store import FeatureWriter

FEW = ["--text_prompt_length", "2", "--local_each_frame_prompt_length", "2", "--global_visual_prompt_length", "2"]
METHODS = {
    "stop": FEW,
    "tempme": ["--tome_r", "0", "--merge_token_proportion", "10-10"],
    "unified": [*FEW, "--tome_r", "0", "--pixel_prompt", "0"],
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_colour_corpus(tmp_path_factory.mktemp("colours"), {"train": 2, "validate": 1, "test": 1})


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory):
    """One run of two epochs per method, made when it is first asked for."""
    made = {}

    def run(method):
        if method not in made:
            made[method] = tmp_path_factory.mktemp(method)
            argv = flags(corpus, made[method], "--method", method, *METHODS.get(method, []), "--epochs", "2")
            assert program.main(argv) == 0
        return made[method]

    return run


@pytest.mark.parametrize("method", ["clip4clip", *METHODS])
def test_every_method_trains_and_its_files_say_what_it_is(method, runs, corpus, tmp_path, capsys):
    run = runs(method)
    names = {path.name for path in run.iterdir()}
    assert names >= {"best", "last", "best_model.pth", "last_model.pth", "log.txt", "hparams_train.json", "tensorboard"}
    assert (
        open_run(run).config["method"] == method and open_run(run / "last_model.pth", training=True).checkpoint.training
    )
    results = json.loads((run / "test_retrieval.json").read_text())
    text = (run / "log.txt").read_text()
    assert "every text and every clip meets 7 negatives" in text and "\tSimLoss: " in text
    assert (
        f" (metric) >>>  R@1: {results['t2v']['R@1']:.1f} - R@5: " in text
        and "Epoch 2/2 Finished, Train Loss: " in text
    )
    assert "The best R1 is: " in text
    again, _ = train(
        capsys, ["--do_eval", "1", "--resume", run / "best_model.pth", "--output_dir", tmp_path, "--device", "cpu"]
    )
    assert again["t2v"] == results["t2v"] and again["v2t"] == results["v2t"] and again["method"] == method


def test_curves_have_both_directions_speed_waiting_and_memory(runs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (runs("clip4clip") / "tensorboard").iterdir()
    assert time.strptime(folder.name, "%Y-%m-%d-%H-%M-%S")
    events = EventAccumulator(str(folder)).Reload()
    of_steps = {"sim_loss", "loss_t2v", "loss_v2t", "scale", "lr", "data_time", "batch_time", "clips_per_second"}
    of_steps |= {"wait_share", "memory_gib", "process_memory_gib"}
    assert {f"train/{name}" for name in of_steps} | {"val/t2v_R1", "val/v2t_MdR"} <= set(events.Tags()["scalars"])
    loss, one, other = (
        [event.value for event in events.Scalars(f"train/{name}")] for name in ("sim_loss", "loss_t2v", "loss_v2t")
    )
    assert loss == pytest.approx([(a + b) / 2 for a, b in zip(one, other, strict=True)])


@pytest.mark.parametrize("method", ["clip4clip", "unified"])
def test_the_temperature_is_clamped_after_every_step(method, corpus, tmp_path, capsys):
    """It alone trains, by steps of ten: from below the upper end it comes to one end or the other."""
    few = METHODS.get(method, [])
    alone = ["--freeze_clip", "1", "--freeze_substrings", "clip.", "--keep_substrings", "logit_scale"]
    big = ["--temperature_new", "4.5", "--lr", "10", "--coef_lr", "1", "--optim", "AdamW", "--warmup_proportion", "0"]
    _, log = train(capsys, flags(corpus, tmp_path, "--method", method, *few, *alone, *big))
    scale = load_checkpoint(tmp_path / "last").tensors["clip.logit_scale"].item()
    assert scale in (pytest.approx(0.1), pytest.approx(4.6052, abs=1e-4))
    assert re.search(r" all +[\d,]+ +1 ", log)


@pytest.mark.parametrize(("method", "file"), [("clip4clip", "pytorch_model.bin.4"), ("stop", "ckpt.pth.tar")])
def test_an_exported_network_scores_the_same_without_our_config(method, file, corpus, tmp_path, capsys):
    """One head per 64 channels, as published files, which do not tell, have it; the rest is in their shapes."""
    heads = ["--vision_width", "64", "--vision_heads", "1", "--text_width", "64", "--text_heads", "1"]
    more = ["--method", method, "--text_prompt_length", "8", "--regions", "2", "--feature_framerate", "4", *heads]
    argv = flags(corpus, tmp_path / "run", *more, "--export_published", tmp_path / file)
    results, log = train(capsys, argv)
    assert f"for the published code of {method}" in log
    data = ["--data_root", corpus, "--max_words", "8", "--max_frames", "4", "--feature_framerate", "4"]
    again, _ = train(
        capsys,
        ["--do_eval", "--resume", tmp_path / file, *data, "--regions", "2", "--random_frames", "0", "--device", "cpu"],
    )
    assert (again["t2v"], again["v2t"], again["method"]) == (results["t2v"], results["v2t"], method)


def test_an_evaluation_can_be_re_ranked_and_kept(runs, tmp_path, capsys):
    argv = ["--do_eval", "--resume", runs("clip4clip"), "--output_dir", tmp_path, "--device", "cpu", "--save_matrix"]
    results, _ = train(
        capsys,
        [*argv, "--dual_softmax", "--qb_norm", "6", "--ties", "best", "--save_feature_path", tmp_path / "features"],
    )
    assert results["qb_norm"]["bank"] == 6 and set(results["dual_softmax"]) == {"t2v", "v2t"}
    assert "first place" in results["ties"] and (tmp_path / "features" / "test_features.npz").is_file()
    from utility.retrieval_metrics import main as metrics

    assert metrics(["--matrix", str(tmp_path / "test_similarity.npy"), "--ties", "best"]) == 0
    assert json.loads(capsys.readouterr().out)["t2v"] == results["t2v"]
    speed, _ = train(capsys, [*argv, "--inference_speed_test"])
    assert speed["videos"] == speed["texts"] == len(COLOURS)
    assert speed["videos_per_second"] > 0 and speed["texts_per_second"] > 0


def test_a_finished_run_is_checked(runs, tmp_path, capsys):
    assert check_run([str(runs("clip4clip"))]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {check["name"] for check in answer["checks"]} >= {
        "checkpoint last",
        "best_model.pth",
        "loss fell",
        "tensorboard",
    }
    assert check_run([str(tmp_path)]) == 1 and check_run([str(tmp_path / "none")]) == 2


@pytest.mark.parametrize("from_file", [True, False])
def test_resuming_is_exact_from_folder_and_from_file(from_file, runs, corpus, tmp_path, capsys, monkeypatch):
    """Half of the run of two epochs, interrupted after the first one, then continued with no other flag."""
    cut = tmp_path / "cut"
    from utility.training_run import TrainingRun

    finish = TrainingRun.finish_epoch

    def stop(self, metrics):
        finish(self, metrics)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "finish_epoch", stop)
        assert program.main(flags(corpus, cut, "--method", "unified", *METHODS["unified"], "--epochs", "2")) == 130
    capsys.readouterr()
    start = cut / "last_model.pth" if from_file else cut
    _, log = train(capsys, ["--resume", start, "--device", "cpu"])
    assert "epoch 2, step 1" in log
    whole, again = (load_checkpoint(folder / "last").tensors for folder in (runs("unified"), cut))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_run_goes_on_in_another_folder_with_its_best(runs, tmp_path, capsys):
    run = runs("clip4clip")
    argv = ["--resume", run / "last_model.pth", "--device", "cpu", "--epochs"]
    results, log = train(capsys, [*argv, "2", "--output_dir", tmp_path / "same"])
    assert "chosen anew" not in log and results == json.loads((run / "test_retrieval.json").read_text())
    assert read_tensors(tmp_path / "same" / "best_model.pth").keys() == read_tensors(run / "best_model.pth").keys()
    # The file alone tells a best score, and no weights that had it.
    (tmp_path / "file").mkdir()
    shutil.copy(run / "last_model.pth", tmp_path / "file")
    argv[1] = tmp_path / "file" / "last_model.pth"
    _, log = train(capsys, [*argv, "3"])
    assert "the best epoch is chosen anew" in log
    assert load_checkpoint(tmp_path / "file" / "last").metrics["best_epoch"] == 3


def test_weights_alone_start_another_training(runs, corpus, tmp_path, capsys):
    best = runs("stop") / "best_model.pth"
    argv = ["--resume", best, "--data_root", corpus, "--output_dir", tmp_path / "new", "--device", "cpu"]
    _, log = train(
        capsys, [*argv, "--epochs", "1", "--batch_size", "4", "--lr", "1e-9", "--coef_lr", "1", "--max_words", "8"]
    )
    new, old = load_checkpoint(tmp_path / "new" / "last"), read_tensors(best)
    assert new.config["method"] == "stop" and "1 epochs of 3 steps" in log
    name = "clip.visual.prompt_embeddings"
    assert torch.allclose(new.tensors[name], old[name], atol=1e-6)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A corpus whose training split fills a batch of 64."""
    return make_colour_corpus(tmp_path_factory.mktemp("many"), {"train": 11, "validate": 1})


def pairs_64(corpus, output, method):
    """Words of a run of 64 pairs per step; there is no dropout in these networks."""
    more = ["--method", method, *METHODS.get(method, []), "--clip_norm", "0", "--optim", "AdamW", "--batch_size", "64"]
    return flags(corpus, output, *more)


@pytest.mark.parametrize("method", ["clip4clip", "unified"])
def test_accumulation_is_contrastive(method, many, tmp_path, capsys):
    """The first gradient of 64 pairs is the same in one piece, in four of 16, and encoded eight at a time."""
    argv = pairs_64(many, tmp_path, method)
    whole = first_gradient(argv)
    assert "64 pairs = 1 processes x 1 pieces x 64; every text and every clip meets 63" in capsys.readouterr().err
    for more in (["--gradient_accumulation_steps", "4"], ["--micro_batch_size", "8"]):
        pieces = first_gradient([*argv, *more])
        assert f"{'4 pieces x 16' if '4' in more else '8 pieces x 8'}; every text" in capsys.readouterr().err
        for one, other in zip(whole, pieces, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_two_processes_of_32_have_the_gradient_of_64(many, tmp_path):
    argv = pairs_64(many, tmp_path / "run", "unified")
    launch(ROOT / "tests" / "first_gradient.py", tmp_path / "gradient", *argv, processes=2)
    for one, *others in zip(
        first_gradient(argv), *(torch.load(tmp_path / f"gradient.{r}") for r in (0, 1)), strict=True
    ):
        for other in others:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_two_processes_train_as_one_with_every_part(corpus, tmp_path):
    """STOP with adapters and frozen backbone: two processes of four pairs make the step of eight."""
    more = ["--method", "stop", *METHODS["stop"], "--pixel_prompt", "0", "--optim", "BertAdam", "--freeze_clip", "1"]
    assert program.main(flags(corpus, tmp_path / "one", *more)) == 0
    launch(ROOT / "train_unified_model.py", *flags(corpus, tmp_path / "two", *more), processes=2)
    one, two = (load_checkpoint(tmp_path / name / "last") for name in ("one", "two"))
    assert one.metrics["history"][0]["train/loss"] == pytest.approx(two.metrics["history"][0]["train/loss"], abs=1e-5)
    for name, value in one.tensors.items():
        torch.testing.assert_close(value, two.tensors[name], rtol=0, atol=1e-4, msg=name)


def trained_names(corpus, tmp_path, monkeypatch, capsys, *more):
    """Names that train, without training them."""
    seen = {}
    from utility import freezing

    original = freezing.choose_trainable

    def note(names, rules, is_new, is_computed):
        names, warnings = original(names, rules, is_new, is_computed)
        seen["names"] = names
        return names, warnings

    monkeypatch.setattr("pretrained.retrieval_network.choose_trainable", note)
    _, log = train(capsys, flags(corpus, tmp_path, "--dry_run", *more))
    return seen["names"], log


def test_the_guide_s_example_of_freezing(corpus, tmp_path, monkeypatch, capsys):
    guide = ["--freeze_clip", "1", "--freeze_substrings", "visual.ln_", "text.ln_"]
    guide += ["--keep_substrings", "logit_scale", "LoRA", "prompt", "TemporalPrompt"]
    names, log = trained_names(
        corpus, tmp_path, monkeypatch, capsys, "--method", "unified", *METHODS["unified"], *guide
    )
    assert "clip.logit_scale" in names and any("LoRA" in name for name in names)
    assert all(name == "clip.logit_scale" or any(part in name for part in NEW_PARTS) for name in names)
    assert "clip.visual.ln_pre.weight" not in names and "new" in log
    names, _ = trained_names(
        corpus, tmp_path, monkeypatch, capsys, "--method", "tempme", *METHODS["tempme"], "--freeze_clip", "1"
    )
    assert all("TVPt" in name for name in names - {"clip.logit_scale"})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--freeze_substrings", "visual.transfromer"], "--freeze_substrings visual.transfromer: no parameter"),
        (["--gradient_accumulation_steps", "3"], "does not divide the 8 pairs"),
        (["--resume", "nowhere.pth"], "nowhere.pth: there is no such file"),
        (["--do_eval", "--resume", "nowhere"], "nowhere: there is no such file"),
        (["--method", "tempme", "--merge_layer", "5", "--merge_frame_num", "4"], "merge_layer 5"),
    ],
)
def test_mistakes_are_explained(more, message, corpus, tmp_path, capsys):
    assert program.main(flags(corpus, tmp_path, *more)) == 2
    assert message in capsys.readouterr().err


def test_absent_videos_are_named_and_left_out_unless_strict(corpus, tmp_path, capsys):
    captions = json.loads((corpus / "metadata" / "captions.json").read_text())
    captions["videos"].append({"video_id": "gone", "split": "train"})
    captions["sentences"].append({"video_id": "gone", "caption": "a lost clip"})
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    argv = flags(corpus, tmp_path / "run", "--captions", tmp_path / "captions.json")
    assert program.main([*argv, "--strict"]) == 1
    assert "1 videos of the splits are absent and left out: gone" in capsys.readouterr().err
    assert (tmp_path / "run" / "absent_videos.txt").read_text() == "gone\n"
    assert not (tmp_path / "run" / "last").exists()
    results, log = train(capsys, argv)
    assert "left out: gone" in log and results["videos"] == len(COLOURS)


def test_a_folder_is_searched_and_its_features_are_kept(runs, corpus, tmp_path, capsys, monkeypatch):
    videos = tmp_path / "videos"
    videos.mkdir()
    for file in sorted((corpus / "videos").iterdir())[:4]:
        (videos / file.name).write_bytes(file.read_bytes())
    (videos / "broken.mp4").write_bytes(b"no video")
    argv = ["--search", "a red clip", "--checkpoint", str(runs("unified")), "--videos", str(videos), "--device", "cpu"]
    sheet = tmp_path / "sheet.png"
    found, log = train(capsys, [*argv, "--sheet", str(sheet), "--top", "3"])
    assert len(found["best"]) == 3 and found["videos"] == 4 and sheet.stat().st_size > 1000
    assert "5 videos, 5 of them to encode" in log and "broken: open: " in log
    similarities = [one["similarity"] for one in found["best"]]
    assert similarities == sorted(similarities, reverse=True) and max(map(abs, similarities)) <= 1.001
    from extractors.video_search import VideoIndex

    encoded = []
    original = VideoIndex._features
    monkeypatch.setattr(
        VideoIndex, "_features", lambda self, clips: encoded.append(len(clips)) or original(self, clips)
    )
    again, log = train(capsys, [*argv, "--sheet", str(sheet), "--top", "3"])
    assert again["best"] == found["best"] and sum(encoded) == 0
    assert "5 videos, 0 of them to encode" in log and "broken: open: " in log
    elsewhere, _ = train(capsys, [*argv, "--sheet", str(sheet), "--top", "3", "--index", str(tmp_path / "kept")])
    assert elsewhere["best"] == found["best"] and sum(encoded) == 4
    assert [path.suffix for path in (tmp_path / "kept").rglob("*.hdf5")] == [".hdf5"]
    (tmp_path / "file").write_bytes(b"")
    assert program.main([*argv, "--index", str(tmp_path / "file")]) == 2
    assert "give another folder with --index" in capsys.readouterr().err


def test_what_was_seen_is_kept_per_corpus(corpus, tmp_path, capsys):
    first = flags(corpus, tmp_path / "first")
    train(capsys, first)
    other = make_colour_corpus(tmp_path / "others", {"train": 2, "validate": 1})
    argv = flags(other, tmp_path / "second", "--resume", tmp_path / "first" / "best_model.pth")
    train(capsys, argv)
    seen = load_checkpoint(tmp_path / "second" / "best").config["trained_on"]
    assert set(seen) == {corpus.name, "others"} and len(seen[corpus.name]) == len(seen["others"]) == 2 * len(COLOURS)


def test_header_and_texts_train_on_stored_features(runs, corpus, tmp_path, capsys, monkeypatch):
    """No video is decoded, the vision tower stays, and features of another backbone are refused."""
    run = runs("clip4clip")
    backbone = load_backbone(run)
    names = [path.stem for path in (corpus / "videos").iterdir()]
    for weights in (backbone.hash, "other"):
        settings = {"backbone": {"name": backbone.name, "hash": weights}}
        with FeatureWriter(tmp_path / f"{weights}.hdf5", settings) as writer:
            for name in names:
                mask = np.array([1, 1, 0], np.uint8)
                writer.write(name, {"frames": np.random.rand(3, 32).astype(np.float32), "slot_mask": mask})
            writer.finish()
    monkeypatch.setattr("dataset.clip_frames.decode_frames", None)
    argv = flags(corpus, tmp_path / "run", "--sim_header", "seqLSTM", "--lr", "1e-2", "--coef_lr", "1", "--epochs", "2")
    start = argv.index("--backbone")
    argv[start : start + len(TOWER)] = ["--backbone", str(run)]
    results, _ = train(capsys, [*argv, "--video_features", tmp_path / f"{backbone.hash}.hdf5"])
    assert results["videos"] == len(COLOURS)
    new, old = load_checkpoint(tmp_path / "run" / "last").tensors, load_checkpoint(run / "best").tensors
    assert torch.equal(new["clip.visual.proj"], old["clip.visual.proj"])
    assert not torch.equal(new["clip.text_projection"], old["clip.text_projection"])
    assert program.main([*argv, "--video_features", str(tmp_path / "other.hdf5")]) == 2
    assert "was made with the backbone other" in capsys.readouterr().err
