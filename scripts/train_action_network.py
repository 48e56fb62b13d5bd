"""Train a small I3D on the captions of a corpus: the action network of those who have no published weights.

    python -m scripts.train_action_network --dataset minimotion --output_dir results/action_network

Sixteen consecutive frames and a caption of the same video are pulled together, those of different videos apart: the
contrastive loss of CLIP4Clip with an I3D in place of the frame tower, beside a prediction of the captions' words. The
network sees how much changes from frame to frame: of small corpora it would otherwise learn the backgrounds by heart.
The output folder is what `--action_network` of the extractors takes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dataset.arguments import CorpusArguments, open_corpus
from utility.arguments import parse, resolved
from utility.train_settings import TrainSettings

log = logging.getLogger(__name__)


@dataclass
class ActionNetworkArguments(TrainSettings):
    """The network, its clips and its training."""

    output_dir: str = field(default="results/action_network", metadata={"help": "folder of checkpoints and curves"})
    epochs: int = field(default=20, metadata={"help": "passes over the training videos"})
    width: float = field(default=0.125, metadata={"help": "channels relative to the published network"})
    size: int = field(default=32, metadata={"help": "edge of a frame in pixels"})
    differences: bool = field(
        default=True, metadata={"help": "the network sees how much changes from frame to frame; 0: the frames"}
    )
    embed_dim: int = field(default=128, metadata={"help": "width of the space that clips and captions share"})
    text_width: int = field(default=128, metadata={"help": "width of the text tower"})
    text_layers: int = field(default=2, metadata={"help": "blocks of the text tower"})
    max_words: int = field(default=24, metadata={"help": "sub-words of a caption, start and end included"})
    word_weight: float = field(
        default=10.0, metadata={"help": "weight of predicting the captions' words, beside the contrast"}
    )
    lr: float = field(default=2e-3, metadata={"help": "largest learning rate"})
    weight_decay: float = field(default=0.05, metadata={"help": "of all weights but biases and norms"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args, data = parse((ActionNetworkArguments, CorpusArguments), argv, description=__doc__.split("\n")[0])

    # Only now: torch takes seconds to import, and a misspelt flag should not wait for it.
    from utility.program import run_program

    return run_program(lambda dist: run(args, data, dist), args.device)


def run(args: ActionNetworkArguments, data: CorpusArguments, dist: Any) -> None:
    """Trains the network of the flags on the training split."""
    import torch

    from dataset.action_clips import ActionClips
    from model.backbone.clip import small_config
    from model.backbone.i3d import I3D
    from model.retrieval.action_text import ActionText
    from utility.clip_text import ClipTokenizer
    from utility.engine import train
    from utility.loader import BatchLoader
    from utility.logs import setup_logging
    from utility.random_state import seed_all
    from utility.schedules import warmup_cosine

    if not data.dry_run:
        setup_logging(dist, args.output_dir)
    corpus = open_corpus(data)
    for line in corpus.summary():
        log.info("%s", line)
    if data.dry_run:
        log.info("dry run: %s", resolved(args, data))
        return
    clips = ActionClips(corpus, corpus.ids("train"), ClipTokenizer(), args.size, max_words=args.max_words)
    loader = BatchLoader(clips, clips.collate, args.batch_size, args.micro_batch_size, dist, args.seed)
    log.info("%d videos, %d steps per epoch", len(clips), loader.steps_per_epoch)
    seed_all(args.seed)
    network = I3D(num_classes=args.embed_dim, width=args.width, pool=None, differences=args.differences)
    text = small_config(
        embed_dim=args.embed_dim, text_width=args.text_width, text_layers=args.text_layers,
        text_heads=max(args.text_width // 32, 1), context_length=args.max_words,
    )  # fmt: skip
    model = ActionText(network, text, len(clips.words)).to(dist.device)
    steps = args.epochs * loader.steps_per_epoch
    optimizer = torch.optim.AdamW(parameter_groups(model, args.weight_decay), lr=args.lr, betas=(0.9, 0.98))
    description = {
        "width": args.width, "pool": None, "resize": args.size, "size": args.size, "num_classes": args.embed_dim,
        "length": clips.length, "differences": args.differences,
    }  # fmt: skip

    if args.precision == "auto" and dist.device.type == "cpu":
        # The gradients of this deep network of batch norms do not survive bfloat16 on a CPU: at the start they
        # point elsewhere, and now and then one is infinite.
        args.precision = "fp32"

    def loss(model, batch):
        frames, ids, words, names = batch
        total = model.loss_sum(frames, ids, words, args.word_weight, dist.gather, dist.rank * len(names))
        return total, len(names), {}

    train(
        model, loss, loader, optimizer, warmup_cosine(optimizer, steps, args.lr), args, dist,
        names_of=lambda batch: batch[3], after_step=lambda m: m.clamp_logit_scale(),
        config={"program": "action_network", "action_network": description, "corpus": corpus.name,
                "trained_on": clips.ids, "arguments": resolved(args, data)},
    )  # fmt: skip


def parameter_groups(model, weight_decay: float) -> list[dict]:
    """What is trained, with decay for matrices and kernels and without for biases, norms and the temperature."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


if __name__ == "__main__":
    sys.exit(main())
