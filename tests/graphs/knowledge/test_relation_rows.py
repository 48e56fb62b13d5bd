"""What a video takes from the graph: the definition step by step against a plain version, and the table around it."""

import pytest
import torch
from knowledge_examples import WIDTH, save_reading_backbone, small_graph
from torch.nn.functional import normalize

from graphs.knowledge.embedding import Embedding, make_model
from graphs.knowledge.relation_rows import RelationTable, RowSettings, video_vector
from graphs.knowledge.relation_table import build_table, load_table, proposals, save_table, text_rows
from pretrained.backbones import load_backbone


def random_rows(texts, width=16):
    """A direction for every text, the same for the same text."""
    rows = [torch.randn(width, generator=torch.Generator().manual_seed(sum(text.encode()))) for text in texts]
    return normalize(torch.stack(rows), dim=-1).half()


@pytest.fixture(scope="module")
def embedding():
    graph = small_graph()
    torch.manual_seed(0)
    model = make_model("DistMult", len(graph.entities), len(graph.relations), 8)
    return Embedding(model, {"model": "DistMult"}, "hash")


def plain_choice(table, video):
    """The definition in words: one triple at a time."""
    s = table.settings
    near = [float(row.float() @ video) for row in table.entity_rows]
    kept = sorted(range(len(near)), key=lambda i: -near[i])[: s.num_entities]
    ends = [(int(h) in kept, int(t) in kept) for h, _, t in table.triples]
    candidates = [i for i, (h, t) in enumerate(ends) if (h if table.proposed[i] else h or t)]
    if len(candidates) < s.num_triples:
        candidates = [i for i in range(len(ends)) if not table.proposed[i]]
    kge = table.kge[candidates].double()
    spread = kge.std(correction=0)
    scores = {}
    for place, i in enumerate(candidates):
        z = float((kge[place] - kge.mean()) / spread) if spread > 0 else 0.0
        scores[i] = float(table.triple_rows[i].float() @ video) + s.both_ends * all(ends[i]) + s.kge_weight * z
    chosen, used = [], {}
    for i in sorted(scores, key=lambda i: -scores[i]):
        relation = int(table.triples[i, 1])
        if used.get(relation, 0) < s.same_relation and len(chosen) < s.num_triples:
            used[relation] = used.get(relation, 0) + 1
            chosen.append(i)
    return [table.entities[i] for i in kept], [table.texts[i] for i in chosen]


SETTINGS = [
    RowSettings(3, 4),
    RowSettings(2, 10, same_relation=5),
    RowSettings(1, 17, same_relation=20),
    RowSettings(4, 6, both_ends=0.0, kge_weight=0.5),
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("complete", [False, True])
def test_choice_follows_the_definition(embedding, settings, complete):
    table = build_table(small_graph(), random_rows, embedding, settings, complete=complete)
    for seed in range(5):
        video = normalize(torch.randn(16, generator=torch.Generator().manual_seed(seed)), dim=0)
        rows, choices = table.choose(video)
        entities, triples = plain_choice(table, video)
        assert [choice.text for choice in choices] == entities + triples
        wanted = random_rows([settings.entity_text.format(name) for name in entities] + triples)
        assert torch.equal(rows, wanted)
        for choice in choices[len(entities) :]:
            assert choice.score == pytest.approx(choice.similarity + choice.both_ends + choice.kge, abs=1e-5)


def test_every_setting_changes_what_is_chosen(embedding):
    graph, video = small_graph(), normalize(torch.ones(16), dim=0)

    def texts(**values):
        table = build_table(
            graph, random_rows, embedding, RowSettings(**{"num_entities": 3, "num_triples": 4, **values})
        )
        return [choice.text for choice in table.choose(video)[1]]

    plain = texts()
    for values in (
        {"num_entities": 4}, {"num_triples": 5}, {"same_relation": 1}, {"both_ends": 5.0}, {"kge_weight": 9.0},
        {"entity_text": "{} {}".format("{}", "x")},
    ):  # fmt: skip
        assert texts(**values) != plain, values


def test_rare_entities_are_no_choice_but_their_triples_are(embedding):
    table = build_table(small_graph(repeat=1), random_rows, min_entity_support=5)
    assert 0 < len(table.entities) < 9 and len(table.texts) == 18
    assert (table.triples[:, [0, 2]] == -1).any()
    rows, _ = table.choose(normalize(torch.ones(16), dim=0))
    assert len(rows) == len(table.entities) + 6  # two relations, three of each
    with pytest.raises(ValueError, match="--min_entity_support"):
        build_table(small_graph(), random_rows, min_entity_support=1000)


def test_proposals_are_unseen_and_the_models_best(embedding):
    graph = small_graph()
    known = set(map(tuple, graph.triples.tolist()))
    head = graph.entities.index("man")
    found = proposals(graph, embedding, torch.tensor([head]), count=4)
    unseen = [
        (head, r, t) for r in range(2) for t in range(9) if t != head and (head, r, t) not in known
    ]  # fmt: skip
    best = sorted(unseen, key=lambda triple: -float(embedding.scores(torch.tensor([triple]))))[:4]
    assert list(map(tuple, found.tolist())) == best
    with pytest.raises(ValueError, match="needs --embedding"):
        build_table(graph, random_rows, complete=True)


def test_video_vector_is_the_mean_direction_of_filled_slots():
    frames = torch.tensor([[3.0, 0.0], [0.0, 1.0], [9.0, 9.0]])
    vector = video_vector(frames, torch.tensor([True, True, False]))
    torch.testing.assert_close(vector, torch.tensor([0.5, 0.5]).sqrt())
    assert video_vector(frames, torch.zeros(3)).tolist() == [0, 0]


def test_a_table_survives_its_folder_and_another_width_is_refused(tmp_path, embedding):
    table = build_table(small_graph(), random_rows, embedding)
    save_table(table, tmp_path / "t", {"a": 1})
    again, settings = load_table(tmp_path / "t")
    assert again.hash == table.hash and settings == {"a": 1} and again.settings == table.settings
    with pytest.raises(ValueError, match="16"):
        again.choose(torch.ones(8))
    with pytest.raises(ValueError, match="lacks kge"):
        RelationTable.from_parts(table.description(), {k: v for k, v in table.tensors().items() if k != "kge"})
    with pytest.raises(FileNotFoundError, match=r"graphs\.knowledge\.relations"):
        load_table(tmp_path)


def test_texts_go_through_the_text_tower(tmp_path):
    backbone = load_backbone(save_reading_backbone(tmp_path / "clip"))
    texts = ["a video of a man", "man play flute", "woman ride horse"]
    rows = text_rows(texts, backbone, batch_size=2)
    assert rows.shape == (3, WIDTH) and rows.dtype == torch.float16
    with torch.no_grad():
        alone = normalize(backbone.model.encode_text(backbone.tokenizer([texts[2]])), dim=-1)[0]
    torch.testing.assert_close(rows[2].float(), alone, atol=1e-3, rtol=0)
    assert text_rows([], backbone).shape == (0, WIDTH)
