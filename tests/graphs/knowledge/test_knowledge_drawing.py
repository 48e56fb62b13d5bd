"""Pictures of the knowledge graph say what the graph says."""

import numpy as np
import pytest
import torch
from knowledge_examples import small_graph

from graphs.knowledge.cleaning import count
from graphs.knowledge.drawing import (
    Neighbour,
    draw_choice,
    draw_map,
    draw_neighbourhood,
    nearest_entities,
    neighbours,
)
from graphs.knowledge.extraction import Triple
from graphs.knowledge.knowledge_graph import build
from graphs.knowledge.relation_rows import Choice
from graphs.knowledge.triple_files import VideoTriples


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def pixels(figure):
    """The picture as numbers: drawing must not fail and must not be empty."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_neighbours_are_the_triples_of_an_entity_by_support():
    graph = small_graph()
    found = neighbours(graph, "man")
    assert {(one.relation, one.name) for one in found if one.outward} == {
        *(("play", name) for name in ("flute", "guitar", "drum")),
        *(("ride", name) for name in ("horse", "pony", "camel")),
    }
    assert [one.support for one in found] == sorted((one.support for one in found), reverse=True)
    assert neighbours(graph, "flute", most=1)[0] in [
        Neighbour(name, "play", 4, False) for name in ("man", "woman", "girl")
    ]
    with pytest.raises(ValueError, match="frequent ones are"):
        neighbours(graph, "unicorn")


def test_neighbourhood_names_every_triple_and_its_support():
    graph = small_graph()
    figure = draw_neighbourhood(graph, "man")
    shown = texts(figure)
    for one in neighbours(graph, "man"):
        assert one.name in shown and f"{one.relation} {one.support}" in shown
    assert pixels(figure).std() > 5
    assert len(texts(draw_neighbourhood(graph, "man", most=2))) == 2 + 2 + 1 + 2  # arrows, relations, names


def test_what_an_entity_does_to_its_like_leads_to_another():
    graph = build(count([VideoTriples("v", 2, [Triple("dog", "chase", "dog")] * 2)], lambda word: True))
    assert {"dog", "another dog", "chase 2"} <= set(texts(draw_neighbourhood(graph, "dog")))


CHOICES = [
    Choice("man", 0.3, 0.3),
    Choice("flute", 0.2, 0.2),
    Choice("man play flute", 0.45, 0.3, 0.1, 0.05),
    Choice("man ride pony", -0.1, 0.1, 0.0, -0.2, seen=False),
]


def test_choice_shows_texts_and_parts_that_add_up():
    figure = draw_choice(CHOICES)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "man", "flute", "man play flute", "man ride pony (proposed)",
    ]  # fmt: skip
    widths = [bar.get_width() for bar in axes.patches]
    assert sum(widths) == pytest.approx(sum(choice.score for choice in CHOICES))
    assert pixels(figure).std() > 5
    with_frames = draw_choice(CHOICES, np.zeros((9, 32, 48, 3), np.uint8), shown=3)
    assert len(with_frames.axes) == 4
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_choice([])


def test_map_puts_entities_in_their_plane():
    graph = small_graph()
    vectors = torch.zeros(9, 4)
    vectors[:, 1] = torch.arange(9.0)
    figure = draw_map(vectors, graph, labelled=3)
    (axes,) = figure.axes
    points = axes.collections[0].get_offsets()
    assert len(points) == 9 and np.allclose(np.abs(np.diff(points[:, 0])), 1) and "100%" in axes.get_title()
    assert 1 <= len(texts(figure)) <= 3
    assert pixels(figure).std() > 5


def test_nearest_entities_by_cosine():
    graph = small_graph()
    vectors = torch.eye(9)
    man, girl = graph.entities.index("man"), graph.entities.index("girl")
    vectors[girl] = 0.8 * vectors[man] + 0.6 * vectors[girl]
    (name, cosine), second = nearest_entities(vectors, graph, "man", 2)
    assert name == "girl" and cosine == pytest.approx(0.8) and second[1] == pytest.approx(0)
    assert len(nearest_entities(vectors, graph, "man", 50)) == 8
