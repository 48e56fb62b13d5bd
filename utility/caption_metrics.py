"""The numbers behind caption scores: every metric of pycocoevalcap for a corpus and for each of its videos.

What is kept per video is enough to score any resampling of the videos: counts for BLEU, which is no mean over videos,
and the score of the video for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from utility.caption_tokens import java_problem

METRICS = ("BLEU", "METEOR", "ROUGE_L", "CIDEr")
ON_REQUEST = ("SPICE",)
ORDERS = 4
_CORENLP = "stanford-corenlp-3.6.0"
_CORENLP_ADDRESS = "http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"

Tokens = Mapping[str, Sequence[str]]
PerVideo = dict[str, list]


def compute(
    truths: Tokens, results: Tokens, metrics: Iterable[str], notes: list[str]
) -> tuple[dict[str, float | None], PerVideo]:
    """Scores of the corpus, and what every video adds to them.

    Args:
        truths: tokenised references by id.
        results: one tokenised caption by id, in the same order.
        notes: gets a sentence for every metric that cannot be computed; its score is None.

    Returns:
        Scores by name ("BLEU_1" .. "BLEU_4" for BLEU), and per metric a list over videos: scores, for BLEU
        [words, words of the closest reference, matching 1-grams, .., matching 4-grams].
    """
    metrics, scores, videos = set(metrics), {}, {}
    if "BLEU" in metrics:
        values, videos["BLEU"] = _bleu(truths, results)
        scores.update({f"BLEU_{n}": value for n, value in enumerate(values, 1)})
    for name, scorer in (("METEOR", _meteor), ("ROUGE_L", _rouge), ("CIDEr", _cider), ("SPICE", _spice)):
        if name in metrics:
            answer = scorer(truths, results)
            if isinstance(answer, str):
                notes.append(f"{name} is missing: {answer}")
                scores[name] = None
            else:
                scores[name], each = float(answer[0]), answer[1]
                videos[name] = [round(float(value), 8) for value in each]
    return scores, videos


def spice_problem() -> str | None:
    """Why SPICE cannot be computed, None if it can."""
    if problem := java_problem():
        return problem
    folder = Path(find_spec("pycocoevalcap.spice").origin).parent / "lib"
    absent = [f"{_CORENLP}{part}.jar" for part in ("", "-models") if not (folder / f"{_CORENLP}{part}.jar").is_file()]
    if absent:
        return f"it needs {' and '.join(absent)} in {folder}; both are in {_CORENLP_ADDRESS} (about 540 MB)"
    return None


def _bleu(truths: Tokens, results: Tokens) -> tuple[list[float], list[list[int]]]:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=ORDERS)
    for name, (text,) in results.items():
        scorer += (text, truths[name])
    values, _ = scorer.compute_score(option="closest", verbose=0)
    counts = []
    for part in scorer.ctest:
        length = int(part["testlen"])
        closest = min(part["reflen"], key=lambda other: (abs(other - length), other))
        counts.append([length, int(closest), *map(int, part["correct"])])
    return [float(value) for value in values], counts


def _rouge(truths: Tokens, results: Tokens) -> tuple[float, Sequence[float]]:
    from pycocoevalcap.rouge.rouge import Rouge

    return Rouge().compute_score(truths, results)


def _cider(truths: Tokens, results: Tokens) -> tuple[float, Sequence[float]]:
    from pycocoevalcap.cider.cider import Cider

    return Cider().compute_score(truths, results)


def _meteor(truths: Tokens, results: Tokens) -> tuple[float, Sequence[float]] | str:
    if problem := java_problem():
        return problem
    from pycocoevalcap.meteor.meteor import Meteor

    try:
        return Meteor().compute_score(truths, results)
    except (OSError, ValueError) as error:
        return f"its Java program failed: {error}"


def _spice(truths: Tokens, results: Tokens) -> tuple[float, Sequence[float]] | str:
    if problem := spice_problem():
        return problem
    import subprocess

    from pycocoevalcap.spice.spice import Spice

    try:
        value, each = Spice().compute_score(truths, results)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return f"its Java program failed (it was written for Java 8): {error}"
    by_name = dict(zip(sorted(truths), each, strict=True))
    return value, [by_name[name]["All"]["f"] for name in results]
