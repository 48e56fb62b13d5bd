"""COCO caption scores: BLEU-1..4, METEOR, ROUGE-L, CIDEr and, on request, SPICE of pycocoevalcap.

    python -m utility.caption_scores --references captions.json --predictions predictions.json > A.json
    python -m utility.caption_scores --compare A.json B.json

References are {id: [caption]} or a file in the MSR-VTT schema, predictions {id: caption}. Only videos with a prediction
count. Without Java all scores but METEOR are printed, from a tokeniser that agrees with the PTB one. What is printed
into a file holds the scores of every video too, so that files can be compared.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from utility.caption_compare import compare, read_scores
from utility.caption_metrics import METRICS, ON_REQUEST, compute
from utility.caption_tokens import TOKENIZERS, choose_tokenizer, tokenize


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
            0..10), "tokenizer", "num_videos", "num_references", "references_hash", "notes": [sentence], "per_video":
            {"ids", and a list per metric, see `utility.caption_metrics.compute`}}; metrics not asked for are absent.

        Raises:
            ValueError: no predictions, a prediction without references, an unknown metric.
        """
        metrics = set(metrics)
        known = (*METRICS, *ON_REQUEST)
        if metrics - set(known):
            raise ValueError(f"Unknown metrics ({', '.join(metrics - set(known))}). Known are {', '.join(known)}.")
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
        scores, videos = compute(truths, results, metrics, notes)
        counted = sum(map(len, truths.values()))
        return {
            **scores,
            "tokenizer": self.tokenizer,
            "num_videos": len(names),
            "num_references": counted,
            "references_hash": references_hash(truths),
            "notes": notes,
            "per_video": {"ids": names, **videos},
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


def references_hash(references: Mapping[str, Sequence[str]]) -> str:
    """First 16 hexadecimal digits of a SHA-256 over tokenised references, whatever the order of the videos."""
    text = json.dumps({name: list(texts) for name, texts in references.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
    parser.add_argument("--references", help="{id: [caption]} or MSR-VTT schema, .json or .json.gz")
    parser.add_argument("--predictions", help="{id: caption}, .json")
    parser.add_argument("--tokenizer", choices=TOKENIZERS, default="auto", help="auto: java where there is one")
    parser.add_argument("--spice", action="store_true", help="SPICE too; needs Java and a download, and minutes")
    parser.add_argument(
        "--compare", nargs=2, metavar=("A.json", "B.json"), help="two files of scores: intervals and a paired test"
    )
    parser.add_argument("--samples", type=int, default=2000, help="with --compare: resamplings of the videos")
    parser.add_argument("--seed", type=int, default=0, help="with --compare: seed of the resamplings")
    args = parser.parse_args(argv)
    if bool(args.compare) == bool(args.references or args.predictions) or (
        not args.compare and not (args.references and args.predictions)
    ):
        parser.error("give --references R.json --predictions P.json, or --compare A.json B.json")
    try:
        if args.compare:
            result = compare(*map(read_scores, args.compare), args.samples, args.seed)
        else:
            metrics = (*METRICS, *ON_REQUEST) if args.spice else METRICS
            references, predictions = read_references(args.references), read_predictions(args.predictions)
            result = score(references, predictions, args.tokenizer, metrics)
            if sys.stdout.isatty():
                del result["per_video"]  # thousands of numbers, of use in files only
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(shown(result))
    return 0


def shown(result: Mapping[str, object]) -> str:
    """JSON with a line per entry and per metric of the videos."""
    rest = {key: value for key, value in result.items() if key != "per_video"}
    text = json.dumps(rest, indent=1, ensure_ascii=False)
    if "per_video" not in result:
        return text
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in result["per_video"].items()]
    return text[:-2] + ',\n "per_video": {\n' + ",\n".join(lines) + "\n }\n}"


if __name__ == "__main__":
    sys.exit(main())
