"""Writes a file with the structure of the published captioner's checkpoints."""

import sys
import types

import torch


def write_akg(path, model, words, transformer=None, **changes):
    """`{"epoch", "vc_model", "config"}` as the published program saves it, a pickled class of its own included."""
    module = types.ModuleType("config")

    class FeatureConfig:
        def __init__(self, name, sizes):
            self.model, self.size, self.feature_dims = name, None, sizes

    FeatureConfig.__module__, FeatureConfig.__qualname__ = "config", "FeatureConfig"
    module.FeatureConfig = FeatureConfig
    config = {
        "corpus": "MSVD",
        "feat": FeatureConfig("GBased+rel+videomask", [512]),
        "vocab": {"was_class": True, "init_word2idx": {word: i for i, word in enumerate(words)}},
        "loader": {"was_class": True, "min_count": 3, "max_caption_len": 20},
        "transformer": {"was_class": True, **(transformer or {})},
        "lr": 1e-4,
        "optimizer": None,
    }
    content = {
        "epoch": 7,
        "vc_model": {f"module.{name}": value for name, value in model.state_dict().items()},
        "config": config | changes,
    }
    before = sys.modules.get("config")
    sys.modules["config"] = module
    try:
        torch.save(content, path)
    finally:
        del sys.modules["config"]
        if before is not None:
            sys.modules["config"] = before
    return path


def heads(config):
    """The names under which the published configuration holds what tensors do not show."""
    return {
        "n_heads": config.heads,
        "n_heads_big": config.heads_r2l,
        "n_heads_small": config.heads_l2r,
        "max_frames": config.slots,
        "num_object": config.nodes_per_slot,
        "dropout": config.dropout,
        "no_skip": config.no_skip,
    }
