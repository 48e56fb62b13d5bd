"""Training of embeddings: they learn what can be learnt, stop, resume exactly, and belong to their graph."""

import json

import pytest
import torch
from knowledge_examples import save_captions, small_graph

from dataset.knowledge_arguments import GRAPH
from graphs.knowledge.embed import main
from graphs.knowledge.embedding import MODELS, load_embedding, make_model, train_embedding
from graphs.knowledge.knowledge_graph import KnowledgeGraph
from graphs.knowledge.ranking import evaluate
from utility.checkpoint import load_checkpoint
from utility.distributed import Distributed
from utility.train_settings import TrainSettings


def ring(count=24):
    """A graph in which everything follows from "next": all of it can be learnt."""
    triples = [(a, r, (a + 1 + r) % count) for a in range(count) for r in range(2)]
    split = torch.zeros(len(triples), dtype=torch.int64)
    split[5::12], split[11::12] = 1, 2
    ones = torch.ones(len(triples), dtype=torch.int64)
    names = [f"e{i}" for i in range(count)]
    return KnowledgeGraph(names, ["next", "second"], torch.tensor(triples), split, ones, ones[:count] * 4)


def settings(folder, epochs=4, **values):
    return TrainSettings(str(folder), epochs, 44, clip_norm=0, precision="fp32", log_steps=10**9, **values)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_a_graph(tmp_path, name):
    graph = ring()
    model = make_model(name, 24, 2, 16)
    before = evaluate(model, graph.of_split("train"), graph.triples)["MRR"]
    config = {"model": name, "entities": 24, "relations": 2, "width": 16, "margin": None, "graph": graph.hash}
    train_embedding(graph, model, settings(tmp_path), 40, 0.03, Distributed(), config)
    best = load_embedding(tmp_path, graph)
    after = evaluate(best.model, graph.of_split("train"), graph.triples)["MRR"]
    assert after > max(0.3, 2 * before)  # a ring is hard for TransE, whose steps never return
    right = graph.of_split("train")
    wrong = torch.cat([right[:, :2], right[:, 2:].roll(9, 0)], dim=1)
    assert best.scores(right).mean() > best.scores(wrong).mean()


def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path):
    graph, config = ring(), {"graph": "x"}
    for folder, steps in (("whole", [(3, False)]), ("cut", [(1, False), (3, True)])):
        for epochs, resume in steps:
            model = make_model("TransE", 24, 2, 8)
            train_embedding(
                graph, model, settings(tmp_path / folder, epochs, resume=resume), 3, 0.01, Distributed(), config
            )
    whole, cut = (load_checkpoint(tmp_path / folder / "last").tensors for folder in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    for name in whole:
        assert torch.equal(whole[name], cut[name])


@pytest.fixture
def root(tmp_path):
    root = save_captions(tmp_path / "small", {"v0": ["a man rides a horse"]}, {"v0": "train"})
    small_graph().save(root / "knowledge/default" / GRAPH)
    return root


def test_program_trains_ranks_and_stops_early(root):
    words = ["--data_root", str(root), "--width", "8", "--batch_size", "16", "--device", "cpu"]
    assert main([*words, "--dry_run"]) == 0
    assert not (root / "knowledge/default/TransE").exists()
    assert main([*words, "--epochs", "30", "--patience", "2"]) == 0
    run = root / "knowledge/default/TransE"
    result = json.loads((run / "embedding.json").read_text())
    assert result["rounds"] < 30 and result["rounds"] == result["best_round"] + 2
    assert set(result["test"]) == {"MRR", "mean_rank", "Hits@1", "Hits@3", "Hits@10"}
    embedding = load_embedding(run, small_graph())
    assert embedding.config["width"] == 8
    with pytest.raises(ValueError, match="another graph"):
        load_embedding(run, small_graph(min_support=4))


def test_flags_change_the_weights(root, capsys):
    words = ["--data_root", str(root), "--batch_size", "14", "--device", "cpu", "--epochs", "1", "--passes", "2"]

    def weights(*flags, name="DistMult"):
        assert main([*words, "--width", "4", "--model", name, "--resume", "0", *flags]) == 0
        return load_embedding(root / "knowledge/default" / name, small_graph()).hash

    plain = weights()
    assert weights() == plain
    for flags in (["--lr", "0.1"], ["--seed", "1"], ["--passes", "3"], ["--batch_size", "7"]):
        assert weights(*flags) != plain, flags
    assert weights(name="TransE") != weights("--margin", "0.1", name="TransE")
    assert main([*words, "--model", "DistMult"]) == 2
    assert "width was 4, now 128" in capsys.readouterr().err
    assert main([*words, "--model", "ComplEx", "--margin", "2"]) == 2
    assert "ComplEx has none" in capsys.readouterr().err
    assert main([*words, "--knowledge", "absent"]) == 2
    assert "graphs.knowledge.graph" in capsys.readouterr().err
