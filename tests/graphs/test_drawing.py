"""Pictures of graphs: what is drawn where, how thick; the program, with and without weights."""

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from graphs import draw
from graphs.drawing import (
    GAP,
    THINNEST,
    WIDEST,
    curves,
    draw_attention,
    draw_frames,
    draw_graph,
    draw_timeline,
    likeness,
    node_boxes,
    strongest_links,
    thickness,
)
from graphs.temporal import temporal_similarity
from utility.video_writer import write_video

S, P, D = 4, 9, 6


def graph(filled=3, objects=False):
    rng = np.random.default_rng(0)
    slots = np.arange(S) < filled
    mask = np.repeat(slots[:, None], P, 1)
    arrays = {"actions": rng.random((S, 5)), "slot_mask": slots, "frame_time": np.arange(S) * 0.5}
    if objects:
        mask = mask & (np.arange(P) < np.array([2, 0, 1, 1])[:, None])
        arrays["boxes"] = np.where(mask[..., None], [0.25, 0.25, 0.5, 0.75], 0)
    nodes = rng.normal(size=(S, P, D)) * mask[..., None]
    temporal = temporal_similarity(torch.from_numpy(nodes), torch.from_numpy(mask)).numpy()
    return {**arrays, "nodes": nodes, "node_mask": mask, "temporal": temporal}


FRAMES = np.full((3, 3, 48, 64), 90, np.uint8)


def test_boxes_of_tiles_and_of_objects():
    tiles = node_boxes(graph(), 48, 64)
    assert (
        tiles.shape == (S, P, 4) and tiles[0, 0].tolist() == [8, 0, 32, 24] and tiles[2, 8].tolist() == [32, 24, 56, 48]
    )
    assert node_boxes(graph(objects=True), 40, 80)[0, 0].tolist() == [20, 10, 40, 30]
    with pytest.raises(ValueError, match="9 nodes per slot without boxes are no 2 x 2 tiles"):
        node_boxes(graph(), 48, 64, patch=2)


def test_likeness_equals_a_naive_one():
    arrays = graph(objects=True)
    arrays["node_mask"][1, :2] = True
    arrays["nodes"][1, :2] = np.random.default_rng(1).normal(size=(2, D))
    got = likeness(arrays)
    for t in (0, 1):
        rows = []
        for k in np.flatnonzero(arrays["node_mask"][t]):
            x = arrays["nodes"][t, k]
            others = [arrays["nodes"][t + 1, k] for k in np.flatnonzero(arrays["node_mask"][t + 1])]
            rows.append(max(x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in others))
        assert got[t] == pytest.approx(np.mean(rows))
    assert np.isnan(got[2])  # the last slot is empty


def test_lines_are_the_wider_the_heavier():
    assert thickness([0.1, 0.3, 0.2]).tolist() == pytest.approx([THINNEST, WIDEST, (THINNEST + WIDEST) / 2])
    middle = (THINNEST + WIDEST) / 2
    assert thickness([0.2, 0.2]).tolist() == pytest.approx([middle] * 2)
    assert np.abs(thickness([0.111, 0.112]) - middle).max() < 0.1 * middle
    assert thickness([]).shape == (0,)
    ends = curves(np.array([[0.0, 0]]), np.array([[10.0, 4]]))[0]
    assert ends[0].tolist() == [0, 0] and ends[-1].tolist() == [10, 4]


def test_the_strongest_links_of_every_node():
    temporal = np.zeros((1, 3, 3))
    temporal[0, 0], temporal[0, 1, 2] = [0.2, 0.5, 0.3], 1.0
    places, weights = strongest_links(temporal, 2)
    assert places.tolist() == [[0, 0, 1], [0, 0, 2], [0, 1, 2]] and weights.tolist() == [0.5, 0.3, 1.0]


