"""Object nodes, from clips to captions: what is stored, what an empty frame is, what every flag does."""

import json
import shutil

import numpy as np
import pytest
import torch
from no_java import without_java
from test_in_memory import make_action_network, make_backbone
from tiny import CLOSE, same_features, store
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.ops import box_iou

import main
from dataset.graph_features import padded_rows
from extractors import extract, i3d_feature_extractor, object_node_theta_1_feature_extractor, runner
from extractors.base import Sampling, extract_file
from extractors.in_memory import FileCaptioner
from extractors.object_features import ObjectNodes
from graphs import object_based_spatial_action_graph
from graphs.knowledge import graph as knowledge_graph
from graphs.knowledge import relations, triples
from graphs.parts import object_rows
from pretrained.backbones import load_backbone
from pretrained.detectors import load_detector
from utility.images import centre_square, letterbox, to_clip
from utility.video import VideoReader
from utility.video_writer import write_video

EDGE, SLOTS, RATE, WIDTH = 64, 4, 2, 32
EMPTY = "grey"  # a clip in which nothing is
NAMES = ["red-1", "two", EMPTY, "late", "wide", "red-2", "red-3", "two-2"]
COLORS = ((220, 40, 40), (40, 60, 220))


def draw(path, name, frames=16):
    """Squares on grey noise: one, two, none, or one in the second half only; `wide` keeps its square at the left."""
    rng = np.random.default_rng(len(name))
    height, width = (48, 96) if name == "wide" else (56, 64)
    clip = rng.normal(110, 2, (frames, height, width, 1)).repeat(3, axis=3)
    for t in range(frames):
        if name == EMPTY or (name == "late" and t < frames // 2):
            continue
        left = 3 if name == "wide" else 4 + 2 * t
        clip[t, 8:24, left : left + 16] = COLORS[0]
        if name.startswith("two"):
            clip[t, 34:46, 40 - 2 * t : 52 - 2 * t] = COLORS[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, clip.clip(0, 255).astype(np.uint8), 8, crf=8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    places = [str(make_backbone(folder / "clip", 0)), str(make_action_network(folder / "i3d"))]
    return ["--backbone", places[0], "--action_network", places[1]]


@pytest.fixture(scope="module")
def backbone(weights):
    return load_backbone(weights[1])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("objects") / "Tiny"
    for name in NAMES:
        draw(root / "videos" / f"{name}.mp4", name)
    splits = ["train"] * 6 + ["val", "test"]
    annotation = {
        "videos": [{"video_id": name, "split": split} for name, split in zip(NAMES, splits, strict=True)],
        "sentences": [
            {"video_id": name, "sen_id": 2 * i + k, "caption": caption}
            for i, name in enumerate(NAMES)
            for k, caption in enumerate(("a square hits the wall", f"a {name[:3]} square follows a square"))
        ],
    }
    (root / "metadata").mkdir()
    (root / "metadata" / "captions.json").write_text(json.dumps(annotation))
    return root


@pytest.fixture(scope="module")
def data(corpus, weights):
    words = ["--data_root", str(corpus), "--slots", str(SLOTS), "--rate", str(RATE), "--device", "cpu"]
    return [*words, "--precision", "fp32", "--decode_workers", "0"]


@pytest.fixture(scope="module")
def motion(weights):
    return [*weights[:2], "--detector", "motion", "--detector_size", str(EDGE)]


@pytest.fixture(scope="module")
def made(data, motion, weights, tmp_path_factory):
    """Everything that the single programs make."""
    folder = tmp_path_factory.mktemp("single")
    place = ["--features", str(folder)]
    assert object_node_theta_1_feature_extractor.main([*data, *motion, *place]) == 0
    assert i3d_feature_extractor.main([*data, *weights[2:], *place]) == 0
    return folder


def test_what_is_found_is_where_it_was_drawn(made):
    nodes = store(made, "OBased")
    two = nodes["two"]
    assert two["nodes"].shape == (SLOTS, 9, WIDTH) and two["boxes"].dtype == np.float32
    assert (two["counts"] == two["node_mask"].sum(1)).all() and (two["counts"] == 2).all()
    for slot, frame in enumerate(two["frame_index"].tolist()):
        drawn = np.array([[4 + 2 * frame, 8, 20 + 2 * frame, 24], [40 - 2 * frame, 34, 52 - 2 * frame, 46]])
        got = two["boxes"][slot, :2] * [64, 56, 64, 56]
        order = got[:, 1].argsort()
        np.testing.assert_allclose(got[order], drawn, atol=4)
    assert (two["scores"][:, :2] >= 0.5).all() and (np.diff(two["scores"][:, :2].astype(float)) <= 0).all()


def test_frames_and_videos_without_objects_give_empty_nodes(made):
    nodes = store(made, "OBased")
    empty, late = nodes[EMPTY], nodes["late"]
    assert empty["slot_mask"].all() and not empty["node_mask"].any() and not empty["counts"].any()
    assert late["counts"].tolist() == [0, 0, 1, 1]
    for arrays in (empty, late):
        absent = ~arrays["node_mask"]
        for name in ("nodes", "boxes", "scores"):
            assert not arrays[name][absent].any()
    rows = store(made, "OFeat")
    assert rows[EMPTY]["objects"].shape == (0, 4 + WIDTH) and rows["late"]["objects"].shape == (2, 4 + WIDTH)


def test_object_rows_are_boxes_and_features_slot_by_slot(made):
    nodes, rows = store(made, "OBased")["two"], store(made, "OFeat")["two"]["objects"]
    expected = [
        np.concatenate([nodes["boxes"][slot, k], nodes["nodes"][slot, k]])
        for slot in range(SLOTS)
        for k in range(nodes["counts"][slot])
    ]
    np.testing.assert_allclose(rows, np.array(expected), rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="no boxes"):
        object_rows({"nodes": nodes["nodes"]})


def test_features_equal_a_naive_pass_over_single_objects(made, corpus, backbone):
    pixels = backbone.resolution
    nodes = store(made, "OBased")["red-1"]
    frames = VideoReader(corpus / "videos/red-1.mp4").frames(nodes["frame_index"])
    for slot in range(SLOTS):
        left, top, right, bottom = (nodes["boxes"][slot, 0] * [64, 56, 64, 56]).tolist()
        side = max(right - left, bottom - top)
        x, y = (min(max((a + b - side) / 2, 0), EDGE - side) for a, b in ((left, right), (top, bottom)))
        square = letterbox(frames[slot], EDGE)[:3].float()
        # Bilinear samples at the middles of the output's pixels; the square is smaller than the output.
        assert side <= pixels
        step = (torch.arange(pixels) + 0.5) * side / pixels - 0.5
        gy, gx = torch.meshgrid(y + step, x + step, indexing="ij")
        grid = torch.stack([gx, gy], -1)[None].clamp(min=0) * 2 / (EDGE - 1) - 1
        crop = torch.nn.functional.grid_sample(square[None], grid, align_corners=True).round().clamp(0, 255)
        with torch.inference_mode():
            seen = to_clip(crop.to(torch.uint8), backbone.mean, backbone.std)
            expected = backbone.model.encode_image(seen)[0]
        np.testing.assert_allclose(nodes["nodes"][slot, 0], expected, rtol=0.02, atol=0.02)


def test_one_pass_makes_grid_and_object_nodes_and_both_graphs(data, motion, weights, made, tmp_path, monkeypatch):
    seen = []
    original = runner.prepare
    monkeypatch.setattr(runner, "prepare", lambda path, *more: (seen.append(path.stem), original(path, *more))[1])
    folder = tmp_path / "all"
    command = [*data, *motion, *weights[2:], "--features", str(folder)]
    assert extract.main([*command, "--nodes", "both"]) == 0
    assert sorted(seen) == sorted(NAMES)
    names = {f"{kind}{part}" for kind in ("GBased", "OBased") for part in ("", "_spatial", "_temporal", "_graph")}
    assert {p.stem.removeprefix("Tiny_") for p in folder.glob("*.hdf5")} == names | {"theta2", "actions", "OFeat"}
    same_features(folder, made, ("OBased", "OFeat", "actions"))
    graph = store(folder, "OBased_graph")
    assert not graph[EMPTY]["node_mask"].any() and not graph[EMPTY]["temporal"].any()
    late = graph["late"]
    assert late["actions"].any(axis=1).all() and {"boxes", "scores"} <= set(late)
    assert not late["temporal"][:2].any() and late["temporal"][2, 0, 0] == 1
    only = tmp_path / "only"
    assert extract.main([*command[:-1], str(only), "--nodes", "object"]) == 0
    assert not (only / "Tiny_GBased.hdf5").exists()
    same_features(only, folder, ("OBased", "OFeat", "OBased_graph"))
    # the graph program for objects says the same
    shutil.copytree(only, tmp_path / "copy")
    where = ["--data_root", data[1], "--features", str(tmp_path / "copy"), "--resume", "0", "--device", "cpu"]
    assert object_based_spatial_action_graph.main(where, nodes="object") == 0
    same_features(tmp_path / "copy", only, ("OBased_spatial",))


@pytest.mark.parametrize(
    "options",
    [
        ["--detector_size", "32"],
        ["--max_objects", "1"],
        ["--min_score", "0.9"],
        ["--compat", "square_crop"],
        ["--compat", "sampling"],
    ],
)
def test_each_setting_changes_settings_and_features(data, motion, made, tmp_path, options):
    command = [*data, *motion, *options, "--features", str(tmp_path)]
    assert object_node_theta_1_feature_extractor.main(command) == 0
    new, old = store(tmp_path, "OBased"), store(made, "OBased")
    assert new.settings != old.settings
    a, b = (tuple(features["wide"][key] for key in ("boxes", "frame_index", "counts")) for features in (new, old))
    assert not all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_square_crop_cuts_the_sides_and_boxes_stay_those_of_the_frame(corpus, backbone):
    detector = load_detector("motion", size=EDGE)
    frame = VideoReader(corpus / "videos/red-1.mp4").frames([8])[0]
    wide = torch.nn.functional.pad(frame, (60, 60), value=110)

    class Info:
        width, height, fps, num_frames = 184, 56, 8, 16

    class Plan:
        info, slots = Info, 1
        sample = type("Sample", (), {"index": np.array([8])})
        spread = staticmethod(lambda rows: rows)
        slot_arrays = staticmethod(dict)

    boxes = {}
    for crop in (False, True):
        extractor = ObjectNodes(detector, backbone, torch.device("cpu"), square_crop=crop)
        picture = extractor.picture(wide)
        expected = letterbox(centre_square(wide) if crop else wide, EDGE)
        assert torch.equal(picture, expected)
        rows = extractor.extract(torch.stack([picture] * 3)[None]).numpy()
        boxes[crop] = extractor.arrays(Plan, rows)["boxes"][0, 0] * [184, 56, 184, 56]
    np.testing.assert_allclose(boxes[True], boxes[False], atol=6)
    np.testing.assert_allclose(boxes[True], [80, 8, 96, 24], atol=4)


def test_objects_of_a_faster_rcnn_bring_their_own_features(data, weights, tmp_path, caplog):
    torch.manual_seed(0)
    network = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    with torch.no_grad():
        network.roi_heads.box_predictor.cls_score.weight.mul_(60)
    torch.save(network.state_dict(), tmp_path / "own.pth")
    common = [*data, "--limit", "1", "--split", "train", "--detector", str(tmp_path / "own.pth")]
    common += ["--detector_size", "64", "--min_score", "0.2"]
    command = [*common, "--backbone", "not here", "--features", str(tmp_path / "f")]
    assert object_node_theta_1_feature_extractor.main(command) == 0  # no CLIP is opened
    own = store(tmp_path / "f", "OBased")
    assert own[NAMES[0]]["nodes"].shape == (SLOTS, 9, 1024) and own.settings["object_features"] == "detector"
    assert own.settings["detector"]["name"] == "own" and "backbone" not in own.settings
    more = [*common, *weights[:2], "--object_features", "backbone", "--features", str(tmp_path / "g")]
    assert object_node_theta_1_feature_extractor.main(more) == 0
    seen = store(tmp_path / "g", "OBased")
    assert seen[NAMES[0]]["nodes"].shape[-1] == WIDTH
    np.testing.assert_array_equal(seen[NAMES[0]]["boxes"], own[NAMES[0]]["boxes"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nodes", "grid"], "--nodes is 'grid'; it must be object"),
        (["--max_objects", "0"], "--max_objects is 0; it must be at least 1"),
        (["--detector_size", "8"], "--detector_size is 8; it must be at least 16"),
        (["--min_score", "2"], "--min_score is 2.0; it must be from 0 to 1"),
        (["--object_features", "own"], "--object_features is 'own'; it must be one of auto, detector, backbone"),
        (["--compat", "i3d_bn"], "--compat is 'i3d_bn'; it must be one of reference, sampling, square_crop"),
        (["--object_features", "detector"], "the detector motion has no features of its own"),
        (["--detector", "nowhere"], "no detector nowhere"),
    ],
)
def test_wrong_flags_are_answered(data, motion, tmp_path, words, message, capsys, caplog):
    try:
        status = object_node_theta_1_feature_extractor.main([*data, *motion, "--features", str(tmp_path), *words])
    except SystemExit as end:
        status = end.code
    assert status == 2 and message in capsys.readouterr().err + caplog.text
    assert not list(tmp_path.iterdir())


@pytest.fixture
def no_java():
    with without_java():
        yield


@pytest.fixture(scope="module")
def features(data, motion, weights, corpus):
    """All features in the corpus's own folder, relations among them."""
    assert extract.main([*data, *motion, *weights[2:], "--nodes", "both"]) == 0
    root = data[:2]
    assert triples.main(root) == 0
    assert knowledge_graph.main(root) == 0
    assert relations.main([*root, "--device", "cpu"]) == 0
    return next((corpus / "features").iterdir())


@pytest.mark.parametrize("name", ["OBased", "OBased+rel", "GBased+OFeat+rel"])
def test_every_model_of_objects_trains_and_captions_a_file(features, corpus, no_java, tmp_path, name):
    words = ["--model_name", f"Tiny_{name}+videomask", "--do_train", "--data_root", str(corpus), "--device", "cpu"]
    words += ["--epochs", "1", "--batch_size", "6", "--captions_per_video", "1", "--tokenizer", "nltk"]
    assert main.main([*words, "--output_dir", str(tmp_path)]) == 0
    said = json.loads((tmp_path / "test_predictions.json").read_text())
    assert list(said) == [NAMES[-1]]
    captioner = FileCaptioner(tmp_path / "best", device="cpu")
    for video in (NAMES[-1], EMPTY):
        assert captioner.caption(corpus / f"videos/{video}.mp4").caption is not None
    assert captioner.caption(corpus / f"videos/{NAMES[-1]}.mp4").caption == said[NAMES[-1]]
    found, stored = captioner.arrays(corpus / "videos/two.mp4"), store(features, f"{name.split('+')[0]}_graph")["two"]
    for key, value in stored.items():
        np.testing.assert_allclose(found[key].astype(float), value.astype(float), **CLOSE, err_msg=key)
    if "OFeat" in name:
        rows, mask = padded_rows(store(features, "OFeat")["two"]["objects"])
        np.testing.assert_allclose(found["objects"].astype(float), rows.astype(float), **CLOSE)
        assert found["object_mask"].tolist() == mask.tolist()
    places = {"box_positions": name.startswith("OBased"), "node_positions": name.startswith("GBased")}
    assert captioner.config["captioner"].items() >= places.items()
    assert set(captioner.config["weights"]) == {"backbone", "detector", "action_network"}


def test_a_captioner_of_objects_asks_for_its_detector(features, corpus, no_java, tmp_path, capsys):
    words = ["--model_name", "Tiny_OBased", "--do_train", "--data_root", str(corpus), "--device", "cpu"]
    words += ["--epochs", "1", "--batch_size", "6", "--captions_per_video", "1", "--tokenizer", "nltk"]
    assert main.main([*words, "--output_dir", str(tmp_path)]) == 0
    clip = str(corpus / f"videos/{NAMES[0]}.mp4")
    say = ["--caption", clip, "--checkpoint", str(tmp_path / "best"), "--device", "cpu"]
    assert main.main(say) == 0
    assert main.main([*say, "--detector", "nowhere.onnx"]) == 2
    assert "needs the detector motion (2): give it with --detector PATH" in capsys.readouterr().err


def test_the_stage_finds_the_bear_in_a_real_clip(shared_data, backbone):
    """Frame 20 of the clip, sampled as slot 1: box and score as they were written down with the clips."""
    detector = load_detector(shared_data / "weights/fastestdet_coco.onnx")
    extractor = ObjectNodes(detector, backbone, torch.device("cpu"))
    found = extract_file(shared_data / "videos/bear.mp4", [extractor], Sampling(rate=1.5, slots=5))["OBased"]
    assert found["frame_index"].tolist() == [0, 20, 40, 60, 80] and found["counts"][1] >= 1
    assert found["scores"][1, 0] == pytest.approx(0.931, abs=0.1)
    listed = torch.tensor([[0.119, 0.446, 0.554, 0.901]])
    assert box_iou(torch.from_numpy(found["boxes"][1, :1]), listed).item() > 0.7
    assert np.isfinite(found["nodes"]).all() and found["nodes"][found["node_mask"]].any(axis=1).all()
