"""Low-rank additions."""

import pytest
import torch

from model.backbone.clip import CLIP, CLIPConfig
from model.prompts.lora import add_lora, fold_lora

TINY = CLIPConfig(16, 16, 8, 32, 2, 2, 32, 2, 2, context_length=8, vocab_size=20)


@pytest.fixture
def clip():
    torch.manual_seed(0)
    return CLIP(TINY).eval()


def test_starts_as_the_attention_it_was_made_from_and_folds_away(clip):
    pixels, ids = torch.randn(3, 3, 16, 16), torch.tensor([[1, 4, 19, 0]])
    plain, names = clip.encode_image(pixels), set(clip.state_dict())
    for tower in (clip.visual.transformer, clip.transformer):
        add_lora(tower, 3)
    assert torch.equal(clip.encode_image(pixels), plain)
    for name, parameter in clip.named_parameters():
        if "TVPt_LoRA_b" in name:
            parameter.data.normal_()
    changed, text = clip.encode_image(pixels), clip.encode_text(ids)
    assert not torch.allclose(changed, plain, atol=1e-2)
    fold_lora(clip)
    assert set(clip.state_dict()) == names
    torch.testing.assert_close(clip.encode_image(pixels), changed, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(clip.encode_text(ids), text, rtol=1e-4, atol=1e-5)


def test_parts_of_the_projection_are_those_of_the_whole(clip):
    add_lora(clip.visual.transformer, 2)
    attention = clip.visual.transformer.resblocks[0].attn
    attention.TVPt_LoRA_b.data.normal_()
    x = torch.randn(2, 5, 32)
    whole = attention.project(x)
    parts = (*attention.project(x, "q"), *attention.project(x, "kv"))
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)


def test_rank_zero_adds_nothing_and_twice_is_refused(clip):
    before = set(clip.state_dict())
    add_lora(clip.transformer, 0)
    assert set(clip.state_dict()) == before
    add_lora(clip.transformer, 1)
    with pytest.raises(ValueError, match="fold them first"):
        add_lora(clip.transformer, 1)
    with pytest.raises(ValueError, match="rank -1"):
        add_lora(clip.visual.transformer, -1)
