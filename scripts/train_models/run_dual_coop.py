"""Train Dual-CoOp: text context and visual tokens.

python scripts/train_models/run_dual_coop.py
python scripts/train_models/run_dual_coop.py --dataset ucf101 --backbone ViT-B-16-quickgelu --run_id first
torchrun --nproc_per_node 4 scripts/train_models/run_dual_coop.py --config my_settings.json
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from scripts.train_models import train_recogniser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    return train_recogniser.main("dual_coop", argv)


if __name__ == "__main__":
    sys.exit(main())
