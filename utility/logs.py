"""Where a run tells what it does: a logger and scalar curves, both silent on every rank but the first.

Messages go to standard error and to `LOG_DIR/log.txt`, so that programs which print JSON print nothing else on standard
output. Curves go to tensorboardX, and to Weights & Biases when it is installed and has a token: `WANDB_API_KEY`, or the
file `tokens/wandb.txt`.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

TOKEN_FILE = Path(__file__).resolve().parent.parent / "tokens" / "wandb.txt"
FORMAT = "%(asctime)s %(levelname).1s %(message)s"


def setup_logging(
    dist: Any = None,
    log_dir: Path | str | None = None,
    level: int = logging.INFO,
    file_format: tuple[str, str] | None = None,
) -> logging.Logger:
    """The root logger of a program; ranks above 0 only let warnings through, marked with their rank.

    Args:
        file_format: of lines and times in `log.txt`, by default as on standard error.
    """
    rank = dist.rank if dist is not None else 0
    logger = logging.getLogger()
    for handler in list(logger.handlers):
        if getattr(handler, "_of_this_program", False):
            logger.removeHandler(handler)
            handler.close()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if rank == 0 and log_dir is not None:
        Path(log_dir).mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(Path(log_dir) / "log.txt", encoding="utf-8"))
    form = FORMAT if rank == 0 else FORMAT.replace("%(message)s", f"[rank {rank}] %(message)s")
    for handler in handlers:
        handler._of_this_program = True  # type: ignore[attr-defined]
        line, time = (form, "%H:%M:%S")
        if file_format is not None and isinstance(handler, logging.FileHandler):
            line, time = file_format
        handler.setFormatter(logging.Formatter(line, datefmt=time))
        logger.addHandler(handler)
    logger.setLevel(level if rank == 0 else max(level, logging.WARNING))
    for noisy in ("httpx", "urllib3", "matplotlib", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return logger


class Scalars:
    """Curves of a run. `folder=None` or a rank above 0 gives one that writes nothing.

    Args:
        config: stored with a Weights & Biases run, which its `run_name` names.
    """

    def __init__(self, folder: Path | str | None, dist: Any = None, config: Mapping[str, Any] | None = None):
        self._writer, self._wandb = None, None
        if folder is None or (dist is not None and dist.rank > 0):
            return
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder))
        token = wandb_token()
        if token and not importlib.util.find_spec("wandb"):
            log.warning("a token of Weights & Biases, but no package wandb: curves go to tensorboard files only")
        elif token:
            import wandb

            os.environ.setdefault("WANDB_API_KEY", token)
            name = (config or {}).get("run_name", Path(folder).name)
            self._wandb = wandb.init(dir=str(folder), name=name, config=dict(config or {}), resume="allow")

    def add(self, values: Mapping[str, Any], step: int, prefix: str = "") -> None:
        """Adds the numbers among `values` at `step`, named `{prefix}{name}`."""
        numbers = {prefix + k: float(v) for k, v in values.items() if isinstance(v, int | float)}
        if self._writer is not None:
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def flush(self) -> None:
        """Bring what was added to disk."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """End the curves."""
        if self._writer is not None:
            self._writer.close()
        if self._wandb is not None:
            self._wandb.finish()


def wandb_token() -> str:
    """What opens Weights & Biases: `WANDB_API_KEY`, else the content of `tokens/wandb.txt`, else nothing."""
    given = os.environ.get("WANDB_API_KEY", "")
    return given or (TOKEN_FILE.read_text(encoding="utf-8").strip() if TOKEN_FILE.is_file() else "")
