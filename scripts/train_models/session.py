"""One run of a recognition trainer: corpus, backbone, recogniser, training, scores, files."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from dataset.action_pictures import ActionPictures, CacheSettings, ViewSettings
from dataset.action_videos import ActionBatch, EvaluationClips, TrainingClips
from model.recognition import METHODS, Recogniser, build
from model.recognition.cost import cost
from model.recognition.settings import NAMES
from pretrained import zoo
from pretrained.backbones import load_backbone
from pretrained.recogniser_weights import RecogniserCheckpoint
from scripts.train_models.continuing import continue_from
from scripts.train_models.evaluation import Predictions, predict, results, say
from scripts.train_models.inputs import Inputs
from scripts.train_models.learner import Learner, profiled
from scripts.train_models.run_folder import VALIDATION, RunFolder, models_root
from scripts.train_models.settings import Arguments
from utility.device_memory import OutOfDeviceMemory
from utility.distributed import Distributed
from utility.engine import train
from utility.loader import BatchLoader
from utility.logs import setup_logging
from utility.places import ROOT, portable
from utility.random_state import seed_all
from utility.schedules import advance, epoch_cosine
from utility.train_settings import TrainSettings
from utility.training_run import TrainState

log = logging.getLogger(__name__)

DEMO_BACKBONE = "results/demo/clip4clip"
DEBUG_BATCHES = 4
CURVES = (("acc", "accuracy"), ("loss", "loss"))
# What a resumed run must share with the one before; what only trades memory for time may change.
MEMORY = ("use_checkpointing", "frames_per_chunk", "texts_per_chunk")
SAME = ("corpus", "classes", "views", "backbone.hash", *(f"settings.{name}" for name in NAMES if name not in MEMORY))


def default_backbone() -> str:
    """ViT-B/16 where its file is in pretrained/, else the demo's.

    Raises:
        FileNotFoundError: neither is there.
    """
    record = zoo.find("ViT-B-16-quickgelu")
    if record is not None and (zoo.FOLDER / record.file).is_file():
        return record.name
    if (ROOT / DEMO_BACKBONE / "best").is_dir():
        return str(ROOT / DEMO_BACKBONE)
    raise FileNotFoundError(
        f"no backbone: neither pretrained/{record.file} nor {DEMO_BACKBONE} is here. Get the first with "
        "`python -m pretrained.zoo get ViT-B-16-quickgelu`, make the second with `make demo`, or give --backbone"
    )


class Session:
    """One run."""

    def __init__(self, args: Arguments, dist: Distributed):
        self.args, self.dist = args, dist
        run = args.run
        # All processes must mean one folder, and clocks differ.
        run_id = dist.gather_objects(run.run_id or time.strftime("%Y%m%d-%H%M%S"))[0]
        self.corpus = args.data.open(run.random_seed)
        if run.limit is not None:
            parts = {split: clips[: run.limit] for split, clips in self.corpus.splits.items()}
            self.corpus = replace(self.corpus, splits=parts)
        self.spec = run.backbone or default_backbone()
        self.backbone = load_backbone(self.spec)
        # Only now, so that a mistake in these leaves no folder behind.
        self.folder = RunFolder(models_root(run.models_root) / args.method / self.corpus.name / run_id)
        if not run.dry_run:
            setup_logging(dist, self.folder.path, logging.DEBUG if run.debug else logging.INFO)
        for line in self.corpus.summary():
            log.info("%s", line)
        log.info("%s on %s, backbone %s, run %s", args.method, self.corpus.name, self.spec, self.folder.path)
        seed_all(run.random_seed)
        self.model = self.build().to(dist.device)
        v = args.views
        self.views = ViewSettings(
            self.backbone.resolution, v.num_frames_temporal, v.num_temporal_views, v.num_spatial_views,
            v.space_between_frames, args.data.remove_black_strips,
        )  # fmt: skip
        self.normal = (self.backbone.mean, self.backbone.std)
        changed = v.use_augmentation or v.videomix_type != "none"
        self.inputs = self.inputs_of(keep=not changed)
        self.validation_inputs = self.inputs_of(keep=True)
        self.texts = self.model.class_texts(self.corpus.classes, self.backbone.tokenizer)
        self.validation_clips: EvaluationClips | None = None

    def build(self) -> Recogniser:
        """The recogniser of the flags; a key that its method does not read is named and left out."""
        method, given = METHODS[self.args.method], self.args.prompts.given()
        unread = [name for name in given if name not in method.keys]
        if unread:
            log.warning("%s does not read %s; ignored", method.title, ", ".join(unread))
        given = {name: value for name, value in given.items() if name in method.keys}
        frames = self.args.views.num_frames_temporal
        if "num_frames" in method.keys and given.setdefault("num_frames", frames) != frames:
            raise ValueError(f"num-frames is {given['num_frames']}, num-frames-temporal {frames}; they must agree")
        return build(self.args.method, self.backbone.model, given)

    def run(self) -> None:
        trained = sum(p.numel() for p in self.model.learner().values() if p.requires_grad)
        log.info("%s parameters learn, %s are the backbone's", f"{trained:,}", f"{self._frozen():,}")
        if self.args.run.dry_run:
            log.info("dry run: %s", json.dumps(self.args.published()))
            return
        if self.dist.is_main:
            self.folder.config(self.description())
        self.train()
        self.evaluate()

    def _frozen(self) -> int:
        return sum(p.numel() for p in self.model.clip.parameters())

    def description(self) -> dict[str, Any]:
        """What config.json holds: enough to build and use the recogniser, and all settings."""
        backbone = self.backbone
        return {
            "program": "recognition",
            "method": self.args.method,
            "corpus": self.corpus.name,
            "classes": list(self.corpus.classes),
            "settings": asdict(self.model.settings),
            "views": asdict(self.views),
            "backbone": {"spec": portable(str(self.spec)), "name": backbone.name, "hash": backbone.hash},
            "run_name": f"{self.args.method}-{self.corpus.name}-{backbone.name}-K{self.args.data.K_train or 'all'}",
            "configuration": self.args.published(),
        }

    # ---- training --------------------------------------------------------------------------------------------------

    def train(self) -> None:
        run, data, dist = self.args.run, self.args.data, self.dist
        loader = self.loader()
        parameters = [p for p in self.model.learner().values() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=run.lr, weight_decay=run.weight_decay)
        start = self.start_state(loader, optimizer)
        schedule = epoch_cosine(optimizer, run.epochs, loader.steps_per_epoch, run.lr, run.eta_min)
        advance(schedule, start.step)
        settings = TrainSettings(
            str(self.folder.path), run.epochs, data.batch_size * data.batches_per_backprop * dist.world_size,
            data.batch_size, run.grad_norm_max, "fp16" if run.fp16 else run.precision, run.random_seed,
            run.log_every_n_steps, run.save_every_n_steps, run.early_stop_patience, run.resume,
        )  # fmt: skip
        log.info("%d epochs of %d steps, %d clips each", run.epochs, loader.steps_per_epoch, settings.batch_size)
        self.started = time.perf_counter()
        try:
            with profiled(run.use_profiling and dist.is_main, self.folder.path / "profile.txt") as note:
                train(
                    Learner(self.model), self.loss, loader, optimizer, schedule, settings, dist, self.validation(),
                    names_of=lambda batch: batch.names, config=self.description(), same=SAME, start=start,
                    after_step=lambda model: note(), after_epoch=self.after_epoch, export=self.export,
                    find_unused_parameters=True,
                )  # fmt: skip
        except OutOfDeviceMemory as error:
            raise OutOfDeviceMemory(
                f"out of memory with --batch_size {data.batch_size}. Half of it with --batches_per_backprop "
                f"{2 * data.batches_per_backprop} keeps the effective batch; --use_checkpointing and a smaller "
                "--frames_per_chunk help too"
            ) from error

    def loader(self) -> BatchLoader:
        args, data = self.args, self.args.data
        clips = self.corpus.splits["train"]
        if args.run.debug:
            clips = clips[: DEBUG_BATCHES * data.batch_size * self.dist.world_size]
        training = TrainingClips(
            clips, self.pictures(), len(self.corpus.classes), args.views.augmentation(), args.views.videomix_type,
            args.views.videomix_prob,
        )  # fmt: skip
        step = data.batch_size * data.batches_per_backprop * self.dist.world_size
        return BatchLoader(
            training, ActionBatch.collate, step, data.batch_size, self.dist, args.run.random_seed,
            num_workers=data.num_workers, keep_rest=True,
        )  # fmt: skip

    def pictures(self) -> ActionPictures:
        data = self.args.data
        folder = Path(data.cache_dir) if data.cache_dir else ROOT / "results" / "recognition_cache" / self.corpus.name
        memory = int(data.cache_gb * 2**30)
        cache = CacheSettings(memory, folder, data.use_cache, data.save_to_cache, data.resized_cache_protocol)
        return ActionPictures(self.views, cache)

    def inputs_of(self, keep: bool) -> Inputs:
        """What the recogniser is given of batches; `keep`: clips come again and are the same then."""
        return Inputs(self.model, self.normal, int(self.args.data.cache_gb * 2**30) if keep else 0)

    def start_state(self, loader: BatchLoader, optimizer: Any) -> TrainState:
        """Counters and learnt tensors that the run starts with."""
        run = self.args.run
        state = TrainState()
        if run.continue_from and not run.resume:
            state = continue_from(
                run.continue_from, run.models_root, self.model, optimizer, run.lr, run.use_fresh_lr_scheduler,
                run.epochs, self.description(),
            )  # fmt: skip
        if not state.epoch:
            state.epoch = min(run.epochs_to_skip, run.epochs - 1)
        state.step = state.epoch * loader.steps_per_epoch
        state.position = min(run.start_train_step, len(loader) - 1)
        return state

    def loss(self, learner: Learner, batch: ActionBatch) -> tuple[Any, int, dict[str, Any]]:
        result = learner(self.inputs(batch), self.texts, batch.mask)
        mean = self.model.loss(result, batch.labels, self.texts, self.class_weights())
        truth = batch.labels if batch.labels.ndim == 1 else batch.labels.argmax(-1)
        accuracy = (result.logits.argmax(-1) == truth).float().mean()
        return mean * len(batch), len(batch), {"accuracy": accuracy}

    def class_weights(self) -> torch.Tensor | None:
        """Weights of mean 1 over the training clips, None unless asked for."""
        if not self.args.run.class_weights:
            return None
        labels = torch.tensor([clip.label for clip in self.corpus.splits["train"]])
        counts = torch.bincount(labels, minlength=len(self.corpus.classes))
        return (len(labels) / ((counts > 0).sum() * counts.clamp(min=1))).to(self.dist.device)

    def validation(self) -> Any:
        """The function that scores an epoch: top-1 of the validation split."""
        clips = self.corpus.splits.get("val", ())
        if not clips:
            log.warning("no validation clips: the last epoch counts as the best")
            return lambda model, epoch: {"score": float(epoch)}
        self.validation_clips = self.evaluation_clips("val")

        def score(learner: Any, epoch: int) -> dict[str, float]:
            found = self.predict(self.validation_clips)
            return {"score": found.top1, "accuracy": found.top1, "loss": found.loss}

        return score

    def after_epoch(self, learner: Learner, state: TrainState) -> None:
        """Keeps the files of the run up to date, so that a stopped run has them too."""
        if not self.dist.is_main:
            return
        history = [{**epoch} for epoch in state.history]
        history[-1]["seconds"] = round(time.perf_counter() - self.started, 2)
        state.history[-1] = history[-1]
        summary = {"best_epoch": state.best_epoch, "best_top1": state.best_score}
        self.folder.log(history, summary)

    def export(self, name: str, training: Any, summary: dict[str, Any]) -> None:
        """Writes checkpoint.pth whenever `best` was written."""
        if name != "best":
            return
        other = {"method": self.args.method, "classes": list(self.corpus.classes), "top1": summary["best_score"]}
        curves = {
            split: {short: [epoch.get(f"{split}/{long}") for epoch in summary["history"]] for short, long in CURVES}
            for split in ("train", "val")
        }
        learner, settings = self.model.learner_state(), asdict(self.model.settings)
        self.folder.checkpoint(RecogniserCheckpoint(learner, settings, summary["epoch"], curves, other=other))

    # ---- scores ----------------------------------------------------------------------------------------------------

    def evaluation_clips(self, split: str) -> EvaluationClips:
        return EvaluationClips(self.corpus.splits[split], self.pictures())

    def predict(self, clips: EvaluationClips) -> Predictions:
        data = self.args.data
        inputs = self.validation_inputs if clips is self.validation_clips else self.inputs_of(keep=False)
        return predict(self.model.eval(), self.texts, clips, inputs, self.dist, data.batch_size, data.num_workers)

    def evaluate(self) -> None:
        """Scores the best epoch on the validation and test splits; the temperature is the validation's."""
        self.model.load_learner(self.folder.best())
        views = self.views.temporal * self.views.spatial
        price = asdict(cost(self.model, views, self.views.frames, *self.texts.ids.shape)) | {"views": views}
        temperature = None
        for split, file in (("val", VALIDATION), ("test", "test_results.json")):
            if not self.corpus.splits.get(split):
                continue
            clips = self.validation_clips if split == "val" else self.evaluation_clips(split)
            found = self.predict(clips)
            if not self.dist.is_main:
                continue
            report = results(found, self.corpus.classes, temperature, self.folder.path / split)
            if split == "val":
                temperature = report["temperature"]
            report = {"method": self.args.method, "corpus": self.corpus.name, "split": split, **report, "cost": price}
            self.folder.results(file, report)
            say(split, report)
