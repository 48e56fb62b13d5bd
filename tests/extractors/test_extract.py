import numpy as np
import pytest
import tiny
import torch
from tiny import CLOSE, FEATURES, LENGTHS, same_features, store

from extractors import (
    clip4clip_theta_2_feature_extractor,
    extract,
    grid_node_theta_1_feature_extractor,
    i3d_feature_extractor,
)
from extractors.action_features import ActionVectors
from extractors.base import Sampling, extract_file, prepare
from extractors.clip_features import GridNodes, WholeFrames
from pretrained.backbones import load_backbone
from pretrained.i3d_weights import load_i3d
from utility.images import clip_frames, grid_tiles, i3d_frames, to_clip, to_i3d
from utility.sampling import action_windows
from utility.video import VideoReader

CPU = torch.device("cpu")
# What is computed


def test_one_pass_makes_all_features_and_graphs(whole, weights):
    expected = {f"Tiny_{f}.hdf5" for f in (*FEATURES, "GBased_spatial", "GBased_temporal", "GBased_graph")}
    assert {p.name for p in whole.glob("*.hdf5")} == expected and not list(whole.glob("*.part"))
    graph = store(whole, "GBased_graph")
    assert graph.ids == sorted(LENGTHS)
    nodes = graph.settings["nodes"]
    assert (nodes["sampling"], nodes["rate"], nodes["slots"]) == ("time", 1.0, tiny.SLOTS)
    assert nodes["backbone"]["hash"] == load_backbone(weights[1]).hash and nodes["precision"] == "fp32"
    assert graph.settings["actions"]["action_network"]["hash"] == load_i3d(weights[3]).hash
    for feature in FEATURES:
        assert store(whole, feature).notes["weights"] == {"backbone": weights[1], "action_network": weights[3]}


def test_empty_slots_are_marked_in_every_feature(whole):
    for name, filled in (("a b", 1), ("x-1", 3), ("long", 4)):
        nodes, actions, frames = (store(whole, f)[name] for f in ("GBased", "actions", "theta2"))
        expected = np.arange(tiny.SLOTS) < filled
        for arrays in (nodes, actions, frames, store(whole, "GBased_graph")[name]):
            assert np.array_equal(arrays["slot_mask"], expected)
        assert (nodes["frame_index"][filled:] == -1).all() and (nodes["frame_time"][filled:] == -1).all()
        for array in (nodes["nodes"], actions["actions"], frames["frames"]):
            assert (array[filled:] == 0).all() and np.abs(array[:filled]).reshape(filled, -1).max(axis=1).min() > 0


def test_features_equal_a_naive_pass_over_single_frames(whole, corpus, networks):
    backbone, network = networks
    for name in ("a b", "long"):
        reader = VideoReader(corpus / "videos" / f"{name}.mp4")
        nodes, actions, frames = (store(whole, f)[name] for f in ("GBased", "actions", "theta2"))
        for slot, index in enumerate(nodes["frame_index"][nodes["slot_mask"]].tolist()):
            frame = reader.frames([index])
            with torch.inference_mode():
                tiles = to_clip(grid_tiles(frame, tiny.PIXELS)[0])
                expected = [backbone.model.encode_image(tile[None])[0] for tile in tiles]
                seen = backbone.model.encode_image(to_clip(clip_frames(frame, tiny.PIXELS)))[0]
                window = reader.frames(action_windows([index], len(reader.times))[0])
                clip = to_i3d(i3d_frames(window, 72, 64)).transpose(0, 1)[None]
                action = network.model.features(clip)[0, :, 0, 0, 0]
            np.testing.assert_allclose(nodes["nodes"][slot], torch.stack(expected), **CLOSE)
            np.testing.assert_allclose(frames["frames"][slot], seen, **CLOSE)
            np.testing.assert_allclose(actions["actions"][slot], action, **CLOSE)
            assert nodes["frame_time"][slot] == pytest.approx(slot * 1.0 if name == "a b" else reader.times[index])


@pytest.mark.parametrize("options", [["--batch_size", "1"], ["--batch_size", "1000"], ["--decode_workers", "0"]])
def test_batches_and_threads_change_nothing(flags, whole, tmp_path, options):
    assert extract.main([*flags, *options, "--features", str(tmp_path), "--graphs", "0"]) == 0
    same_features(tmp_path, whole, FEATURES)
    assert not (tmp_path / "Tiny_GBased_graph.hdf5").exists()


