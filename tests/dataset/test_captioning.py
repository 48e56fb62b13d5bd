from collections import Counter

import h5py
import numpy as np
import pytest
import torch
from caption_corpus import make_corpus, video_name

from dataset import READERS
from dataset.captioning import CaptionGraphs, CaptionLoader
from dataset.graph_features import GraphFeatures, padded_rows
from utility.distributed import Distributed
from utility.feature_store import FeatureStore, FeatureWriter, feature_path
from utility.vocabulary import PAD, Vocabulary


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return READERS["folder"](make_corpus(tmp_path_factory.mktemp("syn"), skip={3}))


@pytest.fixture(scope="module")
def store(corpus):
    return FeatureStore(feature_path(corpus.root / "features/tiny", corpus.name, "GBased_graph"))


@pytest.fixture(scope="module")
def vocabulary(corpus):
    return Vocabulary.build((t for texts in corpus.captions.values() for t in texts), 1)


def pairs(corpus, store, vocabulary, k=1, seed=0, captions=None):
    features = GraphFeatures(store, corpus.ids("train"))
    return CaptionGraphs(features, captions or corpus.references("train"), vocabulary, captions_per_video=k, seed=seed)


def test_graphs_from_memory_and_from_the_file_are_equal(corpus, store):
    ids = corpus.ids("train")
    cached, direct = GraphFeatures(store, ids), GraphFeatures(store, ids, cache_bytes=0)
    assert cached._cache is not None and direct._cache is None
    assert cached.absent == [video_name(3)]
    names = [cached.ids[2], cached.ids[0], cached.ids[2]]
    for key, value in cached.batch(names).items():
        assert torch.equal(value, direct.batch(names)[key])
        assert value.dtype == (torch.bool if "mask" in key else torch.float32)
    assert cached.widths == {"node_dim": 12, "action_dim": 10, "slots": 5, "nodes_per_slot": 4}


def test_boxes_are_read_where_graphs_have_them(store, tmp_path):
    nodes = store.read(store.ids[0])["nodes"]
    boxes = np.random.default_rng(0).random((*nodes.shape[:2], 4), np.float32)
    with FeatureWriter(tmp_path / "with.hdf5", {"stage": "action_graph"}) as writer:
        writer.write("a", store.read(store.ids[0]) | {"boxes": boxes})
        writer.finish()
    (kept, read) = (GraphFeatures(FeatureStore(tmp_path / "with.hdf5"), ["a"], cache_bytes=size) for size in (0, 2**20))
    for features in (kept, read):
        np.testing.assert_array_equal(features.batch(["a"])["boxes"][0], boxes)
    assert "boxes" not in GraphFeatures(store, store.ids).batch(store.ids[:1])


def test_shuffled_videos_never_keep_their_own_graph(corpus, store):
    ids = corpus.ids("train")
    plain, blind = GraphFeatures(store, ids), GraphFeatures(store, ids, shuffle_seed=1)
    assert all(name != other for name, other in blind.source.items())
    assert sorted(blind.source.values()) == sorted(plain.ids)
    name = plain.ids[0]
    assert torch.equal(blind.batch([name])["nodes"], plain.batch([blind.source[name]])["nodes"])


def test_an_epoch_uses_every_caption_once_in_each_direction(corpus, store, vocabulary):
    data = pairs(corpus, store, vocabulary)
    for epoch in (0, 1):
        data.set_epoch(epoch)
        left, right = Counter(), Counter()
        for name, r2l, l2r in (data[i] for i in range(len(data))):
            left[name, tuple(l2r[0])] += 1
            right[name, tuple(r2l[0][::-1])] += 1
        expected = Counter(
            (name, tuple(vocabulary.encode(text.split())))
            for name, texts in corpus.references("train").items()
            for text in texts
            if name in store
        )
        assert left == expected and right == expected


def test_pairings_are_seeded_and_change_with_the_epoch(corpus, store, vocabulary):
    first, second = pairs(corpus, store, vocabulary), pairs(corpus, store, vocabulary)
    order = [first[i] for i in range(len(first))]
    assert order == [second[i] for i in range(len(second))]
    first.set_epoch(1)
    assert order != [first[i] for i in range(len(first))]
    other = pairs(corpus, store, vocabulary, seed=5)
    assert order != [other[i] for i in range(len(other))]


def test_several_captions_of_a_video_share_one_row_of_graphs(corpus, store, vocabulary):
    data = pairs(corpus, store, vocabulary, k=2)
    assert len(data) == 23  # three captions each: one pair, the third waits
    batch = data.collate([data[0], data[5]])
    assert batch.names == [data[0][0], data[5][0]]
    assert batch.graphs["nodes"].shape[0] == 2 and batch.caption_video.tolist() == [0, 0, 1, 1]
    assert batch.l2r.shape == batch.r2l.shape and len(batch) == 4
    assert (batch.l2r[:, 0] == 1).all() and ((batch.l2r == 1).sum(1) == 2).all()
    fixed = data.collate([data[0]], length=22)
    assert fixed.l2r.shape == (2, 22) and (fixed.l2r[:, -1] == PAD).all()
    assert torch.equal(batch.to("cpu").l2r, batch.l2r)


def test_captions_without_a_known_word_are_left_out(corpus, store, vocabulary):
    name = corpus.ids("train")[0]
    data = pairs(corpus, store, vocabulary, captions={name: ["a ball", "\u72ac", "zebra"]})
    assert len(data) == 1 and data.empty == 2
    with pytest.raises(ValueError, match="No training caption"):
        pairs(corpus, store, vocabulary, captions={name: ["zebra"]})


