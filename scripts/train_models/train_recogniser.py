"""The program behind the six launchers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from scripts.train_models.settings import PARTS, Arguments
from utility.arguments import parse


def main(method: str, argv: Sequence[str] | None = None) -> int:
    """Runs the launcher of a method; returns its exit status."""
    parts = parse(PARTS, argv, prog=f"run_{method}.py", description=f"Train the recogniser {method}.")
    args = Arguments(method, *parts)
    try:
        args = args.filled()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.run.print_config:
        print(json.dumps(args.published(), indent=2))
        return 0

    # Only now: torch takes seconds to import, and a misspelt flag should not wait for it.
    from scripts.train_models.session import Session
    from utility.program import run_program

    return run_program(lambda dist: Session(args, dist).run(), args.run.device)
