"""What main.py makes of its words before anything is trained: defaults, refusals with what to do, a dry run."""

import sys

import pytest
from caption_corpus import make_corpus, train_words
from no_java import without_java

import main
from dataset.caption_settings import parse_model_name


@pytest.fixture(scope="module", autouse=True)
def no_java():
    with without_java():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("syn"), count=60, skip={1, 58})


def test_a_dry_run_leaves_nothing_behind(corpus, tmp_path):
    output = tmp_path / "none"
    assert main.main(train_words(corpus, output, "--dry_run")) == 0
    assert not output.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--search", "reference", "--length_penalty", "1"], "--search reference has no length penalty"),
        (["--compat", "positions"], "add compat item 'beam'"),
        (["--compat", "beam", "--length_penalty", "1"], "compat item 'beam', the published search, has no length"),
        (["--split", "tests"], "Unknown split (tests)"),
    ],
)
def test_what_would_fail_after_the_training_fails_before_it(corpus, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.setattr("graphs.caption_training.train", None)
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--do_trian"], "unknown flag --do_trian, did you mean --do_train"),
        ([], "nothing to do: give --do_train, --do_eval or --caption"),
        (["--caption", "a.mp4"], "--caption needs --checkpoint DIR"),
        (["--do_train", "--model_name", "MSVD_GBased", "--beam", "0"], "--beam 0 and --val_beam 1 must be 1 or more"),
        (["--do_train", "--model_name", "MSVD_GBased", "--val_beam", "0"], "--val_beam 0 must be 1 or more"),
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
    assert [with_defaults(own, name).captions_per_video for name in ("holiday", "MiniMotion")] == [1, 5]


def test_datatype_hands_over_to_the_retrieval_trainers(monkeypatch):
    import types

    seen = []
    module = types.SimpleNamespace(main=lambda argv: seen.append(argv) or 7)
    monkeypatch.setitem(sys.modules, "train_unified_model", module)
    assert main.main(["--do_train", "--datatype", "msrvtt"]) == 7
    assert seen == [["--do_train", "--datatype", "msrvtt"]]
