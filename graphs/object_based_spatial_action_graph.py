"""Spatial action graphs of object nodes: `grid_based_spatial_action_graph` with `--nodes object`.

python graphs/object_based_spatial_action_graph.py --dataset msvd
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from graphs.grid_based_spatial_action_graph import main

if __name__ == "__main__":
    sys.exit(main(nodes="object"))
