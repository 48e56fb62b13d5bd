"""Training and scoring the captioner through main.py: what comes out, and that it is the same however it is run."""

import json
import random
import re
import shutil

import h5py
import numpy as np
import pytest
import torch
from akg_file import heads, write_akg
from caption_corpus import make_corpus, train_words, video_name
from launch import ROOT, launch
from no_java import without_java

import main
from utility.checkpoint import load_checkpoint
from utility.feature_store import FeatureWriter, feature_path


@pytest.fixture(scope="module", autouse=True)
def no_java():
    with without_java():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("syn"), count=60, skip={1, 58})


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    assert main.main(train_words(corpus, output, "--epochs", "14", "--val_beam", "2")) == 0
    return output


def test_training_learns_what_the_graphs_show_and_reports_it(corpus, trained):
    scores = json.loads((trained / "test_scores.json").read_text())
    said = json.loads((trained / "test_predictions.json").read_text())
    assert scores["CIDEr"] > 3 and scores["METEOR"] is None
    assert list(said) == [video_name(i) for i in range(48, 60) if i != 58]
    expected = {
        "corpus": corpus.name, "split": "test", "num_videos": 11, "num_references": 33, "references": "raw",
        "tokenizer": "nltk", "max_words": 20,
        "search": {"kind": "sound", "beam": 5, "length_penalty": 0.0, "r2l_memory": "best hypothesis"},
    }  # fmt: skip
    assert expected.items() <= scores.items()
    assert any("METEOR is missing" in note for note in scores["notes"])
    assert "1 videos without features" in scores["notes"]
    assert list((trained / "curves").iterdir())
    lines = (trained / "log.txt").read_text()
    assert "captions/s" in lines and "clips/s" not in lines


def test_the_checkpoint_describes_itself(trained):
    stored = load_checkpoint(trained / "best")
    assert stored.vocabulary[:3] == ["<PAD>", "<S>", "a"]
    assert stored.config["features"]["settings"]["backbone"] == {"name": "tiny", "hash": "abc"}
    assert stored.config["captioner"]["node_dim"] == 12 and stored.config["max_words"] == 20


def test_scoring_a_checkpoint_repeats_the_scores_and_every_flag_of_the_search_acts(corpus, trained, tmp_path):
    def scores(*more):
        words = ["--do_eval", "--checkpoint", str(trained / "best"), "--data_root", str(corpus), "--tokenizer", "nltk"]
        assert main.main([*words, "--output_dir", str(tmp_path), "--device", "cpu", *more]) == 0
        split = "val" if "val" in more else "test"
        return json.loads((tmp_path / f"{split}_scores.json").read_text())

    whole = json.loads((trained / "test_scores.json").read_text())
    assert scores()["CIDEr"] == whole["CIDEr"]
    assert scores("--split", "val")["num_videos"] == 12
    assert scores("--limit", "4")["num_videos"] == 4
    assert scores("--max_words", "2")["BLEU_1"] < 0.7
    assert scores("--references", "trimmed")["references"] == "trimmed"
    published = scores("--search", "reference", "--beam", "2")["search"]
    assert (published["kind"], published["r2l_memory"]) == ("reference", "last live hypothesis")
    published = scores("--compat", "reference")
    assert "positions" in published["compat"]
    assert (published["search"]["kind"], published["search"]["r2l_memory"]) == ("reference", "last live hypothesis")
    shrinking = scores("--compat", "beam")["search"]
    assert (shrinking["kind"], shrinking["r2l_memory"]) == ("reference", "best hypothesis")


def test_compat_items_come_beside_those_of_the_checkpoint(corpus, trained, tmp_path):
    shutil.copytree(trained / "best", tmp_path / "own")
    config = json.loads((tmp_path / "own/config.json").read_text())
    config["captioner"]["compat"] = ["references"]
    (tmp_path / "own/config.json").write_text(json.dumps(config))
    words = ["--do_eval", "--checkpoint", str(tmp_path / "own"), "--data_root", str(corpus), "--tokenizer", "nltk"]
    words += ["--limit", "2", "--output_dir", str(tmp_path), "--device", "cpu", "--compat", "r2l_memory"]
    assert main.main(words) == 0
    scores = json.loads((tmp_path / "test_scores.json").read_text())
    assert scores["compat"] == ["r2l_memory", "references"] and scores["references"] == "trimmed"


