import json

import pytest

from scripts import human_scores
from scripts.human_scores import rounds_of, score_rounds

CAPTIONS = {"a": ["a man runs", "a man is running fast", "someone runs"], "b": ["a dog", "the dog sleeps"], "c": ["x"]}


def test_a_round_leaves_one_caption_of_every_video_out():
    rounds = list(rounds_of(CAPTIONS, None))
    assert [list(said) for _, said in rounds] == [["a", "b"], ["a", "b"], ["a"]]
    assert rounds[1] == (
        {"a": ["a man runs", "someone runs"], "b": ["a dog"]},
        {"a": ["a man is running fast"], "b": ["the dog sleeps"]},
    )
    assert len(list(rounds_of(CAPTIONS, 2))) == 2


def test_scores_are_means_over_captions():
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    result = score_rounds(CAPTIONS)
    assert (result["captions"], result["rounds"]) == (5, 3)
    for name, metric in (("ROUGE_L", Rouge), ("CIDEr", Cider)):
        each = [
            value for truths, said in rounds_of(CAPTIONS, None) for value in metric().compute_score(truths, said)[1]
        ]
        assert result[name] == pytest.approx(sum(each) / 5)


def test_the_program_reports_every_stage(tmp_path, capsys):
    videos = [{"video_id": f"v{i}", "split": "train" if i < 3 else "test"} for i in range(4)]
    sentences = [{"video_id": f"v{i}", "caption": text} for i in range(4) for text in (f"a man {i}", "a man runs")]
    (tmp_path / "captions.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    words = ["--data_root", str(tmp_path), "--captions", str(tmp_path / "captions.json"), "--tokenizer", "nltk"]
    words += ["--min_count", "2", "--batch_size", "2"]
    assert human_scores.main(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["captions"], result["videos"], result["rounds"]) == (8, 4, 2)
    assert result["training_data"]["captions"] == 6 and result["training_data"]["words"] == 3
    assert result["training_data"]["words_in_batches"] == 15 and result["training_data"]["batches"] == 3
    assert result["training_data"]["share_of_words_known"] == pytest.approx(15 / 18, abs=1e-6)
    assert set(result["seconds"]) == {"read", "training data", "tokenise", "score"}
    assert human_scores.main([*words, "--rounds", "1", "--split", "test"]) == 0
    assert json.loads(capsys.readouterr().out)["captions"] == 1
    assert human_scores.main([*words, "--dry_run"]) == 0
    assert "would score 8 captions" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        human_scores.main([*words, "--tokenizer", "spacy"])
