import json

import numpy as np
import pytest

from utility.retrieval_metrics import (
    group_maximum,
    main,
    metric_lines,
    ranks,
    retrieval_scores,
    scores,
    text_to_video,
)
from utility.retrieval_rerank import dual_softmax


def naive_rank(row, answer):
    """Place of the answer after sorting, among equals the last."""
    order = sorted(range(len(row)), key=lambda column: (-row[column], column == answer))
    return order.index(answer) + 1


def test_ranks_equal_sorting_with_ties():
    rng = np.random.default_rng(0)
    matrix, answer = rng.integers(0, 5, (40, 12)).astype(np.float32), rng.integers(0, 12, 40)
    rank, tied = ranks(matrix, answer)
    assert rank.tolist() == [naive_rank(row, column) for row, column in zip(matrix, answer, strict=True)]
    assert tied == sum((row == row[column]).sum() > 1 for row, column in zip(matrix, answer, strict=True))


def test_scoring_everything_alike_finds_nothing():
    results = retrieval_scores(np.zeros((20, 20)), np.arange(20))
    assert results["t2v"] == {"R@1": 0, "R@5": 0, "R@10": 0, "MdR": 20, "MnR": 20, "queries": 20, "ties": 20}


def test_several_texts_per_video():
    owner = [0, 0, 1, 2]
    matrix = np.array([[0.9, 0.1, 0.2], [0.1, 0.8, 0.3], [0.2, 0.7, 0.1], [0.3, 0.2, 0.25]])
    results = retrieval_scores(matrix, owner)
    assert results["t2v"]["queries"] == 4 and results["v2t"]["queries"] == 3
    assert results["t2v"]["R@1"] == 50.0  # texts 0 and 2
    assert results["t2v"]["MnR"] == (1 + 3 + 1 + 2) / 4
    # video 0: own group 0.9; video 1: group 0 reaches 0.8 against its own 0.7; video 2: 0.25, 0.3 by group 0
    assert results["v2t"]["MnR"] == (1 + 2 + 2) / 3
    assert group_maximum(matrix, owner)[0].tolist() == [0.9, 0.8, 0.3]


def test_medians():
    assert scores([1, 2, 3, 10])["MdR"] == 2.5
    assert scores([10, 3, 2, 1], lower_median=True)["MdR"] == 2


@pytest.mark.parametrize(
    ("matrix", "owner", "words"),
    [
        ([[np.nan, 1.0], [0.0, 1.0]], [0, 1], "1 queries have a similarity that is not a number"),
        ([[0.0, 1.0]], [0], "1 of 2 videos have no text"),
        ([[0.0, 1.0]], [0, 1], "do not belong together"),
    ],
)
def test_what_cannot_be_scored_is_refused(matrix, owner, words):
    with pytest.raises(ValueError, match=words):
        retrieval_scores(np.array(matrix), owner)


def test_rules_for_ties():
    similarity = np.array([[1.0, 2.0, 2.0, 2.0], [3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
    answer = [1, 1, 2, 3]
    assert ranks(similarity, answer)[0].tolist() == [3, 4, 1, 2]
    assert ranks(similarity, answer, "best")[0].tolist() == [1, 2, 1, 1]
    rank, tied = ranks(similarity, answer, "average")
    assert rank.tolist() == [2.0, 3.0, 1.0, 1.5] and tied == 3
    with pytest.raises(ValueError, match="worst, best, average"):
        ranks(similarity, answer, "first")


def test_the_four_lines_are_the_published_ones():
    t2v = {"R@1": 45.2, "R@5": 71.8, "R@10": 81.3, "MdR": 3.0, "MnR": 12.5}
    v2t = {"R@1": 44.1, "R@5": 70.5, "R@10": 80.2, "MdR": 3.0, "MnR": 13.1}
    assert metric_lines({"t2v": t2v, "v2t": v2t}) == [
        "Text-to-Video:",
        " (metric) >>>  R@1: 45.2 - R@5: 71.8 - R@10: 81.3 - Median R: 3.0 - Mean R: 12.5",
        "Video-to-Text:",
        " (metric) >>>  V2T$R@1: 44.1 - V2T$R@5: 70.5 - V2T$R@10: 80.2 - V2T$Median R: 3.0 - V2T$Mean R: 13.1",
    ]


def test_program_scores_a_saved_matrix(tmp_path, capsys):
    matrix = np.random.default_rng(0).normal(size=(6, 6)) + np.eye(6)
    matrix[0] = 1.0
    file = tmp_path / "matrix.npy"
    np.save(file, matrix)

    def run(*flags):
        assert main(["--matrix", str(file), *flags]) == 0
        return json.loads(capsys.readouterr().out)

    plain = run()
    expected = retrieval_scores(matrix, np.arange(6))
    assert plain["t2v"] == expected["t2v"] and plain["v2t"] == expected["v2t"]
    assert run("--ties", "best")["t2v"]["MnR"] == pytest.approx(plain["t2v"]["MnR"] - 5 / 6)
    assert run("--ties", "average")["t2v"]["MnR"] == pytest.approx(plain["t2v"]["MnR"] - 5 / 12)
    dual = run("--dual_softmax")
    assert dual["t2v"] == text_to_video(dual_softmax(matrix), np.arange(6)) != plain["t2v"]
    assert dual["v2t"] == text_to_video(dual_softmax(matrix.T), np.arange(6))


def test_program_takes_several_texts_per_video(tmp_path, capsys):
    owner = np.array([0, 0, 1, 2, 2])
    matrix = np.eye(3)[owner]
    np.save(tmp_path / "matrix.npy", matrix)
    np.save(tmp_path / "owner.npy", owner)
    flags = ["--matrix", str(tmp_path / "matrix.npy")]
    assert main([*flags, "--video_of_text", str(tmp_path / "owner.npy")]) == 0
    assert json.loads(capsys.readouterr().out)["t2v"]["R@1"] == 100.0
    assert main(flags) == 2
    assert "--video_of_text" in capsys.readouterr().err
    assert main(["--matrix", str(tmp_path / "none.npy")]) == 2
