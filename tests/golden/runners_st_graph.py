"""Golden values of action graphs: similarities, masks, edge lists and their attributes, padding edges."""

import fill
import numpy as np
import torch

from graphs.combine import pad_edges
from graphs.geometric import to_data
from graphs.spatial import nonempty_nodes, spatial_edges, spatial_mask
from graphs.temporal import temporal_similarity


def draw(video: dict, slots: int, per_slot: int, node_dim: int, edge_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and actions by the fixture's `rule`."""
    nodes = fill.inputs(video["nodes"], [slots, per_slot, node_dim])
    nodes[video["non_empty_slots"] :] = 0
    for slot, node in video["zero_nodes"]:
        nodes[slot, node] = 0
    actions = fill.inputs(video["actions"], [slots, edge_dim])
    if video["action_rule"] == "abs":
        actions = np.abs(actions)
    elif video["action_rule"] != "signed":
        raise ValueError(f"unknown action_rule {video['action_rule']!r}")
    return torch.from_numpy(nodes), torch.from_numpy(actions)


def st_graph(spec, arrays, folder) -> None:
    config = spec["config"]
    reference = ("emptiness", "positive_sum")
    for number, video in enumerate(config["videos"]):
        name = f"video{number}"
        want = {key.removeprefix(f"{name}."): arrays[key] for key in arrays.files if key.startswith(f"{name}.")}
        per_slot = want["spatial_mask"].shape[-1]
        nodes, actions = draw(video, config["slots"], per_slot, config["node_dim"], config["edge_dim"])
        present = nonempty_nodes(nodes)
        temporal = temporal_similarity(nodes, present)
        np.testing.assert_allclose(temporal, want["temporal"], rtol=1e-5, atol=1e-7, err_msg=name)
        np.testing.assert_array_equal(spatial_mask(present).numpy(), want["spatial_mask"].astype(bool), err_msg=name)
        if "spatial" in want:
            np.testing.assert_allclose(spatial_edges(actions, present), want["spatial"], rtol=1e-5, err_msg=name)

        graph = to_data(nodes, actions, None, reference=reference)
        sizes = spec["result"][name]
        assert graph.num_edges == sizes["edges_before_padding"]
        assert list(graph.x.shape) == sizes["x_shape"]
        np.testing.assert_array_equal(graph.edge_index.numpy(), want["edge_index"], err_msg=name)
        attributes = graph.edge_attr.numpy()
        if "x" in want:
            np.testing.assert_array_equal(graph.x.numpy(), want["x"], err_msg=name)
        if "edge_attr" in want:
            np.testing.assert_allclose(attributes, want["edge_attr"], rtol=1e-5, err_msg=name)
        if "edge_attr_sum" in want:
            np.testing.assert_allclose(attributes.sum(axis=1), want["edge_attr_sum"], rtol=1e-5, err_msg=name)
        for key in want:
            if key.startswith("edge_attr_ch"):
                channel = int(key.removeprefix("edge_attr_ch"))
                np.testing.assert_allclose(attributes[:, channel], want[key], rtol=1e-5, err_msg=f"{name} {key}")

        count = sizes["edges_after_padding"]
        padded = to_data(nodes, actions, None, reference=(*reference, "pad_edges"), num_edges=count)
        tail = slice(graph.num_edges, None)
        np.testing.assert_array_equal(padded.edge_index[:, tail].numpy(), want["padded_edge_index_tail"], err_msg=name)
        assert padded.num_edges == count and not padded.edge_attr[tail].any()
        again = pad_edges(graph.edge_index, graph.edge_attr, graph.num_nodes, count)
        assert all(map(torch.equal, again, (padded.edge_index, padded.edge_attr)))


RUNNERS = {"graphs/st_graph": st_graph}
