"""Settings of the training loop, apart from it so that a program can offer them as flags without loading torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class TrainSettings:
    """Settings of the loop; programs may inherit from it to offer them as flags."""

    output_dir: str = field(
        default="results/run", metadata={"help": "folder of checkpoints (last, best), log and curves"}
    )
    epochs: int = field(default=20, metadata={"help": "passes over the training data"})
    batch_size: int = field(default=64, metadata={"help": "samples per optimiser step over all processes"})
    micro_batch_size: int | None = field(
        default=None, metadata={"help": "samples per forward pass and process; default: batch_size / processes"}
    )
    clip_norm: float = field(default=5.0, metadata={"help": "largest norm of the whole gradient; 0: no clipping"})
    precision: Literal["auto", "fp32", "bf16", "fp16"] = field(
        default="auto", metadata={"help": "arithmetic of forward passes; auto: bf16 where the device multiplies it"}
    )
    seed: int = field(default=0, metadata={"help": "seed of weights, dropout, order and augmentation"})
    log_steps: int = field(default=20, metadata={"help": "optimiser steps between two progress lines"})
    save_steps: int = field(
        default=0, metadata={"help": "optimiser steps between two checkpoints; 0: at epoch ends only"}
    )
    patience: int = field(default=0, metadata={"help": "stop after this many epochs without a better score; 0: never"})
    resume: bool = field(default=False, metadata={"help": "continue from output_dir/last if it is there"})

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("clip_norm", 0), ("log_steps", 1), ("save_steps", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {least}")
        if self.patience < 0:
            raise ValueError(f"--patience {self.patience}: must be at least 0")
