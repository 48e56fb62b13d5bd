"""Filtered ranks: against one triple at a time by the models' own scores, and on graphs whose answer is known."""

import pytest
import torch
from torch_geometric.nn.kge import KGEModel

from graphs.knowledge.embedding import MODELS, make_model
from graphs.knowledge.ranking import AllEntities, evaluate, ranks

ENTITIES, RELATIONS = 23, 4


def some_triples(count=80):
    generator = torch.Generator().manual_seed(0)
    columns = [torch.randint(high, (count, 1), generator=generator) for high in (ENTITIES, RELATIONS, ENTITIES)]
    return torch.unique(torch.cat(columns, dim=1), dim=0)


def naive_rank(model, triple, known, side):
    """One triple, one candidate at a time."""
    head, relation, tail = triple
    true = model(*torch.tensor([triple]).T).item()
    better = equal = 0
    for entity in range(model.num_nodes):
        other = (head, relation, entity) if side == "tail" else (entity, relation, tail)
        if other == triple or other in known:
            continue
        score = model(*torch.tensor([other]).T).item()
        better, equal = better + (score > true), equal + (score == true)
    return 1 + better + equal / 2


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(1)
    return make_model(request.param, ENTITIES, RELATIONS, 6).double().eval()


@pytest.mark.parametrize("side", ["head", "tail"])
def test_all_scores_are_those_of_the_model(model, side):
    given, relation = torch.arange(5), torch.tensor([0, 1, 2, 3, 0])
    scores = AllEntities(model).scores(given, relation, side)
    every = torch.arange(ENTITIES)
    for row in range(5):
        fixed = given[row].expand(ENTITIES)
        ends = (fixed, every) if side == "tail" else (every, fixed)
        torch.testing.assert_close(scores[row], model(ends[0], relation[row].expand(ENTITIES), ends[1]).detach())


@pytest.mark.parametrize("side", ["head", "tail"])
def test_ranks_equal_those_of_one_triple_at_a_time(model, side):
    triples = some_triples()
    known = {tuple(triple) for triple in triples.tolist()}
    wanted = [naive_rank(model, tuple(triple), known, side) for triple in triples[:25].tolist()]
    for batch_size in (7, 256):
        assert ranks(model, triples[:25], triples, side, batch_size).tolist() == wanted
    alone = [naive_rank(model, tuple(triple), set(), side) for triple in triples[:25].tolist()]
    assert alone != wanted  # the filter has something to do here


def exact_transe():
    """A TransE with four entities around a circle, and a relation that takes no step."""
    model = make_model("TransE", 4, 1, 2)
    model.p_norm = 2
    model.node_emb.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    model.rel_emb.weight.data.zero_()
    return model


def test_a_graph_whose_answer_is_known():
    # The nearest entity is the head itself, then its two neighbours, equally near.
    model = exact_transe()
    step = torch.tensor([[0, 0, 1]])
    assert ranks(model, step, step, "tail").tolist() == [1 + 1 + 0.5]
    # The head itself known as a tail leaves the two neighbours; the other neighbour known too leaves the true one.
    known = torch.tensor([[0, 0, 0], [0, 0, 3], [0, 0, 1]])
    assert ranks(model, step, known[[0, 2]], "tail").tolist() == [1 + 0.5]
    assert ranks(model, step, known, "tail").tolist() == [1]
    values = evaluate(model, step, known[:1])
    # Tail: filtered by itself, half of a tie. Head: entity 1 itself is nearer, entities 0 and 2 are equal.
    assert values["MRR"] == pytest.approx((1 / 1.5 + 1 / 2.5) / 2)
    assert (values["Hits@1"], values["Hits@3"], values["mean_rank"]) == (0, 1, 2)


def test_a_constant_score_gains_nothing():
    model = make_model("DistMult", 101, 1, 4)
    model.node_emb.weight.data.fill_(1)
    values = evaluate(model, torch.tensor([[0, 0, 1]]), torch.zeros(0, 3, dtype=torch.int64))
    assert values["mean_rank"] == 51 and values["Hits@10"] == 0


def test_other_models_and_empty_splits_are_refused():
    with pytest.raises(ValueError, match="ranking knows TransE"):
        AllEntities(KGEModel(3, 1, 2))
    with pytest.raises(ValueError, match="no triples"):
        evaluate(exact_transe(), torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.int64))
