"""Which arithmetic is chosen for a device."""

import pytest
import torch

from utility import precision
from utility.precision import best_precision, choose_precision, recorded_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("native", "best"), [(True, "bf16"), (False, "fp32")])
def test_what_the_hardware_multiplies(monkeypatch, native, best):
    monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: native)
    assert best_precision(CPU) == choose_precision("auto", CPU) == best
    # asked for by name it is done anyway, repeated from a record only where the hardware does it
    assert choose_precision("bf16", CPU) == "bf16" and choose_precision("fp32", CPU) == "fp32"
    assert recorded_precision("bf16", CPU) == best and recorded_precision("fp32", CPU) == "fp32"


def test_a_gpu_that_only_emulates_bfloat16_takes_float32(monkeypatch):
    asked = []

    def supported(including_emulation=True):
        asked.append(including_emulation)
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert best_precision(torch.device("cuda")) == "fp32" and asked == [False]


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="--precision is 'half'; it must be one of auto, fp32, bf16, fp16"):
        choose_precision("half", CPU)
