"""How a program starts and ends: a user's mistake is one line and a status, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from utility.distributed import Distributed, start
from utility.engine import NonFiniteLoss, OutOfDeviceMemory
from utility.logs import setup_logging


def run_program(work: Callable[[Distributed], int | None], device: str = "auto") -> int:
    """Joins the other processes, works, leaves them.

    Args:
        work: what the program does; its result is the exit status, None means 0.
        device: as `utility.distributed.start` takes it.

    Returns:
        Exit status: that of `work`; 2 for what the user must change, said in one line; 130 after Ctrl-C. Any other
        exception is a mistake of ours and shows its traceback.
    """
    dist = None
    try:
        dist = start(device)
        setup_logging(dist)
        return work(dist) or 0
    except (ValueError, OSError, NonFiniteLoss, OutOfDeviceMemory) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(str(error) or "stopped", file=sys.stderr)
        return 130
    finally:
        if dist is not None:
            dist.stop()
