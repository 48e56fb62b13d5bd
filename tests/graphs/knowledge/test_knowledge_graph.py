"""From triples to the graph: cleaning, supports, splits, folders, OpenKE files, the PyG data set."""

import subprocess
import sys

import pytest
import torch
from knowledge_examples import PEOPLE, TRIPLES, save_captions, small_graph
from launch import ENVIRONMENT, ROOT

from dataset.mini_motion import scripts
from graphs.knowledge.cleaning import accepted, count, known_word, normalise
from graphs.knowledge.dataset import KnowledgeGraphDataset
from graphs.knowledge.extraction import HantaExtractor, Triple
from graphs.knowledge.graph import main
from graphs.knowledge.knowledge_graph import SPLITS, KnowledgeGraph, build, draw_splits
from graphs.knowledge.openke import FILES, read_openke, write_openke
from graphs.knowledge.triple_files import VideoTriples
from graphs.knowledge.triples import main as triples_main


@pytest.mark.parametrize(
    ("triple", "clean"),
    [
        (("Two Men", "Play", "some Guitars!"), ("men", "play", "guitars")),
        (("man", "talk on", "phone"), ("man", "talk on", "phone")),
        (("someone", "play", "guitar"), None),
        (("man", "play", "it"), None),
        (("man", "?", "dog"), None),
        (("7", "play", "dog"), None),
    ],
)
def test_normalise(triple, clean):
    assert normalise(Triple(*triple)) == clean


def test_filter_looks_at_relation_length_and_words():
    known = known_word(["gitar"])
    assert accepted(Triple("man", "play", "gitar"), known)
    assert accepted(Triple("tennis player", "hit", "ball"), known)
    assert not accepted(Triple("man", "have", "dog"), known)
    assert not accepted(Triple("man", "get on", "horse"), known)
    assert not accepted(Triple("old tennis player", "hit", "ball"), known)
    assert not accepted(Triple("man", "play", "gittarr"), known)
    assert not accepted(Triple("x", "play", "ball"), known)


def test_counts_name_captions_and_videos():
    rides, plays = Triple("man", "ride", "horse"), Triple("man", "play", "flute")
    videos = [VideoTriples("a", 3, [rides, rides, plays]), VideoTriples("b", 1, [rides, Triple("he", "eat", "it")])]
    counts = count(videos, lambda word: True)
    assert counts.captions == {rides: 3, plays: 1}
    assert counts.videos[rides] == {"a": 2, "b": 1}
    assert (counts.extracted, counts.rejected, counts.entities["man"]) == (5, 1, 4)
    graph = build(counts, min_support=2)
    assert graph.most_frequent() == [(rides, 3)]
    assert graph.entities == ["man", "horse"] and graph.relations == ["ride"]  # by first appearance, head before tail
    assert graph.stated.tolist() == [[0, 0, 2], [0, 1, 1]] and graph.videos == ["a", "b"]
    assert graph.entity_support.tolist() == [4, 3]
    with pytest.raises(ValueError, match="--min_support"):
        build(counts, min_support=4)


def test_every_field_keeps_its_name():
    graph = small_graph()
    assert set(PEOPLE) < set(graph.entities) and graph.relations == ["play", "ride"]
    assert {graph.texts(i) for i in range(len(graph))} == set(TRIPLES)


def test_drawn_clips_have_relations_enough():
    """The captions of MiniMotion name their relations, so that +rel has something to tell."""
    extractor = HantaExtractor()
    verbs = {"follows": {"follow", "run"}, "passes behind": {"pass", "go"}, "meets": {"meet", "bump"}}
    stated = dict.fromkeys(verbs, 0)
    clips = [clip for clip in scripts(120, 0) if clip.relation]
    for clip in clips:
        triples = [triple for caption in clip.captions for triple in extractor.extract(caption)]
        stated[clip.relation] += any(triple.relation in verbs[clip.relation] for triple in triples)
    assert sum(stated.values()) >= 0.95 * len(clips) and all(stated.values())