def test_a_captioner_of_shuffled_videos_learns_less(corpus, trained, tmp_path):
    assert main.main(train_words(corpus, tmp_path, "--epochs", "14", "--shuffle_videos")) == 0
    blind, seeing = (json.loads((path / "test_scores.json").read_text()) for path in (tmp_path, trained))
    assert blind["shuffled_videos"] and blind["CIDEr"] < 0.5 * seeing["CIDEr"]


def test_a_resumed_run_gives_the_numbers_of_an_uninterrupted_one(corpus, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    flags = ["--dropout", "0.1", "--save_steps", "3", "--epochs", "2", "--micro_batch_size", "9"]
    assert main.main(train_words(corpus, whole, *flags)) == 0
    kept = tmp_path / "kept"
    save, steps = main_save_last(), []

    def stop(run):
        save(run)
        steps.append(run.state.step)
        if run.state.position and run.state.epoch == 1:
            shutil.copytree(run.last, kept / "last")
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utility.training_run.TrainingRun.save_last", stop)
        assert main.main(train_words(corpus, cut, *flags)) == 130
    assert main.main(train_words(corpus, kept, *flags, "--resume")) == 0
    first, second = load_checkpoint(whole / "last").tensors, load_checkpoint(kept / "last").tensors
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--limit", "8"], "the vocabulary had 17 words, has 16"),
        (["--dropout", "0.3"], "captioner.dropout was 0.0, is 0.3"),
        (["--features", "other"], "features.settings.backbone.hash was 'abc', is 'def'"),
    ],
)
def test_another_training_is_not_resumed(corpus, trained, tmp_path, capsys, change, message):
    shutil.copytree(trained / "last", tmp_path / "run/last")
    data = tmp_path / corpus.name
    shutil.copytree(corpus, data)
    shutil.copytree(data / "features/tiny", data / "features/other")
    with h5py.File(feature_path(data / "features/other", data.name, "GBased_graph"), "r+") as file:
        file.attrs["settings"] = file.attrs["settings"].replace("abc", "def")
    words = train_words(data, tmp_path / "run", "--epochs", "15", "--features", "tiny", "--resume", *change)
    assert main.main(words) == 2
    error = capsys.readouterr().err
    assert "last is of another training: " in error and message in error


