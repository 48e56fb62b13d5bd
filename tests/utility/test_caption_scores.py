import json
import subprocess
import sys

import pytest

from utility import caption_tokens
from utility.caption_scores import CaptionScorer, read_predictions, read_references, score
from utility.caption_tokens import choose_tokenizer, java_problem, tokenize

REFERENCES = {
    "a": ["a man is cutting an onion", "someone cuts an onion"],
    "b": ["a dog runs on the beach", "a dog is running"],
    "\u72ac x-1": ["two boys play football"],
}
PREDICTIONS = {"a": "a man cuts an onion", "b": "a dog runs on the beach", "\u72ac x-1": "a boy plays"}

# Written by the PTB tokeniser of Stanford CoreNLP 3.4.1 with -preserveLines -lowerCase, its punctuation list removed.
PTB = [
    ("A man's dog, it's fast.", "a man 's dog it 's fast"),
    ("they don't stop - cannot stop", "they do n't stop can not stop"),
    ("a male (not shown) talks", "a male -lrb- not shown -rrb- talks"),
    ("a man p[laying golf ", "a man p -lsb- laying golf"),
    ("music w/ man in front", "music w / man in front"),
    ("a girl is walking/", "a girl is walking /"),
    ("whip/nae nae", "whip/nae nae"),
    ("two men of silento -whatch me", "two men of silento whatch me"),
    ("a girl shows beauty tips-", "a girl shows beauty tips"),
    ("a middle-aged man", "a middle-aged man"),
    ("the man wearing blue t- shirt", "the man wearing blue t shirt"),
    ("a group of performet=rs", "a group of performet = rs"),
    ("one of 900+ tedtalks", "one of 900 + tedtalks"),
    ("a kids show in e|i", "a kids show in e | i"),
    ("a video\\", "a video \\"),
    ("his customer`s face", "his customer s face"),
    ("it\u2019s head cut off", "it 's head cut off"),
    ("recipe: basmati rice", "recipe basmati rice"),
    ("the top #8 on that list", "the top # 8 on that list"),
]


@pytest.mark.parametrize(("caption", "tokens"), PTB)
def test_the_tokeniser_without_java_agrees_with_ptb(caption, tokens):
    assert tokenize([caption], "nltk") == [tokens]


def test_both_tokenisers_agree_line_by_line_where_there_is_java():
    captions = [caption for caption, _ in PTB] + ["", "two\nlines \x85 of it", "   "]
    expected = [tokens for _, tokens in PTB] + ["", "two lines of it", ""]
    assert tokenize(captions, "nltk") == expected
    if java_problem() is None:
        assert tokenize(captions, "java") == expected


def test_perfect_captions_get_full_scores_and_wrong_ones_less():
    right = {name: texts[0] for name, texts in REFERENCES.items()}
    perfect = score(REFERENCES, right, "nltk", ("BLEU", "ROUGE_L", "CIDEr"))
    assert perfect["BLEU_1"] == pytest.approx(1) and perfect["ROUGE_L"] == pytest.approx(1)
    other = score(REFERENCES, PREDICTIONS, "nltk", ("BLEU", "ROUGE_L", "CIDEr"))
    assert other["CIDEr"] < perfect["CIDEr"]
    assert other["num_videos"] == 3 and other["num_references"] == 5 and "METEOR" not in other


def test_scores_equal_those_of_pycocoevalcap():
    from pycocoevalcap.cider.cider import Cider

    tokens = {name: [text.lower() for text in texts] for name, texts in REFERENCES.items()}
    expected, _ = Cider().compute_score(tokens, {name: [text] for name, text in PREDICTIONS.items()})
    assert score(REFERENCES, PREDICTIONS, "nltk", ("CIDEr",))["CIDEr"] == pytest.approx(float(expected), abs=1e-12)


def test_without_java_only_meteor_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    caption_tokens.java_problem.cache_clear()
    try:
        scores = score(REFERENCES, PREDICTIONS)
        assert scores["METEOR"] is None and scores["tokenizer"] == "nltk"
        assert scores["notes"] == ["METEOR is missing: no java on the PATH"]
        assert scores["CIDEr"] > 0
        with pytest.raises(ValueError, match="--tokenizer java: no java on the PATH"):
            choose_tokenizer("java")
    finally:
        caption_tokens.java_problem.cache_clear()


def test_spice_is_computed_on_request_or_says_what_it_needs(monkeypatch):
    from utility import caption_metrics

    assert "SPICE" not in score(REFERENCES, PREDICTIONS, "nltk", ("CIDEr",))
    monkeypatch.setattr(caption_metrics, "java_problem", lambda: None)
    if caption_metrics.spice_problem() is None:
        pytest.skip("the models of SPICE are installed")
    scores = score(REFERENCES, PREDICTIONS, "nltk", ("SPICE",))
    assert scores["SPICE"] is None and "stanford-corenlp-3.6.0-models.jar in " in scores["notes"][0]
    assert "http://nlp.stanford.edu/software/" in scores["notes"][0]
    monkeypatch.setattr(caption_metrics, "java_problem", lambda: "no java on the PATH")
    assert score(REFERENCES, PREDICTIONS, "nltk", ("SPICE",))["notes"] == ["SPICE is missing: no java on the PATH"]


def test_videos_without_prediction_are_counted_in_a_note():
    scores = score(REFERENCES, {"a": "a man"}, "nltk", ("BLEU", "CIDEr"))
    assert scores["num_videos"] == 1
    assert any("2 of 3 videos" in note for note in scores["notes"])
    assert any("single video" in note for note in scores["notes"])


@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        (REFERENCES, {"z": "a man"}, "1 of 1 predictions have no references: z"),
        (REFERENCES, {}, "no predictions"),
        ({"a": []}, {"a": "a man"}, "1 of 1 videos have none: a"),
    ],
)
def test_what_cannot_be_scored_is_named(references, predictions, message):
    with pytest.raises(ValueError, match=message):
        score(references, predictions, "nltk")


def test_a_scorer_keeps_its_references_between_calls():
    scorer = CaptionScorer(REFERENCES, "nltk")
    first = scorer.score(PREDICTIONS, ("CIDEr",))
    scorer.score({"a": "a dog"}, ("CIDEr",))
    assert scorer.score(PREDICTIONS, ("CIDEr",)) == first


def test_the_program_prints_json_and_nothing_else(tmp_path):
    schema = {
        "videos": [{"video_id": name} for name in REFERENCES],
        "sentences": [{"video_id": name, "caption": text} for name, texts in REFERENCES.items() for text in texts],
    }
    (tmp_path / "R.json").write_text(json.dumps(schema))
    (tmp_path / "P.json").write_text(json.dumps(PREDICTIONS))
    assert read_references(tmp_path / "R.json") == REFERENCES
    command = [sys.executable, "-m", "utility.caption_scores", "--references", str(tmp_path / "R.json")]
    done = subprocess.run(
        [*command, "--predictions", str(tmp_path / "P.json"), "--tokenizer", "nltk"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_videos"] == 3
    missing = subprocess.run([*command, "--predictions", str(tmp_path / "none.json")], capture_output=True, text=True)
    assert missing.returncode == 2 and missing.stdout == "" and "none.json" in missing.stderr


def test_prediction_files_of_another_form_are_refused(tmp_path):
    path = tmp_path / "P.json"
    path.write_text(json.dumps({"a": ["one"], "b": "two"}))
    assert read_predictions(path) == {"a": "one", "b": "two"}
    path.write_text(json.dumps([1, 2]))
    with pytest.raises(ValueError, match=r'must be \{"id": "caption"'):
        read_predictions(path)
