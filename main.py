"""The captioner: train it, score it, caption a video file with it.

    python main.py --model_name MiniMotion_GBased+videomask --do_train
    torchrun --nproc_per_node 2 main.py --model_name MSR-VTT_GBased+videomask --do_train --micro_batch_size 32
    python main.py --do_eval --checkpoint results/MiniMotion_GBased+videomask/best
    python main.py --caption clip.mp4 --checkpoint results/MiniMotion_GBased+videomask/best --json
    python main.py --model_name MiniMotion_GBased+videomask --do_train --tune lora --output_dir results/tuned

With --datatype the arguments go to train_unified_model.py, the retrieval trainers.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset.arguments import DataArguments, features_dir, for_corpus, open_corpus
from dataset.caption_settings import FEATURES, CaptionerArguments, parse_model_name, with_defaults
from dataset.corpus import SPLITS
from utility.arguments import parse

log = logging.getLogger(__name__)

HELP = (
    f"{__doc__.splitlines()[0]} Its siblings: train_unified_model.py trains, scores and searches by retrieval (with "
    "--datatype, main.py hands its words to it); extractors/extract.py makes features of videos, "
    "graphs/action_spatio_temporal_graph_feature_extractor.py graphs of features; scripts/demo.py runs them all."
)


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if any(word.split("=")[0] == "--datatype" for word in argv):
        import train_unified_model

        return train_unified_model.main(argv)
    types = (CaptionerArguments, DataArguments)
    args, data = parse(types, argv, prog="main.py", description=HELP, sections=["published"])

    # Only now: torch takes seconds to import, and a misspelt flag should not wait for it.
    from utility.program import run_program

    if args.caption:
        return run_program(lambda dist: caption(args, data.dry_run, dist), args.device)
    return run_program(lambda dist: Session(args, data, dist).run(), args.device)


def caption(args: CaptionerArguments, dry_run: bool, dist: Any) -> int:
    """Caption the files and folders of --caption; a dry run names them."""
    from extractors.caption_files import caption_files, expand
    from extractors.in_memory import FileCaptioner

    if dry_run:
        for path in expand(args.caption) if dist.is_main else ():
            print(f"would caption {path}", file=sys.stderr)
        return 0
    places = {"backbone": args.backbone, "detector": args.detector, "action_network": args.action_network}
    captioner = FileCaptioner(
        args.checkpoint, places, str(dist.device), args.beam, args.max_words, args.length_penalty, args.search,
        args.compat, args.n_best, args.r2l_hypotheses,
    )  # fmt: skip
    return caption_files(captioner, args.caption, args.json, Path(args.output_dir) if args.output_dir else None, dist)


class Session:
    """A training or evaluation run: corpus, features, vocabulary, network."""

    def __init__(self, args: CaptionerArguments, data: DataArguments, dist: Any):
        from dataset.caption_features import CaptionFeatures
        from extractors.caption_tuning import open_tuning
        from pretrained.captioners import load_captioner
        from utility.caption_tokens import choose_tokenizer
        from utility.logs import setup_logging

        choose_tokenizer(args.tokenizer)  # a missing Java should not show after the training
        self.dist = dist
        self.stored = None
        self.absent: dict[str, int] = {}  # videos without features, by split
        if not args.do_train:
            place = args.checkpoint or Path(args.output_dir or f"results/{args.model_name}") / "best"
            try:
                self.stored = load_captioner(place)
            except FileNotFoundError as error:
                if args.checkpoint:
                    raise
                raise FileNotFoundError(
                    f"{error}; without --checkpoint the best of the output folder is scored: name another, or train "
                    "it first with --do_train"
                ) from error
            args = replace(args, model_name=args.model_name or self.stored.config["model_name"])
            if args.model_name is None:
                raise ValueError(f"{place} does not say what it captions: give --model_name CORPUS_FEATURES too")
        corpus_name, self.features_name = parse_model_name(args.model_name)
        if not args.do_train and FEATURES[self.features_name] != self.stored.config["captioner"]["mode"]:
            kind = self.stored.config["model_name"] or self.stored.config["captioner"]["mode"]
            raise ValueError(f"The checkpoint is a {kind} captioner, --model_name is {args.model_name}")
        self.split = data.split or "test"
        self.data = for_corpus(replace(data, split=None), corpus_name)
        self.corpus = open_corpus(self.data)
        self.corpus.ids(self.split)  # nor an unknown split
        self.args = with_defaults(args, self.data.dataset or corpus_name)
        self.output = Path(args.output_dir or f"results/{args.model_name}")
        if args.do_train and not data.dry_run:
            setup_logging(dist, self.output)
        for line in self.corpus.summary():
            log.info("%s", line)
        self.files = CaptionFeatures(features_dir(self.data, self.corpus), self.corpus.name, self.features_name)
        self.tuning = open_tuning(self.args, self.files, self.stored, dist.device)
        if self.stored is not None and self.stored.config["features"]:
            self.files.check_same(self.stored.config["features"], nodes=self.tuning is None)
        elif self.stored is not None:
            log.warning("a published checkpoint does not say how its features were made; nothing can be compared")

    def features(self, split: str) -> Any:
        """Graphs of a split, with a warning where videos have none.

        Raises:
            ValueError: the corpus has no such videos.
        """
        from dataset.graph_features import GraphFeatures

        if not self.corpus.ids(split):
            raise ValueError(f"{self.corpus.name} has no {split} videos; its annotation must give them that split")
        seed = self.args.seed if self.args.shuffle_videos else None
        ids = self.corpus.ids(split)
        size = 0 if self.data.dry_run else int(self.args.cache_gb * 2**30)
        if self.tuning is None:
            features = GraphFeatures(ids=ids, cache_bytes=size, shuffle_seed=seed, **self.files.stores)
        else:
            features = self.tuning.features(ids, self.files.stores, self.corpus.videos, size, seed, self.dist)
        self.absent[split] = len(features.absent)
        if features.absent:
            log.warning("%d of %d %s videos have no features and are left out", len(features.absent), len(ids), split)
        return features

    def run(self) -> None:
        """Train if asked to, then score."""
        from graphs.caption_training import CaptionTraining
        from model.captioner import Captioner, CaptionerConfig
        from pretrained.captioners import export_captioner, load_captioner
        from utility.checkpoint import load_tensors
        from utility.random_state import seed_all
        from utility.vocabulary import Vocabulary

        args = self.args
        notes = self.files.overlap_notes(self.corpus, nodes=self.tuning is None)
        notes += [] if self.tuning is None else self.tuning.overlap_notes(self.corpus)
        for note in notes:
            log.warning("%s", note)
        if args.do_train:
            training = CaptionTraining(
                args, self.data, self.corpus, self.files, self.features("train"), self.tuning, self.output, self.dist
            )
            self.vocabulary, self.max_words = training.vocabulary, training.max_words
            config = training.new_config(self.features_name)
        else:
            self.vocabulary = Vocabulary.from_list(self.stored.vocabulary)
            self.max_words = args.max_words or self.stored.config["max_words"]
            config = CaptionerConfig.from_dict(self.stored.config["captioner"], args.compat)
            if config.vocab_size != len(self.vocabulary):
                raise ValueError(
                    f"Vocabulary and network of the checkpoint do not match: {len(self.vocabulary)} words, but the "
                    f"network has {config.vocab_size}"
                )
        seed_all(args.seed)
        model = (Captioner(config) if self.tuning is None else self.tuning.captioner(config)).to(self.dist.device)
        log.info("%s parameters, %d words", f"{sum(p.numel() for p in model.parameters()):,}", len(self.vocabulary))
        self.searcher(model)  # what no search can do should not show after the training either
        if args.do_train:
            training.run(model, lambda: self.features("val"))
        elif self.data.dry_run:
            log.info("dry run: would score %d %s videos", len(self.features(self.split).ids), self.split)
        if self.data.dry_run:
            return
        if args.do_train:
            self.stored = load_captioner(self.output / "best")
        if args.export_pth and self.dist.is_main:
            export_captioner(self.output / "best_model.pth", self.stored)
        load_tensors(model, self.stored.tensors if self.tuning is None else self.stored.all_tensors, "the checkpoint")
        self.test(model.eval(), notes)

    def searcher(self, model: Any) -> Any:
        """The search that the flags name for the test."""
        from graphs.captions import searcher

        args = self.args
        numbers = (args.beam, self.max_words, args.length_penalty, args.search, args.n_best, args.r2l_hypotheses)
        return searcher(model, *numbers)

    def test(self, model: Any, notes: list[str]) -> None:
        """Caption a split; captions and scores, with `notes` beside them, go to the output folder."""
        from graphs.captions import describe
        from utility.caption_evaluation import best_captions, score_split, write_json, write_text
        from utility.caption_scores import shown
        from utility.published_row import own_protocol

        args, split = self.args, self.split
        if args.do_train and not self.corpus.ids(split):
            log.warning("there are no %s videos to score; the captioner is in %s", split, self.output / "best")
            return
        features = self.features(split)
        found = best_captions(
            self.searcher(model), features, features.ids, self.vocabulary, self.dist, args.batch_size_val
        )
        said = {name: records[0]["caption"] for name, records in found.items()}
        search = describe(model.config.compat, args.beam, args.length_penalty, args.search, args.r2l_hypotheses)
        references = {k: v for k, v in self.corpus.references(split).items() if k in said}
        if not self.dist.is_main:
            return
        write_json(self.output / f"{split}_predictions.json", said)
        if args.n_best > 1:
            write_json(self.output / f"{split}_n_best.json", {"search": search, "captions": found})
        if not references:
            log.warning("the %s split has no captions to score against; captions are in %s", split, self.output)
            return
        seen = self.files.graphs.settings if self.tuning is None else self.stored.config["features"]["settings"]
        cut = args.references == "trimmed" or "references" in model.config.compat
        scores = score_split(said, references, args.tokenizer, (self.vocabulary, self.max_words) if cut else None)
        absent = [f"{len(features.absent)} videos without features"] * bool(features.absent)
        scores |= {
            "corpus": self.corpus.name,
            "split": split,
            "model_name": args.model_name,
            "search": search,
            "max_words": self.max_words,
            "compat": list(model.config.compat),
            "shuffled_videos": args.shuffle_videos,
            "videos": {name: len(self.corpus.ids(name)) for name in SPLITS},
            "missing_videos": self.absent,
            "backbone": seen.get("nodes", {}).get("backbone", {}).get("name"),
            "notes": scores["notes"] + notes + absent,
        }
        write_text(self.output / f"{split}_scores.json", shown(scores))
        line = "  ".join(f"{k} {v:.4f}" for k, v in scores.items() if isinstance(v, float))
        log.info("%s %s (%d videos, beam %d): %s", self.corpus.name, split, len(references), args.beam, line)
        for note in scores["notes"]:
            log.info("%s", note)
        if row := args.published_row():
            print(row.table(scores, own_protocol(scores, self.stored.config)))


if __name__ == "__main__":
    sys.exit(main())
