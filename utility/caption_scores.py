"""COCO caption scores: BLEU-1..4, METEOR, ROUGE-L and CIDEr of pycocoevalcap.

    python -m utility.caption_scores --references captions.json --predictions predictions.json

References are {id: [caption]} or a file in the MSR-VTT schema, predictions {id: caption}. Only videos with a prediction
count. Without Java all scores but METEOR are printed, from a tokeniser that agrees with the PTB one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from utility.caption_tokens import TOKENIZERS, choose_tokenizer, java_problem, tokenize

METRICS = ("BLEU", "METEOR", "ROUGE_L", "CIDEr")


class CaptionScorer:
    """Scores predictions against references that are tokenised once.

    Args:
        references: raw captions by video id.
        tokenizer: "auto", "java" or "nltk".

    Raises:
        ValueError: a video without references, none at all, or java asked for and not there.
    """

    def __init__(self, references: Mapping[str, Sequence[str]], tokenizer: str = "auto"):
        bare = [name for name, texts in references.items() if isinstance(texts, str) or not list(texts)]
        if bare or not references:
            raise ValueError(
                f"References must be {{id: [caption, ...]}} with at least one caption each; {len(bare)} of "
                f"{len(references)} videos have none: {', '.join(bare[:5])}"
            )
        self.tokenizer = choose_tokenizer(tokenizer)
        tokens = iter(tokenize([str(text) for texts in references.values() for text in texts], self.tokenizer))
        self.references = {name: [next(tokens) for _ in texts] for name, texts in references.items()}

    def score(self, predictions: Mapping[str, str], metrics: Iterable[str] = METRICS) -> dict:
        """Scores of one caption per video.

        Returns:
            {"BLEU_1".."BLEU_4", "METEOR" (None where it cannot be computed), "ROUGE_L", "CIDEr": floats in 0..1 (CIDEr
            0..10), "tokenizer", "num_videos", "num_references", "notes": [sentence]}; metrics not asked for are absent.

        Raises:
            ValueError: no predictions, a prediction without references, an unknown metric.
        """
        metrics = set(metrics)
        if metrics - set(METRICS):
            raise ValueError(f"Unknown metrics ({', '.join(metrics - set(METRICS))}). Known are {', '.join(METRICS)}.")
        strangers = [name for name in predictions if name not in self.references]
        if strangers or not predictions:
            raise ValueError(
                f"{len(strangers)} of {len(predictions)} predictions have no references: {', '.join(strangers[:5])}"
                if predictions
                else "There are no predictions to score"
            )
        names = list(predictions)
        tokens = tokenize([str(predictions[name]) for name in names], self.tokenizer)
        results = {name: [text] for name, text in zip(names, tokens, strict=True)}
        truths = {name: self.references[name] for name in names}
        notes = []
        if len(names) < len(self.references):
            left = len(self.references) - len(names)
            notes.append(f"{left} of {len(self.references)} videos with references have no prediction and do not count")
        if len(names) == 1 and "CIDEr" in metrics:
            notes.append("CIDEr of a single video is always 0: its word weights come from the other videos")
        scores = _compute(truths, results, metrics, notes)
        counted = sum(map(len, truths.values()))
        return {
            **scores,
            "tokenizer": self.tokenizer,
            "num_videos": len(names),
            "num_references": counted,
            "notes": notes,
        }


def score(
    references: Mapping[str, Sequence[str]],
    predictions: Mapping[str, str],
    tokenizer: str = "auto",
    metrics: Iterable[str] = METRICS,
) -> dict:
    """All scores of `predictions`; see CaptionScorer, which is faster for several sets of predictions."""
    predicted = {name: references[name] for name in references if name in predictions}
    scorer = CaptionScorer(predicted if predicted else references, tokenizer)
    result = scorer.score(predictions, metrics)
    left = len(references) - len(predicted)
    if left:
        result["notes"].append(
            f"{left} of {len(references)} videos with references have no prediction and do not count"
        )
    return result


def _compute(truths: dict, results: dict, metrics: set[str], notes: list[str]) -> dict[str, float | None]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    scores: dict[str, float | None] = {}
    if "BLEU" in metrics:
        values, _ = Bleu(4).compute_score(truths, results, verbose=0)
        scores.update({f"BLEU_{n}": float(value) for n, value in enumerate(values, 1)})
    if "METEOR" in metrics:
        scores["METEOR"] = _meteor(truths, results, notes)
    if "ROUGE_L" in metrics:
        scores["ROUGE_L"] = float(Rouge().compute_score(truths, results)[0])
    if "CIDEr" in metrics:
        scores["CIDEr"] = float(Cider().compute_score(truths, results)[0])
    return scores


def _meteor(truths: dict, results: dict, notes: list[str]) -> float | None:
    problem = java_problem()
    if problem is None:
        from pycocoevalcap.meteor.meteor import Meteor

        try:
            return float(Meteor().compute_score(truths, results)[0])
        except (OSError, ValueError) as error:
            problem = f"its Java program failed: {error}"
    notes.append(f"METEOR is missing: {problem}")
    return None


def read_references(path: Path) -> dict[str, list[str]]:
    """{id: [caption]} of a JSON file (plain or gzip) of that form or in the MSR-VTT schema.

    Raises:
        ValueError: neither form.
    """
    data = _read_json(path)
    if isinstance(data, dict) and isinstance(data.get("sentences"), list):
        references: dict[str, list[str]] = {}
        for sentence in data["sentences"]:
            references.setdefault(str(sentence["video_id"]), []).append(str(sentence["caption"]))
        return references
    if isinstance(data, dict) and all(isinstance(texts, list) for texts in data.values()):
        return {name: [str(text) for text in texts] for name, texts in data.items()}
    raise ValueError(f"{path} is neither {{id: [caption, ...]}} nor in the MSR-VTT schema")


def read_predictions(path: Path) -> dict[str, str]:
    """{id: caption} of a JSON file; a list with one caption is taken as that caption.

    Raises:
        ValueError: another form.
    """
    data = _read_json(path)
    if isinstance(data, dict):
        flat = {name: text[0] if isinstance(text, list) and len(text) == 1 else text for name, text in data.items()}
        if all(isinstance(text, str) for text in flat.values()):
            return flat
    raise ValueError(f'{path} must be {{"id": "caption", ...}}')


def _read_json(path: Path) -> object:
    data = Path(path).read_bytes()
    try:
        return json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m utility.caption_scores", description=__doc__.split("\n")[0])
    parser.add_argument("--references", required=True, help="{id: [caption]} or MSR-VTT schema, .json or .json.gz")
    parser.add_argument("--predictions", required=True, help="{id: caption}, .json")
    parser.add_argument("--tokenizer", choices=TOKENIZERS, default="auto", help="auto: java where there is one")
    args = parser.parse_args(argv)
    try:
        result = score(read_references(args.references), read_predictions(args.predictions), args.tokenizer)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
