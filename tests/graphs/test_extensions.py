"""With torch_scatter and torch_sparse installed, torch_geometric's own paths give the same results.

Without them the tests are skipped; with REQUIRE_EXTENSIONS=1 they fail (`make extensions` installs both).
"""

import importlib
import os

import pytest
import torch
import torch_geometric.typing
from graph_examples import GRAPHS
from torch_geometric.nn import TransformerConv
from torch_geometric.transforms import ToSparseTensor
from torch_geometric.utils import scatter, softmax

from graphs.geometric import graph_of
from model.captioner.graph_convolution import TransC
from model.captioner.slot_edges import expand_edges

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def require(name):
    """The extension; skips where it is not installed, fails where it is broken or asked for."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name or os.environ.get("REQUIRE_EXTENSIONS") == "1":
            pytest.fail(f"{name} does not work: {error}")
        pytest.skip(f"{name} is not installed (make extensions)")


@pytest.fixture
def torch_scatter():
    return require("torch_scatter")


@pytest.fixture
def torch_sparse():
    return require("torch_sparse")


def with_gradients(function, inputs):
    """[output, gradient of each input] of a weighted sum of the output."""
    inputs = [part.detach().requires_grad_() for part in inputs]
    output = function(*inputs)
    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(9), dtype=output.dtype)
    return [output, *torch.autograd.grad((output * weight.to(output.device)).sum(), inputs)]


def same(one, two):
    assert len(one) == len(two)
    for got, want in zip(one, two, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)


def example(device):
    """x [N, D], edge_index [2, E], edge_attr [E, A] of a graph as the data sets give it, float64."""
    data = graph_of(GRAPHS["a-1"])
    return data.x.double().to(device), data.edge_index.to(device), data.edge_attr.double().to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("aggregation", ["mean", "add", "max"])
def test_transformer_conv_takes_scatter_kernels(torch_scatter, monkeypatch, device, aggregation):
    assert torch_geometric.typing.WITH_TORCH_SCATTER
    x, edge_index, edge_attr = example(device)
    torch.manual_seed(0)
    conv = TransformerConv(x.shape[1], 3, heads=2, edge_dim=edge_attr.shape[1], aggr=aggregation).double().to(device)

    def run(nodes, edges):
        return conv(nodes, edge_index, edges)

    with_kernels = with_gradients(run, [x, edge_attr])
    monkeypatch.setattr(torch_geometric.typing, "WITH_TORCH_SCATTER", False)
    same(with_kernels, with_gradients(run, [x, edge_attr]))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min", "mul"])
def test_scatter_kernels_equal_those_of_torch(torch_scatter, monkeypatch, device, reduce):
    """On a CPU torch_geometric prefers torch's kernels, so the extension's are called here by themselves."""
    x, edge_index, _ = example(device)
    source, target = edge_index
    monkeypatch.setattr(torch_geometric.typing, "WITH_TORCH_SCATTER", False)

    def theirs(nodes):
        return torch_scatter.scatter(nodes[source], target, dim=0, dim_size=len(x), reduce=reduce)

    same(with_gradients(theirs, [x]), with_gradients(lambda n: scatter(n[source], target, 0, len(x), reduce), [x]))


@pytest.mark.parametrize("device", DEVICES)
def test_softmax_over_segments(torch_scatter, device):
    x, edge_index, _ = example(device)
    order = edge_index[1].sort().indices
    source, target = edge_index[:, order]
    ends = torch.bincount(target, minlength=len(x)).cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends])
    by_segment = with_gradients(lambda n: softmax(n[source], ptr=starts), [x])
    same(by_segment, with_gradients(lambda n: softmax(n[source], target, num_nodes=len(x)), [x]))


@pytest.mark.parametrize("device", DEVICES)
def test_slot_form_equals_transformer_conv_with_extensions(torch_scatter, torch_sparse, device):
    torch.manual_seed(1)
    draw = torch.rand(4, 3, 2, 6, dtype=torch.float64, device=device)
    nodes, actions, temporal = draw[..., :5], draw[:, :, 0, :4], draw[:, 1:, :, :2]
    mask = torch.rand(4, 3, 2, device=device) < 0.7
    network = TransC(5, 8, 4, heads=2).double().to(device)
    dense = with_gradients(lambda *parts: network(*parts, mask).flatten(0, 2), [nodes, actions, temporal])

    def on_edges(n, a, t):
        return network.forward_edges(n.flatten(0, 2), *expand_edges(a, t, mask))

    same(dense, with_gradients(on_edges, [nodes, actions, temporal]))


@pytest.mark.parametrize("device", DEVICES)
def test_transformer_conv_takes_a_sparse_adjacency(torch_sparse, device):
    assert torch_geometric.typing.WITH_TORCH_SPARSE
    data = ToSparseTensor(attr="edge_attr")(graph_of(GRAPHS["a-1"]).to(device))
    assert isinstance(data.adj_t, torch_sparse.SparseTensor)
    x, edge_index, edge_attr = example(device)
    torch.manual_seed(0)
    conv = TransformerConv(x.shape[1], 3, heads=2, edge_dim=edge_attr.shape[1]).double().to(device)
    sparse = with_gradients(lambda nodes: conv(nodes, data.adj_t.set_value(data.adj_t.storage.value().double())), [x])
    same(sparse, with_gradients(lambda nodes: conv(nodes, edge_index, edge_attr), [x]))


def test_absent_extensions_are_skipped_unless_they_are_required(monkeypatch):
    monkeypatch.delenv("REQUIRE_EXTENSIONS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="torch_absent is not installed"):
        require("torch_absent")
    monkeypatch.setenv("REQUIRE_EXTENSIONS", "1")
    with pytest.raises(pytest.fail.Exception, match="torch_absent does not work"):
        require("torch_absent")
