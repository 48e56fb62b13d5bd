"""Scoring and captioning with main.py: which checkpoint, how many captions, how many processes."""

import json
import shutil

import pytest
import torch
from caption_corpus import make_corpus, train_words, video_name
from launch import ROOT, launch
from no_java import without_java

import graphs.captions
import main


@pytest.fixture(scope="module", autouse=True)
def no_java():
    with without_java():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("syn"), count=40)


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    assert main.main(train_words(corpus, output, "--epochs", "3", "--beam", "1")) == 0
    return output


def evaluation(corpus, output, *more):
    words = ["--do_eval", "--data_root", str(corpus), "--output_dir", str(output), "--tokenizer", "nltk"]
    return [*words, "--device", "cpu", *map(str, more)]


def read(path):
    return json.loads(path.read_text())


def test_without_a_checkpoint_the_best_of_the_output_folder_is_scored(corpus, trained, tmp_path, capsys):
    name = f"{corpus.name}_GBased+videomask"
    shutil.copytree(trained / "best", tmp_path / "best")
    assert main.main(evaluation(corpus, tmp_path, "--model_name", name, "--beam", 1)) == 0
    assert read(tmp_path / "test_scores.json")["CIDEr"] == read(trained / "test_scores.json")["CIDEr"]
    assert main.main(evaluation(corpus, tmp_path / "none", "--model_name", name)) == 2
    message = capsys.readouterr().err
    assert f"{tmp_path / 'none/best'} is not a checkpoint: there is no such folder" in message
    assert "without --checkpoint the best of the output folder is scored" in message and "Traceback" not in message
    with pytest.raises(SystemExit):
        main.main(["--do_eval", "--data_root", str(corpus)])
    assert "--do_eval needs --checkpoint DIR or --model_name" in capsys.readouterr().err


def test_the_n_best_captions_go_to_a_file_of_their_own(corpus, trained, tmp_path):
    words = evaluation(corpus, tmp_path, "--checkpoint", trained, "--beam", 4, "--length_penalty", 0.5)
    assert main.main(words) == 0
    plain, scores = read(tmp_path / "test_predictions.json"), read(tmp_path / "test_scores.json")
    assert not (tmp_path / "test_n_best.json").exists()
    assert main.main([*words, "--n_best", "3"]) == 0
    assert read(tmp_path / "test_predictions.json") == plain
    assert read(tmp_path / "test_scores.json") == scores
    kept = read(tmp_path / "test_n_best.json")
    assert kept["search"] == scores["search"] and list(kept["captions"]) == list(plain)
    for name, records in kept["captions"].items():
        assert len({record["caption"] for record in records}) == len(records) == 3
        assert records[0]["caption"] == plain[name]
        assert [r["score"] for r in records] == sorted((r["score"] for r in records), reverse=True)
        for record in records:
            length = len(record["caption"].split()) + 1
            assert record["score"] == pytest.approx(record["log_probability"] / length**0.5, rel=1e-5)


def test_several_right_to_left_captions_may_be_attended_to(corpus, trained, tmp_path, capsys):
    words = evaluation(corpus, tmp_path, "--checkpoint", trained, "--beam", 3, "--n_best", 2)
    totals = {}
    for number in (1, 3):
        assert main.main([*words, "--r2l_hypotheses", str(number)]) == 0
        totals[number] = [r[0]["log_probability"] for r in read(tmp_path / "test_n_best.json")["captions"].values()]
        assert read(tmp_path / "test_scores.json")["search"]["r2l_memory"].startswith({1: "best", 3: "3 best"}[number])
    assert totals[1] != totals[3]
    for more in (("--search", "reference"), ("--compat", "beam"), ("--compat", "r2l_memory")):
        assert main.main([*words, "--r2l_hypotheses", "3", *more]) == 2
        assert "--r2l_hypotheses is for the sound search" in capsys.readouterr().err


@pytest.mark.parametrize("beam", ["2", "5"])
@pytest.mark.parametrize("name", ["n_best", "r2l_hypotheses"])
def test_more_captions_than_the_beam_keeps_are_refused(capsys, beam, name):
    with pytest.raises(SystemExit) as error:
        main.main(["--do_eval", "--checkpoint", "run", "--beam", beam, f"--{name}", "6"])
    assert error.value.code == 2
    assert f"--{name} 6 of --beam {beam}: a search keeps as many captions as its beam" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main.main(["--do_eval", "--checkpoint", "run", "--batch_size_val", "0"])
    assert "--batch_size_val 0 must be 1 or more" in capsys.readouterr().err


def test_the_batch_of_an_evaluation_changes_nothing_but_its_memory(corpus, trained, tmp_path, monkeypatch, capsys):
    sizes, search = [], graphs.captions.search_both

    def watched(model, batch, *more):
        sizes.append(len(batch["slot_mask"]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")
        return search(model, batch, *more)

    monkeypatch.setattr(graphs.captions, "search_both", watched)
    words = evaluation(corpus, tmp_path, "--checkpoint", trained, "--beam", 1)
    assert main.main([*words, "--batch_size_val", "6"]) == 2
    message = capsys.readouterr().err
    assert "on cpu with videos taken 6 at a time (CUDA out of memory. Tried to allocate 9.00 GiB.)" in message
    assert "--batch_size_val 3 needs about half" in message and "Traceback" not in message
    sizes.clear()
    assert main.main([*words, "--batch_size_val", "3"]) == 0
    assert sizes == [3, 3, 2]
    assert read(tmp_path / "test_predictions.json") == read(trained / "test_predictions.json")


def test_two_processes_caption_and_score_as_one(corpus, trained, tmp_path):
    more = ("--checkpoint", trained, "--split", "val", "--beam", 3, "--n_best", 2)
    launch(ROOT / "main.py", *evaluation(corpus, tmp_path / "two", *more), processes=2)
    assert main.main(evaluation(corpus, tmp_path / "one", *more)) == 0
    one, two = (read(tmp_path / name / "val_predictions.json") for name in ("one", "two"))
    assert one == two and list(two) == [video_name(i) for i in range(24, 32)]
    assert read(tmp_path / "one/val_scores.json") == read(tmp_path / "two/val_scores.json")
    one, two = (read(tmp_path / name / "val_n_best.json")["captions"] for name in ("one", "two"))
    for name, records in one.items():
        for ours, theirs in zip(records, two[name], strict=True):
            assert ours == theirs | {key: pytest.approx(theirs[key], abs=1e-4) for key in ("log_probability", "score")}
