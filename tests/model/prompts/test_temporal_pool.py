import pytest
import torch
from torch import nn

from model.prompts import TemporalPool


def features(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_equals_torchs_module(heads):
    torch.manual_seed(0)
    pool, theirs = TemporalPool("attention", 8, heads), nn.MultiheadAttention(8, heads, batch_first=True)
    theirs.load_state_dict(pool.attention.state_dict())
    frames, mask = features(2, 3, 5, 8), torch.ones(2, 3, 5, dtype=torch.bool)
    mask[1, 0, -2:] = False
    flat = frames.flatten(0, 1)
    for given, ignored in ((None, None), (mask, ~mask.flatten(0, 1))):
        wanted = theirs(pool.query.expand(6, -1, -1), flat, flat, key_padding_mask=ignored)[0]
        torch.testing.assert_close(pool(frames, given), wanted.reshape(2, 3, 8))


@pytest.mark.parametrize("kind", ["mean", "max", "attention"])
def test_frames_that_are_not_there_do_not_count(kind):
    torch.manual_seed(0)
    pool, frames = TemporalPool(kind, 8), features(2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    torch.testing.assert_close(pool(frames, mask)[0], pool(frames[0, :3]))
    torch.testing.assert_close(pool(frames, mask)[1], pool(frames[1]))
    assert pool(frames, torch.zeros(2, 5)).isfinite().all()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown temporal pooling 'median'; known: mean, max, attention"):
        TemporalPool("median", 8)
