import json
import shutil
import sys

import numpy as np
import pytest
import torch
from caption_corpus import make_corpus, video_name
from launch import ENVIRONMENT, ROOT, launch

import main
from dataset.caption_settings import parse_model_name
from utility.checkpoint import load_checkpoint
from utility.feature_store import FeatureWriter, feature_path

SMALL = ["--batch_size", "18", "--captions_per_video", "3", "--tokenizer", "nltk", "--device", "cpu"]


@pytest.fixture(scope="module", autouse=True)
def without_java():
    """METEOR starts a Java machine, which takes longer than all that is tested here."""
    from utility import caption_tokens

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        patch.setitem(ENVIRONMENT, "PATH", "")
        caption_tokens.java_problem.cache_clear()
        yield
    caption_tokens.java_problem.cache_clear()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("syn"), count=60, skip={1, 58})


def train_words(corpus, output, *more):
    data = ["--data_root", str(corpus), "--output_dir", str(output)]
    return ["--model_name", f"{corpus.name}_GBased+videomask", "--do_train", *data, *SMALL, *more]


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
        "tokenizer": "nltk", "search": {"kind": "sound", "beam": 5, "length_penalty": 0.0}, "max_words": 20,
    }  # fmt: skip
    assert expected.items() <= scores.items()
    assert any("METEOR is missing" in note for note in scores["notes"])
    assert "1 videos without features" in scores["notes"]
    assert list((trained / "curves").iterdir()) and (trained / "log.txt").stat().st_size


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
    assert scores("--search", "reference", "--beam", "2")["search"]["kind"] == "reference"
    assert "positions" in scores("--compat", "reference")["compat"]


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


@pytest.mark.parametrize("features", ["GBased+rel", "GBased+OFeat+rel"])
def test_relations_and_objects_reach_the_network(tmp_path, features):
    root = make_corpus(tmp_path / "more", count=30)
    rng = np.random.default_rng(0)
    for feature, name, width in (("rel", "rel", 6), ("OFeat", "objects", 9)):
        with FeatureWriter(feature_path(root / "features/tiny", "more", feature), {"kind": feature}) as writer:
            for i in range(30):
                writer.write(video_name(i), {name: rng.normal(size=(i % 25, width)).astype(np.float32)})
            writer.finish()
    words = train_words(root, tmp_path / "run", "--epochs", "1")
    words[1] = f"more_{features}+videomask"
    assert main.main(words) == 0
    config = load_checkpoint(tmp_path / "run/best").config
    assert config["captioner"]["rel_dim"] == 6
    assert config["captioner"]["object_dim"] == (9 if "OFeat" in features else 0)
    assert config["features"]["others"]["rel"] == {"kind": "rel"}


def test_a_dry_run_leaves_nothing_behind(corpus, tmp_path):
    output = tmp_path / "none"
    assert main.main(train_words(corpus, output, "--dry_run")) == 0
    assert not output.exists()


def test_a_dry_evaluation_and_a_dry_captioning_say_what_they_would_do(corpus, trained, tmp_path, capsys):
    output = tmp_path / "none"
    words = ["--checkpoint", str(trained / "best"), "--output_dir", str(output), "--dry_run", "--device", "cpu"]
    assert main.main([*words, "--do_eval", "--data_root", str(corpus), "--tokenizer", "nltk"]) == 0
    assert "would score 11 test videos" in capsys.readouterr().err
    assert main.main([*words, "--caption", "a clip.mp4"]) == 0
    out, err = capsys.readouterr()
    assert "would caption a clip.mp4" in err and not out and not output.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--search", "reference", "--length_penalty", "1"], "--search reference has no length penalty"),
        (["--compat", "positions"], "add compat item 'beam'"),
        (["--beam", "0"], "beam 0"),
        (["--split", "tests"], "Unknown split (tests)"),
    ],
)
def test_what_would_fail_after_the_training_fails_before_it(corpus, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.setattr("utility.engine.train", None)
    assert main.main(train_words(corpus, tmp_path, "--epochs", "1", *words)) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model_name", "GBased+foo", "--do_train"], "Unknown model name (GBased+foo)"),
        (
            ["--model_name", "Kinetics_GBased", "--do_train"],
            "Unknown dataset (Kinetics). Known are MiniMotion, MSR-VTT, MSVD",
        ),
        (["--do_eval", "--checkpoint", "nowhere"], "nowhere is not a checkpoint: there is no such folder"),
        (["--caption", "a.mp4", "--checkpoint", "nowhere"], "nowhere is not a checkpoint"),
        (["--batch_size", "18", "--captions_per_video", "5"], "--batch_size 18 is not a multiple"),
        (["--batch_size", "999"], "--batch_size 999 is more than the 105 training captions"),
        (["--min_count", "1000"], "No word occurs 1000 times in the training captions"),
        (["--features", "other"], "GBased_graph"),
        (["--attention", "2"], "attention 2 has no effect in mode 'grid'"),
        (["--compat", "beams"], "unknown compat item beams; known are: reference, "),
        (["--tokenizer", "java"], "--tokenizer java: no java on the PATH"),
        (["--device", "cuda:99"], "cuda:99"),
    ],
)
def test_mistakes_are_answered_with_what_to_do(corpus, tmp_path, capsys, words, message):
    if "--do_eval" not in words and "--caption" not in words and "--model_name" not in words:
        words = [*train_words(corpus, tmp_path, "--epochs", "1"), *words]
    assert main.main(words) == 2
    assert message in capsys.readouterr().err


