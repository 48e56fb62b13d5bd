import itertools
import json

import numpy as np
import pytest

from utility import caption_compare, caption_metrics
from utility.caption_compare import compare, read_scores
from utility.caption_scores import main, score

WORDS = ["a", "man", "dog", "red", "ball", "runs", "jumps", "on", "the", "grass"]


def corpus(seed, videos=12, wrong=0.3):
    """References, and captions of which a share of the words is replaced."""
    rng = np.random.default_rng(seed)
    references = {f"v{i}": [" ".join(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(3)] for i in range(videos)}
    said = {}
    for name, texts in references.items():
        words = [word if rng.random() > wrong else str(rng.choice(WORDS)) for word in texts[0].split()]
        said[name] = " ".join(words)
    return references, said


def scored(references, said):
    return score(references, said, "nltk", ("BLEU", "ROUGE_L", "CIDEr"))


REFERENCES, GOOD = corpus(0, wrong=0.1)
BAD = corpus(0, wrong=0.9)[1]
A, B = scored(REFERENCES, BAD), scored(REFERENCES, GOOD)


def test_scores_are_those_of_the_files_and_intervals_hold_them():
    result = compare(A, B, samples=400)
    assert set(result["metrics"]) == {"BLEU_1", "BLEU_2", "BLEU_3", "BLEU_4", "ROUGE_L", "CIDEr"}
    for name, row in result["metrics"].items():
        assert row["a"] == pytest.approx(A[name], abs=1e-7) and row["b"] == pytest.approx(B[name], abs=1e-7)
        assert row["difference"] == pytest.approx(row["b"] - row["a"])
        if name != "BLEU_4":  # whose distribution over resamplings of few videos is lopsided
            assert row["a_interval"][0] <= row["a"] <= row["a_interval"][1]
    assert result["num_videos"] == 12 and result["tokenizer"] == "nltk"


def test_a_better_system_is_found_better_and_an_equal_one_is_not():
    better = compare(A, B, samples=400)["metrics"]["CIDEr"]
    assert better["p"] < 0.02 and better["difference_interval"][0] > 0
    same = compare(A, A, samples=100)["metrics"]["CIDEr"]
    assert same["p"] == 1 and same["difference_interval"] == [0, 0]


def test_bleu_of_a_resampling_is_that_of_pycocoevalcap():
    from pycocoevalcap.bleu.bleu import Bleu

    drawn = [0, 0, 3, 5, 5, 5, 11]
    names = list(REFERENCES)
    truths = {i: REFERENCES[names[row]] for i, row in enumerate(drawn)}
    results = {i: [BAD[names[row]]] for i, row in enumerate(drawn)}
    expected, _ = Bleu(4).compute_score(truths, results, verbose=0)
    columns = caption_compare._columns("BLEU", np.array(A["per_video"]["BLEU"], float))
    values = caption_compare._values("BLEU", columns[drawn].sum(0)[None], len(drawn))
    assert [float(value[0]) for value in values.values()] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", ["CIDEr", "BLEU_2"])
def test_p_is_that_of_all_exchanges(metric):
    references, bad = corpus(4, videos=7, wrong=0.6)
    a, b = scored(references, bad), scored(references, corpus(4, videos=7, wrong=0.3)[1])
    kind = metric.split("_")[0]
    left, right = (caption_compare._columns(kind, np.array(side["per_video"][kind], float)) for side in (a, b))

    def difference(swapped):
        pick = np.array(swapped)[:, None]
        one, other = np.where(pick, right, left).sum(0), np.where(pick, left, right).sum(0)
        return np.subtract(*(caption_compare._values(kind, side[None], 7)[metric][0] for side in (other, one)))

    all_of_them = [abs(difference(swapped)) for swapped in itertools.product([0, 1], repeat=7)]
    exact = np.mean([value >= abs(difference([0] * 7)) - 1e-12 for value in all_of_them])
    assert compare(a, b, samples=4000)["metrics"][metric]["p"] == pytest.approx(exact, abs=0.03)


def test_the_order_of_videos_and_the_size_of_chunks_do_not_matter(monkeypatch):
    turned = scored(dict(reversed(REFERENCES.items())), dict(reversed(GOOD.items())))
    whole = compare(A, B, samples=50)
    for name, value in compare(A, turned, samples=50)["metrics"]["BLEU_3"].items():
        assert value == pytest.approx(whole["metrics"]["BLEU_3"][name])
    monkeypatch.setattr(caption_compare, "_CELLS", 12 * 7)
    # Other chunks draw the exchanges from another place of the stream of random numbers, never other intervals.
    assert compare(A, B, samples=50)["metrics"]["CIDEr"]["a_interval"] == whole["metrics"]["CIDEr"]["a_interval"]


def test_samples_and_seed_act():
    first, second, more = (compare(A, B, *given) for given in ((50, 0), (50, 1), (60, 0)))
    assert first["metrics"]["CIDEr"]["a_interval"] != second["metrics"]["CIDEr"]["a_interval"]
    assert first["metrics"]["CIDEr"]["a_interval"] != more["metrics"]["CIDEr"]["a_interval"]


FEWER = scored(dict(list(REFERENCES.items())[:6]), dict(list(GOOD.items())[:6]))
OTHER = scored({name: texts[:2] for name, texts in REFERENCES.items()}, GOOD)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (B | {"split": "val"}, "different splits cannot be compared: split is None in the first file and 'val'"),
        (B | {"tokenizer": "java"}, "different tokenisers cannot be compared"),
        (B | {"references": "trimmed"}, "different references cannot be compared: references is None"),
        (OTHER, "different references cannot be compared: references_hash"),
        (FEWER | {"references_hash": A["references_hash"]}, "6 videos are only in the first file, 0 only in the sec"),
    ],
)
def test_what_cannot_be_compared_is_refused(other, message):
    with pytest.raises(ValueError, match=message):
        compare(A, other)


def test_the_program_compares_what_it_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(caption_metrics, "java_problem", lambda: "not here")  # METEOR takes ten seconds
    (tmp_path / "R.json").write_text(json.dumps(REFERENCES))
    for name, said in (("A", BAD), ("B", GOOD)):
        (tmp_path / "P.json").write_text(json.dumps(said))
        words = ["--references", str(tmp_path / "R.json"), "--predictions", str(tmp_path / "P.json")]
        assert main([*words, "--tokenizer", "nltk"]) == 0
        (tmp_path / f"{name}.json").write_text(capsys.readouterr().out)
    assert read_scores(tmp_path / "A.json")["per_video"]["ids"] == list(REFERENCES)
    assert main(["--compare", str(tmp_path / "A.json"), str(tmp_path / "B.json"), "--samples", "50"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["samples"] == 50 and printed["metrics"]["CIDEr"]["difference"] > 0
    (tmp_path / "A.json").write_text('{"CIDEr": 1.0}')
    assert main(["--compare", str(tmp_path / "A.json"), str(tmp_path / "B.json")]) == 2
    assert "A.json has no scores per video" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--compare", "A.json", "B.json", "--references", "R.json"])
