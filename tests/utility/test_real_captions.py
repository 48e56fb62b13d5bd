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
def tokens(captions):
    """References and captions through the tokeniser that pycocoevalcap brings, called as its authors call it."""
    if problem := java_problem():
        pytest.skip(f"no Java: {problem}")
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    references, said = captions
    lines = {k: [{"caption": text} for text in texts] for k, texts in references.items()}
    return PTBTokenizer().tokenize(lines), PTBTokenizer().tokenize({k: [{"caption": v}] for k, v in said.items()})


@pytest.mark.parametrize("tokenizer", ["java", "nltk"])
def test_scores_equal_pycocoevalcap_called_directly(captions, tokens, tokenizer):
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    bleu, _ = Bleu(4).compute_score(*tokens, verbose=0)
    expected = {f"BLEU_{n}": value for n, value in enumerate(bleu, 1)}
    expected |= {"ROUGE_L": Rouge().compute_score(*tokens)[0], "CIDEr": Cider().compute_score(*tokens)[0]}
    scores = score(*captions, tokenizer, ("BLEU", "ROUGE_L", "CIDEr"))
    assert scores["tokenizer"] == tokenizer and scores["num_videos"] == VIDEOS
    for name, value in expected.items():
        assert scores[name] == pytest.approx(float(value), abs=1e-4), name


@pytest.mark.slow
def test_meteor_equals_pycocoevalcap_called_directly(captions, tokens):
    from pycocoevalcap.meteor.meteor import Meteor

    expected, _ = Meteor().compute_score(*tokens)
    assert score(*captions, "java", ("METEOR",))["METEOR"] == pytest.approx(float(expected), abs=1e-4)