def test_other_features_than_those_of_the_training_are_refused(corpus, trained, tmp_path, capsys):
    settings = {"slots": 5, "backbone": {"name": "other", "hash": "def"}}
    other = make_corpus(tmp_path / corpus.name, count=20, settings=settings)
    assert main.main(["--do_eval", "--checkpoint", str(trained / "best"), "--data_root", str(other)]) == 2
    assert "graphs.backbone.name was 'tiny', is 'other'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--do_trian"], "unknown flag --do_trian, did you mean --do_train"),
        ([], "nothing to do: give --do_train, --do_eval or --caption"),
        (["--caption", "a.mp4"], "--caption needs --checkpoint DIR"),
    ],
)
def test_misspelt_flags_end_before_anything_is_loaded(capsys, words, message):
    with pytest.raises(SystemExit) as error:
        main.main(words)
    assert error.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model_name", "expected"),
    [
        ("MSR-VTT_GBased+rel+videomask", ("MSR-VTT", "GBased+rel")),
        ("my_own_corpus_OBased", ("my_own_corpus", "OBased")),
        ("MSVD_gbased+OFEAT+rel+videomask", ("MSVD", "GBased+OFeat+rel")),
    ],
)
def test_model_names(model_name, expected):
    assert parse_model_name(model_name) == expected


def test_published_settings_are_defaults_of_their_corpora():
    from dataset.caption_settings import CaptionerArguments, with_defaults

    for corpus, epochs, batch in (("MSVD", 30, 64), ("msr_vtt", 25, 128)):
        args = with_defaults(CaptionerArguments(model_name="x", do_train=True), corpus)
        assert (args.epochs, args.batch_size, args.micro_batch_size) == (epochs, batch, 32)
        assert (args.model_size, args.lr, args.min_count, args.captions_per_video) == ("published", 1e-4, 3, 1)
    own = CaptionerArguments(model_name="x", do_train=True, batch_size=16, lr=0.5)
    assert (with_defaults(own, "MSVD").batch_size, with_defaults(own, "MSVD").lr) == (16, 0.5)
    assert with_defaults(own, "holiday").model_size == "small"


def test_datatype_hands_over_to_the_retrieval_trainers(monkeypatch):
    import types

    seen = []
    module = types.SimpleNamespace(main=lambda argv: seen.append(argv) or 7)
    monkeypatch.setitem(sys.modules, "train_unified_model", module)
    assert main.main(["--do_train", "--datatype", "msrvtt"]) == 7
    assert seen == [["--do_train", "--datatype", "msrvtt"]]


def test_weight_decay_spares_biases_and_norms():
    from model.captioner import Captioner, CaptionerConfig

    model = Captioner(CaptionerConfig.small(4, 4, 10, slots=2, nodes_per_slot=2))
    decayed, spared = main.decayed(model, 0.1)
    assert decayed["weight_decay"] == 0.1 and spared["weight_decay"] == 0
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))
    names = {id(p): name for name, p in model.named_parameters()}
    assert all(np.ndim(p.detach()) == 1 for p in spared["params"])
    assert any("visual_norm2d.weight" in names[id(p)] for p in decayed["params"])