def test_the_single_programs_make_the_same_files(flags, corpus, weights, whole, tmp_path):
    common = [
        "--data_root",
        str(corpus),
        "--slots",
        str(tiny.SLOTS),
        "--features",
        str(tmp_path),
        "--precision",
        "fp32",
    ]
    assert grid_node_theta_1_feature_extractor.main([*common, *weights[:2]]) == 0
    assert clip4clip_theta_2_feature_extractor.main([*common, *weights[:2]]) == 0
    assert i3d_feature_extractor.main([*common, *weights[2:]]) == 0
    same_features(tmp_path, whole, FEATURES)


def test_one_file_in_memory_equals_the_stored_features(corpus, networks, whole):
    backbone, network = networks
    extractors = [GridNodes(backbone, CPU), WholeFrames(backbone, CPU), ActionVectors(network, CPU, batch_size=32)]
    features = extract_file(corpus / "videos" / "long.mp4", extractors, Sampling(slots=tiny.SLOTS))
    for feature, arrays in features.items():
        stored = store(whole, feature)["long"]
        assert set(arrays) == set(stored)
        for key, array in arrays.items():
            np.testing.assert_allclose(array, stored[key], **CLOSE)


def test_a_video_is_decoded_once_and_only_small_pictures_are_kept(corpus, networks, monkeypatch):
    backbone, network = networks
    passes = []
    stream = VideoReader.stream

    def counted(self, indices, *arguments):
        passes.append(len(set(indices)))
        return stream(self, indices, *arguments)

    monkeypatch.setattr(VideoReader, "stream", counted)
    extractors = [GridNodes(backbone, CPU), WholeFrames(backbone, CPU), ActionVectors(network, CPU)]
    prepared = prepare(corpus / "videos" / "long.mp4", extractors, Sampling(slots=20, rate=5))
    assert len(passes) == 1
    windows = prepared.units["actions"]
    assert windows.shape == (5, 16, 3, 64, 64)  # 20 slots share five windows of a clip of 75 frames
    frame = torch.zeros(3, 480, 640, dtype=torch.uint8)
    for extractor in extractors:
        assert extractor.picture(frame).dtype == torch.uint8
    for units in prepared.units.values():  # no frame stays alive behind them
        assert units.untyped_storage().nbytes() == units.numel()


def changed(flags, whole, folder, feature, *options):
    assert extract.main([*flags, *options, "--features", str(folder), "--graphs", "0"]) == 0
    new, old = store(folder, feature), store(whole, feature)
    assert new.settings != old.settings
    return new, old


@pytest.mark.parametrize(
    ("options", "feature"),
    [
        (["--rate", "2"], "GBased"),
        (["--slots", "3"], "theta2"),
        (["--patch", "2"], "GBased"),
        (["--overlap", "0.1"], "GBased"),
        (["--precision", "bf16"], "GBased"),
        (["--compat", "i3d_bn"], "actions"),
    ],
)
def test_each_setting_changes_settings_and_features(flags, whole, tmp_path, options, feature):
    new, old = changed(flags, whole, tmp_path, feature, *options)
    array = {"GBased": "nodes", "theta2": "frames", "actions": "actions"}[feature]
    a, b = new["long"][array], old["long"][array]
    assert a.shape != b.shape or not np.array_equal(a, b)
    if "bf16" in options:
        np.testing.assert_allclose(a, b, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("options", [["--sampling", "reference"], ["--compat", "reference"]])
def test_the_published_sampling_counts_frames(weights, tmp_path, options):
    root = tmp_path / "Tiny"
    tiny.draw(root / "videos" / "v.mp4", 0, 62, fps=29.97)
    common = ["--data_root", str(root), *weights, "--graphs", "0", "--slots", "4"]
    indices = {}
    for name, more in (("time", []), ("reference", options)):
        assert extract.main([*common, *more, "--features", str(tmp_path / name)]) == 0
        indices[name] = store(tmp_path / name, "GBased")["v"]["frame_index"].tolist()
    assert indices == {"time": [0, 29, 59, -1], "reference": [0, 29, 58, -1]}
