"""Triples from captions: rules on sentences of our own, and the measure on captions labelled by hand."""

import json

import pytest

from graphs.knowledge.extraction import EXTRACTORS, HantaExtractor, Triple, evaluate, read_labelled
from graphs.knowledge.triples import main

# (caption, triples as "head relation tail" with "_" for blanks; the relation with "+" before its preposition)
SENTENCES = [
    ("a man is playing a guitar", "man play guitar"),
    ("three women are singing", ""),
    ("a man and a woman dance in a field", "man dance+in field; woman dance+in field"),
    ("a boy and girl dance in a hall", "boy dance+in hall; girl dance+in hall"),
    ("a dog runs and chases a cat", "dog chase cat"),
    ("the chef chops onions and carrots", "chef chop onion; chef chop carrot"),
    ("she is cutting an apple", ""),
    ("someone rides a bike", ""),
    ("a boy throws it to his dog", ""),
    ("a horse is being ridden by a girl", "girl ride horse"),
    ("an onion is being chopped", ""),
    ("a man is a singer and has a guitar", ""),
    ("a clip of a young woman cooking in a kitchen", "woman cook+in kitchen"),
    ("a woman in a red dress stands by the river", "woman stand+by river"),
    ("a man in a suit and a woman in a dress walk down a road", "man walk+down road; woman walk+down road"),
    ("a baker pours milk into a bowl", "baker pour milk"),
    ("a girl is sitting on a piece of wood", "girl sit+on piece"),
    ("a girl's hands are washing a car", "girl_hand wash car"),
    ("a child s toys fill the room", "child_toy fill room"),
    ("a girl wants to ride a horse", ""),
    ("a man explains how to clean and repair engines", ""),
    ("there is a woman painting a wall", "woman paint wall"),
    ("a man is standing next to a tree", "man stand+next_to tree"),
    ("a woman who is wearing a hat is driving a car", "woman drive car"),
    ("kids play football while a man watches them", "kid play football"),
    ("a cat sleeps as rain falls on the roof", "rain fall+on roof"),
    ("a man talks about painting a wall", "man paint wall"),
    ("a woman turns on a lamp", "woman turn+on lamp"),
    ("a man watches a girl riding a pony", "man watch girl; girl ride pony"),
    ("two wolves are eating the leaves", "wolf eat leaf"),
    ("a man in a red shirt talks about a car", "man talk+about car"),
    ("two girls are hugging each other", ""),
    ("a boy is doing a back flip off a wall", ""),
    ("a man in black talks about a car", "man talk+about car"),
    ("a man with video games on a table", ""),
    ("a girl in high heels on a stage", ""),
    ("a table tennis player hits a ball", "tennis_player hit ball"),
]  # fmt: skip


@pytest.fixture(scope="module")
def extractor():
    return HantaExtractor()


@pytest.fixture(scope="module")
def with_preposition():
    return HantaExtractor("verb+preposition")


def parsed(text):
    return [Triple(*(part.replace("_", " ") for part in triple.split())) for triple in text.split(";") if triple]


@pytest.mark.parametrize(("caption", "triples"), SENTENCES)
def test_sentence(extractor, with_preposition, caption, triples):
    whole = [t._replace(relation=t.relation.replace("+", " ")) for t in parsed(triples)]
    assert with_preposition.extract(caption) == whole
    assert extractor.extract(caption) == [t._replace(relation=t.relation.split(" ")[0]) for t in whole]


@pytest.mark.parametrize(
    "caption", ["", " ", "?!", "a", "of of of", "42", "\u72ac \u72ac", "and and then", "'s", "n't is"]
)
def test_what_is_no_sentence_gives_nothing(extractor, caption):
    assert extractor.extract(caption) == []


def test_precision_and_recall_of_labelled_captions(shared_data, extractor, with_preposition):
    labelled = read_labelled(shared_data / "triples_labelled.json")
    for one in (extractor, with_preposition):
        scores = evaluate(one, labelled, one.settings["relation_style"])
        assert scores["precision"] >= 0.85 and scores["recall"] >= 0.65, scores


class Fixed:
    """An extractor that says what it is told."""

    def __init__(self, style="verb"):
        self.settings = {"extractor": "fixed"}

    def extract(self, caption):
        return [Triple("a", "b", "c")] if caption == "one" else [Triple("x", "y", "z"), Triple("a", "b", "d")]


def test_scores_count_whole_triples():
    labelled = [
        {"caption": "one", "triples": [["a", "b", "c"], ["e", "f", "g"]]},
        {"caption": "two", "triples": [["x", "y", "z"]]},
    ]
    scores = evaluate(Fixed(), labelled)
    assert (scores["labelled"], scores["extracted"], scores["correct"]) == (3, 3, 2)
    assert scores["precision"] == scores["recall"] == scores["f1"] == pytest.approx(2 / 3)
    assert scores["mistakes"][0] == {"caption": "one", "missed": [("e", "f", "g")], "invented": []}


def test_another_extractor_fills_the_interface(monkeypatch, capsys):
    monkeypatch.setitem(EXTRACTORS, "fixed", Fixed)
    assert main(["--say", "one", "--extractor", "fixed"]) == 0
    assert capsys.readouterr().out == "a\tb\tc\n"
    assert main(["--say", "one", "--extractor", "corenlp"]) == 2
    assert "Known are hanta, fixed" in capsys.readouterr().err


def test_program_scores_a_file(tmp_path, capsys):
    path = tmp_path / "labelled.json"
    path.write_text(json.dumps([{"caption": "a man plays a flute", "triples": [["man", "play", "flute"]]}]))
    assert main(["--evaluate", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["f1"] == 1
    path.write_text('[{"caption": 3}]')
    assert main(["--evaluate", str(path)]) == 2
    assert "entry 0" in capsys.readouterr().err


def test_program_says_the_triples_of_a_caption(capsys):
    assert main(["--say", "a man talks on the phone", "--relation_style", "verb+preposition"]) == 0
    assert capsys.readouterr().out == "man\ttalk on\tphone\n"
