"""Scores of real captions, each video's first against its others, equal those of pycocoevalcap called directly."""

import pytest

from dataset.corpus import open_json
from utility.caption_scores import read_references, score
from utility.caption_tokens import java_problem

FILES = {"msrvtt": "annotations/msrvtt/MSRVTT_data.json.gz", "msvd": "annotations/msvd/captions.json.gz"}
VIDEOS = 150


@pytest.fixture(scope="module", params=FILES)
def captions(request, shared_data):
    """({id: other captions}, {id: first caption}) of videos spread over the corpus."""
    path = shared_data / FILES[request.param]
    content = open_json(path)
    every = read_references(path) if "sentences" in content else content
    every = {name: texts for name, texts in every.items() if len(texts) > 1}
    names = list(every)[:: len(every) // VIDEOS][:VIDEOS]
    return {name: every[name][1:] for name in names}, {name: every[name][0] for name in names}


@pytest.fixture(scope="module")
def direct(captions):
    """What pycocoevalcap's own classes give, its tokeniser in front, called as its authors call them."""
    if problem := java_problem():
        pytest.skip(f"no Java: {problem}")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    references, said = captions
    truths = PTBTokenizer().tokenize({k: [{"caption": text} for text in texts] for k, texts in references.items()})
    results = PTBTokenizer().tokenize({k: [{"caption": text}] for k, text in said.items()})
    bleu, _ = Bleu(4).compute_score(truths, results, verbose=0)
    scores = {f"BLEU_{n}": value for n, value in enumerate(bleu, 1)}
    for name, metric in (("METEOR", Meteor()), ("ROUGE_L", Rouge()), ("CIDEr", Cider())):
        scores[name] = float(metric.compute_score(truths, results)[0])
    return scores


@pytest.mark.parametrize("tokenizer", ["java", "nltk"])
def test_scores_equal_pycocoevalcap_called_directly(captions, direct, tokenizer, monkeypatch):
    if tokenizer == "nltk":
        # As on a machine without Java, where METEOR is the one score that there is not.
        monkeypatch.setattr("utility.caption_metrics.java_problem", lambda: "no java")
    scores = score(*captions, tokenizer)
    assert scores["tokenizer"] == tokenizer and scores["num_videos"] == VIDEOS
    assert (scores["METEOR"] is None) == (tokenizer == "nltk")
    compared = {name: value for name, value in direct.items() if scores[name] is not None}
    assert len(compared) == (7 if tokenizer == "java" else 6)
    for name, value in compared.items():
        assert scores[name] == pytest.approx(value, abs=1e-4), name
