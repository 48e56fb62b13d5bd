"""The retrieval trainers: text-to-video and video-to-text.

    python train_unified_model.py --method clip4clip --datatype minimotion
    torchrun --nproc_per_node 4 train_unified_model.py --method clip4clip --datatype msrvtt --micro_batch_size 8
    python train_unified_model.py --method clip4clip --datatype msrvtt --do_eval --output_dir results/clip4clip_MSR-VTT

The folder `best` of a run is a backbone: `--backbone results/clip4clip_MSR-VTT` of the extractors looks through it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset.arguments import open_corpus
from dataset.retrieval_settings import RetrievalArguments, SmallTowerArguments, with_defaults
from utility.arguments import parse, resolved

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    args, tower = parse(
        (RetrievalArguments, SmallTowerArguments),
        argv,
        prog="train_unified_model.py",
        description=__doc__.split("\n")[0],
    )

    # Only now: torch takes seconds to import, and a misspelt flag should not wait for it.
    from utility.program import run_program

    return run_program(lambda dist: Session(with_defaults(args), tower, dist).run(), args.device)


class Session:
    """One run: corpus, network, frames, training, scores."""

    def __init__(self, args: RetrievalArguments, tower: SmallTowerArguments, dist: Any):
        from utility.clip_text import ClipTokenizer
        from utility.logs import setup_logging
        from utility.random_state import seed_all

        self.dist, self.tower = dist, tower
        self.corpus = open_corpus(args.data())
        self.output = Path(args.output_dir or f"results/{args.method}_{self.corpus.name}")
        if not args.dry_run:
            setup_logging(dist, self.output)
        for line in self.corpus.summary():
            log.info("%s", line)
        if args.protocol != "captioning":
            log.warning(
                "protocol %s: this training list overlaps the captioning test split (the 9k list holds 1,990 of its "
                "2,990 videos); a captioner that looks through this model must not be scored there",
                args.protocol,
            )
        self.tokenizer = ClipTokenizer()
        seed_all(args.seed)
        self.args = args
        self.model = self.build().to(dist.device)
        self.resolution = self.model.clip.config.resolution
        if args.max_words > self.model.clip.config.context_length:
            raise ValueError(
                f"--max_words {args.max_words}: the text tower reads {self.model.clip.config.context_length} at most"
            )

    def build(self) -> Any:
        """The model, and what its pictures and its earlier training were (`mean`, `std`, `name`, `trained_on`)."""
        import torch

        from model import CLIP4Clip
        from model.backbone.clip import CLIP, small_config
        from model.retrieval.tuning import freeze_layers, with_3d_patches
        from pretrained import zoo
        from pretrained.backbones import load_backbone

        args, sizes = self.args, self.tower.given()
        if args.from_nothing:
            if args.linear_patch == "3d":
                sizes.setdefault("stem", ())  # pictures enter a 3-D patch layer as they are
            clip = CLIP(small_config(**sizes, linear_patch=args.linear_patch))
            torch.nn.init.normal_(clip.token_embedding.weight, std=0.1)
            self.name, self.mean, self.std, self.trained_on = self.output.name, zoo.CLIP_MEAN, zoo.CLIP_STD, []
        else:
            if sizes:
                raise ValueError(f"{', '.join(f'--{name}' for name in sizes)}: sizes belong to --backbone small only")
            backbone = load_backbone(args.backbone)
            clip = backbone.model if args.linear_patch == "2d" else with_3d_patches(backbone.model)
            self.name, self.mean, self.std = self.output.name, backbone.mean, backbone.std
            self.trained_on = backbone.trained_on or []
        freeze_layers(clip, args.freeze_layer_num)
        if args.freeze_token_embedding:
            clip.token_embedding.requires_grad_(False)
        # The size of a vocabulary is known when the training captions are: `train` adds the word prediction.
        return CLIP4Clip(clip, args.sim_header, args.cross_num_hidden_layers, word_weight=args.word_weight)

    def run(self) -> None:
        from utility.checkpoint import load_checkpoint, load_tensors

        if not self.args.do_eval:
            self.train()
        elif self.args.dry_run:
            log.info("dry run: would score the %s split with %s", self.args.eval_split, self.output)
        if self.args.dry_run:
            return
        folder = self.output / "best"
        checkpoint = load_checkpoint(folder if folder.is_dir() else self.output / "last", training=False)
        self.model.words = None  # it has served
        tensors = {name: value for name, value in checkpoint.tensors.items() if not name.startswith("words.")}
        load_tensors(self.model, tensors, str(self.output))
        self.test(self.args.eval_split)

    def frames(self, split: str, slots: int) -> Any:
        """Pictures of a split, from a cache that is as large as the flags allow."""
        from dataset.clip_frames import ClipFrames, FrameSettings

        args, corpus = self.args, self.corpus
        paths = {name: corpus.videos[name] for name in corpus.ids(split) if corpus.videos[name] is not None}
        if not paths:
            raise ValueError(
                f"no video of the {split} split of {corpus.name} is under {corpus.root}; choose others with --data_root"
            )
        settings = FrameSettings(slots, args.feature_framerate, args.cache_size or self.resolution, args.slice_framepos)
        size = len(paths) * settings.bytes_per_video
        cached = size <= args.cache_gb * 2**30
        log.info(
            "%s: %d videos, %s", split, len(paths),
            f"decoding {slots} frames each into {size / 2**20:.0f} MB" if cached else "decoded when they are needed",
        )  # fmt: skip
        folder = (
            Path(args.cache_dir) if args.cache_dir else self.output / "frames" if self.dist.world_size > 1 else None
        )
        frames = ClipFrames(paths, settings, cached, folder, self.dist)
        frames.report()
        return frames

    def pixels(self, frames: Any) -> Any:
        from utility.images import to_clip

        return to_clip(frames, self.mean, self.std)

    def train(self) -> None:
        import torch

        from dataset.clips import Augmentation, ClipPairs
        from model.retrieval.tuning import parameter_groups
        from model.retrieval.words import WordPrediction
        from utility.bert_adam import BertAdam
        from utility.engine import TrainSettings, train
        from utility.loader import BatchLoader, split_batch
        from utility.schedules import clip4clip_cosine, warmup_cosine

        args, dist = self.args, self.dist
        share = split_batch(args.batch_size, None, dist.world_size)[0]
        micro = (
            share // args.gradient_accumulation_steps if args.gradient_accumulation_steps > 1 else args.micro_batch_size
        )
        chunk, _ = split_batch(args.batch_size, micro, dist.world_size)
        trainable = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        total = sum(p.numel() for p in self.model.parameters())
        log.info("%s from %s: %s parameters, %s train", args.method, args.backbone, f"{total:,}", f"{trainable:,}")
        if args.dry_run:
            log.info("dry run: %s", json.dumps(resolved(args, self.tower)))
            return
        augmentation = Augmentation(
            args.random_frames, args.crop_min, args.crop_max, args.whole_share, args.crop_each_frame
        )
        pairs = ClipPairs(
            self.frames("train", args.cache_frames), self.corpus.captions, self.tokenizer, args.train_frames,
            args.max_words, self.resolution, augmentation, args.every_sentence, args.word_weight > 0,
        )  # fmt: skip
        if pairs.words is not None:
            self.model.words = WordPrediction(self.model.clip.config.embed_dim, len(pairs.words)).to(dist.device)
        loader = BatchLoader(pairs, pairs.collate, args.batch_size, None, dist, args.seed, num_workers=args.num_workers)
        steps = args.epochs * loader.steps_per_epoch
        log.info("%d epochs of %d steps, %d pairs each", args.epochs, loader.steps_per_epoch, args.batch_size)
        groups = parameter_groups(self.model, args.lr, args.coef_lr, args.weight_decay)
        if args.optim == "BertAdam":
            optimizer = BertAdam(groups)
            schedule = clip4clip_cosine(optimizer, steps, args.warmup_proportion)
        else:
            optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)
            schedule = warmup_cosine(optimizer, steps, args.lr, args.warmup_proportion)
        settings = TrainSettings(
            str(self.output), args.epochs, args.batch_size, None, args.clip_norm, args.precision, args.seed,
            args.log_steps, args.save_steps, args.patience, args.resume,
        )  # fmt: skip
        trained_on = sorted({*self.trained_on, *pairs.names})
        train(
            self.model, lambda model, batch: self.loss(model, batch, chunk), loader, optimizer, schedule, settings,
            dist, self.validation(), names_of=lambda batch: batch.names, config=self.checkpoint_config(trained_on),
            after_step=lambda model: model.clamp_logit_scale(),
        )  # fmt: skip

    def loss(self, model: Any, batch: Any, chunk: int) -> tuple[Any, int, dict[str, Any]]:
        import torch

        pixels = self.pixels(batch.frames)
        total, rows = model(batch.ids, pixels, batch.mask, self.dist.gather, self.dist.rank, chunk, batch.words)
        own = torch.arange(len(rows), device=rows.device) + self.dist.rank * len(rows)
        found = (rows.argmax(1) == own).float().mean()
        return total, len(rows), {"batch_R1": 100 * found, "temperature": model.clip.logit_scale.exp()}

    def validation(self) -> Any:
        """The function that scores an epoch on the validation split, None without such a split."""
        from utility.retrieval_evaluation import evaluate, flat

        args = self.args
        if not self.corpus.references("val"):
            log.warning("no validation captions: the last epoch counts as the best")
            return lambda model, epoch: {"score": float(epoch)}
        clips = self.clips("val")

        def score(model: Any, epoch: int) -> dict[str, float]:
            if (epoch + 1) % args.eval_epochs and epoch + 1 < args.epochs:
                return {}
            return flat(evaluate(model, clips, self.pixels, self.dist, args.batch_size_val))

        return score

    def clips(self, split: str) -> Any:
        from dataset.clips import EvaluationClips

        args = self.args
        frames = self.frames(split, args.max_frames)
        return EvaluationClips(
            frames, self.corpus.captions, self.tokenizer, args.max_frames, args.max_words, self.resolution
        )

    def test(self, split: str) -> None:
        from utility.retrieval_evaluation import evaluate
        from utility.retrieval_metrics import TIE_RULE

        if not self.corpus.references(split):
            log.warning("the %s split has no captions to score against", split)
            return
        clips = self.clips(split)
        results = evaluate(self.model.eval(), clips, self.pixels, self.dist, self.args.batch_size_val)
        if not self.dist.is_main:
            return
        results |= {
            "corpus": self.corpus.name,
            "split": split,
            "protocol": self.args.protocol,
            "videos": len(clips),
            "texts": len(clips.ids),
            "ties": TIE_RULE,
            "unreadable": sorted(clips.frames.failed),
        }
        file = self.output / f"{split}_retrieval.json"
        file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        for way, name in (("t2v", "text to video"), ("v2t", "video to text")):
            shown = "  ".join(f"{k} {v:.1f}" for k, v in results[way].items() if k[0] in "RM")
            log.info("%s, %s: %s", split, name, shown)
        print(json.dumps(results, ensure_ascii=False))

    def checkpoint_config(self, trained_on: list[str]) -> dict[str, Any]:
        from pretrained.backbones import describe

        args = self.args
        return {
            "program": "retrieval",
            "method": args.method,
            "corpus": self.corpus.name,
            "protocol": args.protocol,
            "trained_on": trained_on,
            "backbone": describe(self.model.clip.config, self.name, self.mean, self.std),
            "header": {"name": args.sim_header, "layers": args.cross_num_hidden_layers},
            "sampling": {
                "rule": "time",
                "rate": args.feature_framerate,
                "frames": args.max_frames,
                "slice_framepos": args.slice_framepos,
            },
            "preprocessing": {"crop": "centre square", "interpolation": "bicubic", "size": self.resolution},
            "max_words": args.max_words,
            "arguments": resolved(args, self.tower),
        }


if __name__ == "__main__":
    sys.exit(main())
