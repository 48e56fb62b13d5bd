"""Inputs and models that the captioner's golden fixtures describe in words."""

import re

import fill
import numpy as np
import torch
from torch.nn import functional as F

from model.captioner.captioner import Captioner
from model.captioner.config import CaptionerConfig
from model.captioner.published import config_from_state_dict


def close(got, want, atol: float, rtol: float = 0.0, name: str = "") -> None:
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=rtol, atol=atol, err_msg=name)


def compact_graph(name: str, frames: int, slots: int, nodes_per_slot: int, node_dim: int, edge_dim: int) -> dict:
    """One graph by `graph_recipe`, as a batch of one in the compact form."""
    nodes = torch.zeros(1, slots, nodes_per_slot, node_dim)
    actions, temporal = torch.zeros(1, slots, edge_dim), torch.zeros(1, slots - 1, nodes_per_slot, nodes_per_slot)
    x = fill.inputs(f"{name}.x", [frames * nodes_per_slot, node_dim])
    nodes[0, :frames] = torch.from_numpy(x).view(frames, nodes_per_slot, node_dim)
    actions[0, :frames] = torch.from_numpy(np.abs(fill.inputs(f"{name}.frame_vec", [frames, edge_dim])))
    similarity = torch.from_numpy(fill.inputs(f"{name}.temporal", [frames - 1, nodes_per_slot, nodes_per_slot]))
    temporal[0, : frames - 1] = similarity.softmax(dim=-1)
    slot_mask = (torch.arange(slots) < frames)[None]
    node_mask = slot_mask[..., None].expand(-1, -1, nodes_per_slot)
    return {"nodes": nodes, "actions": actions, "temporal": temporal, "slot_mask": slot_mask, "node_mask": node_mask}


def stack(parts: list[dict]) -> dict:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def feature_rows(name: str, rows: int, slots: int, width: int) -> torch.Tensor:
    return F.pad(torch.from_numpy(fill.inputs(name, [rows, width])), (0, 0, 0, slots - rows))[None]


def mode_of(spec: dict) -> tuple[str, int]:
    """Feature mode and attention mode: as named, or read off the parameters and the description."""
    shapes = spec["shapes"]
    mode = "grid"
    if "rel_src_embed.video_embeddings.1.weight" in shapes:
        mode = "grid-obj-rel" if "object_src_embed.video_embeddings.1.weight" in shapes else "grid-rel"
    mode = spec.get("feature_mode", mode)
    described = re.search(r"attention (\d)", spec.get("what", ""))
    attention = spec.get("attention_mode", int(described[1]) if described else 1)
    return mode, attention if mode == "grid-rel" else 1


def captioner_of(spec: dict, compat: tuple[str, ...]) -> Captioner:
    """The fixture's model in evaluation, filled by its shapes and overrides."""
    mode, attention = mode_of(spec)
    config, visual = spec["config"], spec["config"]["visual"]
    widths = {"grid": {}, "grid-rel": {"rel_dim": spec["d_feat"][0]}}
    widths["grid-obj-rel"] = {"object_dim": spec["d_feat"][0], "rel_dim": spec["d_feat"][-1]}
    model = Captioner(
        CaptionerConfig(
            node_dim=config["node_feat_dim"],
            action_dim=config["edge_dim"],
            vocab_size=spec["vocab"],
            slots=config["max_frames"],
            nodes_per_slot=config["num_object"],
            mode=mode,
            attention=attention,
            graph_width=config["d_graph"],
            project_edge_dim=config["project_edge_dim"],
            last_average=config["last_average"],
            no_beta=config["no_beta_transformer"],
            no_skip=config["no_skip"],
            visual_width=visual["hidden_size"],
            visual_feed_forward=visual["intermediate_size"],
            visual_layers=config["visual_num_hidden_layers"],
            visual_positions=visual["max_position_embeddings"],
            heads_r2l=config["n_heads_big"],
            heads_l2r=config["n_heads_small"],
            width=config["d_model"],
            heads=config["n_heads"],
            feed_forward=config["d_ff"],
            layers=config["n_layers"],
            dropout=config["dropout"],
            compat=compat,
            **widths[mode],
        )
    )
    weights = fill.state_dict(spec["shapes"])
    for name, value in spec.get("override", {}).items():
        key, _, index = name.rstrip("]").partition("[")
        weights[key][int(index)] = value
    untold = ("attention", "slots", "nodes_per_slot", "no_skip", "heads_r2l", "heads_l2r", "heads", "dropout", "compat")
    assert config_from_state_dict(weights, **{name: getattr(model.config, name) for name in untold}) == model.config
    own = model.state_dict()
    assert set(own) - set(weights) <= {"pos_embed.pe"}
    model.load_state_dict({"pos_embed.pe": own["pos_embed.pe"]} | weights, strict=True)
    return model.eval()


def batch_of(spec: dict, names: list[str], frames: list[int], rows: dict[str, tuple[str, list[int]]]) -> dict:
    """Graphs and feature rows of the samples called `names`; rows are masked by their first component.

    `rows` is {"rel" | "objects": (suffix of the input's name, rows per sample)}.
    """
    config = spec["config"]
    slots = config["max_frames"]
    sizes = (slots, config["num_object"], config["node_feat_dim"], config["edge_dim"])
    batch = stack([compact_graph(name, count, *sizes) for name, count in zip(names, frames, strict=True)])
    for field, (suffix, counts) in rows.items():
        width = spec["d_feat"][-1 if field == "rel" else 0]
        features = [feature_rows(f"{name}.{suffix}", n, slots, width) for name, n in zip(names, counts, strict=True)]
        batch[field] = torch.cat(features)
        batch["rel_mask" if field == "rel" else "object_mask"] = batch[field][..., 0] != 0
    return batch