KILLED = """
import os, sys
import main
from utility.training_run import TrainingRun

save, kill_at = TrainingRun.save_last, int(sys.argv[1])

def save_last(run):
    save(run)
    if run.state.step >= kill_at:
        os._exit(9)

if kill_at:
    TrainingRun.save_last = save_last
sys.exit(main.main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_captioner_killed_at_a_random_step_continues_to_the_same_parameters(corpus, tmp_path, processes):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    step = random.SystemRandom().randrange(1, 8)  # of 8: 105 captions in 4 steps, twice
    flags = ["--dropout", "0.1", "--save_steps", "1", "--epochs", "2"]
    flags += ["--batch_size", "24", "--micro_batch_size", str(12 // processes)]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    launch(script, 0, *train_words(corpus, whole, *flags), processes=processes)
    with pytest.raises(AssertionError, match="exit status 9"):
        launch(script, step, *train_words(corpus, cut, *flags), processes=processes)
    assert load_checkpoint(cut / "last").training["state"]["step"] == step
    launch(script, 0, *train_words(corpus, cut, *flags, "--resume"), processes=processes)
    first, second = (load_checkpoint(folder / "last").tensors for folder in (whole, cut))
    assert all(torch.equal(value, second[name]) for name, value in first.items()), f"killed at step {step}"


def main_save_last():
    from utility.training_run import TrainingRun

    return TrainingRun.save_last


def test_two_processes_train_the_same_captioner(corpus, tmp_path):
    flags = ("--epochs", "1", "--dropout", "0", "--precision", "fp32")
    launch(ROOT / "main.py", *train_words(corpus, tmp_path / "two", *flags), processes=2)
    assert main.main(train_words(corpus, tmp_path / "one", *flags)) == 0
    one, two = (load_checkpoint(tmp_path / name / "last") for name in ("one", "two"))
    assert two.training["cut"]["processes"] == 2
    for key in ("train/loss", "train/l2r", "train/r2l"):
        assert two.metrics["history"][0][key] == pytest.approx(one.metrics["history"][0][key], abs=1e-4)
    # AdamW brings a gradient that is rounding only to full size, so single weights may part, their means may not.
    parted = {name: float((value - two.tensors[name]).abs().mean()) for name, value in one.tensors.items()}
    assert max(value for name, value in parted.items() if not name.endswith("key.bias")) < 1e-5
    said = [json.loads((tmp_path / name / "test_predictions.json").read_text()) for name in ("one", "two")]
    assert said[0].keys() == said[1].keys()


@pytest.fixture(scope="module")
def with_rows(tmp_path_factory):
    """A corpus with relation and object rows, up to 24 of each."""
    root = make_corpus(tmp_path_factory.mktemp("rows") / "more", count=30)
    rng = np.random.default_rng(0)
    for feature, name, width in (("rel", "rel", 6), ("OFeat", "objects", 9)):
        with FeatureWriter(feature_path(root / "features/tiny", "more", feature), {"kind": feature}) as writer:
            for i in range(30):
                writer.write(video_name(i), {name: rng.normal(size=(i % 25, width)).astype(np.float32)})
            writer.finish()
    return root


def test_each_attention_is_another_captioner(with_rows, tmp_path):
    losses = []
    for attention in "123":
        words = train_words(with_rows, tmp_path / attention, "--epochs", "1", "--attention", attention)
        words[1] = "more_GBased+rel+videomask"
        assert main.main(words) == 0
        stored = load_checkpoint(tmp_path / attention / "last")
        assert stored.config["captioner"]["attention"] == int(attention)
        losses.append(stored.metrics["history"][0]["train/loss"])
    assert len({round(loss, 6) for loss in losses}) == 3


@pytest.mark.parametrize("features", ["GBased+rel", "GBased+OFeat+rel"])
def test_relations_and_objects_reach_the_network(with_rows, tmp_path, features):
    words = train_words(with_rows, tmp_path / "run", "--epochs", "1")
    words[1] = f"{with_rows.name}_{features}+videomask"
    assert main.main(words) == 0
    config = load_checkpoint(tmp_path / "run/best").config
    assert config["captioner"]["rel_dim"] == 6
    assert config["captioner"]["object_dim"] == (9 if "OFeat" in features else 0)
    assert config["features"]["others"]["rel"] == {"kind": "rel"}


def test_accumulated_steps_train_the_same_captioner_as_whole_ones(corpus, tmp_path):
    flags = ("--epochs", "1", "--dropout", "0", "--precision", "fp32")
    for name, micro in (("whole", "18"), ("cut", "6")):
        assert main.main(train_words(corpus, tmp_path / name, *flags, "--micro_batch_size", micro)) == 0
    whole, cut = (load_checkpoint(tmp_path / name / "last") for name in ("whole", "cut"))
    assert cut.training["cut"]["micro-batches per epoch and process"] > 5
    for key in ("train/loss", "train/l2r", "train/r2l"):
        assert cut.metrics["history"][0][key] == pytest.approx(whole.metrics["history"][0][key], abs=1e-4)


def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_the_videos(corpus, tmp_path, capsys, monkeypatch):
    from graphs import caption_training

    plain = caption_training.batch_loss

    def broken(model, batch):
        total, weight, numbers = plain(model, batch)
        return (total * float("nan") if video_name(4) in batch.names else total), weight, numbers

    monkeypatch.setattr(caption_training, "batch_loss", broken)
    flags = ("--epochs", "1", "--micro_batch_size", "3", "--batch_size", "6")
    assert main.main(train_words(corpus, tmp_path, *flags)) == 2
    message = capsys.readouterr().err
    assert "loss is nan; the model was not changed" in message and video_name(4) in message


def test_the_curves_have_the_documented_names(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained / "curves")).Reload()
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    tags = set(re.findall(r"`((?:epoch_)?(?:train|val)/\w+)`", page))
    assert {tag for tag in tags if tag.startswith("train/")} and "val/CIDEr" in tags
    assert tags == set(events.Tags()["scalars"])
    history = load_checkpoint(trained / "last").metrics["history"]
    written = [(event.step, event.value) for event in events.Scalars("val/CIDEr")]
    assert written == [(epoch["step"], pytest.approx(epoch["val/CIDEr"])) for epoch in history]


def test_a_run_and_its_export_are_checkpoints_too(corpus, trained, tmp_path):
    words = ["--do_eval", "--data_root", str(corpus), "--tokenizer", "nltk", "--device", "cpu"]
    assert main.main([*words, "--checkpoint", str(trained), "--output_dir", str(tmp_path / "a"), "--export_pth"]) == 0
    export = tmp_path / "a/best_model.pth"
    assert main.main([*words, "--checkpoint", str(export), "--output_dir", str(tmp_path / "b")]) == 0
    first, second = (json.loads((tmp_path / name / "test_scores.json").read_text()) for name in "ab")
    assert first == second and first["CIDEr"] == json.loads((trained / "test_scores.json").read_text())["CIDEr"]
    assert not (tmp_path / "b/best_model.pth").exists()


def test_a_published_checkpoint_is_scored_with_the_published_behaviour(corpus, tmp_path, capsys):
    from model.captioner import Captioner, CaptionerConfig
    from pretrained.akg import TRAINED_WITH

    torch.manual_seed(3)
    words = ["<PAD>", "<S>", "a", "red", "ball", "jumps"]
    config = CaptionerConfig.small(12, 10, len(words), slots=5, nodes_per_slot=4, node_positions=False)
    model = Captioner(config)
    model.generator.linear.bias.data[1] = 1.0  # otherwise no caption of random weights ends
    path = write_akg(tmp_path / "7.ckpt", model, words, heads(config))
    flags = ["--do_eval", "--checkpoint", str(path), "--data_root", str(corpus), "--tokenizer", "nltk"]
    flags += ["--device", "cpu", "--output_dir", str(tmp_path)]
    assert main.main(flags) == 2
    assert "give --model_name CORPUS_FEATURES too" in capsys.readouterr().err
    name = ["--model_name", f"{corpus.name}_GBased+videomask"]
    assert main.main([*flags, *name]) == 0
    scores = json.loads((tmp_path / "test_scores.json").read_text())
    assert set(TRAINED_WITH) <= set(scores["compat"]) and scores["num_videos"] == 11
    said = json.loads((tmp_path / "test_predictions.json").read_text())
    assert main.main([*flags, *name, "--search", "reference"]) == 0
    assert json.loads((tmp_path / "test_predictions.json").read_text()) == said
    assert main.main([*flags, "--model_name", f"{corpus.name}_GBased+rel"]) == 2
    assert "The checkpoint is a grid captioner" in capsys.readouterr().err


def test_a_config_with_a_published_row_prints_both_and_every_difference(corpus, tmp_path, capsys):
    (tmp_path / "row.yaml").write_text(
        f"model_name: {corpus.name}_GBased+videomask\ntraining: {{epochs: 1, seed: 3}}\npublished:\n  source: a paper\n"
        "  scores: {BLEU_4: 50.0, METEOR: 30.0, CIDEr: 60.0}\n"
        "  protocol: {split: val, references: raw, batch_size: 1024, seed: null,\n"
        "             videos: {train: 36, val: 12, test: 9}}\n"
    )
    words = train_words(corpus, tmp_path / "run")[2:]
    assert main.main(["--config", str(tmp_path / "row.yaml"), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    own = json.loads((tmp_path / "run/test_scores.json").read_text())
    assert lines[0] == "a paper" and lines[2].split()[:3] == ["BLEU_4", "50.00", f"{100 * own['BLEU_4']:.2f}"]
    assert lines[3].split() == ["METEOR", "30.00", "missing"]
    expected = {
        "split: published val, own test",
        "batch_size: published 1024, own 18",
        "seed: the publication does not say, own 3",
        "videos: published 36 / 12 / 9, own 36 / 12 / 12",
        "train: 1 videos missing",
        "test: 1 videos missing",
    }
    assert expected <= {line.strip() for line in lines}
    assert not any("references" in line for line in lines)


def test_a_dry_evaluation_and_a_dry_captioning_say_what_they_would_do(corpus, trained, tmp_path, capsys):
    output = tmp_path / "none"
    words = ["--checkpoint", str(trained / "best"), "--output_dir", str(output), "--dry_run", "--device", "cpu"]
    assert main.main([*words, "--do_eval", "--data_root", str(corpus), "--tokenizer", "nltk"]) == 0
    assert "would score 11 test videos" in capsys.readouterr().err
    assert main.main([*words, "--caption", "a clip.mp4"]) == 0
    out, err = capsys.readouterr()
    assert "would caption a clip.mp4" in err and not out and not output.exists()


def test_other_features_than_those_of_the_training_are_refused(corpus, trained, tmp_path, capsys):
    settings = {"slots": 5, "backbone": {"name": "other", "hash": "def"}}
    other = make_corpus(tmp_path / corpus.name, count=20, settings=settings)
    assert main.main(["--do_eval", "--checkpoint", str(trained / "best"), "--data_root", str(other)]) == 2
    assert "graphs.backbone.name was 'tiny', is 'other'" in capsys.readouterr().err
