"""Golden values of the captioner's parts: graph network, video encoder, loss."""

import json
from pathlib import Path

import fill
import numpy as np
import torch
from captioner_inputs import close, compact_graph, stack

from model.captioner.graph_convolution import TransC
from model.captioner.loss import PAD, label_smoothed
from model.captioner.slot_edges import expand_edges
from model.captioner.video_encoder import STGraphEncoder


def transc_of(config: dict, shapes: dict, **changes) -> TransC:
    network = TransC(config["node_feat_dim"], config["d_graph"], config["edge_dim"], config["heads"], **changes)
    network.load_state_dict(fill.state_dict(shapes), strict=True)
    return network.eval()


def transc_options(values: dict) -> dict:
    """Published argument names to ours."""
    return {
        "aggregation": values.get("aggr", "mean"),
        "project_edge_dim": values.get("project_edge_dim"),
        "last_average": values.get("last_average", False),
        "no_beta": not values.get("beta", True),
        "no_skip": not values.get("more_skip", True),
    }


def both_forms(network: TransC, graph: dict) -> tuple[torch.Tensor, torch.Tensor]:
    mask = graph["node_mask"]
    edges = expand_edges(graph["actions"], graph["temporal"], mask)
    slots = network(graph["nodes"], graph["actions"], graph["temporal"], mask)
    return slots.flatten(0, 2), network.forward_edges(graph["nodes"].flatten(0, 2), *edges)


@torch.no_grad()
def transc(spec, arrays, folder) -> None:
    config = spec["config"]
    network = transc_of(config, spec["shapes"], **transc_options(config))
    graphs = {}
    for name, size in spec["graphs"].items():
        slots = size.get("of", size["frames"])
        nodes_per_slot = len(arrays[f"{name}_out"]) // slots
        graph = compact_graph(name, size["frames"], slots, nodes_per_slot, config["node_feat_dim"], config["edge_dim"])
        graphs[name] = graph
        x = graph["nodes"].flatten(0, 2)
        for out in both_forms(network, graph):
            close(out, arrays[f"{name}_out"], 1e-5, name=name)
        edge_index, edge_attr = expand_edges(graph["actions"], graph["temporal"], graph["node_mask"])
        if f"{name}_edge_index" in arrays:
            np.testing.assert_array_equal(edge_index, arrays[f"{name}_edge_index"])
            close(edge_attr, arrays[f"{name}_edge_attr"], 1e-6, name=name)
        if f"{name}_lp" in arrays:
            close(network.lp(x), arrays[f"{name}_lp"], 1e-5, name=name)
        if f"{name}_conv1" in arrays:
            out, (_, alpha) = network.conv1(network.lp(x), edge_index, edge_attr, return_attention_weights=True)
            close(out, arrays[f"{name}_conv1"], 1e-5, name=name)
            close(alpha, arrays[f"{name}_conv1_alpha"], 1e-5, name=name)
        if f"{name}_padded_out" in arrays:
            padded = expand_edges(graph["actions"], graph["temporal"], graph["node_mask"], pad_edges=True)
            np.testing.assert_array_equal(padded[0], arrays[f"{name}_padded_edge_index"])
            close(network.forward_edges(x, *padded), arrays[f"{name}_padded_out"], 1e-5, name=name)
    full = [name for name, size in spec["graphs"].items() if "of" not in size]
    node_count = graphs[full[0]]["node_mask"].numel()
    batch = stack([graphs[name] for name in full[: len(arrays["batch_out"]) // node_count]])
    for out in both_forms(network, batch):
        close(out, arrays["batch_out"], 1e-5)
    edges = expand_edges(batch["actions"], batch["temporal"], batch["node_mask"], root_offset=True)
    close(network.forward_edges(batch["nodes"].flatten(0, 2), *edges), arrays["batch_sqrt_out"], 1e-5)


def graph_size(folder: Path, graph: str) -> tuple[int, int] | None:
    """(frames, slots) of a graph that another fixture of the folder describes."""
    for path in sorted(folder.glob("*.json")):
        other = json.loads(path.read_text(encoding="utf-8"))
        if other.get("kind") == "captioner/transc" and graph in other["graphs"]:
            size = other["graphs"][graph]
            return size["frames"], size.get("of", size["frames"])
    return None


@torch.no_grad()
def transc_variants(spec, arrays, folder) -> None:
    config = spec["config"]
    described = graph_size(folder, spec["graph"])
    for name, variant in spec["variants"].items():
        network = transc_of(config, variant["shapes"], **transc_options(variant["arguments"]))
        want = arrays[f"{name}_out"]
        frames, slots = described or [len(want) // config.get("num_object", 9)] * 2
        sizes = (frames, slots, len(want) // slots, config["node_feat_dim"], config["edge_dim"])
        for out in both_forms(network, compact_graph(spec["graph"], *sizes)):
            close(out, want, 1e-5, name=name)


@torch.no_grad()
def stgraph_encoder(spec, arrays, folder) -> None:
    config, visual = spec["config"], spec["config"]["visual"]
    (name, shape), *_ = spec["inputs"].items()
    x, mask = torch.from_numpy(fill.inputs(name, shape)), torch.from_numpy(arrays["mask"] != 0)
    for size in ("n_heads_small", "n_heads_big"):
        if f"{size}_out" not in arrays:
            continue
        encoder = STGraphEncoder(
            visual["input_size"],
            visual["hidden_size"],
            visual["intermediate_size"],
            config[size],
            config["visual_num_hidden_layers"],
            visual["max_position_embeddings"],
            config["d_model"],
            config["dropout"],
        ).eval()
        shapes = spec.get("shapes_" + size.removeprefix("n_heads_"), spec["shapes_small"])
        encoder.load_state_dict(fill.state_dict(shapes), strict=True)
        embedding = encoder.visual.embeddings(encoder.normalize_video["visual_norm2d"](x))
        close(embedding, arrays[f"{size}_embedding"], 1e-5, name=size)
        close(torch.stack(encoder.hidden_states(x, mask)), arrays[f"{size}_hidden"], 1e-5, name=size)
        close(encoder(x, mask), arrays[f"{size}_out"], 1e-5, name=size)
        close(encoder(x), arrays[f"{size}_out_nomask"], 1e-5, name=size)


def label_smoothing(spec, arrays, folder) -> None:
    for number, case in spec["cases"].items():
        logits = torch.from_numpy(fill.inputs(f"{spec['prefix']}ls{number}.logits", [case["rows"], case["vocab"]]))
        logprobs = logits.log_softmax(dim=-1).requires_grad_()
        targets = torch.from_numpy(arrays[f"target{number}"])
        total, count = label_smoothed(logprobs, targets, case["smoothing"], count_padding=True)
        close((total / count).view(1), arrays[f"loss{number}"], 1e-6, 1e-6, name=number)
        # The derivative by the log-probabilities is minus the target distribution.
        (distribution,) = torch.autograd.grad(-total, logprobs)
        close(distribution, arrays[f"dist{number}"], 1e-6, name=number)
        assert label_smoothed(logprobs, targets, case["smoothing"])[1] == (targets != PAD).sum()


RUNNERS = {
    "captioner/transc": transc,
    "captioner/transc_variants": transc_variants,
    "captioner/stgraph_encoder": stgraph_encoder,
    "captioner/label_smoothing": label_smoothing,
}