@pytest.mark.parametrize(("objects", "spatial", "temporal"), [(False, 3 * 36, 2 * 9 * 2), (True, 1, 0)])
def test_every_edge_is_a_line_in_its_place(objects, spatial, temporal):
    arrays = graph(objects=objects)
    axes = Figure().subplots()
    draw_frames(axes, FRAMES, arrays, node_boxes(arrays, 48, 64), links=2)
    lines = [line for line in axes.collections if isinstance(line, LineCollection)]
    assert sum(len(line.get_segments()) for line in lines[:3]) == spatial
    assert sum(len(line.get_segments()) for line in lines[3:]) == temporal
    assert len(axes.images) == 3 and len(axes.patches) == arrays["node_mask"].sum()
    words = [text.get_text() for text in axes.texts]
    assert ("no objects" in words[1]) == objects and "0.50 s" in words[1]
    if not objects:
        start = lines[3].get_segments()[0][0]
        assert start.tolist() == [20, 12]  # the middle of the first tile
        assert lines[3].get_segments()[18][0][0] == 20 + 64 * (1 + GAP)
        widths = lines[3].get_linewidths()
        _, weights = strongest_links(arrays["temporal"][:2], 2)
        assert np.argsort(widths).tolist() == np.argsort(thickness(weights)).tolist() and np.ptp(widths) > 0.1
        lengths = np.linalg.norm(arrays["actions"][:3], axis=1)
        assert np.argmax([line.get_linewidths()[0] for line in lines[:3]]) == np.argmax(lengths)


def test_the_timeline_shows_actions_and_likeness_at_their_times():
    arrays = graph()
    figure = Figure()
    draw_timeline(figure.subplots(), arrays)
    bars, line = figure.axes[0].patches, figure.axes[1].lines[0]
    assert [bar.get_height() for bar in bars] == pytest.approx(np.linalg.norm(arrays["actions"][:3], axis=1))
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx([0, 0.5, 1.0])
    assert line.get_xdata().tolist() == pytest.approx([0.25, 0.75])
    assert line.get_ydata().tolist() == pytest.approx(likeness(arrays)[:2])


def test_a_graph_needs_the_frames_of_its_slots():
    with pytest.raises(ValueError, match="2 frames for a graph with 3 filled slots"):
        draw_graph(FRAMES[:2], graph())


def test_one_slot_and_no_actions_can_be_drawn(tmp_path):
    arrays = graph(filled=1)
    del arrays["actions"]
    figure = draw_graph(FRAMES[:1], arrays, title="alone")
    figure.savefig(tmp_path / "one.png", dpi=40)
    assert len(figure.axes) == 2  # one scale in the timeline


def test_attention_is_drawn_layer_by_layer():
    attention = np.random.default_rng(0).random((3, S, P, 2 * P))
    figure = draw_attention(attention, slot=2)
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), attention[1, 2])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    frames = np.full((16, 48, 64, 3), 110, np.uint8)
    for t, frame in enumerate(frames):
        frame[10:26, 2 * t : 2 * t + 16] = (220, 40, 40)
    path = tmp_path_factory.mktemp("clip") / "red square.mp4"
    write_video(path, frames, 8)
    return path


@pytest.mark.parametrize(
    "options", [[], ["--slots", "2"], ["--links", "5"], ["--dpi", "50"], ["--patch", "2"], ["--overlap", "0"]]
)
def test_the_program_needs_no_weights_and_every_flag_shows(clip, tmp_path, capsys, options):
    pictures = []
    for words in ([], options):
        out = tmp_path / f"{len(words)}" / "graph.png"
        assert draw.main(["--video", str(clip), "--out", str(out), "--slots", "3", "--device", "cpu", *words]) == 0
        assert capsys.readouterr().out.strip() == str(out)
        pictures.append(np.asarray(Image.open(out).convert("RGB")))
    assert pictures[0].shape[0] > 300 and pictures[0].std() > 10
    same = pictures[0].shape == pictures[1].shape and np.array_equal(*pictures)
    assert same == (not options)


def test_the_program_draws_objects(clip, tmp_path):
    out = tmp_path / "objects.png"
    words = ["--video", str(clip), "--out", str(out), "--nodes", "object", "--device", "cpu", "--slots", "3"]
    assert draw.main([*words, "--detector", "motion", "--detector_size", "64"]) == 0
    assert out.stat().st_size > 5000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--video FILE is missing"),
        (["--video", "a.mp4", "--nodes", "tile"], "--nodes is 'tile'"),
        (["--video", "a.mp4", "--slots", "0"], "--slots is 0; it must be at least 1"),
        (["--video", "absent.mp4"], "absent.mp4"),
        (["--video", "a.mp4", "--checkpoint", "nowhere"], "nowhere is not a checkpoint"),
        (["--video", "a.mp4", "--backbone", "nowhere"], "no backbone nowhere"),
    ],
)
def test_mistakes_are_answered(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        status = draw.main([*words, "--device", "cpu"])
    except SystemExit as end:
        status = end.code
    assert status == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
