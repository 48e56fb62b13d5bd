"""The retrieval trainers: text-to-video and video-to-text.

    python train_unified_model.py --method clip4clip --datatype minimotion
    torchrun --nproc_per_node 4 train_unified_model.py --method stop --datatype msrvtt --protocol 9k
    python train_unified_model.py --do_eval 1 --resume results/clip4clip_MSR-VTT
    python train_unified_model.py --search "a man cooks" --checkpoint results/clip4clip_MSR-VTT --videos my_videos

The folder `best` of a run is a backbone: `--backbone results/clip4clip_MSR-VTT` of the extractors looks through it.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset.arguments import corpus_root, open_corpus
from dataset.lmdb_videos import with_archive
from dataset.method_settings import MethodArguments, with_defaults
from dataset.minimotion import draw_if_absent
from dataset.retrieval_settings import (
    LAST,
    LaunchArguments,
    RetrievalArguments,
    SearchArguments,
    SmallTowerArguments,
)
from dataset.stored_settings import from_stored
from utility.arguments import given_names, parse, resolved

log = logging.getLogger(__name__)

FLAGS = (MethodArguments, RetrievalArguments, SmallTowerArguments, LaunchArguments, SearchArguments)
LOG_FORMAT = ("%(asctime)s | %(levelname)s | %(message)s", "%Y-%m-%d,%H:%M:%S")


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    method, args, tower, launch, find = parse(
        FLAGS, argv, prog="train_unified_model.py", description=__doc__.split("\n")[0]
    )

    # Only now: torch takes seconds to import, and a misspelt flag should not wait for it.
    from utility.processes import own_command, processes_for, run_processes
    from utility.program import run_program

    if find.search is not None:
        from extractors.video_search import search_folder

        device = args.device if launch.gpu is None else f"cuda:{launch.gpu}"
        return run_program(lambda dist: search_folder(find, dist.device, args.batch_size_val), device)
    try:
        device, processes = processes_for(launch, args.device)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if processes:
        return run_processes(own_command(argv, __file__), processes)
    given = given_names(FLAGS, argv)
    return run_program(lambda dist: Session(method, args, tower, given, launch, dist).run(), device)


class Session:
    """One run: corpus, network, frames, training, scores."""

    def __init__(
        self,
        method: MethodArguments,
        args: RetrievalArguments,
        tower: SmallTowerArguments,
        given: set[str],
        launch: LaunchArguments,
        dist: Any,
    ):
        from dataset.retrieval_data import RetrievalData, report_absent
        from pretrained.retrieval_network import build_network
        from utility.logs import setup_logging
        from utility.random_state import seed_all

        self.dist, self.tower, self.launch = dist, tower, launch
        if args.default_corpus and not (args.do_eval or args.dry_run):
            if dist.is_main and draw_if_absent(corpus_root("minimotion")):
                log.info("no corpus was named: drew MiniMotion into %s", corpus_root("minimotion"))
            dist.barrier()
        self.stored = self.stored_run(method, args)
        if self.stored is not None:
            method, args = from_stored(self.stored.config, method, args, given, weights_only=self.weights_only(args))
        self.args, self.method = with_defaults(args, method)
        self.corpus = open_corpus(args.data(), **args.places())
        self.output = self.output_folder()
        if self.args.lmdb_dataset and not args.dry_run:
            self.corpus = with_archive(self.corpus, Path(self.args.lmdb_dataset), self.output / "videos", dist)
        if not args.dry_run:
            level = logging.DEBUG if args.debug else logging.INFO
            setup_logging(dist, self.output, level, LOG_FORMAT)
        for line in self.corpus.summary():
            log.info("%s", line)
        note = None if args.dry_run or not dist.is_main else self.output / "absent_videos.txt"
        self.absent = report_absent(self.corpus, note)
        seed_all(self.args.seed)
        self.network = build_network(
            self.method, {**resolved(self.method), "max_frames": self.args.max_frames}, tower.given(), self.stored,
            args.init_model,
        )  # fmt: skip
        self.model = self.network.model.to(dist.device)
        config = self.model.clip.config
        self.data = RetrievalData(
            self.args, self.corpus, config.resolution, self.output, dist, self.pixels, self.network.weights
        )
        if self.args.video_features and (self.method.method != "clip4clip" or self.method.linear_patch == "3d"):
            raise ValueError(
                "--video_features are those of a plain CLIP: --method clip4clip with --linear_patch 2d only"
            )
        if self.args.max_words > config.context_length:
            raise ValueError(f"--max_words {self.args.max_words}: the text tower reads {config.context_length} at most")

    # -- where it starts ------------------------------------------------------------------------------------------

    def stored_run(self, method: MethodArguments, args: RetrievalArguments) -> Any:
        """The checkpoint that `--resume` names, or the one that an evaluation scores."""
        from pretrained.retrieval_runs import open_run
        from utility.checkpoint import is_checkpoint

        if args.do_eval:
            from_flags = None if args.resume in (None, LAST) else args.resume
            return open_run(from_flags or args.output_dir or self.default_output(method, args), "best")
        if args.resume is None:
            return None
        if args.resume == LAST:  # of this very run, if it has begun
            last = Path(args.output_dir or self.default_output(method, args)) / "last"
            return open_run(last, training=True) if is_checkpoint(last) else None
        return open_run(args.resume, "last", training=not args.load_from_pretrained)

    def weights_only(self, args: RetrievalArguments) -> bool:
        """Whether the stored run is a start for another training, not this run itself."""
        return not args.do_eval and self.stored.checkpoint.training is None

    @staticmethod
    def default_output(method: MethodArguments, args: RetrievalArguments) -> Path:
        return Path(f"results/{method.method}_{open_corpus(args.data(), **args.places()).name}")

    def output_folder(self) -> Path:
        if self.args.output_dir:
            return Path(self.args.output_dir)
        if self.stored is not None and not self.weights_only(self.args):
            return self.stored.folder
        return Path(f"results/{self.method.method}_{self.corpus.name}")

    # -- the run --------------------------------------------------------------------------------------------------

    def run(self) -> int:
        from pretrained.retrieval_runs import load_weights, open_run
        from pretrained.retrieval_weights import export_published

        args = self.args
        if args.strict and self.absent:
            log.error("--strict: videos are absent, so nothing is done")
            return 1
        if not args.do_eval:
            self.train()
        elif args.dry_run:
            log.info("dry run: would score the %s split with %s", args.eval_split, self.stored.source)
        if args.dry_run:
            return 0
        if not args.do_eval:
            self.model.words = None  # it has served
            if self.dist.is_main:  # the others may be on machines that do not see the folder
                load_weights(self.model, open_run(self.output))
            self.dist.broadcast(self.model.state_dict().values())
        self.test(args.eval_split)
        if args.export_published and self.dist.is_main:
            file = Path(args.export_published).expanduser()
            export_published(file, self.method.method, self.model)
            log.info("%s: for the published code of %s", file, self.method.method)
        return 0

    def pixels(self, frames: Any) -> Any:
        from utility.images import to_clip

        if frames.is_floating_point():  # features
            return frames
        return to_clip(frames, self.network.mean, self.network.std)

    def train(self) -> None:
        from dataset.seen_videos import also_trained_on
        from model.retrieval.words import WordPrediction
        from pretrained.retrieval_network import build_optimizer, choose_parameters
        from pretrained.retrieval_runs import RunExport, carry_best
        from utility.engine import TrainSettings, train
        from utility.loader import BatchLoader, batch_within, piece_size
        from utility.retrieval_report import step_line

        args, dist, model = self.args, self.dist, self.model
        pairs = None if args.dry_run else self.data.pairs(self.method.word_weight > 0)
        cut = args.micro_batch_size, args.gradient_accumulation_steps, dist.world_size
        if args.limit is not None and pairs is not None and len(pairs) < args.batch_size:
            # A run of a few videos, to try things out, should not fail for its batch.
            args = self.args = replace(args, batch_size=batch_within(len(pairs), args.batch_size, *cut))
            log.warning("--limit leaves %d pairs: --batch_size %d", len(pairs), args.batch_size)
        table, warnings = choose_parameters(model, self.method, ("clip.visual.",) if args.video_features else ())
        for line in warnings:
            log.warning("%s", line)
        chunk, pieces = piece_size(args.batch_size, *cut)
        for line in table:
            log.info("%s", line)
        log.info(
            "effective batch: %d pairs = %d processes x %d pieces x %d; every text and every clip meets %d negatives",
            args.batch_size, dist.world_size, pieces, chunk, args.batch_size - 1,
        )  # fmt: skip
        if args.dry_run:
            log.info("dry run: %s", json.dumps(resolved(args, self.method, self.tower)))
            return
        if pairs.words is not None:
            model.words = WordPrediction(model.clip.config.embed_dim, len(pairs.words)).to(dist.device)
        loader = BatchLoader(pairs, pairs.collate, args.batch_size, None, dist, args.seed, num_workers=args.num_workers)
        log.info("%d epochs of %d steps", args.epochs, loader.steps_per_epoch)
        optimizer, schedule = build_optimizer(model, args, args.epochs * loader.steps_per_epoch)
        settings = TrainSettings(
            str(self.output), args.epochs, args.batch_size, None, args.clip_norm, args.precision, args.seed,
            args.log_steps, args.save_steps, args.patience, args.resume == LAST,
        )  # fmt: skip
        before = self.network
        seen = also_trained_on(before.trained_on, before.corpus, self.corpus.name, pairs.names)
        config = before.describe(self.output.name) | self.data.describe(seen, resolved(args, self.method, self.tower))
        if dist.is_main:
            hyper = json.dumps(resolved(args, self.method, self.tower, self.launch), indent=2, ensure_ascii=False)
            (self.output / "hparams_train.json").write_text(hyper + "\n", encoding="utf-8")
        if self.launch.use_bn_sync and dist.world_size > 1 and dist.device.type == "cuda":
            import torch

            self.model = model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        continued = None
        if self.stored is not None and not self.weights_only(args):
            carry_best(self.stored, self.output, dist.is_main)
            continued = self.stored.checkpoint
        train(
            model, lambda model, batch: self.loss(model, batch, chunk), loader, optimizer, schedule, settings,
            dist, self.validation(), names_of=lambda batch: batch.names, config=config,
            after_step=lambda model: model.clamp_logit_scale(), later_wins=True, resume_from=continued,
            smaller="--freeze_clip 1 or a smaller --backbone",
            export=RunExport(self.output, model, config, args.epochs), step_line=step_line,
            curves=self.output / "tensorboard" / time.strftime("%Y-%m-%d-%H-%M-%S"),
        )  # fmt: skip

    def loss(self, model: Any, batch: Any, chunk: int) -> tuple[Any, int, dict[str, Any]]:
        from model.retrieval.losses import both_directions

        dist = self.dist
        log.debug("pairs: %s", " ".join(batch.names))
        pixels = self.pixels(batch.frames)
        total, rows = model(batch.ids, pixels, batch.mask, dist.gather, dist.rank, chunk, batch.words)
        numbers = both_directions(rows, dist.gather, dist.rank)
        return total, len(rows), {**numbers, "scale": model.clip.logit_scale.detach()}

    # -- scores ---------------------------------------------------------------------------------------------------

    def validation(self) -> Any:
        """The function that scores an epoch on the validation split."""
        from utility.retrieval_report import EpochScores

        args = self.args
        if not self.corpus.references("val"):
            log.warning("no validation captions: the last epoch counts as the best")
            return lambda model, epoch: {"score": float(epoch)}
        clips = self.data.clips("val")
        return EpochScores(clips, self.pixels, self.dist, args.batch_size_val, args.ties, args.eval_epochs, args.epochs)

    def test(self, split: str) -> None:
        from utility.retrieval_evaluation import Rules
        from utility.retrieval_report import SplitReport

        args, dist = self.args, self.dist
        if not self.corpus.references(split):
            log.warning("the %s split has no captions to score against", split)
            return
        clips = self.data.clips(split)
        rules = Rules(args.ties, args.dual_softmax, args.qb_beta)
        report = SplitReport(self.model.eval(), self.pixels, dist, args.batch_size_val, rules)
        if args.inference_speed_test:
            results = report.speed(clips)
        else:
            features = Path(args.save_feature_path).expanduser() if args.save_feature_path else None
            about = {
                "corpus": self.corpus.name, "split": split, "protocol": args.protocol, "method": self.method.method,
                "unreadable": clips.frames.failed,
            }  # fmt: skip
            bank = self.data.bank() if args.qb_norm else None
            results = report.write(clips, bank, about, self.output, args.save_matrix, features)
        if dist.is_main:
            print(json.dumps(results, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(main())