def steps(corpus, store, vocabulary, world, micro, k=1, epoch=2):
    """The videos and captions of every optimiser step over all ranks."""
    loaders = [
        CaptionLoader(pairs(corpus, store, vocabulary, k), 12, micro, Distributed(rank, world)) for rank in range(world)
    ]
    per_step = 12 // micro // world
    taken = []
    for loader in loaders:
        loader.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader)
        taken.append([batches[i : i + per_step] for i in range(0, len(batches), per_step)])
    return [
        Counter(
            (batch.names[v], tuple(row.tolist()).__str__().replace(", 0", ""))
            for rank in taken
            for batch in rank[step]
            for v, row in zip(batch.caption_video.tolist(), batch.l2r, strict=True)
        )
        for step in range(len(taken[0]))
    ]


@pytest.mark.parametrize(("world", "micro"), [(1, 4), (2, 6), (3, 2)])
def test_a_step_holds_the_same_captions_however_it_is_cut(corpus, store, vocabulary, world, micro):
    whole = steps(corpus, store, vocabulary, 1, 12)
    assert len(whole) == 23 * 3 // 12 and all(sum(step.values()) == 12 for step in whole)
    assert steps(corpus, store, vocabulary, world, micro) == whole


def test_processes_that_load_draw_the_pairings_of_every_epoch(corpus, store, vocabulary):
    """They outlive an epoch, and have a data set of their own."""
    taken = {}
    for workers in (0, 1):
        loader = CaptionLoader(pairs(corpus, store, vocabulary, 2), 12, 6, num_workers=workers)
        for epoch in (0, 1, 5):
            loader.set_epoch(epoch)
            taken[workers, epoch] = [(b.names, b.l2r.tolist(), b.r2l.tolist()) for b in loader]
    for epoch in (0, 1, 5):
        assert taken[0, epoch] == taken[1, epoch]


def test_a_loader_resumes_inside_an_epoch(corpus, store, vocabulary):
    loader = CaptionLoader(pairs(corpus, store, vocabulary, 3), 12, 6)
    loader.set_epoch(4)
    whole = [batch.names for batch in loader]
    loader.set_epoch(4, skip=3)
    assert [batch.names for batch in loader] == whole[3:]
    loader.set_epoch(5)
    assert [batch.names for batch in loader] != whole


@pytest.mark.parametrize(
    ("batch", "micro", "k", "message"),
    [
        (12, 4, 3, "--micro_batch_size 4 is not a multiple of --captions_per_video 3"),
        (10, None, 3, "--batch_size 10 is not a multiple of --captions_per_video 3"),
        (120, None, 3, "--batch_size 120 is more than the 69 training captions"),
        (12, 5, 1, "--micro_batch_size 5 does not divide the 12 samples"),
        (60, 9, 3, r"--micro_batch_size 9 does not divide the 60 captions .*Possible: 3, 6, 12, 15, 30, 60$"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(corpus, store, vocabulary, batch, micro, k, message):
    with pytest.raises(ValueError, match=message):
        CaptionLoader(pairs(corpus, store, vocabulary, k), batch, micro)
    with pytest.raises(ValueError, match="--captions_per_video is 0"):
        pairs(corpus, store, vocabulary, k=0)


def test_unusable_features_name_file_and_video(corpus, store, tmp_path):
    with pytest.raises(ValueError, match=r"has no features of nobody; it holds clip"):
        GraphFeatures(store, ["nobody"])
    path = tmp_path / "x_GBased_graph.hdf5"
    arrays = store.read(video_name(0))
    with FeatureWriter(path, {}) as writer:
        writer.write("a", arrays)
        writer.write("b", {**arrays, "nodes": arrays["nodes"][:, :2]})
        writer.finish()
    with pytest.raises(ValueError, match=r"Video 'b': nodes is \(5, 2, 12\), in the other videos"):
        GraphFeatures(FeatureStore(path), ["a", "b"])
    with h5py.File(path, "r+") as file:
        file["a"]["actions"][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"Video 'a': actions in .* holds NaN"):
        GraphFeatures(FeatureStore(path), ["a"])


@pytest.mark.parametrize("kind", ["rel", "objects"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.ones((2, 6), np.float16), "Video .*1.*: {} in .* holds NaN or infinity; extract it again"),
        (np.ones((2, 7), np.float16), r"Video .*1.*: {} is \(2, 7\), but rows of .* are 6 wide, as those of .*0"),
        (np.ones(6, np.float16), r"Video .*1.*: {} is \(6,\)"),
    ],
)
def test_unusable_rows_name_file_and_video(store, tmp_path, kind, wrong, message):
    names = [video_name(0), video_name(1)]
    with FeatureWriter(tmp_path / "rows.hdf5", {}) as writer:
        writer.write(names[0], {kind: np.ones((3, 6), np.float16)})
        writer.write(names[1], {kind: wrong})
        writer.finish()
    if "NaN" in message:
        with h5py.File(tmp_path / "rows.hdf5", "r+") as file:
            file[names[1]][kind][1, 2] = np.nan
    rows = FeatureStore(tmp_path / "rows.hdf5")
    with pytest.raises(ValueError, match=message.format(kind)) as error:
        GraphFeatures(store, names, **{kind: rows})
    assert str(rows.path) in str(error.value)


def test_rows_are_thinned_evenly_or_padded():
    rows, mask = padded_rows(np.arange(45, dtype=np.float32)[:, None], 20)
    assert rows[:, 0].astype(int).tolist() == np.linspace(0, 44, 20).astype(int).tolist() and mask.all()
    rows, mask = padded_rows(np.ones((3, 2), np.float32), 5)
    assert mask.tolist() == [True] * 3 + [False] * 2 and rows[3:].sum() == 0
    rows, mask = padded_rows(np.zeros((0, 7), np.float16), 5)
    assert rows.shape == (5, 7) and not mask.any()
