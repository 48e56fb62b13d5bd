"""Score a trained recogniser on a split, also of another corpus whose classes it was never trained on.

    python -m scripts.evaluate_recogniser --checkpoint video_coop/UCF101/first --split test
    python -m scripts.evaluate_recogniser --checkpoint video_coop/UCF101/first --dataset hmdb51

Writes SPLIT_CORPUS.json with all measures, and two pictures, into the run's folder; prints the JSON.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dataset.recognition_settings import RecognitionData, flag
from utility.arguments import parse

log = logging.getLogger(__name__)


@dataclass
class EvaluateArguments:
    """The run, and what of a corpus it is scored on; without --dataset or --data_root the corpus of its training."""

    checkpoint: str | None = flag(None, "run of a recogniser: METHOD/DATASET/RUN_ID or its folder")
    backbone: str | None = flag(None, "where the run's backbone is, if it has moved")
    split: Literal["train", "val", "test"] = flag("test", "split that is scored")
    device: str = flag("auto", "auto, cpu, cuda or cuda:N")

    def __post_init__(self):
        if not self.checkpoint:
            raise ValueError("--checkpoint RUN is needed")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args, data = parse(
        (EvaluateArguments, RecognitionData), argv, prog="scripts.evaluate_recogniser",
        description=__doc__.split("\n")[0],
    )  # fmt: skip

    from utility.program import run_program

    return run_program(lambda dist: run(args, data, dist), args.device)


def run(args: EvaluateArguments, data: RecognitionData, dist: Any) -> None:
    """
    Raises:
        ValueError: the corpus has no such split, or none of its clips can be read.
    """
    from dataset.action_pictures import ActionPictures
    from dataset.action_videos import EvaluationClips
    from scripts.train_models.evaluation import predict, results, say
    from scripts.train_models.inputs import Inputs
    from scripts.train_models.run_folder import RunFolder, find_run, load_recogniser, read_run

    run = read_run(find_run(args.checkpoint))
    model, backbone = load_recogniser(run, args.backbone, dist.device)
    if data.dataset is None and data.data_root is None:
        data = replace(data, dataset=run.corpus)
    corpus = data.open()
    if not corpus.splits.get(args.split):
        parts = ", ".join(split for split, clips in corpus.splits.items() if clips)
        raise ValueError(f"{corpus.name} has no clips in the {args.split} split; it has {parts}")
    for line in corpus.summary():
        log.info("%s", line)
    texts = model.class_texts(corpus.classes, backbone.tokenizer)
    clips = EvaluationClips(corpus.splits[args.split], ActionPictures(run.views))
    inputs = Inputs(model, (backbone.mean, backbone.std))
    found = predict(model, texts, clips, inputs, dist, data.batch_size or 4, data.num_workers)
    if not dist.is_main:
        return
    name = f"{args.split}_{corpus.name}"
    known = set(run.classes)
    report = {
        "method": run.method,
        "trained_on": run.corpus,
        "corpus": corpus.name,
        "split": args.split,
        "classes_never_trained_on": sum(c not in known for c in corpus.classes),
        **results(found, corpus.classes, None, run.folder / name),
    }
    RunFolder(run.folder).results(f"{name}.json", report)
    say(args.split, report)
    print(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(main())
