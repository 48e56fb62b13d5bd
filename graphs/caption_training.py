"""A captioner's training: the network that it starts from, what the loop is given, what the checkpoint says."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dataset.arguments import DataArguments
from dataset.caption_features import CaptionFeatures
from dataset.caption_settings import FEATURES, CaptionerArguments
from dataset.captioning import CaptionGraphs, CaptionLoader, batch_loss
from dataset.corpus import Corpus
from graphs.captions import decoder
from graphs.knowledge.relation_table import table_of
from model.captioner import Captioner, CaptionerConfig
from model.captioner.tuning import parameter_groups
from utility.arguments import resolved
from utility.caption_evaluation import caption_videos
from utility.caption_scores import CaptionScorer
from utility.distributed import Distributed
from utility.engine import TrainSettings, train
from utility.schedules import linear
from utility.vocabulary import Vocabulary

log = logging.getLogger(__name__)

# Parts of a checkpoint's description in which a run must not differ from the one that it continues.
SAME = ("corpus", "captioner", "max_words", "features.settings", "features.others")


@dataclass
class CaptionTraining:
    """A training by flags.

    Attributes:
        args, data: the flags, with the values of the corpus where none was given.
        files: the feature files.
        graphs: those of the train split, or frames.
        tuning: the backbone that learns too, None for one that stays as it is.
        relations: the table behind the rel features; None without such features, or of foreign ones.
    """

    args: CaptionerArguments
    data: DataArguments
    corpus: Corpus
    files: CaptionFeatures
    graphs: Any
    tuning: Any
    output: Path
    dist: Distributed
    vocabulary: Vocabulary = field(init=False)
    max_words: int = field(init=False)
    relations: Any = field(init=False)

    def __post_init__(self):
        self.max_words = self.args.max_words or 20
        texts = (text for name in self.graphs.ids for text in self.corpus.captions.get(name, []))
        self.vocabulary = Vocabulary.build(texts, self.args.min_count, self.max_words)
        self.relations = table_of(self.files.stores["rel"]) if "rel" in self.files.stores else None

    def new_config(self, features_name: str) -> CaptionerConfig:
        """Sizes of the network to be trained: of the features, of the vocabulary, and by `--model_size`."""
        args = self.args
        build = CaptionerConfig if args.model_size == "published" else CaptionerConfig.small
        # Tiles have a place by their number; detected objects come in the order of their scores.
        places = {"node_positions": features_name.startswith("GBased"), "box_positions": self.graphs.has_boxes}
        return build(
            **self.graphs.widths,
            vocab_size=len(self.vocabulary),
            mode=FEATURES[features_name],
            attention=args.attention,
            **({} if args.dropout is None else {"dropout": args.dropout}),
            compat=args.compat,
            **({} if args.model_size == "published" else places),
        )

    def loader(self, compat: tuple[str, ...]) -> CaptionLoader:
        """Micro-batches of the captions of the train split."""
        args = self.args
        captions = {name: self.corpus.captions[name] for name in self.graphs.ids if name in self.corpus.captions}
        pairs = CaptionGraphs(
            self.graphs, captions, self.vocabulary, self.max_words, args.captions_per_video, args.seed
        )
        if pairs.empty:
            log.warning("%d training captions without a known word are left out", pairs.empty)
        length = self.vocabulary.longest + 2 if "loss_mean" in compat else None
        loader = CaptionLoader(pairs, args.batch_size, args.micro_batch_size, self.dist, length, args.num_workers)
        log.info("%d epochs of %d steps, %d captions each", args.epochs, loader.steps_per_epoch, args.batch_size)
        return loader

    def run(self, model: Captioner, val: Any) -> None:
        """Train, validating by CIDEr after every epoch; a dry run only says with what.

        Args:
            val: a function that opens the features of the val split.
        """
        args = self.args
        loader = self.loader(model.config.compat)
        if self.data.dry_run:
            log.info("dry run: %s", resolved(args, self.data))
            return
        optimizer = torch.optim.AdamW(parameter_groups(model, args.weight_decay, args.tune_lr), lr=args.lr)
        schedule = linear(optimizer, args.epochs * loader.steps_per_epoch, args.warmup)
        settings = TrainSettings(
            str(self.output), args.epochs, args.batch_size, args.micro_batch_size, args.clip_norm, args.precision,
            args.seed, args.log_steps, args.save_steps, args.patience, args.resume,
        )  # fmt: skip
        train(
            model, batch_loss, loader, optimizer, schedule, settings, self.dist, self.validation(val),
            names_of=lambda batch: [batch.names[i] for i in batch.caption_video.tolist()], unit="captions",
            group=args.captions_per_video, smaller="--model_size small" if args.tune == "none" else "--tune none",
            config=self.description(model), same=SAME,
            vocabulary=self.vocabulary.to_list(), tables=self.relations and self.relations.tensors(),
        )  # fmt: skip

    def validation(self, val: Any) -> Any:
        """(model, epoch) -> scores of the val split; the number of the epoch where there is nothing to score."""
        features = val() if self.corpus.ids("val") else None
        available = set() if features is None else set(features.ids)
        references = {k: v for k, v in self.corpus.references("val").items() if k in available}
        if not references:
            log.warning("no validation captions: the last epoch counts as the best")
            return lambda model, epoch: {"score": float(epoch)}
        scorer, args = CaptionScorer(references, "nltk"), self.args

        def evaluate(model: Captioner, epoch: int) -> dict[str, float]:
            search = decoder(model, args.val_beam, self.max_words, args.length_penalty, args.search)
            said = caption_videos(search, features, list(references), self.vocabulary, self.dist, args.batch_size_val)
            scores = scorer.score(said, ("BLEU", "CIDEr"))
            return {"score": scores["CIDEr"], "CIDEr": scores["CIDEr"], "BLEU_4": scores["BLEU_4"]}

        return evaluate

    def description(self, model: Captioner) -> dict[str, Any]:
        """What a checkpoint needs to be used by itself."""
        args = self.args
        config = {
            **({} if self.relations is None else {"relations": self.relations.description()}),
            "program": "captioner",
            "model_name": args.model_name,
            "corpus": self.corpus.name,
            "captioner": model.config.to_dict(),
            "max_words": self.max_words,
            "features": self.files.describe(),
            "weights": self.files.weights(
                backbone=args.backbone, detector=args.detector, action_network=args.action_network
            ),
            "arguments": resolved(args, self.data),
        }
        return config if self.tuning is None else self.tuning.described(config, self.output.name, self.graphs.ids)
