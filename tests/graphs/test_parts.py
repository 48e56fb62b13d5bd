"""Spatial, temporal and combined graph of two slots with two nodes each, by hand; and the fast paths against loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch

from graphs.combine import edge_attributes, edge_list, edge_mask, pad_edges, positive_sum
from graphs.geometric import to_data
from graphs.spatial import nonempty_nodes, slot_nodes, spatial_edges, spatial_mask
from graphs.temporal import temporal_similarity

# Slot 0: two orthogonal nodes; slot 1: one like node 0, of another length, and one opposite to it.
NODES = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[3.0, 0.0], [-1.0, 0.0]]])
ACTIONS = torch.tensor([[0.5, 0.0, 1.0], [0.25, 2.0, 0.0]])
ALL = torch.ones(2, 2, dtype=torch.bool)
E1, E0 = math.exp(1), math.exp(-1)


def test_temporal_by_hand():
    got = temporal_similarity(NODES, ALL)
    want = [[[E1 / (E1 + E0), E0 / (E1 + E0)], [0.5, 0.5]]]
    torch.testing.assert_close(got, torch.tensor(want))


def test_temporal_leaves_out_absent_nodes_whatever_they_hold():
    nodes = NODES.clone()
    nodes[1, 1] = float("nan")
    nodes[0, 1] = float("inf")
    mask = torch.tensor([[True, False], [True, False]])
    assert temporal_similarity(nodes, mask).tolist() == [[[1.0, 0.0], [0.0, 0.0]]]


def test_temporal_of_an_empty_slot_is_zero_not_nan():
    mask = torch.tensor([[True, True], [False, False]])
    assert temporal_similarity(NODES, mask).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


def test_temporal_takes_batches_and_half_precision():
    nodes = torch.randn(3, 4, 2, 5)
    mask = torch.rand(3, 4, 2) > 0.3
    whole = temporal_similarity(nodes, mask)
    assert whole.shape == (3, 3, 2, 2)
    torch.testing.assert_close(whole[1], temporal_similarity(nodes[1], mask[1]))
    half = temporal_similarity(nodes.half(), mask)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole, atol=2e-3, rtol=0)
    assert temporal_similarity(nodes.double(), mask).dtype == torch.float64


def test_masks_by_hand():
    assert slot_nodes(torch.tensor([True, False]), 2).tolist() == [[True, True], [False, False]]
    mask = torch.tensor([[True, False], [True, True]])
    assert spatial_mask(mask).int().tolist() == [[[1, 0], [0, 0]], [[1, 1], [1, 1]]]
    assert edge_mask(mask).int().tolist() == [[[1, 0, 1, 1], [0, 0, 0, 0]], [[1, 1, 0, 0], [1, 1, 0, 0]]]
    edges = spatial_edges(ACTIONS, mask)
    assert edges[0].tolist() == [[[0.5, 0.0, 1.0], [0.0] * 3], [[0.0] * 3] * 2]
    assert edges[1].tolist() == [[[0.25, 2.0, 0.0]] * 2] * 2


def test_emptiness_by_zero_sum_rejects_a_real_node():
    assert nonempty_nodes(torch.tensor([[[1.0, -1.0], [1.0, 0.0], [0.0, 0.0]]])).tolist() == [[False, True, False]]


def test_graph_of_four_nodes_by_hand():
    data = to_data(NODES, ACTIONS, None)
    assert data.edge_index.tolist() == [
        [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3],
        [0, 1, 2, 3, 0, 1, 2, 3, 2, 3, 2, 3],
    ]
    a, b = ACTIONS.tolist()
    up, down = E1 / (E1 + E0), E0 / (E1 + E0)
    want = [a, a, [up, 0, 0], [down, 0, 0], a, a, [0.5, 0, 0], [0.5, 0, 0], b, b, b, b]
    torch.testing.assert_close(data.edge_attr, torch.tensor(want, dtype=torch.float32))
    assert data.x.tolist() == [[2, 0], [0, 1], [3, 0], [-1, 0]]
    assert data.node_mask.tolist() == [True] * 4


def test_absent_nodes_have_no_edges_and_no_features():
    data = to_data(NODES, ACTIONS, None, slot_mask=[True, True], node_mask=[[True, False], [True, True]])
    assert data.edge_index.tolist() == [[0, 0, 0, 2, 2, 3, 3], [0, 2, 3, 2, 3, 2, 3]]
    assert data.x[1].tolist() == [0, 0]
    empty = to_data(NODES, ACTIONS, None, slot_mask=[False, False])
    assert empty.edge_index.shape == (2, 0) and empty.edge_attr.shape == (0, 3)


def test_signed_actions_keep_their_edges_unless_the_published_test_is_asked_for():
    actions = torch.tensor([[-1.0, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert to_data(NODES, actions, None).num_edges == 12
    published = to_data(NODES, actions, None, reference=("positive_sum",))
    assert published.edge_index.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3], [2, 3, 2, 3, 2, 3, 2, 3]]
    one = to_data(NODES, -ACTIONS.abs(), torch.zeros(1, 2, 2), reference=("positive_sum",))
    assert one.edge_index.tolist() == [[0], [0]] and not one.edge_attr.any()


def test_emptiness_switch_ignores_the_masks():
    assert to_data(NODES, ACTIONS, None, [False, False], reference=("emptiness",)).num_edges == 12


def test_padding_edges_by_hand():
    index, attributes = pad_edges(torch.tensor([[3], [3]]), torch.ones(1, 2), num_nodes=4, num_edges=7)
    assert index.tolist() == [[3, 0, 0, 0, 0, 1, 1], [3, 0, 1, 2, 3, 0, 1]]
    assert attributes.sum(dim=1).tolist() == [2, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="cannot pad 1 edges to 0"):
        pad_edges(torch.tensor([[3], [3]]), torch.ones(1, 2), num_nodes=4, num_edges=0)


def test_full_size_has_the_published_number_of_edges():
    data = to_data(torch.rand(20, 9, 4), torch.rand(20, 3), None)
    assert data.num_edges == 3159
    half = torch.arange(20) < 10
    assert to_data(torch.rand(20, 9, 4), torch.rand(20, 3), None, half).num_edges == 10 * 81 + 9 * 81


def naive(nodes, actions, mask):
    """Row by row, as sections 11 to 13 of the published description put it."""
    slots, per_slot = mask.shape
    edges, attributes = [], []
    for i in range(slots * per_slot):
        for j in range(slots * per_slot):
            (t, k), (u, m) = divmod(i, per_slot), divmod(j, per_slot)
            if not (mask[t, k] and mask[u, m]):
                continue
            if t == u:
                value = actions[t]
            elif u == t + 1:
                cosine = [torch.cosine_similarity(nodes[t, k], nodes[u, n], 0).exp() for n in range(per_slot)]
                total = sum(c for n, c in enumerate(cosine) if mask[u, n])
                value = torch.zeros_like(actions[t])
                value[0] = cosine[m] / total
            else:
                continue
            edges.append((i, j))
            attributes.append(value)
    index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T
    return index, torch.stack(attributes) if edges else torch.zeros(0, actions.shape[1])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 10_000))
def test_edge_list_equals_the_loop_over_all_pairs(slots, per_slot, seed):
    torch.manual_seed(seed)
    nodes, actions = torch.randn(slots, per_slot, 5), torch.randn(slots, 3)
    mask = torch.rand(slots, per_slot) > 0.4
    data = to_data(nodes, actions, None, node_mask=mask)
    index, attributes = naive(nodes, actions, mask)
    assert torch.equal(data.edge_index, index)
    torch.testing.assert_close(data.edge_attr, attributes)


def test_cached_lists_are_not_changed_by_work_on_a_graph():
    first = to_data(NODES, ACTIONS, None)
    first.edge_index += 7
    assert to_data(NODES, ACTIONS, None).edge_index.max() == 3


def test_batches_are_offset_by_node_count():
    graphs = [to_data(NODES, ACTIONS, None), to_data(NODES, ACTIONS, None, [True, False])]
    batch = Batch.from_data_list(graphs)
    assert batch.num_nodes == 8
    assert batch.edge_index[:, 12:].tolist() == [[4, 4, 5, 5], [4, 5, 4, 5]]


def test_positive_sum_and_attributes_agree_with_the_dense_matrix():
    torch.manual_seed(0)
    actions, temporal = torch.randn(3, 4), torch.rand(2, 2, 2) - 0.5
    mask = edge_mask(torch.ones(3, 2))
    index, places = edge_list(mask)
    keep = edge_attributes(places, actions, temporal).sum(dim=1) > 0
    kept, _ = edge_list(positive_sum(mask, actions, temporal))
    assert torch.equal(index[:, keep], kept) and 0 < len(kept[0]) < len(index[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": NODES[0]}, r"nodes are \[slots, nodes per slot, width\], not \[2, 2\]"),
        ({"actions": ACTIONS[:1]}, r"actions .* must be \[2, 3\], not \[1, 3\]; build"),
        ({"temporal": torch.zeros(2, 2, 2)}, r"temporal .* must be \[1, 2, 2\], not \[2, 2, 2\]"),
        ({"reference": ("padding",)}, r"unknown deviations \['padding'\]; known are emptiness"),
    ],
)
def test_parts_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        to_data(**{"nodes": NODES, "actions": ACTIONS, "temporal": None, **arguments})
