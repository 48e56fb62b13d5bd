"""Which arithmetic a device does well."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

PRECISIONS = ("auto", "fp32", "bf16")


def choose_precision(precision: str, device: torch.device) -> str:
    """`fp32` or `bf16`; "auto" takes bf16 where the hardware multiplies it natively.

    Raises:
        ValueError: an unknown word.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"--precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    return best_precision(device) if precision == "auto" else precision


def best_precision(device: torch.device) -> str:
    """`bf16` where the hardware multiplies it natively, else `fp32`."""
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else cpu_multiplies_bf16()
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
