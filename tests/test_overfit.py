"""A captioner of every mode learns the captions of the real clips by heart. Slow: it decodes 34 clips."""

import json
import logging

import numpy as np
import pytest
from tiny_networks import make_action_network, make_backbone

import main
from extractors import extract
from utility.feature_store import FeatureStore, FeatureWriter, feature_path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(shared_data, tmp_path_factory):
    """The real clips with graphs of random networks, and relation and object rows drawn per clip."""
    root = tmp_path_factory.mktemp("real") / "clips"
    (root / "videos").mkdir(parents=True)
    (root / "metadata").mkdir()
    entries = json.loads((shared_data / "mini_captions.json").read_text(encoding="utf-8"))
    for entry in entries.values():
        (root / "videos" / entry["file"]).symlink_to(shared_data / "videos" / entry["file"])
    videos = [{"video_id": name, "split": "train"} for name in entries]
    sentences = [{"video_id": name, "caption": entry["captions"][0]} for name, entry in entries.items()]
    (root / "metadata/captions.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    places = ["--backbone", str(make_backbone(root / "clip", 0))]
    places += ["--action_network", str(make_action_network(root / "i3d"))]
    words = ["--data_root", str(root), "--features", "tiny", "--device", "cpu", "--slots", "6", "--decode_workers", "0"]
    assert extract.main([*words, *places]) == 0
    rng = np.random.default_rng(0)
    ids = FeatureStore(feature_path(root / "features/tiny", "clips", "GBased_graph")).ids
    assert len(ids) == len(entries) == 34
    for feature, array, width in (("rel", "rel", 12), ("OFeat", "objects", 14)):
        with FeatureWriter(feature_path(root / "features/tiny", "clips", feature), {"kind": feature}) as writer:
            for name in ids:
                rows = rng.normal(size=(rng.integers(0, 25), width)).astype(np.float32)
                writer.write(name, {array: rows})
            writer.finish()
    return root


@pytest.mark.parametrize("features", ["GBased", "GBased+rel", "GBased+OFeat+rel"])
def test_a_captioner_learns_the_real_clips_by_heart(clips, tmp_path, features, caplog):
    caplog.set_level(logging.INFO)
    data = ["--data_root", str(clips), "--model_name", f"clips_{features}+videomask", "--output_dir", str(tmp_path)]
    data += ["--device", "cpu", "--tokenizer", "nltk"]
    training = ["--epochs", "450", "--batch_size", "17", "--captions_per_video", "1", "--lr", "2e-3"]
    assert main.main([*data, "--do_train", *training]) == 0
    assert main.main([*data, "--do_eval", "--checkpoint", str(tmp_path), "--split", "train"]) == 0
    said = json.loads((tmp_path / "train_predictions.json").read_text())
    entries = json.loads((clips / "metadata/captions.json").read_text())["sentences"]
    right = [said[entry["video_id"]] == entry["caption"] for entry in entries]
    scores = json.loads((tmp_path / "train_scores.json").read_text())
    logging.info("%s: %d of %d captions by heart, CIDEr %.3f", features, sum(right), len(right), scores["CIDEr"])
    assert np.mean(right) >= 0.9 and scores["CIDEr"] > 8
