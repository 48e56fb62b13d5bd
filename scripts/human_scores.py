"""What people score: each human caption of a corpus against the others of its video.

    python -m scripts.human_scores --dataset msrvtt --split test
    python -m scripts.human_scores --dataset msvd --captions captions.json.gz --rounds 5

Round k takes the k-th caption of every video that has one as its prediction and the rest as references; scores are
means over captions. On the way all captions pass through vocabulary and training data, as in a training. Prints JSON
with the seconds of every stage and the largest memory. Scores of a captioner with all references are higher than these
by about one reference more.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataset.arguments import DataArguments, flag, open_corpus
from utility.arguments import parse
from utility.caption_tokens import TOKENIZERS, choose_tokenizer
from utility.peak_memory import peak_bytes

METRICS = ("BLEU", "ROUGE_L", "CIDEr")


@dataclass
class HumanArguments(DataArguments):
    """How to score."""

    tokenizer: str = flag("auto", "auto, java or nltk; auto: java if there is one")
    rounds: int | None = flag(None, "score only the first so many captions of every video; default: all")
    min_count: int = flag(3, "words seen less often in the training captions are no part of the vocabulary")
    max_words: int = flag(20, "longest caption of the training data")
    batch_size: int = flag(128, "captions per batch of the training data")

    def __post_init__(self):
        if self.tokenizer not in TOKENIZERS:
            raise ValueError(f"--tokenizer is {self.tokenizer!r}; it must be one of {', '.join(TOKENIZERS)}")
        if min(self.rounds or 1, self.min_count, self.max_words, self.batch_size) < 1:
            raise ValueError("--rounds, --min_count, --max_words and --batch_size must be 1 or more")


def rounds_of(
    tokens: Mapping[str, Sequence[str]], limit: int | None
) -> Iterator[tuple[dict[str, list[str]], dict[str, list[str]]]]:
    """(references, one caption) by id for every round; videos with a single caption take no part."""
    longest = max(map(len, tokens.values()))
    for k in range(min(longest, limit or longest)):
        said = {name: [texts[k]] for name, texts in tokens.items() if k < len(texts) > 1}
        if said:
            yield {name: [*tokens[name][:k], *tokens[name][k + 1 :]] for name in said}, said


def score_rounds(tokens: Mapping[str, Sequence[str]], limit: int | None = None) -> dict[str, Any]:
    """Means over captions, and how many captions were scored in how many rounds."""
    from utility.caption_metrics import compute

    sums: dict[str, float] = {}
    captions = rounds = 0
    for truths, said in rounds_of(tokens, limit):
        scores, _ = compute(truths, said, METRICS, [])
        for name, value in scores.items():
            sums[name] = sums.get(name, 0.0) + value * len(said)
        captions, rounds = captions + len(said), rounds + 1
        print(f"round {rounds}: {len(said)} captions, CIDEr {scores['CIDEr']:.4f}", file=sys.stderr)
    return {**{name: value / captions for name, value in sums.items()}, "captions": captions, "rounds": rounds}


def training_data(corpus: Any, args: HumanArguments, split: str = "train") -> dict[str, Any]:
    """Every caption of a split through vocabulary and batches; what was kept of it."""
    from dataset.captioning import CaptionGraphs, CaptionLoader
    from utility.vocabulary import Vocabulary

    captions = corpus.references(split)
    vocabulary = Vocabulary.build((text for texts in captions.values() for text in texts), args.min_count)
    data = CaptionGraphs(WithoutGraphs(list(captions)), captions, vocabulary, args.max_words)
    loader = CaptionLoader(data, args.batch_size)
    loader.set_epoch(0)
    words = sum(int((batch.l2r > 1).sum()) for batch in loader)
    known = sum(vocabulary.counts[word] for word in vocabulary.words[2:])
    return {
        "split": split,
        "captions": sum(map(len, captions.values())),
        "videos": len(captions),
        "words": len(vocabulary) - 2,
        "longest": vocabulary.longest,
        "captions_without_a_known_word": data.empty,
        "batches": len(loader),
        "words_in_batches": words,
        "share_of_words_known": round(known / vocabulary.counts.total(), 6),
    }


@dataclass
class WithoutGraphs:
    """Stands for the features of videos where only their captions are of interest."""

    ids: list[str]

    def batch(self, names: Sequence[str], device: Any = "cpu") -> dict[str, Any]:
        """No tensors."""
        return {}


def main(argv: Sequence[str] | None = None) -> int:
    (args,) = parse(HumanArguments, argv, prog="human_scores", description=__doc__.split("\n")[0])
    try:
        return run(args)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(args: HumanArguments) -> int:

    from utility.caption_tokens import tokenize

    seconds: dict[str, float] = {}

    def timed(name: str, work: Any) -> Any:
        start = time.perf_counter()
        result = work()
        seconds[name] = round(time.perf_counter() - start, 2)
        return result

    tokenizer = choose_tokenizer(args.tokenizer)
    corpus = timed("read", lambda: open_corpus(args))
    captions = corpus.captions
    if args.dry_run:
        print(f"would score {sum(map(len, captions.values()))} captions with {tokenizer}", file=sys.stderr)
        return 0
    trained = timed("training data", lambda: training_data(corpus, args)) if corpus.ids("train") else None
    flat = timed("tokenise", lambda: iter(tokenize([t for texts in captions.values() for t in texts], tokenizer)))
    tokens = {name: [next(flat) for _ in texts] for name, texts in captions.items()}
    scores = timed("score", lambda: score_rounds(tokens, args.rounds))
    result = {
        "corpus": corpus.name,
        "split": args.split or "all",
        "videos": len(captions),
        "tokenizer": tokenizer,
        **scores,
        "training_data": trained,
        "seconds": seconds,
        "peak_memory_mb": round(peak_bytes() / 2**20),
    }
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
