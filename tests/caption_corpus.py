"""A small corpus on disk with made-up graphs, in which the graph decides the caption."""

import json

import numpy as np

from utility.feature_store import FeatureWriter, feature_path

COLORS, ACTIONS = ("red", "green", "blue", "yellow"), ("jumps", "spins", "falls")
SLOTS, NODES, NODE_DIM, ACTION_DIM = 5, 4, 12, 10
SETTINGS = {"slots": SLOTS, "backbone": {"name": "tiny", "hash": "abc"}}


def video_name(i: int) -> str:
    return f"clip {i} \u72ac-x"


def graph(rng, color: int, action: int) -> dict[str, np.ndarray]:
    nodes = np.zeros((SLOTS, NODES, NODE_DIM), np.float32)
    nodes[..., color] = 2
    actions = np.zeros((SLOTS, ACTION_DIM), np.float32)
    actions[:, action] = 2
    return {
        "nodes": nodes + rng.normal(size=nodes.shape).astype(np.float32) * 0.2,
        "actions": actions,
        "temporal": np.full((SLOTS - 1, NODES, NODES), 1 / NODES, np.float32),
        "slot_mask": np.ones(SLOTS, bool),
        "node_mask": np.ones((SLOTS, NODES), bool),
        "frame_index": np.arange(SLOTS, dtype=np.int32),
        "frame_time": np.arange(SLOTS, dtype=np.float32),
    }


def make_corpus(root, count=40, settings=SETTINGS, skip=()):
    """Captions in `root/metadata`, graphs in `root/features/tiny`; the videos in `skip` get no graph."""
    rng = np.random.default_rng(0)
    videos, sentences = [], []
    with FeatureWriter(feature_path(root / "features/tiny", root.name, "GBased_graph"), settings) as writer:
        for i in range(count):
            color, action = i % 4, (i // 4) % 3
            split = "train" if i < count * 0.6 else "validate" if i < count * 0.8 else "test"
            videos.append({"video_id": video_name(i), "split": split})
            for form in ("a {} ball {}", "there is a {} ball that {}", "the {} ball {} on a table"):
                text = form.format(COLORS[color], ACTIONS[action])
                sentences.append({"video_id": video_name(i), "caption": text})
            if i not in skip:
                writer.write(video_name(i), graph(rng, color, action))
        writer.finish()
    (root / "metadata").mkdir(parents=True, exist_ok=True)
    (root / "metadata/captions.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    return root


SMALL = ["--batch_size", "18", "--captions_per_video", "3", "--tokenizer", "nltk", "--device", "cpu"]


def train_words(corpus, output, *more):
    """Words that train a small captioner on such a corpus."""
    data = ["--data_root", str(corpus), "--output_dir", str(output)]
    return ["--model_name", f"{corpus.name}_GBased+videomask", "--do_train", *data, *SMALL, *more]
