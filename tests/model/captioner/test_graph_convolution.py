"""The dense slot form against torch_geometric's TransformerConv on the edges that it stands for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.captioner.graph_convolution import SlotTransformerConv, TransC, previous_slot
from model.captioner.graph_encoder import pool_nodes
from model.captioner.slot_edges import expand_edges, full_edge_count

VARIANTS = [
    {},
    {"aggregation": "add"},
    {"project_edge_dim": 3},
    {"last_average": True},
    {"no_beta": True},
    {"no_skip": True},
    {"project_edge_dim": 2, "last_average": True, "no_beta": True, "no_skip": True, "aggregation": "add"},
]


def random_graph(seed: int, videos: int, slots: int, nodes_per_slot: int, kept: float):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    nodes = draw(videos, slots, nodes_per_slot, 5)
    actions = draw(videos, slots, 4)
    temporal = draw(videos, slots - 1, nodes_per_slot, nodes_per_slot)
    mask = torch.rand(videos, slots, nodes_per_slot, generator=generator) < kept
    return nodes, actions, temporal, mask


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "+".join(options) or "published")
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    videos=st.integers(1, 3),
    slots=st.integers(1, 4),
    nodes_per_slot=st.integers(1, 4),
    kept=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
)
def test_slot_form_equals_transformer_conv(options, seed, videos, slots, nodes_per_slot, kept):
    torch.manual_seed(seed)
    network = TransC(5, 8, 4, heads=2, **options).double()
    nodes, actions, temporal, mask = random_graph(seed, videos, slots, nodes_per_slot, kept)
    inputs = [nodes, actions, temporal, *network.parameters()]

    dense = network(nodes, actions, temporal, mask).flatten(0, 2)
    edges = network.forward_edges(nodes.flatten(0, 2), *expand_edges(actions, temporal, mask))
    torch.testing.assert_close(dense, edges, rtol=1e-12, atol=1e-12)

    weight = torch.randn(dense.shape, dtype=torch.float64)
    gradients = [
        torch.autograd.grad((out * weight).sum(), inputs, allow_unused=True, materialize_grads=True)
        for out in (dense, edges)
    ]
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)


def test_message_of_two_nodes_by_hand():
    """Two slots of one node: the first hears itself, the second itself and the first."""
    conv = SlotTransformerConv(1, 1, heads=1, edge_dim=2, beta=False)
    with torch.no_grad():
        for name, parameter in conv.named_parameters():
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    x = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    actions = torch.tensor([[[0.5, 0.5], [1.0, 0.0]]])
    link = torch.tensor([0.0, 0.25]).view(1, 2, 1, 1, 1)
    out = conv.slots(x, actions, link, torch.ones(1, 2, 1, dtype=torch.bool)).flatten()
    own, before = torch.tensor(2.0 * (2 + 1)).exp(), torch.tensor(2.0 * (1 + 0.25)).exp()
    second = (own * (2 + 1) + before * (1 + 0.25)) / (own + before)
    torch.testing.assert_close(out, torch.stack([torch.tensor(1 + 1 + 1.0), 2 + second]))


def test_absent_nodes_neither_send_nor_receive():
    nodes, actions, temporal, mask = (part.detach() for part in random_graph(3, 2, 3, 4, 0.6))
    network = TransC(5, 8, 4, heads=2).double()
    out = network(nodes, actions, temporal, mask)
    changed = torch.where(mask[..., None], nodes, torch.full_like(nodes, 9.0))
    torch.testing.assert_close(network(changed, actions, temporal, mask)[mask], out[mask])
    alone = network(nodes, actions, temporal, torch.zeros_like(mask))
    assert not torch.allclose(alone[mask], out[mask])


def test_order_of_slots_matters():
    nodes, actions, temporal, _ = (part.detach() for part in random_graph(4, 1, 3, 2, 1.0))
    network = TransC(5, 8, 4, heads=2).double()
    mask = torch.ones(1, 3, 2, dtype=torch.bool)
    forward = network(nodes, actions, temporal, mask)
    backward = network(nodes.flip(1), actions.flip(1), temporal.flip(1), mask).flip(1)
    assert not torch.allclose(forward, backward)


def test_previous_slot():
    x = torch.arange(6).view(1, 3, 2)
    assert previous_slot(x).tolist() == [[[0, 0], [0, 1], [2, 3]]]


def test_expanded_edges_are_batched_by_node_count():
    mask = torch.tensor([[[True, True], [True, False]], [[True, False], [False, False]]])
    actions = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [0.0, 0.0]]])
    temporal = torch.tensor([[[[0.1, 0.2], [0.3, 0.4]]], [[[0.5, 0.6], [0.7, 0.8]]]])
    edge_index, edge_attr = expand_edges(actions, temporal, mask)
    pairs = list(zip(*edge_index.tolist(), strict=True))
    assert pairs == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 2), (4, 4)]
    want = [[1, 2], [1, 2], [0.1, 0], [1, 2], [1, 2], [0.3, 0], [3, 4], [5, 6]]
    torch.testing.assert_close(edge_attr, torch.tensor(want))


def test_padding_edges_fill_up_to_a_full_graph():
    mask = torch.tensor([[[True, True], [False, False], [False, False]]])
    actions, temporal = torch.ones(1, 3, 2), torch.zeros(1, 2, 2, 2)
    edge_index, edge_attr = expand_edges(actions, temporal, mask, pad_edges=True)
    assert edge_index.shape[1] == full_edge_count(3, 2) == 20
    assert edge_index[:, 4:].T.tolist() == [[number // 6, number % 6] for number in range(16)]
    assert not edge_attr[4:].any()


def test_pooling_leaves_out_absent_nodes():
    x = torch.tensor([[[1.0], [3.0]], [[5.0], [7.0]]]).unsqueeze(0)
    mask = torch.tensor([[[True, False], [False, False]]])
    assert pool_nodes(x, mask).flatten().tolist() == [1.0, 6.0]
    assert pool_nodes(x, None).flatten().tolist() == [2.0, 6.0]


def test_attention_is_what_torch_geometric_attends_to():
    """A weight for every edge, averaged over heads; nodes that are absent are attended to by none."""
    torch.manual_seed(0)
    network = TransC(6, 8, 5, heads=2).double()
    nodes, actions = torch.randn(1, 3, 2, 6).double(), torch.rand(1, 3, 5).double()
    temporal, mask = torch.rand(1, 2, 2, 2).double(), torch.tensor([[[True, True], [True, False], [True, True]]])
    seen = network.attention(nodes, actions, temporal, mask)
    assert seen.shape == (1, 3, 3, 2, 4)
    edges, attributes = expand_edges(actions, temporal, mask)
    _, (edges, weights) = network.conv1(
        network.lp(nodes).flatten(0, 2), edges, attributes, return_attention_weights=True
    )
    expected = torch.zeros(3, 2, 4).double()
    for (source, target), weight in zip(edges.T.tolist(), weights.mean(dim=1), strict=True):
        ahead = target // 2 - source // 2
        expected[target // 2, target % 2, 2 * ahead + source % 2] = weight
    torch.testing.assert_close(seen[0, 0], expected)
