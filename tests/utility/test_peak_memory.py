"""The memory of a process is its own, and grows with what it uses."""

import subprocess
import sys

import numpy as np
from launch import ENVIRONMENT

from utility import peak_memory
from utility.peak_memory import peak_bytes


def test_a_used_block_counts_and_stays():
    block = np.ones(peak_bytes() + (64 << 20), np.uint8)  # more than was ever in use at a time
    size = block.nbytes
    after = peak_bytes()
    del block
    # The kernel counts pages in batches.
    assert after > 0.98 * size and peak_bytes() > 0.98 * after


def test_a_small_process_does_not_count_the_large_one_that_started_it():
    block = np.ones(64 << 20, np.uint8)
    code = "from utility.peak_memory import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 << 20 <= block.nbytes


def test_without_the_status_of_linux_the_system_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(peak_memory, "STATUS", tmp_path / "absent")
    assert peak_bytes() > 1 << 20
