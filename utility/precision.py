"""Which arithmetic a device does well."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "amp")


def choose_precision(precision: str, device: torch.device) -> str:
    """`fp32`, `bf16` or `fp16`; "auto" takes bf16 where the hardware multiplies it natively.

    "amp" is the published trainers' word for fp16 on a GPU; elsewhere it means "auto".

    Raises:
        ValueError: an unknown word.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"--precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    if precision == "amp" and device.type == "cuda":
        return "fp16"
    return best_precision(device) if precision in ("auto", "amp") else precision


class LossScale:
    """Factor on the loss under fp16, whose small gradients would else vanish.

    Doubled after `interval` steps without an overflow, halved at one; numbers of the published recognisers.
    """

    def __init__(self, value: float = 8192.0, interval: int = 100):
        self.value, self.interval, self.good = value, interval, 0

    def update(self, finite: bool) -> None:
        """Notes whether a step's gradient was finite."""
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.value /= 2
        elif self.good == self.interval:
            self.value, self.good = self.value * 2, 0

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "good": self.good}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value, self.good = state["value"], state["good"]


def best_precision(device: torch.device) -> str:
    """`bf16` where the hardware multiplies it natively, else `fp32`."""
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_multiplies_bf16()
    return "bf16" if fast else "fp32"


def recorded_precision(precision: str, device: torch.device) -> str:
    """The precision that numbers were made with elsewhere, `fp32` where this device would only emulate it."""
    return precision if precision == best_precision(device) else "fp32"


@cache
def cpu_multiplies_bf16() -> bool:
    """Whether the processor has bfloat16 products (AVX-512 BF16 or AMX); elsewhere they are emulated and slow."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
