"""Relations from captions to a caption: every program of the knowledge graph, a +rel captioner, one file in memory."""

import json
import shutil

import numpy as np
import pytest
from test_in_memory import COLORS, clip, make_action_network, make_backbone

import main
from dataset.corpus import Corpus
from dataset.graph_features import padded_rows
from dataset.seen_videos import overlap_notes
from extractors import extract
from extractors.in_memory import FileCaptioner
from graphs.knowledge import embed, graph, relations, triples
from graphs.knowledge.relation_table import load_table, table_path
from utility.checkpoint import load_checkpoint
from utility.feature_store import FeatureStore
from utility.video_writer import write_video

CLIPS = 9
FORMS = ("a {} ball hits a wall", "a boy kicks a ball", "a {} ball rolls over the road", "a girl throws a ball")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A corpus with features, a knowledge graph, an embedding, rel features, and a captioner trained on them."""
    root = tmp_path_factory.mktemp("films")
    videos, sentences = [], []
    for i in range(CLIPS):
        name = f"b-{i}"
        (root / "videos").mkdir(exist_ok=True)
        write_video(root / f"videos/{name}.mp4", clip(i), 10)
        videos.append({"video_id": name, "split": "train" if i < 7 else "val" if i < 8 else "test"})
        for form in FORMS:
            sentences.append({"video_id": name, "caption": form.format(list(COLORS)[i % 3])})
    (root / "metadata").mkdir()
    (root / "metadata/captions.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    places = ["--backbone", str(make_backbone(root / "clip", 0))]
    data = ["--data_root", str(root)]
    sampling = ["--slots", "4", "--rate", "2", "--patch", "2", "--decode_workers", "0"]
    network = ["--action_network", str(make_action_network(root / "i3d"))]
    assert extract.main([*data, *places, *network, *sampling, "--device", "cpu"]) == 0
    assert triples.main(data) == 0
    assert graph.main(data) == 0
    assert embed.main([*data, "--width", "4", "--epochs", "1", "--batch_size", "4", "--device", "cpu"]) == 0
    assert relations.main([*data, "--embedding", "TransE", "--device", "cpu"]) == 0
    train(root, "GBased+rel", root / "run")
    return root


def train(root, features, output, *flags):
    words = ["--model_name", f"films_{features}+videomask", "--do_train", "--data_root", str(root), "--epochs", "2"]
    words += ["--batch_size", "7", "--captions_per_video", "1", "--output_dir", str(output), "--tokenizer", "nltk"]
    assert main.main([*words, "--device", "cpu", *flags]) == 0


def store(root):
    (path,) = root.glob("features/*/*_rel.hdf5")
    return FeatureStore(path)


def test_every_video_has_rows_of_length_one_with_their_texts(films):
    table, _ = load_table(table_path(store(films).path.parent, films.name))
    assert set(table.entities) == {"ball", "wall", "boy", "road", "girl"}
    for name in store(films).ids:
        rows, texts = store(films)[name]["rel"], json.loads(store(films).attributes(name)["texts"])
        assert len(rows) == len(texts) == 5 + 4
        np.testing.assert_allclose(np.linalg.norm(rows.astype(float), axis=1), 1, atol=2e-3)
        assert set(texts[5:]) == {"ball hit wall", "boy kick ball", "ball roll road", "girl throw ball"}


def test_a_file_gets_the_rows_and_the_caption_of_its_features(films):
    captioner = FileCaptioner(films / "run/best", device="cpu")
    said = json.loads((films / "run/test_predictions.json").read_text())
    assert said
    for name, caption in said.items():
        path = films / f"videos/{name}.mp4"
        arrays = captioner.arrays(path)
        rows, mask = padded_rows(store(films)[name]["rel"])
        np.testing.assert_allclose(arrays["rel"].astype(float), rows.astype(float), atol=2e-3)
        assert arrays["rel_mask"].tolist() == mask.tolist()
        assert captioner.caption(path).caption == caption


def test_the_checkpoint_alone_is_enough(films, tmp_path):
    """Without knowledge graph and features, which stay with the corpus."""
    for part in ("run/best", "clip", "i3d"):
        shutil.copytree(films / part, tmp_path / part)
    places = {"backbone": str(tmp_path / "clip"), "action_network": str(tmp_path / "i3d")}
    captioner = FileCaptioner(tmp_path / "run/best", places, "cpu")
    assert captioner.relations.table.texts
    assert captioner.caption(films / "videos/b-0.mp4").caption is not None


def test_another_attention_encodes_relations_otherwise(films, tmp_path):
    train(films, "GBased+rel", tmp_path / "3", "--attention", "3", "--epochs", "1")
    for folder, name in ((films / "run", "encoder."), (tmp_path / "3", "encoder_no_attention.")):
        assert any(key.startswith(name) for key in load_checkpoint(folder / "best").tensors)


def test_relations_of_another_table_are_refused(films, tmp_path, capsys):
    root = tmp_path / films.name
    shutil.copytree(films, root)
    words = ["--data_root", str(root), "--embedding", "TransE", "--device", "cpu"]
    assert relations.main([*words, "--num_entities", "2"]) == 2
    assert "num_entities was 10, now 2" in capsys.readouterr().err
    assert relations.main([*words, "--num_entities", "2", "--num_triples", "1", "--resume", "0"]) == 0
    assert len(store(root)["b-0"]["rel"]) == 3
    evaluate = ["--do_eval", "--checkpoint", str(root / "run/best"), "--data_root", str(root), "--tokenizer", "nltk"]
    assert main.main([*evaluate, "--device", "cpu"]) == 2
    assert "trained on other features" in capsys.readouterr().err


def test_a_graph_that_knows_test_captions_is_noted(films):
    (path,) = films.glob("features/*/*_rel.hdf5")
    hashes = {"knowledge_graph": store(films).settings["graph"]}
    names = [f"b-{i}" for i in range(CLIPS)]
    for test, count in ((["b-8"], 0), (["b-0", "b-8"], 1)):
        corpus = Corpus(films.name, films, dict.fromkeys(names), splits={"test": test})
        notes = overlap_notes(path.parent, corpus, hashes)
        assert len(notes) == count
    assert notes == ["the knowledge graph was trained on 1 of the 2 test videos: scores on them flatter"]


def test_another_backbone_is_refused_by_name(films, tmp_path, capsys):
    other = make_backbone(tmp_path / "other", 7)
    words = ["--data_root", str(films), "--features", str(store(films).path.parent), "--resume", "0", "--device", "cpu"]
    assert relations.main([*words, "--backbone", str(other), "--dry_run"]) == 0
    shutil.copytree(films / "features", tmp_path / "features")
    (folder,) = (tmp_path / "features").iterdir()
    words[3] = str(folder)
    assert relations.main([*words, "--backbone", str(other)]) == 2
    message = capsys.readouterr().err
    assert "tiny0" in message and "tiny7" in message and "--backbone" in message
