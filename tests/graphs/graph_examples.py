"""Three small graphs, and the program over a corpus of them."""

import numpy as np

from graphs import transform_graph_to_geometric

S, P, D, A = 4, 2, 6, 5
SPLITS = {"train": ["a-1", "b c"], "val": [], "test": ["d"]}


def graph(seed, filled):
    draw = np.random.default_rng(seed)
    slots = np.arange(S) < filled
    return {
        "nodes": np.where(slots[:, None, None], draw.standard_normal((S, P, D)), 0).astype(np.float16),
        "actions": np.where(slots[:, None], draw.random((S, A)), 0).astype(np.float16),
        "temporal": draw.random((S - 1, P, P)).astype(np.float32) * (slots[1:] & slots[:-1])[:, None, None],
        "slot_mask": slots,
        "node_mask": np.repeat(slots[:, None], P, axis=1),
        "frame_index": np.where(slots, np.arange(S) * 25, -1).astype(np.int32),
    }


GRAPHS = {"a-1": graph(0, 4), "b c": graph(1, 2), "d": graph(2, 1)}


def run(root, *words):
    return transform_graph_to_geometric.main(["--data_root", str(root), *words])
