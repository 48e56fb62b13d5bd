import errno

import pytest
import torch

from utility.device_memory import OutOfDeviceMemory
from utility.engine import NonFiniteLoss
from utility.program import run_program, run_stage
from utility.record_log import LogInUse


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (1, 1)])
def test_the_status_is_that_of_the_work(result, status):
    assert run_program(lambda dist: result, "cpu") == status


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a flag"), FileNotFoundError("a file"), OSError(errno.ENOSPC, "No space left on device"),
        LogInUse("another process"), NonFiniteLoss("NaN"), OutOfDeviceMemory("a smaller batch"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_the_user_can_change_is_one_line(error, capsys):
    def work(dist):
        raise error

    assert run_program(work, "cpu") == 2
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_stop_says_how_to_go_on(capsys):
    def work(dist):
        raise KeyboardInterrupt("stopped at step 3; continues with --resume")

    assert run_program(work, "cpu") == 130
    assert "continues with --resume" in capsys.readouterr().err


def test_mistakes_of_the_program_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_program(lambda dist: 1 // 0, "cpu")


@pytest.mark.parametrize("run", [run_program, run_stage])
def test_a_process_that_lost_another_one_says_so(run, caplog):
    def work(dist, words="[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:62366. GLHF!"):
        raise RuntimeError(words)

    assert run(work, "cpu") == 1
    assert "another process of this run has ended" in caplog.text
    with pytest.raises(RuntimeError, match="a bug"):
        run(lambda dist: work(dist, "a bug"), "cpu")


def test_a_device_without_memory_is_one_line_wherever_it_shows(capsys):
    def work(dist):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes\nmore")

    assert run_program(work, "cpu") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: out of memory on cpu ([enforce fail] DefaultCPUAllocator")
    assert "--device cpu" in error and error.count("\n") == 1


def test_an_unknown_device_is_a_mistake_of_the_user(capsys):
    assert run_program(lambda dist: 0, "tpu") == 2
    assert "unknown device 'tpu'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("no such split"), 2, "no such split"),
        (FileNotFoundError("not there"), 2, "not there"),
        (
            torch.OutOfMemoryError("CUDA out of memory. 2 GiB wanted\nmore"),
            2,
            "out of memory on cpu (CUDA out of memory. 2 GiB wanted). Buy some; what is stored stays",
        ),
        (KeyboardInterrupt(), 130, "the same command continues"),
    ],
)
def test_a_stage_ends_in_words_too(error, status, message, caplog):
    def work(dist):
        raise error

    assert run_stage(work, "cpu", "Buy some") == status
    assert message in caplog.text
    assert run_stage(lambda dist: 1, "cpu") == 1
