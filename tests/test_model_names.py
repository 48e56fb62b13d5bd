"""Every model name trains on real clips, with objects and relations that the programs made of them."""

import json

import pytest
from tiny_networks import make_action_network, make_backbone

import main
from dataset.caption_settings import FEATURES
from extractors import extract
from graphs.knowledge import graph, relations, triples
from utility.feature_store import FeatureStore

TRAIN, TEST = 8, 2
CLIPS = {"train": TRAIN, "test": TEST}


@pytest.fixture(scope="module")
def clips(shared_data, tmp_path_factory):
    """The smallest real clips of both splits, their features, objects by the ONNX detector, their relations."""
    root = tmp_path_factory.mktemp("real") / "clips"
    (root / "videos").mkdir(parents=True)
    (root / "metadata").mkdir()
    content = json.loads((shared_data / "mini_msrvtt.json").read_text(encoding="utf-8"))
    files = {path.stem: path for path in (shared_data / "videos").iterdir()}
    by_size = sorted(content["videos"], key=lambda video: files[video["video_id"]].stat().st_size)
    videos = [v for split, count in CLIPS.items() for v in [v for v in by_size if v["split"] == split][:count]]
    names = {video["video_id"] for video in videos}
    for name in names:
        (root / "videos" / files[name].name).symlink_to(files[name])
    sentences = [sentence for sentence in content["sentences"] if sentence["video_id"] in names]
    (root / "metadata/captions.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    data = ["--data_root", str(root), "--device", "cpu"]
    networks = ["--backbone", str(make_backbone(root / "clip", 0))]
    networks += ["--action_network", str(make_action_network(root / "i3d"))]
    detector = ["--nodes", "both", "--detector", str(shared_data / "weights/fastestdet_coco.onnx")]
    sampling = ["--slots", "3", "--rate", "0.5", "--decode_workers", "0", "--object_features", "backbone"]
    assert extract.main([*data, *networks, *detector, *sampling]) == 0
    assert triples.main(data[:2]) == 0
    assert graph.main([*data[:2], "--min_support", "1"]) == 0
    assert relations.main([*data, "--min_entity_support", "1"]) == 0
    return root


def test_objects_and_relations_are_there(clips):
    (features,) = (clips / "features").iterdir()
    objects, rel = (FeatureStore(features / f"clips_{name}.hdf5") for name in ("OBased_graph", "rel"))
    assert len(objects) == len(rel) == TRAIN + TEST
    assert sum(objects[name]["node_mask"].any() for name in objects.ids) >= TEST
    read = [json.loads(line) for line in (clips / "knowledge/default/triples.jsonl").read_text().splitlines()[1:]]
    assert len(read) == TRAIN and sum(len(video["triples"]) for video in read) > TRAIN
    assert all(json.loads(rel.attributes(name)["texts"]) for name in rel.ids)


@pytest.mark.parametrize("features", FEATURES)
def test_every_model_name_trains_and_captions_clips_it_has_not_seen(clips, tmp_path, features, monkeypatch):
    from utility import caption_tokens

    monkeypatch.setenv("PATH", "")  # METEOR starts a Java machine, which takes longer than the training
    caption_tokens.java_problem.cache_clear()
    words = ["--model_name", f"clips_{features}+videomask", "--do_train", "--data_root", str(clips)]
    words += ["--epochs", "2", "--batch_size", "8", "--captions_per_video", "2", "--output_dir", str(tmp_path)]
    assert main.main([*words, "--tokenizer", "nltk", "--device", "cpu"]) == 0
    caption_tokens.java_problem.cache_clear()
    history = json.loads((tmp_path / "last/metrics.json").read_text())["history"]
    assert history[1]["train/loss"] < history[0]["train/loss"]
    assert len(json.loads((tmp_path / "test_predictions.json").read_text())) == TEST
