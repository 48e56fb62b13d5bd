"""Loads an object detector: a weight file of Faster R-CNN, an ONNX file, or the one that needs no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.detection import Detections, Detector, FasterRCNNDetector, MotionDetector
from model.detection.fastest_det import fastest_det_input, fastest_det_objects
from pretrained import zoo
from utility.checkpoint import file_hash, load_tensors, read_tensors

RECORD = zoo.find("fasterrcnn_resnet50_fpn")
MOTION = "motion"
# Edge of the square that a frame's longer edge fills, by kind of detector, where the user names none.
SIZES = {"fasterrcnn": 1024, "onnx": 640, "motion": 192}
MAX_OBJECTS, MIN_SCORE = 9, 0.5


@dataclass(frozen=True)
class LoadedDetector:
    """A detector and what its pictures must look like.

    Attributes:
        name: of the weights, for settings and messages.
        hash: first 16 digits of the file's SHA-256; of `motion`, its version.
        size: edge of its pictures in pixels.
        max_objects, min_score: what is kept of a picture.
        trained_on, corpus: None, as for all weights whose training is not known.
    """

    model: Detector
    name: str
    hash: str
    size: int
    max_objects: int = MAX_OBJECTS
    min_score: float = MIN_SCORE
    trained_on: list[str] | None = None
    corpus: str | None = None

    def detect(self, pictures: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """The best objects of each picture; see `model.detection.Detector`."""
        found = self.model.detect(pictures, sizes)
        return [objects.best(self.max_objects, self.min_score) for objects in found]


def load_detector(
    spec: str | Path = RECORD.name,
    device: str | torch.device = "cpu",
    size: int | None = None,
    max_objects: int = MAX_OBJECTS,
    min_score: float = MIN_SCORE,
) -> LoadedDetector:
    """Builds a detector.

    Args:
        spec: `motion`; `fasterrcnn_resnet50_fpn` or another name of a file in `pretrained/`; the path of an `.onnx`
            file, or of a weight file with torchvision's names for Faster R-CNN (any number of classes).
        size: edge in pixels that a frame's longer edge is resized to; None for the detector's own.

    Raises:
        FileNotFoundError: no such file; for a known one the message says where to get it.
        ValueError: not a detector of a kind that can be read; the message says what was found.
    """
    if str(spec) == MOTION:
        return LoadedDetector(MotionDetector(), MOTION, "2", size or SIZES["motion"], max_objects, min_score)
    path = locate(spec)
    if path.suffix == ".onnx":
        model, edge = OnnxDetector(path), size or SIZES["onnx"]
    else:
        edge = size or SIZES["fasterrcnn"]
        model = _faster_rcnn(path, edge, max_objects, min_score).to(device)
    return LoadedDetector(model, path.stem, file_hash(path), edge, max_objects, min_score)


def locate(spec: str | Path) -> Path:
    """The file that a name means: as given, else in `pretrained/`.

    Raises:
        FileNotFoundError: neither exists.
    """
    for path in (Path(spec).expanduser(), zoo.FOLDER / spec):
        if path.is_file():
            return path
    record = zoo.find(str(spec))
    if record is not None and record.kind == "detector":
        try:
            return zoo.locate(record)
        except zoo.MissingWeights as error:
            raise zoo.MissingWeights(
                f"{error}\nor name another with --detector: an .onnx file, or `{MOTION}`, which needs no weights"
            ) from error
    raise FileNotFoundError(
        f"no detector {spec}; give {RECORD.name}, a weight file of a Faster R-CNN, an .onnx file, or {MOTION}"
    )


def _faster_rcnn(path: Path, size: int, max_objects: int, min_score: float) -> FasterRCNNDetector:
    tensors = read_tensors(path)
    classes = tensors.get("roi_heads.box_predictor.cls_score.weight")
    if classes is None:
        raise ValueError(
            f"{path} does not hold torchvision's Faster R-CNN: no roi_heads.box_predictor.cls_score.weight among its "
            f"{len(tensors)} tensors"
        )
    model = FasterRCNNDetector(len(classes), size, max_objects, min_score)
    # Older files carry the counters of batch normalisation, which frozen norms do not have.
    kept = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    load_tensors(model.network, kept, str(path))
    return model


class OnnxDetector:
    """A detector in an ONNX file, run by onnxruntime on the processor, picture by picture.

    The file must have FastestDet's interface: one picture [1, 3, H, W] in, one map [1, 5 + classes, h, w] out.

    Raises:
        ValueError: an unreadable file, or another interface.
    """

    frames = 1
    feature_dim = None

    def __init__(self, path: Path):
        import onnxruntime  # only those who use such a file need it, or wait for it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class
            raise ValueError(f"{path} cannot be read as an ONNX file: {error}") from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        shapes = [list(value.shape) for value in (*inputs, *outputs)]
        fits = len(inputs) == len(outputs) == 1 and len(shapes[0]) == len(shapes[1]) == 4 and shapes[0][1] == 3
        if not fits or not all(isinstance(edge, int) for edge in shapes[0][2:]):
            raise ValueError(
                f"{path} has inputs and outputs {shapes}; an ONNX detector must have FastestDet's: one picture "
                "[1, 3, H, W] of fixed size in, one map [1, 5 + classes, h, w] out"
            )
        self.input, (self.height, self.width) = inputs[0].name, shapes[0][2:]

    def detect(self, pictures: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        found = []
        for picture, (height, width) in zip(pictures, sizes, strict=True):
            seen = fastest_det_input(picture[0, :, :height, :width].cpu(), self.height, self.width)
            (output,) = self.session.run(None, {self.input: seen.numpy()})
            found.append(fastest_det_objects(torch.from_numpy(output[0]), (height, width)))
        return found
