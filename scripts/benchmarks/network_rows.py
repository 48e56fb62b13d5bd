"""Rows of the network: graph convolution, search, stored graphs to captions, training step."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dataset.graph_features import GraphFeatures
from model.captioner import Captioner, Hypothesis, Memories, SearchResult, search_both
from model.captioner.graph_convolution import SlotTransformerConv
from model.captioner.slot_edges import expand_edges
from scripts.benchmarks import inputs
from scripts.benchmarks.inputs import Sizes
from scripts.benchmarks.published import Beam, PublishedCaptioner, StoredGraph, published_convolution
from scripts.benchmarks.timing import Row, compare, measure
from utility.feature_store import FeatureStore, FeatureWriter

CLIP_NORM = 5.0
TOLERANCE = 1e-4  # float32 sums in another order


@dataclass(frozen=True)
class Setting:
    """What every row is told."""

    sizes: Sizes
    device: torch.device
    repeats: int
    full: bool

    @property
    def warm(self) -> bool:
        """Whether long calls too are made before they count, and as often as fills a measurement: on a GPU the first
        call compiles and allocates, and a call is short."""
        return self.device.type != "cpu"


def graph_convolution(setting: Setting) -> Iterator[Row]:
    """One convolution of the graph network on full graphs, its attributes expanded beforehand."""
    sizes, device = setting.sizes, setting.device
    width = sizes.config().graph_width
    torch.manual_seed(0)
    ours = SlotTransformerConv(width, width // 4, 4, beta=True, edge_dim=sizes.action_dim, aggr="mean").to(device)
    published = published_convolution(width, sizes.action_dim).to(device)
    published.load_state_dict(ours.state_dict(), strict=True)
    aims = {sizes.batches[0]: (5.0, 3.5), sizes.batches[1]: (5.0, 4.5)}
    for size, (forward_aim, both_aim) in aims.items():
        batch = {name: tensor.to(device) for name, tensor in inputs.graphs(sizes, size).items()}
        x = torch.randn(size, sizes.slots, sizes.nodes, width, device=device, requires_grad=True)
        edges = expand_edges(batch["actions"], batch["temporal"], batch["node_mask"])
        link = F.pad(batch["temporal"], (0, 0, 0, 0, 1, 0)).unsqueeze(-1)
        sides = _convolution_sides(published, ours, x, edges, (batch["actions"], link, batch["node_mask"]))
        difference = (sides[0](False) - sides[1](False).flatten(0, 2)).abs().max().item()
        if difference > TOLERANCE:
            raise RuntimeError(f"the two convolutions differ by {difference}")
        for backward, aim in ((False, forward_aim), (True, both_aim)):
            name = f"convolution_{'both' if backward else 'forward'}_{size}"
            what = f"graph convolution {sizes.slots}x{sizes.nodes}x{width}, batch {size}"
            times = compare(
                lambda run=sides[0], on=backward: run(on),
                lambda run=sides[1], on=backward: run(on),
                setting.repeats,
                device,
                least_seconds=sizes.least_seconds,
            )
            what += ", forward + backward" if backward else ", forward"
            yield Row(name, what, *times, least=aim, detail=f"{edges[0].shape[1]} edges, differ by {difference:.0e}")


def _convolution_sides(
    published: nn.Module, ours: SlotTransformerConv, x: Tensor, edges: Sequence[Tensor], slots: Sequence[Tensor]
) -> tuple[Callable[[bool], Tensor], Callable[[bool], Tensor]]:
    ones = torch.ones_like(x)

    def run(conv: nn.Module, call: Callable[[], Tensor], backward: bool) -> Tensor:
        with torch.set_grad_enabled(backward):
            out = call()
        if backward:
            conv.zero_grad()
            x.grad = None
            out.backward(ones.view_as(out))
        return out

    return (
        lambda backward: run(published, lambda: published(x.flatten(0, 2), *edges), backward),
        lambda backward: run(ours, lambda: ours.slots(x, *slots), backward),
    )


def search(setting: Setting) -> Iterator[Row]:
    """Beam search in both directions over given memories: a batch together against one video at a time."""
    sizes, device = setting.sizes, setting.device
    model = inputs.captioner(sizes, device, endless=True, compat=("r2l_memory",)).eval()
    batch = {name: tensor.to(device) for name, tensor in inputs.graphs(sizes, sizes.videos).items()}
    with torch.inference_mode():
        memories = model.encode(batch)
    encoded = with_memories(model, memories)
    published = PublishedCaptioner(model)
    timed = sizes.videos if setting.full else sizes.published_videos

    @torch.inference_mode()
    def one_at_a_time(videos: int = timed) -> list[tuple[Beam, Beam]]:
        return [
            published.search(
                memories.r2l[v : v + 1], memories.l2r[v : v + 1], memories.r2l_mask[v], sizes.beam, sizes.max_words
            )
            for v in range(videos)
        ]

    def together() -> SearchResult:
        return search_both(encoded, batch, sizes.beam, sizes.max_words, n_best=sizes.beam)

    share = same_words(one_at_a_time(1), together())
    yield _search_row(setting, "search", "search alone", one_at_a_time, together, timed, 9.0, share)


def graph_to_captions(setting: Setting) -> Iterator[Row]:
    """From stored graphs to captions: sparse attributes made dense and edge lists, against the graph file."""
    sizes, device = setting.sizes, setting.device
    model = inputs.captioner(sizes, device, endless=True, compat=("r2l_memory",)).eval()
    batch = inputs.graphs(sizes, sizes.videos)
    published = PublishedCaptioner(model)
    timed = sizes.videos if setting.full else sizes.published_videos
    pickled = []
    for v in range(timed):
        one = {name: tensor[v : v + 1] for name, tensor in batch.items()}
        edges = expand_edges(one["actions"], one["temporal"], one["node_mask"])
        pickled.append(StoredGraph.pack(one["nodes"].flatten(0, 2), *edges, batch["slot_mask"][v]))

    @torch.inference_mode()
    def one_at_a_time(videos: int = timed) -> list[tuple[Beam, Beam]]:
        found = []
        for graph in pickled[:videos]:
            parts = (graph.x, graph.edge_index, graph.edge_attributes(), graph.slot_mask)
            x, edge_index, edge_attr, slot_mask = (part.to(device) for part in parts)
            rows = published.encode(x, edge_index, edge_attr, slot_mask)
            found.append(published.search(*rows, slot_mask, sizes.beam, sizes.max_words))
        return found

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graphs.hdf5"
        names = [f"video{v:03}" for v in range(sizes.videos)]
        with FeatureWriter(path, {}) as writer:
            for v, name in enumerate(names):
                writer.write(name, inputs.stored(batch, v))
            writer.finish()

        def together() -> SearchResult:
            store = FeatureStore(path)
            graphs = GraphFeatures(store, names).batch(names, device)
            result = search_both(model, graphs, sizes.beam, sizes.max_words, n_best=sizes.beam)
            store.close()
            return result

        share = same_words(one_at_a_time(1), together())
        what = "stored graphs to captions"
        yield _search_row(setting, "captions", what, one_at_a_time, together, timed, 5.0, share)


def with_memories(model: Captioner, memories: Memories) -> Captioner:
    """The same network, whose encoding is done already."""
    encoded = copy.copy(model)
    encoded.encode = lambda batch: memories
    return encoded


def same_words(published: list[tuple[Beam, Beam]], ours: SearchResult) -> float:
    """Share of the published hypotheses whose words ours found too, the last word left out: the published search may
    write one more.

    Raises:
        RuntimeError: it is small, so that the two sides did not do the same work.
    """
    hits = []
    for v, (l2r, r2l) in enumerate(published):
        for found, own in ((l2r, ours.l2r[v]), (r2l, ours.r2l[v])):
            known = {item.words for item in own}
            hits += [tuple(words[: _length(own)]) in known for words in found.words]
    share = sum(hits) / len(hits)
    if share < 0.8:
        raise RuntimeError(f"only {share:.0%} of the published hypotheses are found by the batched search")
    return share


def _length(hypotheses: list[Hypothesis]) -> int:
    return max(len(item.words) for item in hypotheses)


def _search_row(
    setting: Setting, name: str, what: str, slow: Callable, fast: Callable, timed: int, aim: float, share: float
) -> Row:
    sizes = setting.sizes
    times = compare(
        slow, fast, setting.repeats, setting.device, factor=sizes.videos / timed, warm=setting.warm,
        least_seconds=sizes.least_seconds,
    )  # fmt: skip
    what = f"{what}, beam {sizes.beam}, {sizes.max_words + 1} steps, V {sizes.vocab_size}, {sizes.videos} videos"
    detail = f"published side timed on {timed} videos; {share:.0%} of the words of one video are the same"
    return Row(name, what, *times, least=aim, detail=detail)


def training(setting: Setting) -> Iterator[Row]:
    """One optimiser step with several captions per video against as many steps with one, same network and captions."""
    sizes, device = setting.sizes, setting.device
    model = inputs.captioner(sizes, device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch = {name: tensor.to(device) for name, tensor in inputs.graphs(sizes, sizes.train_videos).items()}
    videos, k = sizes.train_videos, sizes.captions
    r2l, l2r = (inputs.caption_ids(sizes, videos * k, device, seed) for seed in (1, 2))
    owner = torch.arange(videos, device=device).repeat_interleave(k)

    def update() -> None:
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()

    def several() -> None:
        total, weight, _ = model.loss(batch, r2l, l2r, owner)
        (total / weight).backward()
        update()

    def one_each() -> None:
        for caption in range(k):
            total, weight, _ = model.loss(batch, r2l[caption::k], l2r[caption::k])
            (total / weight).backward()
            update()

    several()  # allocates the optimiser's moments
    times = compare(one_each, several, setting.repeats, device, warm=setting.warm, least_seconds=sizes.least_seconds)
    updates = []
    for _ in range(3 if setting.warm else 1):
        model.loss(batch, r2l[::k], l2r[::k])[0].backward()  # an update without gradients would do nothing
        updates.append(measure(update, device).value)
    step = min(updates)
    without = [(a.value - k * step) / (b.value - step) for a, b in zip(*times, strict=True)]
    middle = sorted(without)[len(without) // 2]
    what = f"training step, {videos} videos x {k} captions, against {k} steps of {videos} captions"
    detail = f"an update takes {step:.2f} s; without updates {middle:.2f}x"
    yield Row("training", what, *times, least=2.0, detail=detail, more={"ratio_without_updates": middle})