def test_splits_are_disjoint_tenths_and_leave_nothing_unseen_in_training():
    triples = [(h, r, t) for h in range(9) for r in range(3) for t in range(9) if (h + r + t) % 3]
    split = draw_splits(triples)
    assert [(split == i).sum().item() for i in (1, 2)] == [len(triples) // 10] * 2
    train = torch.tensor(triples)[split == 0]
    assert set(train[:, 1].tolist()) == {0, 1, 2}
    assert set(train[:, [0, 2]].flatten().tolist()) == set(range(9))
    # A star of entities that occur once each: none of them can be spared.
    assert draw_splits([(0, 0, t) for t in range(1, 30)]).tolist() == [0] * 29


HASH = """
from tests.graphs.knowledge.knowledge_examples import small_graph
print(small_graph().hash)
"""


def test_ids_and_splits_do_not_depend_on_the_hash_seed():
    command, environment = [sys.executable, "-c", HASH], ENVIRONMENT | {"PYTHONHASHSEED": "7"}
    other = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert other.stdout == small_graph().hash + "\n"


def test_folder_gives_back_what_was_saved(tmp_path):
    graph = small_graph()
    graph.save(tmp_path / "graph")
    again = KnowledgeGraph.load(tmp_path / "graph")
    assert again.hash == graph.hash and again.videos == graph.videos
    assert torch.equal(again.support, graph.support) and torch.equal(again.stated, graph.stated)
    with pytest.raises(FileNotFoundError, match=r"graphs\.knowledge\.graph"):
        KnowledgeGraph.load(tmp_path)


def test_openke_files_there_and_back(tmp_path):
    graph = small_graph()
    write_openke(graph, tmp_path)
    lines = (tmp_path / "train2id.txt").read_text().splitlines()
    head, relation, tail = graph.of_split("train")[0].tolist()
    assert lines[0] == str(len(graph.of_split("train"))) and lines[1] == f"{head}\t{tail}\t{relation}"
    again = read_openke(tmp_path)
    assert again.entities == graph.entities and again.relations == graph.relations
    for split in SPLITS:
        assert torch.equal(again.of_split(split), graph.of_split(split))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("train2id.txt", "2\n0\t1\t0\n", "first line is '2'"),
        ("test2id.txt", "1\n0 99 0\n", "line 2"),
        ("entity2id.txt", "1\nman\tx\n", "line 2"),
        ("relation2id.txt", "1\nplay\t3\n", "ids must be"),
    ],
)
def test_damaged_openke_files_are_named(tmp_path, file, text, message):
    write_openke(small_graph(), tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_openke(tmp_path)
    (tmp_path / FILES["val"]).unlink()
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=file.split("2")[0]):
        read_openke(tmp_path)


def test_data_set_has_types_texts_supports_and_masks(tmp_path):
    graph = small_graph()
    graph.save(tmp_path)
    (data,) = KnowledgeGraphDataset(tmp_path)
    assert data.num_nodes == 9 and data.num_edges == 18 and data.validate()
    assert torch.equal(data.train_mask.int() + data.val_mask.int() + data.test_mask.int(), torch.ones(18).int())
    head, tail = data.edge_index[:, 0].tolist()
    assert (data.entities[head], data.relations[data.edge_type[0]], data.entities[tail]) == graph.texts(0)
    assert torch.equal(data.edge_support, graph.support)
    (test,) = KnowledgeGraphDataset(tmp_path, split="test")
    assert test.num_edges == int(data.test_mask.sum()) and test.num_nodes == 9 and test.test_mask.all()
    with pytest.raises(ValueError, match="unknown split"):
        KnowledgeGraphDataset(tmp_path, split="dev")


@pytest.fixture
def root(tmp_path):
    """A corpus whose captions state few triples, some of them often."""
    texts = {f"t{i}": ["a man rides a horse", "a man rides the horse", "a girl cuts a cake"] for i in range(3)}
    texts["t0"] = [*texts["t0"], "a boy eats an apple"]
    split = dict.fromkeys(texts, "train") | {"e": "test"}
    return save_captions(tmp_path / "small", texts | {"e": ["a cow eats grass"] * 5}, split)


def test_program_builds_exports_and_imports(root, capsys):
    words = ["--data_root", str(root)]
    assert main(words) == 2
    assert "graphs.knowledge.triples" in capsys.readouterr().err
    assert triples_main(words) == 0
    assert main([*words, "--dry_run"]) == 0
    assert not (root / "knowledge/default/graph").exists()
    assert main([*words, "--export_openke", str(root / "openke")]) == 0
    graph = KnowledgeGraph.load(root / "knowledge/default/graph")
    assert [(" ".join(t), n) for t, n in graph.most_frequent()] == [("man ride horse", 6), ("girl cut cake", 3)]
    assert main([*words, "--min_support", "1"]) == 2
    assert "min_support was 2, now 1" in capsys.readouterr().err
    assert main([*words, "--min_support", "1", "--resume", "0"]) == 0
    assert len(KnowledgeGraph.load(root / "knowledge/default/graph")) == 3
    assert main([*words, "--knowledge", "other", "--import_openke", str(root / "openke")]) == 0
    assert KnowledgeGraph.load(root / "knowledge/other/graph").entities == graph.entities


def test_captions_that_changed_are_noticed(root, capsys):
    words = ["--data_root", str(root)]
    assert triples_main(words) == 0
    save_captions(root, {"t0": ["a man rides a horse"]}, {"t0": "train"})
    assert main(words) == 2
    assert "captions was 10, now 1" in capsys.readouterr().err


def test_words_and_splits_follow_their_flags(root):
    words = ["--data_root", str(root), "--knowledge"]
    texts = {"a": ["a zorb eats an apple", "a zorb cuts a cake", "a man cuts a pie"] * 2}
    save_captions(root, texts, {"a": "train"})
    for name in ("few", "many"):
        assert triples_main([*words, name]) == 0
    assert main([*words, "few", "--min_count", "5"]) == 0
    assert main([*words, "many", "--min_count", "4"]) == 0
    few, many = (KnowledgeGraph.load(root / f"knowledge/{name}/graph") for name in ("few", "many"))
    assert "zorb" in many.entities and "zorb" not in few.entities
    triples = [(h, 0, t) for h in range(6) for t in range(6)]
    assert draw_splits(triples, 1).tolist() != draw_splits(triples, 2).tolist()
