import pytest
import torch
from recogniser_samples import CONFIG, small_clip

from model.backbone.clip import CLIP, CLIPConfig
from model.recognition import METHODS, build
from model.recognition.cost import cost, parameter_counts

TRAINABLE = {
    "video_coop": 1_055_233, "dual_coop": 1_061_377, "vidop": 1_057_281, "vilt": 3_974_401, "vita": 35_470_337,
    "stt": 66_932_737,
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_trainable_parameters_at_published_size(name):
    with torch.device("meta"):
        clip = CLIP(CLIPConfig(512, 224, 16, 768, 12, 12, 512, 12, 8))
    clip.logit_scale = torch.nn.Parameter(torch.tensor(1.0))
    every, trainable = parameter_counts(build(name, clip, {}))
    assert trainable == TRAINABLE[name]
    assert every - trainable == 149_620_737


def block(tokens, width, ratio=4):
    """Multiply-adds of one block: four projections, scores and mixtures, two halves of the MLP."""
    return tokens * width * width * (4 + 2 * ratio) + 2 * tokens * tokens * width


def test_multiply_adds_of_video_coop_add_up():
    model = build("video_coop", small_clip(), {"ctx-len": 2, "temporal-pooling": "mean"})
    got = cost(model, views=2, frames=3, classes=5, words=4)
    patches, width = CONFIG.grid**2, CONFIG.vision_width
    frame = patches * 3 * CONFIG.patch**2 * width + 3 * block(patches + 1, width) + width * CONFIG.embed_dim
    text = 5 * 3 * block(6, CONFIG.text_width)
    head = 5 * CONFIG.text_width * CONFIG.embed_dim + 2 * 5 * CONFIG.embed_dim
    assert got.text_multiply_adds == text
    assert got.multiply_adds == 6 * frame + text + head
    assert (got.parameters, got.trainable) == parameter_counts(model)


def test_texts_per_view_cost_per_view():
    clip = small_clip()
    few, many = (cost(build("stt", clip, {}), views=views, frames=2).text_multiply_adds for views in (1, 4))
    assert many == 4 * few
