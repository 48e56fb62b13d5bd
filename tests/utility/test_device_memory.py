import pytest
import torch

from utility.caption_evaluation import caption_videos
from utility.device_memory import OutOfDeviceMemory, evaluation_memory, memory_advice, ran_out
from utility.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("anything"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_too_little_memory(error, told):
    assert ran_out(error) == told
    with pytest.raises(OutOfDeviceMemory if told else type(error)), memory_advice("here", "Do less"):
        raise error


def test_the_innermost_advice_stays():
    expected = r"^out of memory inside \(wanted 2 GiB\)\. Do less$"
    outside, inside = memory_advice("outside", "Do nothing"), memory_advice("inside", lambda: "Do less")
    with pytest.raises(OutOfDeviceMemory, match=expected), outside, inside:
        raise torch.OutOfMemoryError("wanted 2 GiB\nand more")


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (4, r"with clips taken 4 at a time .*\. --batch_size_val 2 needs about half of it and changes no score; wait$"),
        (1, r"with clips taken 1 at a time .*\. wait$"),
    ],
)
def test_a_real_allocation_that_fails_is_told(count, expected):
    told = evaluation_memory("clips", count, "--batch_size_val", "wait", "cpu")
    with pytest.raises(OutOfDeviceMemory, match=expected), told:
        torch.empty(1 << 60)


class Names:
    """Features that are the names themselves."""

    def batch(self, names, device):
        return list(names)


def test_captioning_says_how_many_videos_were_asked_for():
    def decode(names):
        if len(names) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return [(2,) for _ in names]

    vocabulary = Vocabulary(["a"])
    with pytest.raises(OutOfDeviceMemory, match=r"with videos taken 4 at a time .*--batch_size_val 2 .*--val_beam"):
        caption_videos(decode, Names(), list("uvwxyz"), vocabulary, batch_size=4)
    assert caption_videos(decode, Names(), list("uvwxyz"), vocabulary, batch_size=2) == dict.fromkeys("uvwxyz", "a")
