"""A corpus with graphs, for the tests of data sets and published files."""

import json

import pytest
from graph_examples import GRAPHS, SPLITS

from utility.feature_store import FeatureWriter


@pytest.fixture
def root(tmp_path):
    """A corpus with graphs of its three videos, and captions of a fourth one without a graph."""
    root = tmp_path / "small"
    for folder in ("metadata", "videos", "features/tiny"):
        (root / folder).mkdir(parents=True)
    videos = [{"video_id": name, "split": split} for split, names in SPLITS.items() for name in names]
    videos.append({"video_id": "absent", "split": "test"})
    sentences = [
        {"video_id": video["video_id"], "caption": "a cat sits", "sen_id": n} for n, video in enumerate(videos)
    ]
    (root / "metadata" / "captions.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    with FeatureWriter(root / "features/tiny/small_GBased_graph.hdf5", {"stage": "action_graph"}) as writer:
        for name, arrays in GRAPHS.items():
            writer.write(name, arrays)
        writer.finish()
    return root
