import pytest
import torch

from model import CLIP4Clip
from model.backbone.clip import CLIP, CLIPConfig
from model.retrieval.tuning import freeze_layers, parameter_groups, with_3d_patches

TINY = CLIPConfig(
    embed_dim=32, resolution=16, patch=8, vision_width=32, vision_layers=3, vision_heads=2,
    text_width=32, text_layers=3, text_heads=2, context_length=8, vocab_size=20,
)  # fmt: skip


def frozen(clip):
    return {name for name, parameter in clip.named_parameters() if not parameter.requires_grad}


FIRST = {
    "positional_embedding", "token_embedding.weight", "visual.class_embedding", "visual.positional_embedding",
    "visual.conv1.weight", "visual.ln_pre.weight", "visual.ln_pre.bias",
}  # fmt: skip


def test_published_freezing():
    clip = CLIP(TINY)
    freeze_layers(clip, 0)
    assert frozen(clip) == FIRST
    freeze_layers(clip, 2)
    names = frozen(clip)
    assert names > FIRST
    assert {int(name.split("resblocks.")[1].split(".")[0]) for name in names - FIRST} == {0, 1}
    assert not any(piece in name for name in names for piece in ("ln_final", "ln_post", "proj\n", "logit_scale"))
    freeze_layers(clip, -1)
    assert frozen(clip) == set()


def test_three_dimensional_patches_train_and_the_flat_ones_rest():
    clip = CLIP(TINY)
    deep = with_3d_patches(clip)
    frames = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(deep.encode_image(frames, videos=2), clip.encode_image(frames))
    freeze_layers(deep, 0)
    assert frozen(deep) == FIRST
    freeze_layers(deep, -1)
    assert frozen(deep) == {"visual.conv1.weight"}


def test_groups_have_their_rates_and_hold_every_trainable_parameter_once():
    model = CLIP4Clip(CLIP(TINY), "seqTransf", 1)
    freeze_layers(model.clip, 0)
    groups = parameter_groups(model, lr=1e-2, coef_lr=0.1, weight_decay=0.5)
    members = [parameter for group in groups for parameter in group["params"]]
    assert len(members) == len({id(p) for p in members}) == sum(p.requires_grad for p in model.parameters())
    of_clip = {id(p) for p in model.clip.parameters()}
    for group in groups:
        for parameter in group["params"]:
            assert group["lr"] == pytest.approx(1e-3 if id(parameter) in of_clip else 1e-2)
            assert group["weight_decay"] == (0.5 if parameter.ndim > 1 else 0.0)
