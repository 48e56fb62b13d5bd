"""The retrieval trainer up to its first optimiser step, whose gradient is kept.

As a script: first_gradient.py FILE FLAGS..., in one process or several.
"""

import sys
from unittest.mock import patch

import torch

import train_unified_model as program


def first_gradient(argv: list[str]) -> list[torch.Tensor]:
    """Gradients of all that trains, in the order of the optimiser.

    Raises:
        AssertionError: the trainer did not come to a step.
    """
    taken = []

    def record(self, *_):
        taken.extend(p.grad.clone() for group in self.param_groups for p in group["params"])
        raise KeyboardInterrupt

    with patch.object(torch.optim.AdamW, "step", record):
        status = program.main(argv)
    assert status == 130 and taken, f"the trainer ended with status {status} before its first step"
    return taken


if __name__ == "__main__":
    import os

    torch.save(first_gradient(sys.argv[2:]), f"{sys.argv[1]}.{os.environ.get('RANK', 0)}")
