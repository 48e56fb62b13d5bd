"""The published name of `transform_graph_to_geometric.py`; the same program."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from graphs.transform_graph_to_geometric import main

if __name__ == "__main__":
    sys.exit(main())
