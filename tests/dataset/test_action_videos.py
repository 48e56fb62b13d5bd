"""Clips as training and evaluation see them: squares, mixtures, what takes a broken clip's place."""

import numpy as np
import pytest
import torch

from dataset.action_pictures import Pictures, ViewSettings
from dataset.action_videos import ActionBatch, EvaluationClips, TrainingClips, assemble, view_mask
from dataset.actions import ActionClip
from utility.clip_augmentation import ClipAugmentation
from utility.video import VideoError

VIEWS = ViewSettings(8, frames=3, temporal=2, spatial=3)


class Drawn:
    """Pictures without files: clip k is as bright as its label says; negative labels cannot be read."""

    views = VIEWS

    def __call__(self, clip):
        if clip.name.startswith("broken"):
            raise VideoError(clip.name, "decode", "not one frame could be decoded")
        frames = torch.full((5, 3, 8, 14), 40 * (clip.label + 1), dtype=torch.uint8)
        index = torch.tensor([[0, 1, 2], [2, 3, 4]])
        return Pictures(frames, index, torch.tensor([[True] * 3, [True, True, clip.label > 0]]))


def clips(*names):
    return [ActionClip(name, number, name, None) for number, name in enumerate(names)]


def test_views_are_temporal_first_and_squares_go_from_left_to_right():
    frames = (torch.arange(5)[:, None] * 20 + torch.arange(14))[:, None, None].expand(5, 3, 8, 14).to(torch.uint8)
    index = torch.tensor([[0, 1, 2], [2, 3, 4]])
    mask = torch.tensor([[True] * 3, [True, True, False]])
    pictures = Pictures(frames, index, mask)
    views, live = assemble(pictures, VIEWS), view_mask(pictures, VIEWS)
    assert views.shape == (6, 3, 3, 8, 8) and live.shape == (6, 3)
    for temporal in range(2):
        for spatial in range(3):
            for t in range(3):
                frame, left = int(index[temporal, t]), 3 * spatial
                assert views[3 * temporal + spatial, t, 0, 0].tolist() == list(
                    range(20 * frame + left, 20 * frame + left + 8)
                )
    assert live.tolist() == [[True] * 3] * 3 + [[True, True, False]] * 3


def test_another_clip_takes_the_place_of_a_broken_one(caplog):
    data = TrainingClips(clips("a", "broken", "c"), Drawn(), 3)
    assert [data[k][3] for k in (0, 1, 1, 2)] == ["a", "c", "c", "c"]
    assert caplog.text.count("another clip takes its place") == 1, "said once"
    with pytest.raises(VideoError, match="not one training clip can be read"):
        TrainingClips(clips("broken", "broken2"), Drawn(), 2)[0]


def test_evaluation_gives_the_cause_in_place_of_a_broken_clip():
    data = EvaluationClips(clips("a", "broken"), Drawn())
    assert data[1] == "broken: decode: not one frame could be decoded"
    frames, mask, label, name = data[0]
    assert frames.shape == (6, 3, 3, 8, 8) and (label, name) == (0, "a") and not mask[5, 2]


def test_labels_of_mixtures_are_the_shares_of_their_pixels():
    np.random.seed(0)
    data = TrainingClips(clips("a", "b", "c"), Drawn(), 3, mix_type="spatial", mix_probability=1.0)
    partners = set()
    for _ in range(20):
        frames, mask, label, _ = data[0]
        partners |= set(label.nonzero().flatten().tolist())
        share = [(frames[:, :, 0] == 40 * (k + 1)).float().mean().item() for k in range(3)]
        np.testing.assert_allclose(label, share, atol=1e-6)
        # A frame that one of the two has is there.
        assert mask[5, 2] == bool(label[1:].any())
    assert partners == {0, 1, 2}


def test_what_is_not_mixed_has_a_whole_label_and_without_mixing_a_number():
    data = TrainingClips(clips("a", "b"), Drawn(), 2, mix_type="temporal", mix_probability=0.0)
    assert data[1][2].tolist() == [0, 1]
    assert TrainingClips(clips("a", "b"), Drawn(), 2)[1][2].item() == 1


def test_only_training_clips_are_augmented():
    dark = ClipAugmentation(crop_scale=1, horizontal_flip=0, contrast=0, saturation=0, hue=0, brightness=1.0)
    np.random.seed(0)
    assert not torch.equal(
        TrainingClips(clips("a"), Drawn(), 1, dark)[0][0], EvaluationClips(clips("a"), Drawn())[0][0]
    )


def test_batches_of_one_kind():
    data = TrainingClips(clips("a", "b"), Drawn(), 2)
    batch = ActionBatch.collate([data[0], data[1]])
    assert batch.frames.shape == (2, 6, 3, 3, 8, 8) and batch.labels.tolist() == [0, 1] and len(batch) == 2
