"""How a program starts and ends: a user's mistake is one line and a status, never a traceback."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from utility.device_memory import OutOfDeviceMemory, memory_advice
from utility.distributed import Distributed, peer_ended, start
from utility.engine import NonFiniteLoss
from utility.logs import setup_logging

log = logging.getLogger(__name__)

OTHER_ENDED = "another process of this run has ended, and this one with it; its own words say why"


def run_program(work: Callable[[Distributed], int | None], device: str = "auto") -> int:
    """Joins the other processes, works, leaves them.

    Args:
        work: what the program does; its result is the exit status, None means 0.
        device: as `utility.distributed.start` takes it.

    Returns:
        Exit status: that of `work`; 2 for what the user must change, said in one line; 130 after Ctrl-C; 1 where
        another process has ended. Any other exception is a mistake of ours and shows its traceback.
    """
    dist = None
    try:
        dist = start(device)
        setup_logging(dist)
        with memory_advice(f"on {dist.device}", "Use a smaller batch or model, or --device cpu"):
            return work(dist) or 0
    except (ValueError, OSError, NonFiniteLoss, OutOfDeviceMemory) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(str(error) or "stopped", file=sys.stderr)
        return 130
    except RuntimeError as error:
        if not peer_ended(error):
            raise
        log.error(OTHER_ENDED)
        return 1
    finally:
        if dist is not None:
            dist.stop()


def run_stage(work: Callable[[Distributed], int], device: str = "auto", remedy: str = "Use --device cpu") -> int:
    """The same for a stage over a corpus, which keeps what it has stored and continues with the same command.

    Args:
        work: the stage; its result is the exit status.
        remedy: a sentence on what to do when the device has too little memory.

    Returns:
        Exit status: that of `work`; 2 for what the user must change; 130 after Ctrl-C; 1 where another process has
        ended.
    """
    dist = None
    try:
        dist = start(device)
        setup_logging(dist)
        with memory_advice(f"on {dist.device}", f"{remedy}; what is stored stays"):
            return work(dist)
    except (OSError, ValueError, OutOfDeviceMemory) as error:
        log.error("%s", error)
        return 2
    except KeyboardInterrupt:
        log.error("stopped; what is stored stays, the same command continues")
        return 130
    except RuntimeError as error:
        if not peer_ended(error):
            raise
        log.error(OTHER_ENDED)
        return 1
    finally:
        if dist is not None:
            dist.stop()
