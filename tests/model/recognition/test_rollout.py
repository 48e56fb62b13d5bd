"""Where recognisers look."""

import pytest
import torch
from recogniser_samples import FRAMES, recogniser, texts, videos

from model.recognition import METHODS
from model.recognition.rollout import attention_maps, attention_weights, rollout


def weights(layers=3, tokens=10):
    torch.manual_seed(0)
    return [torch.randn(2, 3, tokens, tokens).softmax(-1) for _ in range(layers)]


def test_full_rollout_follows_every_path_with_skips():
    """Naive: the mean over heads and an identity, a layer at a time from the last one down to the patches."""
    layers = weights()
    got = rollout(layers)
    for frame in range(2):
        row = torch.eye(10)[0]  # all of the class token after the last layer
        for layer in reversed(layers):
            mixed = layer[frame].mean(0) + torch.eye(10)
            row = row @ (mixed / mixed.sum(1, keepdim=True))
        torch.testing.assert_close(got[frame].flatten(), row[1:] / row[1:].max())
    assert not torch.allclose(got, rollout(layers, recorded=True), atol=1e-2)


def test_the_class_tokens_own_look_is_the_product_over_layers():
    layers = weights()
    product = torch.stack([layer.mean(1)[:, 0, 1:] for layer in layers]).prod(0)
    wanted = (product / product.amax(1, keepdim=True)).view(2, 3, 3)
    torch.testing.assert_close(rollout(layers, "cls"), wanted, rtol=1e-4, atol=1e-6)


def test_prompts_between_class_token_and_patches_are_cut_out():
    layers = weights(tokens=12)
    places = [0, *range(3, 12)]
    plain = [layer[..., places, :][..., places] for layer in layers]
    torch.testing.assert_close(rollout(layers, patches=9), rollout(plain))


@pytest.mark.parametrize("name", METHODS)
def test_maps_of_a_recogniser_leave_it_as_it_was(name):
    model, pixels = recogniser(name, frames_per_chunk=FRAMES).eval(), videos()
    before = model(pixels, texts(model)).logits
    maps = attention_maps(model, pixels)
    assert maps.shape == (2, 2, FRAMES, 2, 2) and maps.amax((-2, -1)).eq(1).all()
    torch.testing.assert_close(attention_maps(model, pixels[1:])[0], maps[1], rtol=1e-4, atol=1e-5)
    assert torch.equal(model(pixels, texts(model)).logits, before)


def test_weights_are_those_of_the_pass():
    model = recogniser("video_coop").eval()
    block = model.clip.visual.transformer.resblocks[0]
    tokens = torch.randn(2, 5, 32)
    with torch.no_grad(), attention_weights(model.clip.visual.transformer) as found:
        out, _ = block.attend(tokens)
        (value,) = block.attn.packed(block.ln_1(tokens), slice(64, None)).unflatten(-1, (2, -1)).transpose(1, 2)[None]
        mixed = block.attn.out_proj((found[0] @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, tokens + mixed, rtol=1e-4, atol=1e-5)


def test_errors_say_what_is_allowed():
    with pytest.raises(ValueError, match="unknown rollout 'grad'; known: full, cls"):
        rollout(weights(), "grad")
    with pytest.raises(ValueError, match="at least one layer"):
        rollout([])
    with pytest.raises(ValueError, match="11 patches make no square"):
        rollout(weights(tokens=12))
