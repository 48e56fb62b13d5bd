"""A small training run for the tests of the loop: dropout, words of different number per sample.

As a script: toy_training.py FOLDER OPTIONS_AS_JSON
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from utility import schedules
from utility.distributed import Distributed, start
from utility.engine import TrainSettings, train
from utility.loader import BatchLoader
from utility.random_state import seed_all

LENGTH = 52


class Words(torch.utils.data.Dataset):
    """Sample i is a row of noise that depends on i, with i % 3 + 1 words; `jitter` adds noise drawn while loading."""

    def __init__(self, jitter: float = 0.0):
        self.jitter = jitter

    def __len__(self):
        return LENGTH

    def __getitem__(self, index):
        x = torch.randn(6, generator=torch.Generator().manual_seed(index))
        return f"v{index}", x + self.jitter * torch.randn(6), index % 3 + 1


def collate(samples):
    names, rows, words = zip(*samples, strict=True)
    return {"names": list(names), "x": torch.stack(rows).double(), "words": torch.tensor(words)}


def build(dropout: float) -> nn.Module:
    seed_all(5)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Dropout(dropout), nn.Linear(12, 1)).double()


def parameters(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def loss_sum(model, batch):
    """Sum over words of a squared error, the number of words, and one more number."""
    error = (model(batch["x"])[:, 0] - batch["x"].sum(dim=1)).square()
    return (error * batch["words"]).sum(), batch["words"].sum(), {"error": error.mean()}


def run(
    folder,
    dist=None,
    dropout=0.3,
    micro=4,
    jitter=0.5,
    kill=None,
    interrupt=None,
    loss=loss_sum,
    scores=None,
    watch=None,
    workers=0,
    group=1,
    width=6,
    words=("a",),
    later_wins=False,
    **settings,
):
    """Trains for three epochs of six steps of 8 samples; returns the model and what `train` returned.

    Args:
        kill, interrupt: number of the forward pass during which this process kills itself or gets a Ctrl-C.
        scores: score of each epoch.
        watch: called with model and batch in each forward pass.
    """
    dist = dist or Distributed()
    model = build(dropout)
    settings = TrainSettings(
        str(folder),
        precision="fp32",
        epochs=3,
        batch_size=8,
        micro_batch_size=micro,
        clip_norm=1.0,
        log_steps=2,
        **settings,
    )
    loader = BatchLoader(Words(jitter), collate, 8, micro, dist, seed=settings.seed, num_workers=workers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
    schedule = schedules.linear(optimizer, 3 * loader.steps_per_epoch, 0.2)
    passes = 0

    def counted(model, batch):
        nonlocal passes
        passes += 1
        if passes == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if passes == interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        if watch is not None:
            watch(model, batch)
        return loss(model, batch)

    def evaluate(model, epoch):
        assert not model.training
        return {"score": scores[epoch] if scores else float(epoch), "noise": torch.rand(1).item()}

    result = train(
        model, counted, loader, optimizer, schedule, settings, dist, evaluate,
        names_of=lambda batch: batch["names"], group=group, config={"width": width}, same=("width",),
        vocabulary=list(words), later_wins=later_wins,
    )  # fmt: skip
    return model, result


def main():
    folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    dist = start("cpu")
    seen, own, used = [], [], []
    if options.get("kill") and dist.rank != options.pop("killed_rank", 0):
        options.pop("kill")

    def watch(model, batch):
        seen.append(batch["names"])
        if len(own) == 0:  # gradients of this rank's part of the first step, without the other's
            total, weight, _ = loss_sum(model, batch)
            own.extend((g / weight).tolist() for g in torch.autograd.grad(total, list(model.parameters())))

    step = torch.optim.AdamW.step

    def recording(self, *arguments, **more):
        if not used:
            used.extend(p.grad.clone().tolist() for p in self.param_groups[0]["params"])
        return step(self, *arguments, **more)

    torch.optim.AdamW.step = recording
    model, result = run(folder / "run", dist, watch=watch if options.get("dropout") == 0 else None, **options)
    parameters = [p.tolist() for p in model.parameters()]
    report = {"world": dist.world_size, "result": result, "parameters": parameters}
    report |= {"seen": seen, "own": own, "used": used}
    (folder / f"rank{dist.rank}.json").write_text(json.dumps(report))
    dist.stop()


if __name__ == "__main__":
    main()
