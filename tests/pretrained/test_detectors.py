"""Detectors from files: Faster R-CNN in torchvision's layout, ONNX; what is none is refused in words."""

import pytest
import torch
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.ops import box_iou

from pretrained import zoo
from pretrained.detectors import OnnxDetector, load_detector
from utility.images import letterbox
from utility.video import VideoReader

EDGE = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of torchvision's own network, its scores spread so that some boxes pass."""
    torch.manual_seed(0)
    network = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
    with torch.no_grad():
        network.roi_heads.box_predictor.cls_score.weight.mul_(60)
    path = tmp_path_factory.mktemp("detector") / "own.pth"
    torch.save(network.state_dict(), path)
    return path


def seen(height=EDGE, width=EDGE, count=1):
    frames = torch.randint(0, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(1))
    return torch.stack([letterbox(frame.to(torch.uint8), EDGE)[None, :3] for frame in frames])


def test_weights_in_torchvisions_layout_give_torchvisions_objects(weights):
    detector = load_detector(weights, size=EDGE, max_objects=5, min_score=0.3)
    picture = seen(40)
    (found,) = detector.detect(picture, [(40, EDGE)])
    network = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=EDGE, max_size=EDGE,
        box_score_thresh=0.3, box_detections_per_img=5,
    )  # fmt: skip
    network.load_state_dict(torch.load(weights, weights_only=True))
    for module in network.eval().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.0
    with torch.inference_mode():
        (expected,) = network([picture[0, 0, :, :40] / 255])
    assert 1 <= len(found) <= 5 and found.features.shape == (len(found), 1024)
    torch.testing.assert_close(found.boxes, expected["boxes"], atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(found.scores, expected["scores"], atol=1e-4, rtol=1e-3)
    assert (detector.name, len(detector.hash), detector.size) == ("own", 16, EDGE)


def test_features_are_those_of_the_final_boxes_picture_by_picture(weights):
    detector = load_detector(weights, size=EDGE, max_objects=3, min_score=0.2)
    pictures = seen(count=2)
    together = detector.detect(pictures, [(EDGE, EDGE)] * 2)
    assert all(len(found) for found in together)
    for picture, found in zip(pictures, together, strict=True):
        close = {"rtol": 1e-3, "atol": 1e-4 * float(found.features.abs().max())}
        (alone,) = detector.detect(picture[None], [(EDGE, EDGE)])
        torch.testing.assert_close(alone.features, found.features, **close)
        net = detector.model.network
        with torch.inference_mode():
            images, _ = net.transform([picture[0] / 255])
            regions = net.roi_heads.box_roi_pool(net.backbone(images.tensors), [found.boxes], images.image_sizes)
            torch.testing.assert_close(net.roi_heads.box_head(regions), found.features, **close)


def test_what_is_absent_or_no_detector_is_answered_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    with pytest.raises(
        zoo.MissingWeights, match=r"fasterrcnn_resnet50_fpn_coco-258fb6c6\.pth.*\n.*zoo get(.|\n)*motion"
    ):
        load_detector()
    with pytest.raises(FileNotFoundError, match=r"no detector nowhere; give fasterrcnn_resnet50_fpn, .* or motion"):
        load_detector("nowhere")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not hold torchvision's Faster R-CNN"):
        load_detector("other.pth")  # found in pretrained/
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken\.onnx cannot be read as an ONNX file"):
        load_detector(tmp_path / "broken.onnx")


# Written down with the clips: (clip, frame, class, score, box as shares of the frame where known)
LISTED = [
    ("bear.mp4", 20, "bear", 0.931, (0.119, 0.446, 0.554, 0.901)),
    ("woman_dog.mp4", 144, "person", 0.909, None),
    ("woman_dog.mp4", 144, "dog", 0.845, None),
    ("bottles_table.mp4", 297, "bottle", 0.799, None),
    ("klteYv1Uv9A_27_33.avi", 45, "motorbike", 0.915, None),
    ("klteYv1Uv9A_27_33.avi", 45, "person", 0.656, None),
    ("yoga_terrace.mp4", 75, "person", 0.883, None),
]


@pytest.fixture(scope="module")
def fastest_det(shared_data):
    names = (shared_data / "weights/coco.names").read_text().split("\n")
    return load_detector(shared_data / "weights/fastestdet_coco.onnx"), names


@pytest.mark.parametrize(("clip", "frame", "name", "score", "box"), LISTED, ids=lambda value: str(value)[:20])
def test_real_clips_show_what_is_listed(shared_data, fastest_det, clip, frame, name, score, box):
    detector, names = fastest_det
    with VideoReader(shared_data / "videos" / clip) as video:
        square = letterbox(video.frames([frame])[0], detector.size)
    height, width = int((square[3, :, 0] > 0).sum()), int((square[3, 0] > 0).sum())
    (found,) = detector.detect(square[None, None, :3], [(height, width)])
    hits = [n for n, label in enumerate(found.labels.tolist()) if names[label] == name]
    assert hits and abs(found.scores[hits[0]].item() - score) <= 0.1
    if name == "bottle":
        assert len(hits) == 2
    if box is not None:
        pixels = torch.tensor([box]) * torch.tensor([width, height, width, height])
        assert box_iou(found.boxes[hits[:1]], pixels).item() > 0.7


def test_an_onnx_file_of_another_interface_is_refused(monkeypatch, tmp_path):
    import onnxruntime

    class Other:
        def __init__(self, *_, **__):
            pass

        def get_inputs(self):
            return [type("Value", (), {"name": "x", "shape": [1, 3, "h", "w"]})]

        def get_outputs(self):
            return [type("Value", (), {"name": "y", "shape": [1, 25200, 85]})]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Other)
    with pytest.raises(ValueError, match=r"has inputs and outputs .*25200, 85.*must have FastestDet's"):
        OnnxDetector(tmp_path / "yolo.onnx")
