import pytest
import torch
from torch import nn

from model.backbone.clip import CLIP, small_config
from model.retrieval.groups import in_groups
from model.retrieval.methods import build_method


class Drawing(nn.Module):
    """Draws (dropout) and counts (batch norm)."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.drop = nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.norm(self.linear(x)))


def after_one_step(encode):
    """What `encode(module, x)` leaves: output, gradients, and the norm's counts."""
    torch.manual_seed(0)
    module, x = Drawing().train(), torch.randn(8, 6)
    torch.manual_seed(1)
    out = encode(module, x)
    (out * torch.arange(40.0).reshape(8, 5)).sum().backward()
    return [out, *(p.grad for p in module.parameters()), *module.norm.buffers()]


@pytest.mark.parametrize("size", [0, 3, 4, 9])
def test_groups_draw_and_count_once_although_they_are_computed_twice(size):
    naive = after_one_step(lambda module, x: torch.cat([module(part) for part in x.split(size or 8)]))
    got = after_one_step(lambda module, x: in_groups(module, module, size, x))
    for one, other in zip(naive, got, strict=True):
        torch.testing.assert_close(one, other)


def test_groups_are_not_kept_for_their_gradient():
    """What a group computed (5 numbers a row) is gone after it, what it was given (6) stays."""
    module, widths = Drawing().train(), {}
    for size in (0, 2):
        kept = widths[size] = set()
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.add(x.shape[-1:]) or x, lambda x: x):
            in_groups(module, module, size, torch.randn(8, 6))
    assert (5,) in widths[0] and (5,) not in widths[2]


@pytest.mark.parametrize("method", ["clip4clip", "stop"])
def test_a_stem_that_does_not_train_stays_with_its_statistics(method):
    config = small_config(vision_layers=1, text_layers=1, stem=(4, 8, 16), vocab_size=60)
    model = build_method(method, CLIP(config), {"max_frames": 2, "pixel_prompt": False})
    before = {name: value.clone() for name, value in model.state_dict().items() if ".stem." in name}
    frames = torch.randn(2, 2, 3, 64, 64)
    for trains in (False, True):
        model.clip.requires_grad_(trains)
        model.train().encode_video(frames)
        after = model.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items()) != trains
        assert model.clip.visual.stem[1].training == trains
