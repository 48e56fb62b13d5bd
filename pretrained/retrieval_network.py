"""The network of a retrieval run: where it starts, and which of its parameters train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.backbone.clip import CLIP, CLIPConfig, small_config
from model.retrieval.clip4clip import LOGIT_SCALE
from model.retrieval.methods import build_method
from model.retrieval.settings import MethodSettings
from model.retrieval.tuning import freeze_layers, parameter_groups, with_3d_patches
from pretrained import zoo
from pretrained.backbones import describe, load_backbone
from pretrained.retrieval_runs import StoredRun, load_weights, open_run
from utility.bert_adam import BertAdam
from utility.freezing import FreezeRules, choose_trainable, training_table
from utility.schedules import clip4clip_cosine, warmup_cosine


@dataclass
class Network:
    """A model and its history.

    Attributes:
        settings: what `build_method` was given, for checkpoints.
        mean, std: of its pictures.
        trained_on, corpus: as `pretrained.backbones.Backbone` has them: what came before.
        weights: hash of the backbone that training starts from, None for a new or a continued one.
    """

    model: nn.Module
    method: str
    settings: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    trained_on: Any
    corpus: str | None
    weights: str | None = None

    def describe(self, name: str) -> dict[str, Any]:
        """What a checkpoint's config says, so that `build_stored` and `load_backbone` can use it by itself."""
        backbone = describe(self.model.clip.config, name, self.mean, self.std)
        header = {"name": self.model.header, "layers": self.settings["cross_num_hidden_layers"]}
        return {"method": self.method, "method_settings": self.settings, "backbone": backbone, "header": header}


def build_network(
    method: Any, settings: Mapping[str, Any], sizes: dict[str, Any], stored: StoredRun | None, init_model: str | None
) -> Network:
    """The network that the flags or a checkpoint describe.

    Args:
        method: has method, backbone, from_nothing, linear_patch, pretrained_dir and word_weight.
        settings: values of `model.retrieval.settings.MethodSettings`, possibly among others.
        sizes: of a small tower.
        stored: a checkpoint whose weights it gets; ours also bring the backbone's sizes.
        init_model: weights of any retrieval checkpoint, names that do not match left out with a warning.

    Raises:
        ValueError, FileNotFoundError: sizes of a tower that is not small, weights that do not fit or are not there.
    """
    mean, std, trained_on, corpus, weights = zoo.CLIP_MEAN, zoo.CLIP_STD, [], None, None
    if stored is not None:
        described = stored.config["backbone"]
        mean, std = tuple(described["mean"]), tuple(described["std"])
        trained_on, corpus = stored.config.get("trained_on"), stored.config.get("corpus")
        clip = CLIP(CLIPConfig(**described["clip"]))
    elif method.from_nothing:
        if method.linear_patch == "3d":
            sizes.setdefault("stem", ())  # pictures enter a 3-D patch layer as they are
        clip = CLIP(small_config(**sizes, linear_patch=method.linear_patch))
        nn.init.normal_(clip.token_embedding.weight, std=0.1)
    elif sizes:
        raise ValueError(f"{', '.join(f'--{name}' for name in sizes)}: sizes belong to --backbone small only")
    else:
        if method.pretrained_dir:
            zoo.FOLDER = Path(method.pretrained_dir).expanduser()
        backbone = load_backbone(method.backbone)
        mean, std, weights = backbone.mean, backbone.std, backbone.hash
        trained_on, corpus = backbone.trained_on, backbone.corpus
        clip = backbone.model if method.linear_patch == "2d" else with_3d_patches(backbone.model)
    settings = dict(settings)
    if settings.get("regions") is None:
        settings["regions"] = min(MethodSettings.regions, max(1, clip.config.grid**2 // 2))
    model = build_method(method.method, clip, settings)
    model.word_weight = method.word_weight
    if init_model:
        load_weights(model, open_run(init_model), partial=True)
    if stored is not None:
        load_weights(model, stored)
    return Network(model, method.method, settings, mean, std, trained_on, corpus, weights)


def choose_parameters(model: nn.Module, method: Any, unread: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    """Freezes what does not train; the lines of a table that says so, and warnings.

    Args:
        method: has the flags freeze_clip, freeze_substrings, keep_substrings, freeze_layer_num, freeze_token_embedding,
            temperature_new, and `temperature_frozen`.
        unread: beginnings of names that this run does not compute with.

    Raises:
        ValueError: a substring to freeze that matches nothing, or nothing left to train.
    """
    if method.temperature_new > 1:
        with torch.no_grad():
            model.clip.logit_scale.fill_(method.temperature_new).clamp_(*LOGIT_SCALE)
    model.requires_grad_(True)
    freeze_layers(model.clip, method.freeze_layer_num)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad and not model.is_new(name)}
    if method.freeze_token_embedding:
        frozen.add("clip.token_embedding.weight")
    rules = FreezeRules(
        method.freeze_clip, method.freeze_substrings or (), method.keep_substrings or (), method.temperature_frozen,
        frozenset(frozen),
    )  # fmt: skip
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    trained, warnings = choose_trainable(
        sizes, rules, model.is_new, lambda name: model.is_computed(name) and not name.startswith(unread)
    )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    return training_table(sizes, trained, model.is_new), warnings


def build_optimizer(model: nn.Module, args: Any, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    """Optimiser of what trains, and its schedule over so many steps.

    Args:
        args: has optim, lr, coef_lr, weight_decay, beta1, beta2, eps and warmup_proportion.
    """
    groups = parameter_groups(model, args.lr, args.coef_lr, args.weight_decay)
    if args.optim == "BertAdam":
        optimizer: torch.optim.Optimizer = BertAdam(groups)
        return optimizer, clip4clip_cosine(optimizer, steps, args.warmup_proportion)
    optimizer = torch.optim.AdamW(groups, betas=(args.beta1, args.beta2), eps=args.eps)
    return optimizer, warmup_cosine(optimizer, steps, args.lr, args.warmup_proportion)
