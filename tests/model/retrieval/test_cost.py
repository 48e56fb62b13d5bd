"""Multiply-adds and parameter counts against those of the reference."""

import pytest
import torch

from model.backbone.clip import CLIP, CLIPConfig, small_config
from model.retrieval.cost import multiply_adds, parameter_counts
from model.retrieval.methods import build_method

B32 = CLIPConfig(512, 224, 32, 768, 12, 12, 512, 12, 8)
B16 = CLIPConfig(512, 224, 16, 768, 12, 12, 512, 12, 8)


def network(method, config=B32, **settings):
    with torch.device("meta"):
        model = build_method(method, CLIP(config), settings)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(model.is_new(name))
    return model


@pytest.mark.parametrize(
    ("method", "config", "settings", "tower"),
    [
        ("clip4clip", B32, {}, 52.9),
        ("stop", B32, {}, 57.9),
        ("tempme", B32, {}, 34.8),
        ("unified", B32, {}, 39.7),
        ("tempme", B16, {"tome_r": 10, "merge_token_proportion": "40-20"}, 121.6),
    ],
)
def test_tower_costs_what_the_reference_measured(method, config, settings, tower):
    parts = multiply_adds(network(method, config, **settings), 12, 32)
    assert parts["tower"] / 1e9 == pytest.approx(tower, abs=0.06)
    assert parts["video"] == sum(parts[part] for part in ("tower", "pixel_prompt", "between_frames", "header"))


def test_convolutions_of_stop_cost_more_than_its_tower():
    parts = multiply_adds(network("stop"), 12, 32)
    assert parts["pixel_prompt"] / 1e9 == pytest.approx(74.1, abs=0.05)
    assert parts["between_frames"] / 1e9 == pytest.approx(11.3, abs=0.05)
    assert multiply_adds(network("stop", pixel_prompt=False), 12, 32)["pixel_prompt"] == 0


@pytest.mark.parametrize(
    ("method", "settings", "trainable"),
    [
        ("stop", {}, 13_081_528),
        ("stop", {"adapter": False}, 12_082_336),
        ("stop", {"shared_latent_space": "linear"}, 4_333_752),
        ("stop", {"shared_latent_space": "linear", "adapter": False}, 3_334_560),
        ("dgl", {"adapter": False}, 9_575_168),
        ("dgl", {"shared_latent_space": "linear", "adapter": False}, 827_392),
        ("tempme", {}, 507_648),
    ],
)
def test_methods_train_as_many_parameters_as_published(method, settings, trainable):
    counts = parameter_counts(network(method, **settings))
    assert counts["trainable"] == counts["new"] == trainable


def test_a_frame_through_the_small_tower_by_hand():
    config = small_config(vocab_size=50)
    width, tokens = 128, 17
    stem = 32**2 * 32 * 27 + 16**2 * (64 * 288 + 64 * 576) + 8**2 * (128 * 576 + 128 * 1152)
    blocks = 2 * (tokens * 12 * width**2 + 2 * tokens**2 * width)
    expected = stem + 16 * width * 128 * 4 + blocks + width * 128
    assert multiply_adds(network("clip4clip", config), 1, 8)["video"] == expected


@pytest.mark.parametrize("header", ["seqLSTM", "seqTransf", "tightTransf"])
def test_headers_are_counted(header):
    assert multiply_adds(network("clip4clip", sim_header=header), 12, 32)["header"] > 0
