"""Objects in pictures: what a detector is, and three of them."""

from model.detection.detections import Detections, Detector
from model.detection.faster_rcnn import FasterRCNNDetector
from model.detection.motion import MotionDetector

__all__ = ["Detections", "Detector", "FasterRCNNDetector", "MotionDetector"]
