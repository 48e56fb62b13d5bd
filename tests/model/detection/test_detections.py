import torch

from model.detection.detections import Detections, squares, suppress


def test_the_best_objects_come_first():
    boxes = torch.arange(16.0).view(4, 4)
    found = Detections(boxes, torch.tensor([0.4, 0.9, 0.5, 0.9]), torch.tensor([0, 1, 2, 3]), torch.eye(4))
    best = found.best(3, 0.5)
    assert best.labels.tolist() == [1, 3, 2] and torch.equal(best.boxes, boxes[[1, 3, 2]])
    assert torch.equal(best.features, torch.eye(4)[[1, 3, 2]])
    assert len(found.best(2, 0.0)) == 2 and len(found.best(9, 0.95)) == 0


def test_overlapping_boxes_of_a_class_and_slivers_are_dropped():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [1, 1, 11, 11], [19.5, 0, 30, 10]])
    kept = suppress(boxes, torch.tensor([0.5, 0.6, 0.4, 0.9]), torch.tensor([0, 0, 1, 0]), (20, 20), 0.45)
    assert sorted(kept.scores.tolist()) == torch.tensor([0.4, 0.6]).tolist()  # the last one ends outside


def test_squares_hold_their_boxes_and_lie_in_the_picture():
    boxes = torch.tensor([[0.0, 40, 10, 60], [90, 90, 100, 95], [0, 0, 100, 20], [10, 10, 30, 30]])
    got = squares(boxes, 100)
    assert torch.equal(
        got, torch.tensor([[0.0, 40, 20, 60], [90, 87.5, 100, 97.5], [0, 0, 100, 100], [10, 10, 30, 30]])
    )
